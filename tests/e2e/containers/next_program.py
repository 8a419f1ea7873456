"""The program after this one, and images of it: this tree with a later version and one more of the rules."""

import shutil
import subprocess
import sys
from pathlib import Path

from policy.governance import RULES_SUPPORTED
from policy.program import PROGRAM
from tests.e2e.containers.cluster import ROOT

PACKAGES = ("policy", "signer_nodes", "custody", "cli", "deploy")
RULES = RULES_SUPPORTED + 1
VERSION = f"{PROGRAM}.1"
CHANGED = {
    "policy/program.py": (f'PROGRAM: Final = "{PROGRAM}"', f'PROGRAM: Final = "{VERSION}"'),
    "policy/governance.py": (f"\nRULES_SUPPORTED = {RULES_SUPPORTED}\n", f"\nRULES_SUPPORTED = {RULES}\n"),
}


def next_tree(folder: Path) -> Path:
    """Its source, as a checkout has it."""
    for package in PACKAGES:
        without = shutil.ignore_patterns("__pycache__", "build", "build-*")
        shutil.copytree(ROOT / package, folder / package, ignore=without)
    for name, (before, after) in CHANGED.items():
        text = (folder / name).read_text()
        assert text.count(before) == 1
        (folder / name).write_text(text.replace(before, after))
    return folder


def assembled(tree: Path, kind: str, folder: Path) -> Path:
    """The build context of one of its images, by its own command."""
    command = [sys.executable, "-m", "deploy.containers.assemble", str(folder), "--image", kind]
    subprocess.run(command, cwd=tree, check=True)
    return folder
