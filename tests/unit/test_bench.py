"""The bench command: every figure, in one object, from real runs."""

import json
import subprocess
import sys

import pytest

from policy.errors import CallerError
from signer_nodes.bench import MEASURES, THREADS_VARIABLE, Effort, measure


def test_the_command_prints_one_object_with_every_figure() -> None:
    command = [sys.executable, "-m", "cli.main", "bench", "engine", "--quick", "--json"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["unit_us", *MEASURES]
    for name in ("presign_2of3", "presign_3of5"):
        cost = figures.pop(name)
        assert set(cost) == {"batch", "cpu_ms", "units"}
        assert cost["batch"] == 4 and cost["cpu_ms"] > 0 and cost["units"] > 0
    assert all(figure > 0 for figure in figures.values())
    assert 40_000 < figures["bytes_per_presign_2of3"] < 70_000
    assert "presigning 3 of 5 1/1" in done.stderr


@pytest.mark.parametrize(("batch", "repeat"), [(5, 1), (0, 1), (132, 1), (4, 0)])
def test_an_effort_that_measures_nothing_is_refused(batch: int, repeat: int) -> None:
    with pytest.raises(CallerError):
        Effort(batch, repeat)


def test_nothing_is_measured_while_blas_may_use_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)

    with pytest.raises(CallerError, match=THREADS_VARIABLE):
        measure(Effort(4, 1), lambda _line: None)
