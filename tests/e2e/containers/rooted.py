"""An image's files as the root of a process in a user namespace: it needs no engine."""

import subprocess
from pathlib import Path

import pytest

from deploy.containers.assemble import VENV
from tests.e2e.containers.cluster import ran

PYTHON = f"{VENV}/bin/python3"


def extracted(image_folder: Path, folder: Path) -> Path:
    """The image's root folder; skips the test where no process may have it for its own."""
    folder.mkdir()
    ran("tar", "-xf", str(image_folder / "rootfs.tar"), "--no-same-owner", "-C", str(folder))
    (folder / "dev").mkdir()
    (folder / "dev/null").touch()  # an engine mounts the device; here nothing else is read from or written to
    if subprocess.run(inside(folder, "-c", ""), capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel lets no process have a root folder of its own (user namespaces)")
    return folder


def inside(root: Path, *arguments: str) -> list[str]:
    """The command that runs the image's interpreter with the image as its root, and no network."""
    alone = ["unshare", "--user", "--map-root-user", "--net", "--root", str(root), "--wd", "/"]
    return [*alone, PYTHON, "-I", *arguments]
