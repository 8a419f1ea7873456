"""Run once more, alone, what failed beside other tests: ``python -m tests.alone``.

Tests of real processes share a machine of two cores with each other. ``make test`` comes here when some of
them failed: if they are few, their files are run again with nothing beside them. When all pass then, those
that had failed are named, for each is a fault of the product or of the test that is still to be found.

Never run again: tests without processes, where only logic or chance can have failed, and more failures than a
busy machine explains. Exit 0 when all passed alone, 1 when not.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

FAILED: Final = Path("build/pytest/v/cache/lastfailed")
"""What pytest notes there for ``make test`` alone."""
FAILURES_MAX: Final = 3
NEVER: Final = tuple(
    f"tests/{folder}/"
    for folder in ("architecture", "compat", "differential", "fuzz", "protocols", "simulation", "vectors")
)
"""Where a second try would hide a fault: chance chooses there, or nothing does."""


def failed(cache: Path) -> tuple[str, ...]:
    """The tests that failed last, by their ids; none if there is no such file."""
    try:
        return tuple(sorted(json.loads(cache.read_text())))
    except FileNotFoundError:
        return ()


def refusal(tests: Sequence[str]) -> str:
    """Why these are not run again; empty if they are."""
    if not tests:
        return "nothing is noted as failed: what ended the run was no test"
    if len(tests) > FAILURES_MAX:
        return f"{len(tests)} tests failed, more than {FAILURES_MAX}"
    if pure := [one for one in tests if one.startswith(NEVER)]:
        return f"no other process can have disturbed {', '.join(pure)}"
    return ""


def main(cache: Path = FAILED, *, run: Callable[[Sequence[str]], int] | None = None) -> int:
    """Run them again if that says anything."""
    tests = failed(cache)
    if why := refusal(tests):
        sys.stderr.write(f"tests.alone: not run again: {why}\n")
        return 1
    sys.stderr.write(f"tests.alone: {len(tests)} failed beside others; alone:\n")
    if (run or _pytest)(
        sorted({one.partition("::")[0] for one in tests})
    ):  # a file's tests build on each other
        return 1
    named = "".join(f"  {one}\n" for one in tests)
    sys.stderr.write(f"tests.alone: passed alone, and are to be mended:\n{named}")
    return 0


def _pytest(files: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *files]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
