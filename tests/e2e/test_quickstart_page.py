"""Pages for backends, guides and runbooks work as they stand, on what the first page sets up."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.test_pages import REPOSITORY, page_script

pytestmark = pytest.mark.timeout(460)  # a busy machine is slower
NAMES = ("setup", "quickstart-backend", "guide-integrator", "guide-operator", "guide-auditor")
PAGES_S = 400


OPERATING = ("setup", "backup", "upgrades", "runbook-rotate-key")


def blocks_of(names: Sequence[str], folder: Path) -> str:
    """What the blocks of these pages print; all of them end well."""
    pages = [REPOSITORY / "docs" / f"{name}.md" for name in names]
    script, _ = page_script("\n".join(page.read_text() for page in pages))
    programs = (Path(sys.executable).parent, REPOSITORY / "node_modules" / ".bin")
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    log = folder / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "QUORUMKEEP_CLIENT": "treasury/client.json"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(PAGES_S)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_text()
    assert code == 0, said[-3000:]
    return said


def test_the_blocks_of_the_quick_start_and_of_the_guides_do_what_they_say(tmp_path: Path) -> None:
    said = blocks_of(NAMES, tmp_path)

    assert "settled 0x" in said
    assert "denied unknown-destination" in said
    assert "unknown-asset: " in said
    assert "fails its EIP-55 checksum" in said
    assert "m/0/1" in said
    assert '{"name": "node-a", "state": "ready"}' in said
    assert "\nnothing is broken\n" in said
    assert said.count("config.toml: no problems") == 2
    assert said.count("\nok: ") == 4  # of the set-up, the operator, and the auditor twice
    assert (tmp_path / "movements.csv").read_text().count("transfer") >= 3


@pytest.mark.slow
def test_a_restore_an_upgrade_and_a_new_key_go_as_their_pages_say(tmp_path: Path) -> None:
    said = blocks_of(OPERATING, tmp_path)

    assert "is restored." in said
    assert "the database is this deployment's, of this program" in said
    assert "entries, as the token remembers" in said
    assert "rules 1 are in force" in said
    assert said.rstrip().splitlines()[-2] == "  is settled by rule empty-main"
