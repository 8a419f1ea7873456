"""The life cycle of a request as the coordinator sees it: one table of transitions. Pure.

Rules: (1) the effects of a request's last transition are all it still owes the world; a store keeps
them beside the state, in one transaction, and repeats them until the next event arrives; (2) an event
without a transition came too late (or twice) and changes nothing; (3) no state here is authority: the
nodes decide by the log, and every row can be rebuilt from it.

A signature has no expiry: whoever holds the signed transaction can send it. So time runs out only before
one is reserved or between two tries to sign; a request that is ``reserved`` first learns whether this try
gives a signature, and one that is signed is broadcast and watched to its end, however late. An account
that it holds up while it is stuck is freed by a dearer transaction on the same anchor (``replacing``): the
payment again while the request lasts, a cancellation afterwards; at most one of them can confirm, and all
of them are looked for. Should the log bring the signature of a request that was told to be over, the log
is right: it is broadcast like any other.

A request of a cold key waits, when nothing else is missing, until people begin a ceremony for it.

What settled may be undone by a reorganisation deeper than the confirmations: it is broadcast again as it is.
The log has closed it, so nothing else is signed for it any more.

Typed data has no transaction: with its signature in the log it is ``delivered``, and that is the end.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class State(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    LOGGED = "logged"
    WAITING = "waiting"
    READY = "ready"
    AWAITING_CEREMONY = "awaiting-ceremony"
    RESERVED = "reserved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    REPLACING = "replacing"
    DELIVERED = "delivered"
    SETTLED = "settled"
    FAILED = "failed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What happened to a request; those of the log arrive when an entry is durable."""

    ENTRY_ACCEPTED = "entry-accepted"
    ENTRY_DENIED = "entry-denied"
    PLANNED = "planned"
    PLANNED_WAITING = "planned-waiting"
    APPROVED = "approved"
    APPROVAL_MISSING = "approval-missing"
    CEREMONY_NEEDED = "ceremony-needed"
    REFUSED = "refused"
    REJECTED = "rejected"
    RESERVATION_LOGGED = "reservation-logged"
    SIGNERS_FAILED = "signers-failed"
    SIGNATURE_LOGGED = "signature-logged"
    TYPED_DATA_SIGNED = "typed-data-signed"
    SENT = "sent"
    STUCK = "stuck"
    MINED = "mined"
    REVERTED = "reverted"
    TIME_OVER = "time-over"
    CANCEL_LOGGED = "cancel-logged"
    CANCEL_FAILED = "cancel-failed"
    CANCEL_SIGNED = "cancel-signed"
    CANCEL_MINED = "cancel-mined"
    UNDONE = "undone"


class Effect(StrEnum):
    """What a transition asks to be done; each is safe to repeat because it sends the same bytes."""

    LOG = "log"
    PLAN = "plan"
    RESERVE = "reserve"
    SIGN = "sign"
    BROADCAST = "broadcast"
    WATCH = "watch"
    REPLACE = "replace"
    CANCEL = "cancel"


class Substate(StrEnum):
    """What is being done about a request in its state, as the most telling of the effects that it owes."""

    LOGGING = "logging"
    PLANNING = "planning"
    RESERVING = "reserving"
    SIGNING = "signing"
    PRICING = "pricing"
    CANCELLING = "cancelling"
    BROADCASTING = "broadcasting"
    WATCHING = "watching"
    IDLE = "idle"


_TELLS: dict[Effect, Substate] = {
    Effect.LOG: Substate.LOGGING,
    Effect.PLAN: Substate.PLANNING,
    Effect.RESERVE: Substate.RESERVING,
    Effect.SIGN: Substate.SIGNING,
    Effect.REPLACE: Substate.PRICING,
    Effect.CANCEL: Substate.CANCELLING,
    Effect.BROADCAST: Substate.BROADCASTING,
    Effect.WATCH: Substate.WATCHING,
}


@dataclass(frozen=True, slots=True)
class Step:
    """The state after an event, and what is to be done next."""

    state: State
    effects: tuple[Effect, ...] = ()


