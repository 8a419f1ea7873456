"""One event of a request in the tables: the row, what it owes, and what the feed tells, in one transaction.

Every payment comes through here seven times, so each statement is made once: making one takes several times
as long as carrying it out. Changes that come together share their statements, which costs less again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from custody.adapters.deposits import keep_deposit
from custody.adapters.destinations import count_payment
from custody.adapters.feeds import emit, emit_all, emit_deposit, emit_if_new
from custody.adapters.leased import insert_or_ignore, values_of
from custody.adapters.tables import OUTBOX, PRESIGNATURES, REQUESTS, SLOTS, TRANSACTIONS
from custody.records import Applied, Change, NewRequest, RequestRecord, storable
from custody.requests import START, Effect, State, advance

FIELDS: Final = tuple(RequestRecord.__dataclass_fields__)
COLUMNS: Final = tuple(REQUESTS.c[name] for name in FIELDS)
UNPLANNED: Final[dict[str, Any]] = {
    **dict.fromkeys(("rule", "chain", "account", "path", "error"), ""),
    **dict.fromkeys(("tx", "job", "tx_hash"), b""),
    "nonce": None,
    "block": 0,
    "approvals": 0,
}
_SET_AT_RECEIPT: Final = frozenset({"request", "initiator", "body", "signature", "expires_ms", "psbt"})
_CHANGING: Final = tuple(name for name in FIELDS if name not in _SET_AT_RECEIPT)
_BY_ID: Final = select(*COLUMNS).where(REQUESTS.c.request == bindparam("wanted"))
_BY_IDS: Final = select(*COLUMNS).where(REQUESTS.c.request.in_(bindparam("wanted", expanding=True)))
_BY_KEY: Final = select(*COLUMNS).where(
    REQUESTS.c.initiator == bindparam("wanted_initiator"),
    REQUESTS.c.idempotency_key == bindparam("wanted_key"),
)
_NEXT_REQUEST: Final = insert(REQUESTS).values(
    created_order=select(func.coalesce(func.max(REQUESTS.c.created_order), 0) + 1).scalar_subquery()
)
_CHANGE: Final = (
    update(REQUESTS)
    .where(REQUESTS.c.request == bindparam("wanted"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)
TOGETHER_MAX: Final = 500
_OWES_NO_MORE: Final = delete(OUTBOX).where(OUTBOX.c.request == bindparam("wanted"))
_OWE: Final = insert(OUTBOX)
_USED: Final = (
    update(PRESIGNATURES).where(PRESIGNATURES.c.presignature == bindparam("wanted")).values(state="used")
)


def find(db: Connection, request: bytes) -> RequestRecord | None:
    """A request as it is, or None."""
    row = db.execute(_BY_ID, {"wanted": request}).first()
    return None if row is None else record_of(row)


def find_by_key(db: Connection, new: NewRequest) -> RequestRecord | None:
    """The request that its initiator has under the same idempotency key, or None."""
    same = {"wanted_initiator": new.initiator, "wanted_key": new.idempotency_key}
    row = db.execute(_BY_KEY, same).first()
    return None if row is None else record_of(row)


def record_of(row: Any) -> RequestRecord:
    """A row of ``COLUMNS``."""
    values = dict(zip(FIELDS, row, strict=True))
    return RequestRecord(**{**values, "state": State(values["state"])})


def insert_request(db: Connection, new: NewRequest, *, now_ms: int) -> RequestRecord:
    """Make the row of a new request, and owe what is due first."""
    row = {**values_of(new), **UNPLANNED, "state": START.state, "updated_ms": now_ms}
    db.execute(_NEXT_REQUEST, row)
    db.execute(_OWE, _due(new.request, START.effects, now_ms=now_ms))
    record = RequestRecord(**{name: row[name] for name in FIELDS})
    emit(db, record, effects=START.effects, now_ms=now_ms)
    return record


def owe(db: Connection, request: bytes, *, effects: Iterable[Effect], now_ms: int) -> None:
    """The effects of the last transition replace those of the one before."""
    db.execute(_OWES_NO_MORE, {"wanted": request})
    if due := _due(request, effects, now_ms=now_ms):
        db.execute(_OWE, due)


def _due(request: bytes, effects: Iterable[Effect], *, now_ms: int) -> list[dict[str, object]]:
    return [{"request": request, "effect": one, "attempts": 0, "due_ms": now_ms} for one in effects]


def apply(db: Connection, change: Change, *, now_ms: int) -> Applied | None:
    """Carry out a change; None when it changes nothing."""
    if change.deposit is not None:
        emit_deposit(db, keep_deposit(db, change.deposit), now_ms=now_ms)
        return None
    before = find(db, change.request)
    if before is None:
        if change.new is None:
            return None
        before = insert_request(db, change.new, now_ms=now_ms)
    _keep_what_comes_with(db, change)
    state, effects = before.state, None
    if change.event is not None:
        step = advance(state, change.event)
        if step is None:
            return None
        state, effects = step.state, step.effects
        owe(db, change.request, effects=effects, now_ms=now_ms)
    after = _changed(before, change, state=state, now_ms=now_ms)
    db.execute(_CHANGE, _columns_of(after))
    if effects is None:
        emit_if_new(db, change.request, now_ms=now_ms)
    else:
        emit(db, after, effects=effects, now_ms=now_ms)
    return Applied(after, effects or ())


def apply_all(db: Connection, changes: Sequence[Change], *, now_ms: int) -> tuple[Applied, ...]:
    """Carry out changes in their order, each as ``apply`` does; those that change something."""
    done: list[Applied] = []
    for start in range(0, len(changes), TOGETHER_MAX):
        part = changes[start : start + TOGETHER_MAX]
        known = {row.request: record_of(row) for row in db.execute(_BY_IDS, {"wanted": _names(part)})}
        if all(change.event is not None and change.request in known for change in part):
            done += _apply_together(db, part, known, now_ms=now_ms)
        else:
            done += (one for change in part if (one := apply(db, change, now_ms=now_ms)) is not None)
    return tuple(done)


def _names(changes: Sequence[Change]) -> list[bytes]:
    return list({change.request for change in changes})


def _apply_together(
    db: Connection, changes: Sequence[Change], known: dict[bytes, RequestRecord], *, now_ms: int
) -> list[Applied]:
    """Events of requests that are there. ``known`` is how these are, and in the end how they are then."""
    done: list[Applied] = []
    for change in changes:
        _keep_what_comes_with(db, change)
        before = known[change.request]
        step = None if change.event is None else advance(before.state, change.event)
        if step is not None:
            known[change.request] = after = _changed(before, change, state=step.state, now_ms=now_ms)
            done.append(Applied(after, step.effects))
    if done:
        last = {one.record.request: one for one in done}
        _owe_all(db, last.values(), now_ms=now_ms)
        db.execute(_CHANGE, [_columns_of(one.record) for one in last.values()])
        emit_all(db, [(one.record, one.effects) for one in done], now_ms=now_ms)
    return done


def _owe_all(db: Connection, applied: Iterable[Applied], *, now_ms: int) -> None:
    db.execute(_OWES_NO_MORE, [{"wanted": one.record.request} for one in applied])
    if due := [row for one in applied for row in _due(one.record.request, one.effects, now_ms=now_ms)]:
        db.execute(_OWE, due)


def _changed(before: RequestRecord, change: Change, *, state: State, now_ms: int) -> RequestRecord:
    changed: dict[str, Any] = {"error": "", **change.fields, "state": state, "updated_ms": now_ms}
    changed["error"] = storable(changed["error"])
    return replace(before, **changed)


def _columns_of(record: RequestRecord) -> dict[str, Any]:
    return {"wanted": record.request, **{f"new_{name}": getattr(record, name) for name in _CHANGING}}


def _keep_what_comes_with(db: Connection, change: Change) -> None:
    if change.payment is not None:
        count_payment(db, change.request, payment=change.payment)  # before its transaction is there
    if change.transaction is not None:
        db.execute(insert_or_ignore(db, TRANSACTIONS), values_of(change.transaction))
    if change.slot is not None:
        slot = {"chain": change.slot.chain, "account": change.slot.account, "nonce": change.slot.nonce}
        db.execute(insert_or_ignore(db, SLOTS), {**slot, "request": change.request})
    if change.presignatures:
        db.execute(_USED, [{"wanted": one} for one in change.presignatures])
