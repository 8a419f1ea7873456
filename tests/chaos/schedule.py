"""Which faults come in which order: all of it from one seed. Pure."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cli.demo.scenario import COSIGNERS
from tests.chaos.endpoint import LIES

NODES: Final = tuple(one for one in COSIGNERS if one != "witness")
LEADER, STANDBY = "leader", "standby"
"""Of the coordinators, as they are when the fault begins."""
DATABASE: Final = "database"
"""The server that is written, when the fault begins."""
ANYBODY: Final = (*COSIGNERS, LEADER, LEADER, STANDBY)
BEHIND: Final = "-behind"
"""Ends the ways to lose a primary whose standby lacks what was committed last."""
HOUR_S: Final = 3600
TARGETS: Final[Mapping[str, Sequence[str]]] = {
    "kill": ANYBODY,
    "worker": NODES,
    "pause": ANYBODY,
    "partition": (*ANYBODY, DATABASE),
    "slow": (*ANYBODY, DATABASE),
    "lossy": (*ANYBODY, DATABASE),
    "clock-ahead": (*COSIGNERS, LEADER),
    "clock-behind": (*COSIGNERS, LEADER),
    "disk": (NODES[2],),
    "corrupt": NODES,
    "token": NODES,
    "database": (DATABASE,),
    "failover": ("killed", "silent", "split", f"killed{BEHIND}", f"split{BEHIND}"),
    "rpc": tuple(LIES),
    "reorg": ("2", "1"),
}
"""By kind, what it may be done to."""
CLASSES: Final = (
    ("kill", "pause", "worker"),
    ("partition", "slow", "lossy"),
    ("clock-ahead", "clock-behind"),
    ("disk", "corrupt", "token"),
    ("database", "failover"),
    ("rpc", "reorg"),
)
"""Kinds that break the same part: processes, network, clocks, disks and tokens, the database, the chain."""
HOLD_S, HOLD_BRIEF_S = (3.0, 8.0), (1.5, 3.0)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come: its kind, what it is done to, how long it lasts, and what begins while it lasts."""

    kind: str
    target: str
    hold_s: float
    meanwhile: "Planned | None" = None


def schedule(seed: int, kinds: Sequence[str]) -> Iterator[Planned]:
    """Rounds without end: in each, every kind once, in an order and on targets of the seed's choice."""
    source = random.Random(seed)
    waiting: dict[str, list[str]] = {kind: [] for kind in kinds}
    while True:
        for kind in source.sample(list(kinds), len(kinds)):
            if not waiting[kind]:  # each target comes up before one comes again
                waiting[kind] = source.sample(list(TARGETS[kind]), len(TARGETS[kind]))
            yield Planned(kind, waiting[kind].pop(), round(source.uniform(*HOLD_S), 1))


def overlapping(planned: Iterable[Planned], seed: int, kinds: Sequence[str]) -> Iterator[Planned]:
    """The same, and during each another one of these kinds, where one goes with it, that outlasts it."""
    source = random.Random(seed)
    for first in planned:
        others = [
            [one for target in TARGETS[kind] if _go_together(first, one := Planned(kind, target, 0.0))]
            for kind in kinds
        ]
        if possible := [of_kind for of_kind in others if of_kind]:
            second = source.choice(source.choice(possible))
            second = replace(second, hold_s=round(source.uniform(*HOLD_S), 1))
            yield replace(first, meanwhile=second)
        else:
            yield first


def _go_together(first: Planned, second: Planned) -> bool:
    """Whether they break different parts, in different ways: each must be able to end without the other."""
    apart = all(not {first.kind, second.kind} <= set(one) for one in CLASSES)
    return apart and _part(first) != _part(second)


def _part(planned: Planned) -> str:
    """What a fault is done to; coordinators change places, so that both are one."""
    if planned.kind in ("database", "failover"):
        return DATABASE
    if planned.kind == "rpc":  # which kills the leader, too
        return LEADER
    return {STANDBY: LEADER}.get(planned.target, planned.target)


def brief_schedule(seed: int) -> Iterator[Planned]:
    """One fault of each class; seeds that follow one another, such as days, go through the kinds."""
    source = random.Random(seed)
    for kinds in source.sample(CLASSES, len(CLASSES)):
        kind = kinds[seed % len(kinds)]
        target = source.choice(TARGETS[kind])
        yield Planned(kind, target, round(source.uniform(*HOLD_BRIEF_S), 1))
