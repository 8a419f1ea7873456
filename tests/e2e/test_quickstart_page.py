"""The quick-start and the guides work as they stand, on the deployment that the first page sets up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_pages import REPOSITORY, page_script

pytestmark = pytest.mark.timeout(460)  # a busy machine is slower
NAMES = ("setup", "quickstart-backend", "guide-integrator", "guide-operator", "guide-auditor")
PAGES = [REPOSITORY / "docs" / f"{name}.md" for name in NAMES]
PAGES_S = 400


def test_the_blocks_of_the_quick_start_and_of_the_guides_do_what_they_say(tmp_path: Path) -> None:
    script, _ = page_script("\n".join(page.read_text() for page in PAGES))
    programs = (Path(sys.executable).parent, REPOSITORY / "node_modules" / ".bin")
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    log = tmp_path / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
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
    assert "settled 0x" in said
    assert "denied unknown-destination" in said
    assert "unknown-asset: " in said
    assert "fails its EIP-55 checksum" in said
    assert "m/0/1" in said
    assert '{"name": "node-a", "state": "ready"}' in said
    assert "\nnothing is broken\n" in said
    assert said.count("\nok: ") == 4  # of the set-up, the operator, and the auditor twice
    assert (tmp_path / "movements.csv").read_text().count("transfer") >= 3
