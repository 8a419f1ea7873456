"""``bench service`` measures a deployment of real processes, and leaves nothing running."""

import json
import subprocess
from pathlib import Path

import pytest

from cli.demo.kept import resume
from cli.demo.supervisor import Supervisor
from cli.programs import ITSELF, program
from cli.results import Misuse
from policy.errors import OperationalError


@pytest.mark.slow
def test_it_prints_what_was_signed_and_how_fast() -> None:
    command = program(ITSELF, "bench", "service", "--seconds", "2", "--entries", "1000", "--json")
    ran = subprocess.run(command, capture_output=True, timeout=240, check=True)

    found = json.loads(ran.stdout)
    assert found.keys() == {"alone", "saturated", "by_log_size"}
    assert 0 < found["alone"]["p50_ms"] <= found["alone"]["p99_ms"]
    assert found["saturated"]["per_s"] > 1000 / found["alone"]["p50_ms"] / 2
    assert [int(size) >= 1000 for size in found["by_log_size"]] == [False, True]
    assert found["alone"]["cpu_ms"]["all"] > found["alone"]["cpu_ms"]["coordinator"] > 0


@pytest.mark.slow
def test_what_was_kept_is_measured_again(tmp_path: Path) -> None:
    command = program(ITSELF, "bench", "service", "--seconds", "1", "--keep", str(tmp_path), "--json")
    sizes = []
    for entries in ([], ["--entries", "500"]):
        ran = subprocess.run([*command, *entries], capture_output=True, timeout=240, check=True)
        sizes.append([int(size) for size in json.loads(ran.stdout)["by_log_size"]])

    assert sizes[1][0] >= sizes[0][-1] > 0
    assert sizes[1][1] >= 500
    assert (tmp_path / "bench.json").stat().st_mode & 0o077 == 0


def test_nothing_is_kept_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(Misuse, match="nothing is overwritten"):
        resume(tmp_path, Supervisor())


@pytest.mark.parametrize("text", ["{}", '{"pins": {}, "ports": []}', '{"pins": {}, "ports": {"a": "b"}}'])
def test_what_was_not_kept_by_the_command_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)

    with pytest.raises(OperationalError, match="name a new folder"):
        resume(tmp_path, Supervisor())


@pytest.mark.parametrize("beyond", [("--seconds", "0"), ("--entries", "0")])
def test_what_is_beyond_bounds_is_refused(beyond: tuple[str, str]) -> None:
    ran = subprocess.run(program(ITSELF, "bench", "service", *beyond), capture_output=True, check=False)

    assert ran.returncode == 2
    assert b"from 1 to " in ran.stderr
