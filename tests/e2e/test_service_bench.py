"""``bench service`` measures a deployment of real processes, and leaves nothing running."""

import json
import subprocess

import pytest

from cli.programs import ITSELF, program


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


@pytest.mark.parametrize("beyond", [("--seconds", "0"), ("--entries", "0")])
def test_what_is_beyond_bounds_is_refused(beyond: tuple[str, str]) -> None:
    ran = subprocess.run(program(ITSELF, "bench", "service", *beyond), capture_output=True, check=False)

    assert ran.returncode == 2
    assert b"from 1 to " in ran.stderr
