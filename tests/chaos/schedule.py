"""Which faults come in which order: all of it from one seed. Pure."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cli.demo.scenario import COSIGNERS
from tests.chaos.endpoint import LIES

NODES: Final = tuple(one for one in COSIGNERS if one != "witness")
LEADER, STANDBY, BOTH = "leader", "standby", "both"
"""Of the coordinators, as they are when the fault begins."""
ANYBODY: Final = (*COSIGNERS, LEADER, LEADER, STANDBY)
HOUR_S: Final = 3600
TARGETS: Final[Mapping[str, Sequence[str]]] = {
    "kill": ANYBODY,
    "worker": NODES,
    "pause": ANYBODY,
    "partition": ANYBODY,
    "slow": ANYBODY,
    "lossy": ANYBODY,
    "clock-ahead": (*COSIGNERS, LEADER),
    "clock-behind": (*COSIGNERS, LEADER),
    "disk": (NODES[2],),
    "corrupt": NODES,
    "token": NODES,
    "database": ("postgresql",),
    "rpc": tuple(LIES),
    "reorg": ("2", "1"),
}
"""By kind, what it may be done to."""
CLASSES: Final = (
    ("kill", "pause", "worker"),
    ("partition", "slow", "lossy"),
    ("clock-ahead", "clock-behind"),
    ("disk", "corrupt", "token"),
    ("database",),
    ("rpc", "reorg"),
)
"""Kinds that break the same part: processes, network, clocks, disks and tokens, the database, the chain."""
HOLD_S, HOLD_BRIEF_S = (3.0, 8.0), (1.5, 3.0)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come: its kind, what it is done to, and how long it lasts."""

    kind: str
    target: str
    hold_s: float


def schedule(seed: int, kinds: Sequence[str]) -> Iterator[Planned]:
    """Rounds without end: in each, every kind once, in an order and on targets of the seed's choice."""
    source = random.Random(seed)
    waiting: dict[str, list[str]] = {kind: [] for kind in kinds}
    while True:
        for kind in source.sample(list(kinds), len(kinds)):
            if not waiting[kind]:  # each target comes up before one comes again
                waiting[kind] = source.sample(list(TARGETS[kind]), len(TARGETS[kind]))
            yield Planned(kind, waiting[kind].pop(), round(source.uniform(*HOLD_S), 1))


def brief_schedule(seed: int) -> Iterator[Planned]:
    """One fault of each class; seeds that follow one another, such as days, go through the kinds."""
    source = random.Random(seed)
    for kinds in source.sample(CLASSES, len(CLASSES)):
        kind = kinds[seed % len(kinds)]
        target = source.choice(TARGETS[kind])
        yield Planned(kind, target, round(source.uniform(*HOLD_BRIEF_S), 1))
