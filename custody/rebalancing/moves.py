"""The life cycle of one move between own tiers, as its rebalancer sees it: one table of transitions. Pure.

Rules: (1) a move's signed bytes are durable before they are sent, so that whatever ends the process, the same
request is sent again and none besides it; (2) an event without a transition came too late, or twice, and
changes nothing; (3) what the coordinator says of a request is so, whatever was thought to be its end: a move
that was given up and is signed all the same is a move.

A top-up is ``announced`` while it is foreseen only, and ``held`` while the breaker's quota is used up and no
person has let it go. A sweep begins as ``decided``. One whose reason is gone after it was asked for is called
back by a no of the rebalancer itself; until that is in the log, it may still be approved and paid.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Stage(StrEnum):
    """Where a move stands."""

    ANNOUNCED = "announced"
    HELD = "held"
    DECIDED = "decided"
    ASKED = "asked"
    CALLING_BACK = "calling-back"
    MOVING = "moving"
    ARRIVED = "arrived"
    REFUSED = "refused"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"


class Happening(StrEnum):
    """What happened to a move."""

    DUE = "due"
    ABOVE_QUOTA = "above-quota"
    REASON_GONE = "reason-gone"
    TAKEN_IN = "taken-in"
    TURNED_AWAY = "turned-away"
    CALLED_BACK = "called-back"
    SIGNED = "signed"
    SETTLED = "settled"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


class Task(StrEnum):
    """What a stage owes the world; each is safe to repeat."""

    SUBMIT = "submit"
    WATCH = "watch"
    CALL_BACK = "call-back"


ANNOUNCED = frozenset({Stage.ANNOUNCED, Stage.HELD})
"""Not asked for yet: may be changed as the forecast changes."""
IN_FLIGHT = frozenset({Stage.DECIDED, Stage.ASKED, Stage.CALLING_BACK, Stage.MOVING})
"""Asked for, or about to be: at most one of a route and direction is in these."""
OVER = frozenset({Stage.ARRIVED, Stage.REFUSED, Stage.LAPSED, Stage.WITHDRAWN})

TASKS: dict[Stage, Task | None] = {
    Stage.ANNOUNCED: None,
    Stage.HELD: None,
    Stage.DECIDED: Task.SUBMIT,
    Stage.ASKED: Task.WATCH,
    Stage.CALLING_BACK: Task.CALL_BACK,
    Stage.MOVING: Task.WATCH,
    Stage.ARRIVED: None,
    Stage.REFUSED: None,
    Stage.LAPSED: Task.WATCH,
    Stage.WITHDRAWN: Task.WATCH,
}
"""What was given up is looked at for a while: its signature may have been on the way."""

Table: TypeAlias = dict[tuple[Stage, Happening], Stage]

_BEFORE: Table = {
    (Stage.ANNOUNCED, Happening.DUE): Stage.DECIDED,
    (Stage.ANNOUNCED, Happening.ABOVE_QUOTA): Stage.HELD,
    (Stage.ANNOUNCED, Happening.REASON_GONE): Stage.WITHDRAWN,
    (Stage.HELD, Happening.DUE): Stage.DECIDED,
    (Stage.HELD, Happening.REASON_GONE): Stage.WITHDRAWN,
    (Stage.DECIDED, Happening.TAKEN_IN): Stage.ASKED,
    (Stage.DECIDED, Happening.TURNED_AWAY): Stage.REFUSED,
    (Stage.DECIDED, Happening.EXPIRED): Stage.LAPSED,
    (Stage.ASKED, Happening.REASON_GONE): Stage.CALLING_BACK,
    (Stage.CALLING_BACK, Happening.CALLED_BACK): Stage.WITHDRAWN,
}

# Nothing was signed: it is over, or ends as it was about to.
_UNSIGNED: Table = {
    (stage, happening): end
    for stage in (Stage.ASKED, Stage.CALLING_BACK)
    for happening, end in {
        Happening.DENIED: Stage.REFUSED if stage is Stage.ASKED else Stage.WITHDRAWN,
        Happening.EXPIRED: Stage.LAPSED if stage is Stage.ASKED else Stage.WITHDRAWN,
    }.items()
}

# What the coordinator says of the request is so, whatever was thought to be its end.
_SIGNED: Table = {
    (stage, happening): end
    for stage in (
        Stage.DECIDED,
        Stage.ASKED,
        Stage.CALLING_BACK,
        Stage.MOVING,
        Stage.LAPSED,
        Stage.WITHDRAWN,
    )
    for happening, end in {
        Happening.SIGNED: Stage.MOVING,
        Happening.SETTLED: Stage.ARRIVED,
        Happening.FAILED: Stage.REFUSED,
    }.items()
    if (stage, end) != (Stage.MOVING, Stage.MOVING)
}

TRANSITIONS: Table = {**_BEFORE, **_UNSIGNED, **_SIGNED}

REQUEST_STATES: dict[str, Happening] = {
    "received": Happening.TAKEN_IN,
    "logged": Happening.TAKEN_IN,
    "waiting": Happening.TAKEN_IN,
    "ready": Happening.TAKEN_IN,
    "awaiting-ceremony": Happening.TAKEN_IN,
    "reserved": Happening.TAKEN_IN,
    "signed": Happening.SIGNED,
    "broadcast": Happening.SIGNED,
    "replacing": Happening.SIGNED,
    "delivered": Happening.SETTLED,
    "settled": Happening.SETTLED,
    "failed": Happening.FAILED,
    "cancelled": Happening.FAILED,
    "denied": Happening.DENIED,
    "expired": Happening.EXPIRED,
}
"""What a state of the request, as in ``custody/requests.py``, says of its move; any other, that it waits."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The stage after a happening, and what it owes."""

    stage: Stage
    task: Task | None


def advance(stage: Stage, happening: Happening) -> Turn | None:
    """The transition of ``happening`` in ``stage``, or None when it changes nothing (rule 2)."""
    to = TRANSITIONS.get((stage, happening))
    return None if to is None else Turn(to, TASKS[to])


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = [
        "stateDiagram-v2",
        f"    [*] --> {Stage.ANNOUNCED}: foreseen",
        f"    [*] --> {Stage.DECIDED}: due",
    ]
    lines += [f"    {stage} --> {to}: {happening}" for (stage, happening), to in TRANSITIONS.items()]
    lines += [f"    {stage} --> [*]" for stage in sorted(OVER)]
    return "\n".join(lines) + "\n"
