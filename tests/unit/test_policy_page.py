"""The page on policies: its example is the one that is kept, its commands print what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.policies.authoring import AMOUNTS, VALUES
from policy import document as reader

ROOT = Path(__file__).resolve().parents[2]
PAGE, EXAMPLE = ROOT / "docs" / "policy.md", ROOT / "docs" / "examples" / "treasury.yaml"
BLOCK = re.compile(r"^```(sh|text|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text())
RUNS = [
    (command, shown)
    for (kind, command), (_, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True)
    if kind == "sh"
]


def ran(command: str, folder: Path) -> str:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_pieces_of_the_page_are_the_whole_example() -> None:
    assert "".join(text for kind, text in BLOCKS if kind == "yaml") == EXAMPLE.read_text()


@pytest.mark.parametrize(("command", "shown"), RUNS)
def test_a_command_prints_what_the_page_shows(tmp_path: Path, command: str, shown: str) -> None:
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text())

    assert ran(command, tmp_path) == shown


def test_every_command_of_the_page_is_run() -> None:
    assert len(RUNS) == 3
    assert all(shown for _, shown in RUNS)


def test_the_page_explains_every_condition() -> None:
    others = (
        "methods",
        "arguments",
        "initiator_groups",
        "destinations",
        "not_destinations",
        "first_use",
        "hours",
        "risk_min",
        "risk_max",
    )
    names = (*reader._NAMED, *AMOUNTS, *VALUES, *others)

    assert [name for name in names if f"`{name}`" not in PAGE.read_text()] == []
