"""Where the time of one withdrawal goes: each step of it in each process, by a clock that they share.

    python -m tests.bench.timeline [--withdrawals N]

The deployment of ``bench service``, one withdrawal at a time. A line is a step between asking and seeing it
signed: when it begins and ends (ms after asking, the median of all withdrawals) and how long it takes. Noting
costs a few per cent.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.bench import WARM_S, Backend, _flow, _listen
from cli.demo.supervisor import Supervisor
from cli.results import progress

Step: TypeAlias = tuple[str, str, int]
"""A process, a call, and which time of a withdrawal it is."""
Span: TypeAlias = tuple[float, float]
HALF = 0.5


def spans(folder: Path, processes: Mapping[str, int]) -> Iterator[tuple[str, str, Span]]:
    """Every noted call: its process, its name, and when it began and ended (s)."""
    for name, pid in processes.items():
        path, begun = folder / f"{pid}.steps", defaultdict[str, list[float]](list)
        for line in path.read_text().splitlines() if path.exists() else ():
            clock, way, step = line.split(" ", 2)
            if way == "+":
                begun[step].append(int(clock) / 1e9)
            elif begun[step]:
                yield name, step, (begun[step].pop(0), int(clock) / 1e9)


def timeline(backend: Backend, noted: list[tuple[str, str, Span]]) -> dict[Step, list[Span]]:
    """By step, when it began and ended in each withdrawal, in ms after asking."""
    found = defaultdict[Step, list[Span]](list)
    for request, asked in backend.asked.items():
        times = Counter[tuple[str, str]]()
        for process, name, (begin, end) in noted:
            if asked <= begin < backend.signed.get(request, asked):
                times[process, name] += 1
                found[process, name, times[process, name]].append(
                    (1000 * (begin - asked), 1000 * (end - asked))
                )
    return found


def show(found: Mapping[Step, list[Span]], backend: Backend) -> None:
    """Print the steps that more than half of the withdrawals have."""
    latencies = backend.latencies_ms(list(backend.asked))
    rows = [
        (*(statistics.median(one) for one in zip(*spans, strict=True)), *step)
        for step, spans in found.items()
        if len(spans) > HALF * len(latencies)
    ]
    lines = [
        f"{len(latencies)} withdrawals, signed after {statistics.median(latencies):.1f} ms (median)",
        f"{'begins':>8} {'ends':>8} {'takes':>8}  process      step",
    ]
    for begin, end, process, name, _ in sorted(rows):
        lines.append(f"{begin:8.1f} {end:8.1f} {end - begin:8.1f}  {process:12} {name}")
    sys.stdout.write("\n".join(lines) + "\n")


def run(folder: Path, withdrawals: int) -> None:
    """Set everything up, pay, and print."""
    with Supervisor() as supervisor:
        deployment = scenario.prepare(folder / "deployment", supervisor, say=progress)
        scenario.set_up(deployment)
        scenario.make_keys(deployment)
        scenario.fund(deployment)
        identity, connection = deployment.identity(names.PAYMENTS), deployment.connection()
        with connection.open(identity) as client, connection.open(identity) as ear:
            warm, backend = (Backend(client, connection.origin, f"{i}-{time.time_ns()}") for i in range(2))
            for one in (warm, backend):
                threading.Thread(target=_listen, args=(one, ear), daemon=True).start()
            _flow(warm, WARM_S, flight=1)
            for _ in range(withdrawals):
                backend.wait(backend.ask())
        noted = sorted(spans(folder, supervisor.process_ids()), key=lambda one: one[2])
        show(timeline(backend, noted), backend)


def main() -> None:
    """Run with what notes the steps in every process that is started."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--withdrawals", type=int, default=100)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-timeline-"))
    (folder / "deployment").mkdir()
    os.environ["QUORUMKEEP_TIMELINE"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "tracing"), *sys.path[:1]])
    try:
        run(folder, options.withdrawals)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
