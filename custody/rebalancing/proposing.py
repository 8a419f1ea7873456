"""From a decision to what is asked, announced, held or given up: at most one move of a route at a time. Pure.

While a move is in flight nothing new is asked of its route. One that was asked for and is not signed is given
up when most of it is not wanted any more; then, at the next look, what is wanted is asked for anew, by a
request that people see with its own reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from custody.rebalancer.plan import Nothing, Sweep, TopUp
from custody.rebalancing.deciding import Ahead, Decision, still_wanted
from custody.rebalancing.moves import ANNOUNCED, IN_FLIGHT, Stage
from custody.rebalancing.records import Direction, Move


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for a move now; ``move`` is its announcement, if there was one."""

    direction: Direction
    amount_base: int
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell people of a top-up that is going to be due."""

    amount_base: int
    due_ms: int
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A top-up above the breaker's quota: it waits for a person to let it go."""

    amount_base: int
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The reason of a move is gone."""

    move: Move


Wish: TypeAlias = Ask | Announce | Hold | GiveUp


@dataclass(frozen=True, slots=True)
class Scope:
    """What bounds a route's moves now, in base units.

    ``source_base`` is what can be taken for a top-up and ``paying_base`` for a sweep, fees apart;
    ``quota_base`` is what is left of the breaker's quota, None while there is no alarm.
    """

    source_base: int
    paying_base: int
    quota_base: int | None = None
    least_base: int = 1


def wishes(
    decision: Decision, *, free_base: int, moves: Sequence[Move], ahead: Ahead | None, scope: Scope
) -> tuple[Wish, ...]:
    """What to do about a route; ``moves`` are its announced ones and those in flight.

    ``free_base`` is what the wallet has and does not owe, as if none of them had been asked for.
    """
    flights = [move for move in moves if move.stage in IN_FLIGHT]
    announced = next((move for move in moves if move.stage in ANNOUNCED), None)
    if flights:
        return tuple(
            GiveUp(move)
            for move in flights
            if move.stage is Stage.ASKED and not _wanted(decision, move, free_base)
        )
    match decision.plan.action:
        case TopUp():
            return _top_up(min(decision.plan.amount_base, scope.source_base), announced, scope=scope)
        case Sweep():
            amount = min(decision.plan.amount_base, scope.paying_base)
            asked = (Ask(Direction.SWEEP, amount),) if amount >= scope.least_base else ()
            return (*_dropped(announced), *asked)
        case Nothing():
            if ahead is None or min(ahead.amount_base, scope.source_base) < scope.least_base:
                return _dropped(announced)
            return (Announce(min(ahead.amount_base, scope.source_base), ahead.due_ms, announced),)


def _top_up(amount: int, announced: Move | None, *, scope: Scope) -> tuple[Wish, ...]:
    if amount < scope.least_base:
        return _dropped(announced)
    released = announced is not None and announced.released
    if scope.quota_base is None or released or amount <= scope.quota_base:
        return (Ask(Direction.TOP_UP, amount, announced),)
    if scope.quota_base >= scope.least_base:
        return (Ask(Direction.TOP_UP, scope.quota_base, announced),)
    return (Hold(amount, announced),)


def _wanted(decision: Decision, move: Move, free_base: int) -> bool:
    up = move.direction is Direction.TOP_UP
    return still_wanted(decision.plan.band, free_base, amount_base=move.amount_base, top_up=up)


def _dropped(announced: Move | None) -> tuple[Wish, ...]:
    return () if announced is None else (GiveUp(announced),)
