"""A short run of the chaos suite, as a command: it says what it did, and everything holds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import main
from tests.chaos.privileges import missing

KINDS = ("kill", "pause", "partition", "database", "reorg", "clock-ahead")
SECONDS, SETUP_S = 60, 360


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + SETUP_S)
def test_everything_holds_through_a_minute_of_faults(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.chaos", "--json", "--logs", str(tmp_path / "logs"), "--rate", "2"]
    command += ["--seconds", str(SECONDS), "--seed", "1", "--faults", ",".join(KINDS)]
    ran = subprocess.run(command, capture_output=True, timeout=SECONDS + SETUP_S, check=False)
    assert ran.stdout, ran.stderr.decode()[-2000:]
    report: dict[str, Any] = json.loads(ran.stdout)

    assert ran.returncode == 0 and report["ok"], json.dumps(report, indent=2)
    assert {one["fault"] for one in report["faults"]} <= set(KINDS)
    assert report["requests"]["settled"] > SECONDS // 2 and report["requests"]["denied"] > 0
    assert all(check["ok"] for check in report["checks"].values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--faults", "kill,earthquake"), "earthquake"),
        (("--seconds", "0"), "from 1 to"),
        (("--seconds", "many"), "invalid int"),
        (("--rate", "0"), "from 0.1 to"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_starts(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)

    assert refused.value.code == 2
    assert said in capsys.readouterr().err