STATES: dict[State, str] = {
    State.RECEIVED: "The coordinator has it; it is not in the log yet.",
    State.LOGGED: "It is in the log, and the policy does not deny it.",
    State.WAITING: "It waits for approvals, or for its delay to end.",
    State.READY: "Nothing is missing: it is to be reserved.",
    State.AWAITING_CEREMONY: "Nothing is missing but people: a cold ceremony is to sign it.",
    State.RESERVED: "Its amount counts in the limits, and the nodes are to sign it.",
    State.SIGNED: "It is signed; whoever has the transaction can send it.",
    State.BROADCAST: "The network was given it.",
    State.REPLACING: "It does not confirm: a dearer transaction takes its place on the chain.",
    State.DELIVERED: "The signature of its typed data is there to be taken. The end.",
    State.SETTLED: "The chain has it, with the confirmations asked for. The end, but for a reorganisation.",
    State.FAILED: "The chain has it, and it did not do what it says; the fee is paid. The end.",
    State.DENIED: "The policy, a person, or the coordinator says no. Nothing is paid.",
    State.EXPIRED: "Its time ran out before it was signed. Nothing is paid.",
    State.CANCELLED: "An empty transaction used up its place on the chain. Nothing is paid. The end.",
}
"""What each state means to who asked."""

SUBSTATES: dict[Substate, str] = {
    Substate.LOGGING: "being put into the log",
    Substate.PLANNING: "being given an account and a place on the chain",
    Substate.RESERVING: "being reserved: signers and presignature are chosen",
    Substate.SIGNING: "being signed by the nodes",
    Substate.PRICING: "being priced anew, to take its own place on the chain",
    Substate.CANCELLING: "its place on the chain is being used up, if later payments wait for it",
    Substate.BROADCASTING: "being sent to the network",
    Substate.WATCHING: "being looked for on the chain",
    Substate.IDLE: "nothing is owed: it waits for people, or it is over",
}
"""What the coordinator is at."""

START = Step(State.RECEIVED, (Effect.LOG,))
FINAL = frozenset({State.DELIVERED, State.SETTLED, State.FAILED, State.CANCELLED})
"""Nothing happens any more but by a deep reorganisation; ``denied`` and ``expired`` may still cancel."""

Table: TypeAlias = dict[tuple[State, Event], Step]

_PAYMENT: Table = {
    (State.RECEIVED, Event.ENTRY_ACCEPTED): Step(State.LOGGED, (Effect.PLAN,)),
    (State.RECEIVED, Event.ENTRY_DENIED): Step(State.DENIED),
    (State.RECEIVED, Event.REFUSED): Step(State.DENIED),
    (State.RECEIVED, Event.TIME_OVER): Step(State.EXPIRED),
    (State.LOGGED, Event.PLANNED): Step(State.READY, (Effect.RESERVE,)),
    (State.LOGGED, Event.PLANNED_WAITING): Step(State.WAITING),
    (State.LOGGED, Event.REFUSED): Step(State.DENIED, (Effect.CANCEL,)),
    (State.LOGGED, Event.TIME_OVER): Step(State.EXPIRED, (Effect.CANCEL,)),
    (State.WAITING, Event.APPROVED): Step(State.READY, (Effect.RESERVE,)),
    (State.WAITING, Event.REFUSED): Step(State.DENIED, (Effect.CANCEL,)),
    (State.WAITING, Event.TIME_OVER): Step(State.EXPIRED, (Effect.CANCEL,)),
    (State.READY, Event.APPROVAL_MISSING): Step(State.LOGGED, (Effect.PLAN,)),
    (State.READY, Event.REFUSED): Step(State.DENIED, (Effect.CANCEL,)),
    (State.READY, Event.TIME_OVER): Step(State.EXPIRED, (Effect.CANCEL,)),
    (State.READY, Event.CEREMONY_NEEDED): Step(State.AWAITING_CEREMONY),
    (State.AWAITING_CEREMONY, Event.APPROVAL_MISSING): Step(State.LOGGED, (Effect.PLAN,)),
    (State.AWAITING_CEREMONY, Event.REFUSED): Step(State.DENIED, (Effect.CANCEL,)),
    (State.AWAITING_CEREMONY, Event.TIME_OVER): Step(State.EXPIRED, (Effect.CANCEL,)),
    (State.RESERVED, Event.SIGNERS_FAILED): Step(State.READY, (Effect.RESERVE,)),
    (State.SIGNED, Event.SENT): Step(State.BROADCAST, (Effect.WATCH,)),
}

# What is sent and does not confirm is replaced on its anchor, and watched all the time.
_REPLACEMENT: Table = {
    (State.BROADCAST, Event.STUCK): Step(State.REPLACING, (Effect.REPLACE, Effect.WATCH)),
    (State.REPLACING, Event.RESERVATION_LOGGED): Step(State.REPLACING, (Effect.SIGN, Effect.WATCH)),
    (State.REPLACING, Event.CANCEL_LOGGED): Step(State.REPLACING, (Effect.SIGN, Effect.WATCH)),
    (State.REPLACING, Event.SIGNERS_FAILED): Step(State.BROADCAST, (Effect.WATCH,)),
    **{
        (signed, event): Step(State.SIGNED, (Effect.BROADCAST,))
        for signed in (State.REPLACING, State.SIGNED)
        for event in (Event.SIGNATURE_LOGGED, Event.CANCEL_SIGNED)
    },
}

