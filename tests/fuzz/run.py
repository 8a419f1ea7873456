"""Fuzz decoders with atheris, guided by coverage: ``make fuzz SECONDS=60``, or ``TARGETS="evm note"``.

Each target runs in a process of its own for that many seconds and keeps what it found interesting under
``build/fuzz/<target>``, so that the next run goes on from there. An input that makes a decoder raise what
it does not document is left in ``build/fuzz/<target>-crash-*`` and ends the run with exit 1:

    python -m tests.fuzz.run --again build/fuzz/evm-crash-... evm     runs that input again
    make fuzz SECONDS=10 TARGETS=planted                              fails: the fuzzer finds a planted bug
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

try:
    import atheris
except ImportError as error:
    raise SystemExit("atheris is not installed: make fuzz installs it (pip install -e '.[fuzz]')") from error

OURS = ["policy", "signer_nodes", "custody", "cli", "tests.fuzz"]
with redirect_stderr(StringIO()), atheris.instrument_imports(include=OURS):  # it tells of every module
    from tests.fuzz import planted
    from tests.fuzz.targets import TARGETS, Target

FOLDER = Path(__file__).resolve().parents[2] / "build" / "fuzz"
INPUT_BYTES_MAX = 1 << 16
INPUT_SECONDS_MAX = 20
MEMORY_MB_MAX = 2048
PLANTED = Target(planted.NAME, planted.decode, lambda: [b"seed"])
ALL: Mapping[str, Target] = {**TARGETS, planted.NAME: PLANTED}


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="fuzz the decoders")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--again", type=Path, help="run one input of one target again")
    parser.add_argument("targets", nargs="*", help=", ".join(ALL))
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.targets) - set(ALL))
    if unknown:
        parser.error(f"no such targets: {', '.join(unknown)}; there are {', '.join(ALL)}")
    if asked.again is not None:
        ALL[asked.targets[0]](asked.again.read_bytes())
        return 0
    names = asked.targets or list(TARGETS)
    failed = [name for name in names if not fuzz(ALL[name], asked.seconds)]
    say(f"{len(names)} targets, {asked.seconds} s each: {', '.join(failed) or 'none'} failed")
    return 1 if failed else 0


def fuzz(target: Target, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether it stood."""
    corpus, log = FOLDER / target.name, FOLDER / f"{target.name}.log"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = {
        "artifact_prefix": f"{FOLDER}/{target.name}-",
        "max_total_time": seconds,
        "timeout": INPUT_SECONDS_MAX,
        "rss_limit_mb": MEMORY_MB_MAX,
        "max_len": INPUT_BYTES_MAX,
        "print_final_stats": 1,
    }
    command = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)]
    code = in_child(lambda: _fuzz_here(target, command), log)
    say(f"{target.name}: {'stood' if code == 0 else f'FAILED, see {log}'}, {_executions(log)} inputs")
    return code == 0


def in_child(work: Callable[[], None], log: Path) -> int:
    """Do ``work`` in a fork of this process, which has loaded everything; its exit code."""
    pid = os.fork()
    if pid == 0:
        with log.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fuzz_here(target: Target, command: list[str]) -> None:
    atheris.Setup(command, target)
    atheris.Fuzz()  # ends the process


def _executions(log: Path) -> str:
    """How many inputs a run's log tells of."""
    for line in log.read_text(errors="replace").splitlines():
        if "number_of_executed_units" in line:
            return line.split()[-1]
    return "?"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
