"""What tests of a key's changes share: houses that are made once in a process, and copied."""

import shutil
from collections.abc import Iterator

import pytest

from tests.fixtures_softhsm import fast_folder
from tests.simulation.key_changes import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Houses ready for a change."""
    folder = fast_folder(tmp_path_factory.mktemp("houses"))
    yield Shelf(folder)
    shutil.rmtree(folder)
