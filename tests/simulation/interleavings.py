"""Thousands of interleavings of everything a coordinator can do: ``make simulate SEED=1 RUNS=1000``.

Each run is one random order of steps, and is the same again with its seed and number. Runs take turns in the
deployment's numbers, in which f cosigners are corrupt, and in whether honest clocks are right.
"""

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.simulation.adversary import Adversary
from tests.simulation.cluster import SimNode
from tests.simulation.limits import Broken, check, spent
from tests.simulation.world import LIMIT, World

STEPS = 40
BATCH = 20


@dataclass(frozen=True)
class Numbers:
    """Who there is, and how many of them are corrupt."""

    nodes: int
    witnesses: int
    w: int
    f: int

    def world(self) -> World:
        """The organisation with these numbers."""
        return World(nodes=self.nodes, witnesses=self.witnesses, w=self.w, f=self.f)

    def corrupt_sets(self) -> list[tuple[str, ...]]:
        """Every set of f cosigners that leaves a node honest."""
        return list(itertools.combinations(self.world().cosigners, self.f))


DEPLOYMENTS = (Numbers(3, 1, 3, 1), Numbers(3, 0, 2, 0), Numbers(4, 1, 4, 2), Numbers(5, 2, 5, 2))
"""c / w / f of 4/3/1, 3/2/0, 5/4/2 and 7/5/2."""


def one_run(seed: str, number: int, *, kind: type[SimNode] = SimNode, steps: int = STEPS) -> Adversary:
    """The run of this number. Raises ``Broken``."""
    source = random.Random(f"{seed} {number}")
    numbers = DEPLOYMENTS[number % len(DEPLOYMENTS)]
    run = Adversary(
        source,
        corrupt=source.choice(numbers.corrupt_sets()),
        world=numbers.world(),
        kind=kind,
        clocks_wrong=number // len(DEPLOYMENTS) % 4 == 3,
    )
    run.run(steps)
    check(run)
    signed = run.signed()
    run.met["signed"] += len(signed)
    run.met["limit nearly used"] += sum(map(spent, signed)) > LIMIT * 0.9
    return run


def several(seed: str, numbers: range, *, kind: type[SimNode] = SimNode) -> "tuple[Counter[str], list[str]]":
    """What some runs met, and how those ended that broke the claim."""
    met: Counter[str] = Counter()
    broken = []
    for number in numbers:
        try:
            met += one_run(seed, number, kind=kind).met
        except Broken as error:
            broken.append(f"run {number}: {error}")
    return met, broken


def main() -> int:
    """Run what is asked for; 1 where the claim was broken."""
    parser = argparse.ArgumentParser(description="interleavings of all that a coordinator can do")
    parser.add_argument("--seed", default="1", help="any text")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first run, to see one again")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    started, met, broken, done = time.monotonic(), Counter[str](), list[str](), 0
    batches = list(_batches(asked.first, asked.first + asked.runs))
    with ProcessPoolExecutor(asked.processes) as pool:
        for found, ended in pool.map(partial(several, asked.seed), batches):
            met, broken = met + found, broken + ended
            done += BATCH
            sys.stderr.write(f"\r{min(done, asked.runs)} of {asked.runs}, {len(broken)} broke the claim ")
    sys.stderr.write("\n")
    seconds = time.monotonic() - started
    said = [
        f"{asked.runs} runs of {STEPS} steps, seed {asked.seed}: {len(broken)} broke the claim",
        f"{seconds:.0f} s",
        ", ".join(f"{what} {count}" for what, count in sorted(met.items())),
    ]
    sys.stdout.write("\n".join([*said, *broken, ""]))
    return 1 if broken else 0


def _batches(first: int, end: int) -> Iterator[range]:
    for start in range(first, end, BATCH):
        yield range(start, min(start + BATCH, end))


if __name__ == "__main__":
    raise SystemExit(main())
