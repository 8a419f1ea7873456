"""What a move owes the world, done: submitted, watched, called back. Every step may be repeated.

A move is put down before anything is asked, and its stage after every answer: whatever ends the process
between the two, the same bytes are sent again.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from custody.client import Code
from custody.rebalancing.moves import IN_FLIGHT, REQUEST_STATES, TASKS, Happening, Stage, Task, advance
from custody.rebalancing.ports import Asked, Book, Desk, TurnedAway
from custody.rebalancing.records import DAY_MS, Direction, Move, Route, replace
from policy.encoding import parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.intent import Request, parse_request

REQUEST_BYTES_MAX = 16 * 1024
LABEL_MAX = 36
GIVEN_UP = (Stage.LAPSED, Stage.WITHDRAWN)
LOOKED_AFTER_MS = DAY_MS
"""For so long a move that was given up is looked at: its signature may have been on the way."""
CALL_BACK = "its reason is gone: the rebalancer asks anew when there is one"
_LOG = logging.getLogger(__name__)


def follow_moves(book: Book, desk: Desk, *, now_ms: int) -> list[Move]:
    """Do what every move owes; those at another stage. One without an answer does not stop others."""
    changed: list[Move] = []
    given_up = [
        one for one in book.moves_in(GIVEN_UP) if one.body and now_ms - one.updated_ms < LOOKED_AFTER_MS
    ]
    for move in (*book.moves_in(sorted(IN_FLIGHT)), *given_up):
        try:
            after = follow_move(move, desk, now_ms=now_ms)
        except OperationalError as error:
            _LOG.info("%s: %s", move.name, error)
            continue
        if after != move:
            book.put_move(after)
        if after.stage is not move.stage:
            changed.append(after)
    return changed


def follow_move(move: Move, desk: Desk, *, now_ms: int) -> Move:
    """The move after what it owes is done once."""
    match TASKS[move.stage]:
        case Task.SUBMIT:
            return _submit(move, desk, now_ms)
        case Task.WATCH:
            return _watch(move, desk, now_ms)
        case Task.CALL_BACK:
            return _call_back(move, desk, now_ms)
        case None:
            return move


def happened(move: Move, happening: Happening, *, now_ms: int, error: str = "") -> Move:
    """The move after a happening; the same one if that changes nothing."""
    turn = advance(move.stage, happening)
    if turn is None:
        return move
    return replace(move, stage=turn.stage, updated_ms=now_ms, error=error or move.error)


def adopt(book: Book, desk: Desk, *, now_ms: int, routes: Sequence[Route]) -> list[Move]:
    """Take up requests of this backend that the records do not know, as after they were lost."""
    found: list[Move] = []
    for asked in desk.own_requests():
        request = _request(asked)
        if request is None or book.move(request.idempotency_key) is not None:
            continue
        for route in routes:
            for direction in Direction:
                if request.idempotency_key.startswith(prefix_of(route, direction)):
                    found.append(_adopted(asked, request, route=route, direction=direction, now_ms=now_ms))
                    book.put_move(found[-1])
    return found


def prefix_of(route: Route, direction: Direction) -> str:
    """How the names of a route's moves in one direction begin; the names are idempotency keys."""
    label = route.name
    if len(label) > LABEL_MAX:
        label = f"{label[: LABEL_MAX - 9]}-{hashlib.sha256(route.name.encode()).hexdigest()[:8]}"
    return f"{direction}.{label}."


def name_of(route: Route, direction: Direction, *, period_ms: int, number: int) -> str:
    """The name of a move: the same decision of the same period has the same one."""
    day = datetime.fromtimestamp(period_ms / 1000, UTC).strftime("%Y%m%d")
    return f"{prefix_of(route, direction)}{day}.{number}"


def _submit(move: Move, desk: Desk, now_ms: int) -> Move:
    try:
        asked = desk.submit(move.body)
    except TurnedAway as error:
        happening = Happening.EXPIRED if error.code == Code.REQUEST_EXPIRED else Happening.TURNED_AWAY
        return happened(move, happening, now_ms=now_ms, error=str(error))
    taken = happened(replace(move, request=asked.request), Happening.TAKEN_IN, now_ms=now_ms)
    return told(taken, asked, now_ms=now_ms)


def _watch(move: Move, desk: Desk, now_ms: int) -> Move:
    asked = desk.get(move.request)
    if asked is not None:
        return told(move, asked, now_ms=now_ms)
    if move.stage is Stage.ASKED and now_ms < move.expires_ms:  # its database was lost before the log had it
        return told(move, desk.submit(move.body), now_ms=now_ms)
    return happened(move, Happening.EXPIRED, now_ms=now_ms)


def _call_back(move: Move, desk: Desk, now_ms: int) -> Move:
    try:
        desk.call_back(move.request, CALL_BACK)
    except TurnedAway as error:
        after = _watch(move, desk, now_ms)
        if after.stage is Stage.CALLING_BACK:
            _LOG.info("%s cannot be called back: %s", move.name, error)
        return after
    return happened(move, Happening.CALLED_BACK, now_ms=now_ms, error=CALL_BACK)


def told(move: Move, asked: Asked, *, now_ms: int) -> Move:
    """The move after what the coordinator says of its request."""
    after = happened(
        move, REQUEST_STATES.get(asked.state, Happening.TAKEN_IN), now_ms=now_ms, error=asked.error
    )
    if (after.request_state, after.tx_hash, after.error) == (asked.state, asked.tx_hash, asked.error):
        return after
    return replace(after, request_state=asked.state, tx_hash=asked.tx_hash, error=asked.error or after.error)


def _request(asked: Asked) -> Request | None:
    try:
        return parse_request(parse_canonical(asked.body, bytes_max=REQUEST_BYTES_MAX))
    except MalformedError:
        return None


def _adopted(asked: Asked, request: Request, *, route: Route, direction: Direction, now_ms: int) -> Move:
    """The move of a request, as if it had just been sent; what has become of it is then told."""
    move = Move(
        name=request.idempotency_key,
        route=route.name,
        direction=direction,
        stage=Stage.DECIDED,
        amount_base=request.intent.amount,
        due_ms=request.created_ms,
        created_ms=request.created_ms,
        updated_ms=now_ms,
        expires_ms=request.expires_ms,
        period_ms=request.created_ms - request.created_ms % DAY_MS,
        body=asked.body,
        request=asked.request,
        reasons=("found at the coordinator: the rebalancer's own records of it were lost",),
    )
    return told(happened(move, Happening.TAKEN_IN, now_ms=now_ms), asked, now_ms=now_ms)
