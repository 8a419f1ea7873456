"""``tests.alone``: what is run again, and what is not."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import alone

E2E, ANOTHER = "tests/e2e/test_demo.py::test_one[a/b]", "tests/e2e/test_demo.py::test_two"
CONSOLE = "tests/console/test_reading.py::Test::test_three"


class _Runs:
    """Stands for pytest: what it was asked to run, and how that ends."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, files: Sequence[str]) -> int:
        self.asked.append(tuple(files))
        return self.code


def noted(folder: Path, *tests: str) -> Path:
    """A cache in which these failed."""
    cache = folder / "lastfailed"
    cache.write_text(json.dumps(dict.fromkeys(tests, True)))
    return cache


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (4, 1)])
def test_a_few_are_run_again_and_that_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, ends: int
) -> None:
    """What passes alone is named as what is to be mended."""
    runs = _Runs(code)
    assert alone.main(noted(tmp_path, E2E, ANOTHER, CONSOLE), run=runs) == ends
    assert runs.asked == [("tests/console/test_reading.py", "tests/e2e/test_demo.py")]
    assert ("to be mended" in capsys.readouterr().err) == (ends == 0)


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ((), "no test"),
        ([f"tests/e2e/test_demo.py::test_{number}" for number in range(4)], "4 tests failed"),
        ((E2E, "tests/simulation/test_interleavings.py::test_a"), "tests/simulation/"),
        (("tests/protocols/test_frost.py::test_a",), "tests/protocols/"),
    ],
)
def test_what_a_second_try_would_hide_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tests: Sequence[str], why: str
) -> None:
    """It fails, and says why."""
    runs = _Runs(0)
    assert alone.main(noted(tmp_path, *tests), run=runs) == 1
    assert not runs.asked
    assert why in capsys.readouterr().err


def test_without_a_note_of_what_failed_it_fails(tmp_path: Path) -> None:
    """A run that ended before its first test has none."""
    assert alone.main(tmp_path / "lastfailed", run=_Runs(0)) == 1


@pytest.mark.parametrize(
    ("code", "goes_on", "ran"),
    [
        (0, True, ["tests.chaos"]),
        (1, True, ["tests.alone", "tests.chaos"]),
        *((code, False, []) for code in (2, 3, 4, 5, 137)),
    ],
)
def test_only_a_run_that_came_to_its_end_has_its_failures_run_again(
    tmp_path: Path, code: int, goes_on: bool, ran: Sequence[str]
) -> None:
    """One that broke off with a failure has tests that nobody ran."""
    for name, body in {"pytest": f"exit {code}", "python": f'echo "$2" >>{tmp_path}/ran'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o700)
    command = ["make", "-o", "lint", "-o", "types", "test", f"BIN={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, check=False)

    log = tmp_path / "ran"
    assert ((ended.returncode == 0), log.read_text().split() if log.exists() else []) == (goes_on, ran)


def test_pytest_notes_failures_where_they_are_looked_for() -> None:
    """The Makefile names the same folder."""
    cache = Path(*alone.FAILED.parts[:2])
    assert f"-o cache_dir={cache} --cache-clear" in Path("Makefile").read_text()
