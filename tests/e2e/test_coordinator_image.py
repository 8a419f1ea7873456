"""The coordinator's image holds what a coordinator imports, and nothing that it must not have."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bills import bill, check_bill, image_files
from tests.e2e.containers.cluster import ran
from tests.e2e.containers.rooted import extracted, inside

pytest_plugins = ("tests.fixtures_docker",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # ten seconds of work to assemble it
SERVES = """
import custody.main, custody.adapters.http.app, custody.adapters.http.server, custody.console.app
import custody.adapters.webhook_sender, custody.adapters.witness_poster, psycopg
from custody.adapters.store import Store
Store("sqlite:////tmp/custody.db", holder="test").close()
print("tables made")
"""
ABSENT = ("signer_nodes.main", "signer_nodes.mpc", "pkcs11", "numpy", "z3", "cli", "policy.prove")


@pytest.fixture
def root(coordinator_image_folder: Path, tmp_path: Path) -> Iterator[Path]:
    folder = extracted(coordinator_image_folder, tmp_path / "root")
    yield folder
    shutil.rmtree(folder)


def test_the_image_serves_its_doors_and_makes_its_tables(root: Path) -> None:
    assert ran(*inside(root, "-c", SERVES)).strip() == "tables made"


@pytest.mark.parametrize("module", ABSENT)
def test_the_image_has_no_node_and_no_numerics(root: Path, module: str) -> None:
    done = subprocess.run(inside(root, "-c", f"import {module}"), capture_output=True, text=True, check=False)

    assert "ModuleNotFoundError" in done.stderr


def test_its_bill_of_materials_is_of_what_is_in_it(coordinator_image_folder: Path) -> None:
    check_bill(bill(coordinator_image_folder), image_files(coordinator_image_folder))
