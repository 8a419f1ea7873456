"""The image of rebalancers, sweepers and observers makes an identity, and holds what each of them imports."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bills import bill, check_bill, image_files
from tests.e2e.cluster import scratch_folder
from tests.e2e.containers.cluster import INSIDE, ran
from tests.e2e.containers.rooted import extracted, inside

pytest_plugins = ("tests.fixtures_docker",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # ten seconds of work to assemble it
WORKS = """
import cli.main, cli.identities, cli.rebalance.service, cli.risk.running
import cli.observing.running, cli.sweeps.service
import custody.adapters.rebalance_store, custody.adapters.risk_store
import custody.rebalancing.choosing, custody.rebalancing.deciding
print("imported")
"""
ABSENT = ("signer_nodes.main", "z3", "cli.demo", "cli.drills", "custody.console", "policy.prove")


@pytest.fixture
def root(service_image_folder: Path) -> Iterator[Path]:
    folder = extracted(service_image_folder, scratch_folder() / "root")
    yield folder
    shutil.rmtree(folder.parent)


def test_the_image_holds_what_each_program_imports(root: Path) -> None:
    assert ran(*inside(root, "-c", WORKS)).strip() == "imported"


@pytest.mark.parametrize("command", ["observe", "sweep"])
def test_what_an_observer_or_a_sweeper_needs_is_named_before_anything_else(root: Path, command: str) -> None:
    run = inside(root, "-m", "cli.main", command, "run", "--as", f"{INSIDE}/nobody")
    refused = subprocess.run(run, capture_output=True, text=True, check=False)

    assert refused.returncode in (1, 2) and "client.json" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_image_makes_an_identity_and_says_what_it_is_to_be_told(root: Path) -> None:
    identity = f"{INSIDE}/identity"
    create = ("-m", "cli.main", "identity", "create", "backend", "mover", "--dir", identity, "--json")
    made = json.loads(ran(*inside(root, *create)))
    run = inside(root, "-m", "cli.main", "rebalance", "run", "--as", identity)
    refused = subprocess.run(run, capture_output=True, text=True, check=False)

    assert made["name"] == "mover"
    assert (root / identity[1:] / "card.json").is_file()
    assert refused.returncode in (1, 2) and "client.json" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("module", ABSENT)
def test_the_image_has_no_node_and_no_door(root: Path, module: str) -> None:
    done = subprocess.run(inside(root, "-c", f"import {module}"), capture_output=True, text=True, check=False)

    assert "ModuleNotFoundError" in done.stderr


def test_its_bill_of_materials_is_of_what_is_in_it(service_image_folder: Path) -> None:
    check_bill(bill(service_image_folder), image_files(service_image_folder))
