"""What is wished of a route, done: moves put down and sent, announcements changed, people told.

A request is put down, signed and whole, before it is sent; what is only announced changes as the forecast
does, and people are told of it in the log when it is new or has become something else.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from custody.rebalancer.flows import units
from custody.rebalancing.following import follow_move, happened, name_of
from custody.rebalancing.moves import Happening, Stage
from custody.rebalancing.ports import Book, Desk
from custody.rebalancing.proposing import Announce, Ask, GiveUp, Hold, Wish
from custody.rebalancing.records import DAY_MS, HOUR_MS, Direction, Move, Note, Route, replace
from policy.encoding import canonical
from policy.errors import OperationalError
from policy.intent import Intent, Request

TRIES_A_DAY_MAX = 24
OTHER_TIME_MS, OTHER_SHARE = 6 * HOUR_MS, 0.25
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How long requests live, and when the rebalancer tries again after a refusal."""

    topup_valid_ms: int = DAY_MS
    sweep_valid_ms: int = HOUR_MS
    refused_pause_ms: int = HOUR_MS // 2
    price_max_age_ms: int = HOUR_MS


class Granter:
    """Grants one wish after the other."""

    def __init__(self, desk: Desk, book: Book, *, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._desk = desk
        self._book = book
        self._settings = settings
        self._now_ms = now_ms
        self._told: dict[str, Move] = {}

    def grant(self, route: Route, wish: Wish, *, reasons: tuple[str, ...]) -> Move | None:
        """Do what is wished; the move if it is new or at another stage, durable."""
        match wish:
            case GiveUp(move):
                return self._give_up(move)
            case Announce(amount, due_ms, move):
                likely = (f"at the median of what is forecast that is reached at {time_text(due_ms)}",)
                after = self._announce(move, route, amount=amount, due_ms=due_ms, reasons=reasons + likely)
                self._tell(route, after, "announced")
                return after if move is None else None
            case Hold(amount, move):
                return self._hold(move, route, amount=amount, reasons=reasons)
            case Ask(direction, amount, move):
                known = move or self._new(route, direction, due_ms=self._now_ms())
                return None if known is None else self._ask(known, route, amount=amount, reasons=reasons)
            case _:
                assert_never(wish)

    def _give_up(self, move: Move) -> Move:
        error = "its reason is gone"
        after = happened(move, Happening.REASON_GONE, now_ms=self._now_ms(), error=error)
        self._book.put_move(after)
        return self._follow(after)

    def _announce(
        self, move: Move | None, route: Route, *, amount: int, due_ms: int, reasons: tuple[str, ...]
    ) -> Move | None:
        known = move or self._new(route, Direction.TOP_UP, due_ms=due_ms)
        if known is None:
            return None
        after = replace(known, amount_base=amount, due_ms=due_ms, reasons=reasons)
        if after != move:
            after = replace(after, updated_ms=self._now_ms())
            self._book.put_move(after)
        return after

    def _hold(self, move: Move | None, route: Route, *, amount: int, reasons: tuple[str, ...]) -> Move | None:
        now_ms = self._now_ms()
        known = self._announce(move, route, amount=amount, due_ms=now_ms, reasons=reasons)
        if known is None or known.stage is Stage.HELD:
            return None
        held = happened(known, Happening.ABOVE_QUOTA, now_ms=now_ms, error="above the breaker's quota")
        self._book.put_move(held)
        self._tell(route, held, "held")
        return held

    def _ask(self, move: Move, route: Route, *, amount: int, reasons: tuple[str, ...]) -> Move:
        """Put the signed request down, and only then send it."""
        now_ms, up = self._now_ms(), move.direction is Direction.TOP_UP
        payer, payee = (route.source, route.wallet) if up else (route.wallet, route.source)
        valid_ms = self._settings.topup_valid_ms if up else self._settings.sweep_valid_ms
        request = Request(
            origin=self._desk.origin,
            initiator=self._desk.name,
            intent=Intent(route.chain, payer, route.asset, amount, self._desk.address(payee)),
            fee_ceiling=route.fee_ceiling,
            idempotency_key=move.name,
            created_ms=now_ms,
            expires_ms=now_ms + valid_ms,
        )
        decided = replace(
            happened(move, Happening.DUE, now_ms=now_ms),
            amount_base=amount,
            due_ms=min(move.due_ms, now_ms),
            expires_ms=request.expires_ms,
            body=canonical(request.body()),
            reasons=reasons,
            error="",
        )
        self._book.put_move(decided)
        return self._follow(decided)

    def _follow(self, move: Move) -> Move:
        """Do what a move owes at once; the next look does it if nobody answers now."""
        try:
            after = follow_move(move, self._desk, now_ms=self._now_ms())
        except OperationalError as error:
            _LOG.info("%s: %s", move.name, error)
            return move
        if after != move:
            self._book.put_move(after)
        return after

    def _new(self, route: Route, direction: Direction, *, due_ms: int) -> Move | None:
        """The next move of today, unless one was refused just now or there were too many."""
        now_ms = self._now_ms()
        today = now_ms - now_ms % DAY_MS
        earlier = self._book.moves_of_period(route.name, direction, period_ms=today)
        refused = [one.updated_ms for one in earlier if one.stage is Stage.REFUSED]
        if now_ms - max(refused, default=0) < self._settings.refused_pause_ms:
            return None
        if len(earlier) >= TRIES_A_DAY_MAX:
            said = f"{len(earlier)} {direction} moves in a day: no more of them are tried"
            self._book.add_note(Note(today, route.name, "tries", said))
            return None
        return Move(
            name=name_of(route, direction, period_ms=today, number=len(earlier) + 1),
            route=route.name,
            direction=direction,
            stage=Stage.ANNOUNCED,
            amount_base=0,
            due_ms=due_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
            period_ms=today,
        )

    def _tell(self, route: Route, move: Move | None, kind: str) -> None:
        """Tell people of a top-up to come, again only when it is due at another time or of another size."""
        if move is None:
            return
        told = self._told.get(move.name)
        if told is not None and told.stage is move.stage and not _is_other(told, move):
            return
        self._told = {move.name: move}
        amount = units(move.amount_base, route.unit_base)
        due = time_text(move.due_ms)
        said = f"{due} about {amount:,.6g} {route.asset} from {route.source} to {route.wallet}, because "
        self._book.add_note(Note(self._now_ms(), route.name, kind, said + "; ".join(move.reasons)))


def time_text(time_ms: int) -> str:
    """A time for a person, to the minute."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_other(told: Move, move: Move) -> bool:
    """Whether people would act otherwise on it."""
    later = abs(move.due_ms - told.due_ms) > OTHER_TIME_MS
    return later or abs(move.amount_base - told.amount_base) > OTHER_SHARE * told.amount_base
