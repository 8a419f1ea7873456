"""What tests of a key's changes share: houses that are made once in a process, and copied."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.key_changes import Shelf


@pytest.fixture(scope="session")
def shelf() -> Iterator[Shelf]:
    """Houses ready for a change, in memory where there is some: their disks are written often."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a new folder inside it
    folder = Path(tempfile.mkdtemp(prefix="houses-", dir=memory))
    yield Shelf(folder)
    shutil.rmtree(folder)
