"""Every drill ends as its page says, by itself, and leaves nothing behind: real processes and tokens."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cli.demo.scenes import Stage
from cli.drills.run import DRILLS, Drill, play
from cli.drills.steps import Steps
from tests.e2e.processes import none_left

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PROGRAM = Path(sys.executable).parent / "quorumkeep"


def run(name: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """With temporary files in a folder of its own, to see that none is left."""
    return subprocess.run(
        [str(PROGRAM), "drill", name, "--json"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
        timeout=350,
        check=False,
    )


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_ends_as_its_page_says_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    ran = run(name, tmp_path)
    document = json.loads(ran.stdout)

    assert ran.returncode == 0, ran.stderr[-3000:]
    assert document["ok"] and document["drill"] == name and not document["noted"]
    assert len(document["steps"]) > 4 and all(row["ok"] for row in document["steps"])
    assert list(tmp_path.iterdir()) == []
    assert none_left(str(tmp_path)) == {}


def test_a_drill_that_goes_otherwise_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    def played(stage: Stage, steps: Steps) -> None:
        steps.must("a payment is free of charge", False, seen="it is not")

    steps = Steps(lambda text: None)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        error = play(Drill(played, "nothing", "alerts.md"), steps, folder=Path(folder))

        assert "a payment is free of charge" in error and not steps.ok
        assert none_left(folder) == {}
