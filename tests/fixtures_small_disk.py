"""A disk of two megabytes to fill, for those who may mount one."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system that a test fills and frees."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte free."""
        status = os.statvfs(self.folder)
        (self.folder / "filler").write_bytes(bytes(status.f_bavail * status.f_frsize))

    def free(self) -> None:
        """Give the room back."""
        (self.folder / "filler").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mounted for one test; skipped where that needs privileges that the run lacks."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs privileges that this run lacks")
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