# A request that is over may hold a slot that later ones wait behind: a cancellation uses it up. It may have
# been reserved a moment after it was over here, for time in the log is another's: this clock was set back.
_CANCELLATION: Table = {
    transition: step
    for over in (State.EXPIRED, State.DENIED)
    for transition, step in {
        (over, Event.RESERVATION_LOGGED): Step(over, (Effect.CANCEL,)),
        (over, Event.CANCEL_LOGGED): Step(over, (Effect.SIGN,)),
        (over, Event.CANCEL_FAILED): Step(over, (Effect.CANCEL,)),
        (over, Event.CANCEL_SIGNED): Step(over, (Effect.BROADCAST,)),
        (over, Event.SENT): Step(over, (Effect.WATCH,)),
        (over, Event.SIGNATURE_LOGGED): Step(State.SIGNED, (Effect.BROADCAST,)),
    }.items()
}

# What the log says is so, whatever this coordinator had got to: a rebuilt row starts from its entry.
_LOGGED: Table = {
    transition: step
    for early in (State.LOGGED, State.WAITING, State.READY, State.AWAITING_CEREMONY, State.RESERVED)
    for transition, step in {
        (early, Event.RESERVATION_LOGGED): Step(State.RESERVED, (Effect.SIGN,)),
        (early, Event.SIGNATURE_LOGGED): Step(State.SIGNED, (Effect.BROADCAST,)),
        (early, Event.CANCEL_LOGGED): Step(State.EXPIRED, (Effect.SIGN,)),
        (early, Event.REJECTED): Step(State.DENIED, (Effect.CANCEL,)),
    }.items()
}

_ANCHORED = (
    State.READY,
    State.AWAITING_CEREMONY,
    State.RESERVED,
    State.SIGNED,
    State.BROADCAST,
    State.REPLACING,
    State.EXPIRED,
    State.DENIED,
)
_MINED: Table = {
    transition: step
    for alive in _ANCHORED
    for transition, step in {
        (alive, Event.MINED): Step(State.SETTLED),
        (alive, Event.REVERTED): Step(State.FAILED),
        (alive, Event.CANCEL_MINED): Step(State.CANCELLED),
    }.items()
}

# A reorganisation deeper than the confirmations: the same bytes are sent again.
_UNDONE: Table = {
    (over, Event.UNDONE): Step(State.SIGNED, (Effect.BROADCAST,))
    for over in (State.SETTLED, State.FAILED, State.CANCELLED)
}

_DELIVERED: Table = {
    (before, Event.TYPED_DATA_SIGNED): Step(State.DELIVERED)
    for before in (
        State.LOGGED,
        State.WAITING,
        State.READY,
        State.AWAITING_CEREMONY,
        State.RESERVED,
        State.EXPIRED,
        State.DENIED,
    )
}

TRANSITIONS: Table = {
    **_PAYMENT,
    **_REPLACEMENT,
    **_CANCELLATION,
    **_LOGGED,
    **_MINED,
    **_UNDONE,
    **_DELIVERED,
}


def advance(state: State, event: Event) -> Step | None:
    """The transition of ``event`` in ``state``, or None when it changes nothing (rule 2)."""
    return TRANSITIONS.get((state, event))


def substates() -> dict[State, tuple[Substate, ...]]:
    """What a request can be at in each state, by the table."""
    steps = (START, *TRANSITIONS.values())
    found = {state: {substate(step.effects) for step in steps if step.state is state} for state in State}
    for state in (State.DENIED, State.EXPIRED):  # a cancellation that nobody waits for is not owed
        found[state].add(Substate.IDLE)
    return {state: tuple(one for one in Substate if one in found[state]) for state in State}


def substate(effects: Collection[Effect]) -> Substate:
    """What a request that owes these effects is at."""
    return next((told for effect, told in _TELLS.items() if effect in effects), Substate.IDLE)


def is_over(state: State) -> bool:
    """Whether the initiator has its answer: nothing is going to be paid that is not paid."""
    return state in FINAL or state in (State.DENIED, State.EXPIRED)


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {START.state}: submitted / {', '.join(START.effects)}"]
    for (state, event), step in TRANSITIONS.items():
        effects = f" / {', '.join(step.effects)}" if step.effects else ""
        lines.append(f"    {state} --> {step.state}: {event}{effects}")
    lines += [f"    {state} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines) + "\n"
