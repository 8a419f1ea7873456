"""One look after the other: follow what was asked for, see what accounts hold, decide, ask.

What is asked for is put down, signed and whole, before it is sent; whatever ends the process, the same
request is sent again and none besides it. Nothing here has authority: the nodes decide by the policy.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from custody.rebalancing.following import REQUEST_BYTES_MAX, follow_move, follow_moves, happened, told
from custody.rebalancing.moves import IN_FLIGHT, Happening, Stage
from custody.rebalancing.ports import Asked, Book, Desk
from custody.rebalancing.records import DAY_MS, Direction, Holdings, Move
from custody.sweeping.deciding import Decision, Wish, decide
from custody.sweeping.history import REMEMBERED_MS, Past, route_of
from custody.sweeping.metrics import SweeperMetrics
from custody.sweeping.tasks import Tasks
from policy.encoding import canonical, parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.intent import Intent, Request, parse_request

_LOG = logging.getLogger(__name__)


class Sweeper:
    """Looks when told to. ``now_ms`` is the clock."""

    def __init__(
        self, desk: Desk, book: Book, *, tasks: Tasks, metrics: SweeperMetrics, now_ms: Callable[[], int]
    ) -> None:
        self._desk = desk
        self._book = book
        self._tasks = tasks
        self._metrics = metrics
        self._now_ms = now_ms
        self._adopted = False

    def look(self) -> list[Move]:
        """One whole round; the moves that changed. Raises ``OperationalError`` if nobody answers."""
        changed: list[Move] = []
        if not self._adopted:
            changed += self._adopt(self._desk.holdings())
            self._adopted = True
        changed += follow_moves(self._book, self._desk, now_ms=self._now_ms())
        decision = self.decide()
        changed += [self._ask(wish) for wish in decision.wishes]
        self._metrics.show(decision, moves=self._book.moves_in(sorted(IN_FLIGHT)), now_ms=self._now_ms())
        for move in changed:
            self._metrics.moved(move)
            _LOG.info("%s: %s %s %s", move.name, move.route, move.stage, move.error)
        return changed

    def decide(self) -> Decision:
        """What would be asked for now; nothing is changed by it."""
        now_ms = self._now_ms()
        past = Past(self._book.moves_since(now_ms - REMEMBERED_MS))
        return decide(self._tasks, self._desk.holdings(), past=past, now_ms=now_ms)

    def _ask(self, wish: Wish) -> Move:
        """Put the signed request down, and only then send it; the next look does it if nobody answers now."""
        now_ms = self._now_ms()
        move = self._put_down(wish, now_ms=now_ms)
        try:
            after = follow_move(move, self._desk, now_ms=now_ms)
        except OperationalError as error:
            _LOG.info("%s: %s", move.name, error)
            return move
        self._book.put_move(after)
        return after

    def _put_down(self, wish: Wish, *, now_ms: int) -> Move:
        today = now_ms - now_ms % DAY_MS
        asset, name = wish.asset, self._new_name(wish.route, wish.direction, period_ms=today)
        request = Request(
            origin=self._desk.origin,
            initiator=self._desk.name,
            intent=Intent(
                asset.chain, wish.wallet, asset.name, wish.amount_base, wish.to, source=wish.source
            ),
            fee_ceiling=wish.fee_base,
            idempotency_key=name,
            created_ms=now_ms,
            expires_ms=now_ms + self._tasks.pace.valid_ms,
        )
        move = Move(
            name=name,
            route=wish.route,
            direction=wish.direction,
            stage=Stage.DECIDED,
            amount_base=wish.amount_base,
            due_ms=now_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
            expires_ms=request.expires_ms,
            period_ms=today,
            body=canonical(request.body()),
            reasons=(wish.reason,),
        )
        self._book.put_move(move)
        return move

    def _new_name(self, route: str, direction: Direction, *, period_ms: int) -> str:
        """The first name of the day that no move has."""
        number = len(self._book.moves_of_period(route, direction, period_ms=period_ms)) + 1
        while self._book.move(name := name_of(route, direction, period_ms=period_ms, number=number)):
            number += 1
        return name

    def _adopt(self, holdings: Holdings) -> list[Move]:
        """Take up requests of the last days that the records do not know, as after they were lost."""
        found, before, since_ms = list[Move](), b"", self._now_ms() - REMEMBERED_MS
        while page := self._desk.own_requests(before):
            requests = [(asked, read_request(asked)) for asked in page]
            found += [
                move
                for asked, request in requests
                if request is not None and self._book.move(request.idempotency_key) is None
                if (move := _adopted(asked, request, holdings=holdings, now_ms=self._now_ms())) is not None
            ]
            if any(request is None or request.created_ms < since_ms for _, request in requests):
                break
            before = page[-1].request
        for move in found:
            self._book.put_move(move)
        return found


def name_of(route: str, direction: Direction, *, period_ms: int, number: int) -> str:
    """The name of a move and its idempotency key: the same decision of the same day has the same one."""
    day = datetime.fromtimestamp(period_ms / 1000, UTC).strftime("%Y%m%d")
    return f"{direction}.{hashlib.sha256(route.encode()).hexdigest()[:20]}.{day}.{number}"


def read_request(asked: Asked) -> Request | None:
    """The request itself; None for what is none."""
    try:
        return parse_request(parse_canonical(asked.body, bytes_max=REQUEST_BYTES_MAX))
    except MalformedError:
        return None


def _adopted(asked: Asked, request: Request, *, holdings: Holdings, now_ms: int) -> Move | None:
    """The move of a request, as if it had just been sent; None if it is none of this program's."""
    for direction in Direction:
        for route in _routes(request.intent, direction, holdings):
            period_ms = request.created_ms - request.created_ms % DAY_MS
            prefix = name_of(route, direction, period_ms=period_ms, number=0)[:-1]
            if not request.idempotency_key.startswith(prefix):
                continue
            move = Move(
                name=request.idempotency_key,
                route=route,
                direction=direction,
                stage=Stage.DECIDED,
                amount_base=request.intent.amount,
                due_ms=request.created_ms,
                created_ms=request.created_ms,
                updated_ms=now_ms,
                expires_ms=request.expires_ms,
                period_ms=period_ms,
                body=asked.body,
                request=asked.request,
                reasons=("found at the coordinator: the records of it were lost",),
            )
            return told(happened(move, Happening.TAKEN_IN, now_ms=now_ms), asked, now_ms=now_ms)
    return None


def _routes(intent: Intent, direction: Direction, holdings: Holdings) -> Sequence[str]:
    """Under which routes a request may have been put down."""
    if direction is Direction.TOP_UP:
        return [route_of(intent.asset, intent.destination)]
    if intent.source is None:
        return [route_of(intent.asset, intent.wallet)]
    return [
        route_of(intent.asset, one.account)
        for one in holdings.accounts
        if (one.wallet, one.asset, one.path) == (intent.wallet, intent.asset, intent.source)
    ]
