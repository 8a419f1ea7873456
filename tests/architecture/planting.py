"""Small source trees with a rule broken in them, to see each rule fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = (
    "policy",
    "signer_nodes",
    "signer_nodes/api",
    "signer_nodes/mpc",
    "signer_nodes/hsm",
    "custody",
    "custody/api",
    "cli",
)


def plant(root: Path, files: dict[str, str]) -> None:
    """Write ``files``, text by path, under ``root``."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def plant_house(root: Path) -> None:
    """A house of empty rooms under this repository's own configuration."""
    plant(root, {f"{room}/__init__.py": "" for room in ROOMS})
    plant(root, {"custody/client.py": "", "custody/http_client.py": ""})
    plant(root, {"tests/architecture/__init__.py": "", "tests/__init__.py": ""})
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    shutil.copy(REPOSITORY / "tests/architecture/contracts.py", root / "tests/architecture")


def run_tool(root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this virtual environment with ``root`` as its folder."""
    tool = Path(sys.executable).with_name(name)
    path = os.pathsep.join((str(tool.parent), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "NO_COLOR": "1"}
    return subprocess.run(
        [str(tool), *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
