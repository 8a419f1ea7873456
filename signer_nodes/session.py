"""The life of one signature of a job inside a node, as one table.

``BOUND``: the opening may be out, no partial signature is. ``SENT``: the partial signature's bytes
are durable and may be out. ``BURNED``: this node never signs it. Each state is durable before
anything that depends on it leaves; ``SENT`` and ``BURNED`` exclude one another for ever.
"""

from enum import Enum

from policy.errors import ProtocolError


class Phase(Enum):
    """Where a signature stands; ``NEW`` is before this node has bound anything to it."""

    NEW = "new"
    BOUND = "bound"
    SENT = "sent"
    BURNED = "burned"


class Event(Enum):
    """What can happen to it."""

    BIND = "bind"
    SEND = "send"
    BURN = "burn"


class Impossible(ProtocolError):
    """The event may not happen in this phase."""


TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    (Phase.NEW, Event.BIND): Phase.BOUND,
    (Phase.NEW, Event.BURN): Phase.BURNED,
    (Phase.BOUND, Event.SEND): Phase.SENT,
    (Phase.BOUND, Event.BURN): Phase.BURNED,
    (Phase.SENT, Event.SEND): Phase.SENT,  # the same bytes again, never new ones
    (Phase.BURNED, Event.BURN): Phase.BURNED,
}

_WHY = {
    (Phase.NEW, Event.SEND): "no presignature was bound to it",
    (Phase.BOUND, Event.BIND): "it has its presignature already",
    (Phase.SENT, Event.BIND): "its partial signature is out already",
    (Phase.SENT, Event.BURN): "its partial signature is out already",
    (Phase.BURNED, Event.BIND): "it is burned",
    (Phase.BURNED, Event.SEND): "it is burned",
}


def phase_of(marks: frozenset[str]) -> Phase:
    """The phase that the durable marks of a signature give."""
    for phase in (Phase.BURNED, Phase.SENT, Phase.BOUND):
        if phase.value in marks:
            return phase
    return Phase.NEW


def advance(phase: Phase, event: Event) -> Phase:
    """The phase after ``event``. Raises ``Impossible`` with the reason."""
    after = TRANSITIONS.get((phase, event))
    if after is None:
        raise Impossible(f"cannot {event.value} this signature: {_WHY[phase, event]}")
    return after
