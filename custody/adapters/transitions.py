"""One event of a request in the tables: the row, what it owes, and what the feed tells, in one transaction.

Every payment comes through here seven times, so each statement is made once: making one takes several times
as long as carrying it out.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from custody.adapters.deposits import keep_deposit
from custody.adapters.destinations import count_payment
from custody.adapters.feeds import emit, emit_deposit, emit_if_new
from custody.adapters.leased import insert_or_ignore, values_of
from custody.adapters.tables import OUTBOX, REQUESTS, SLOTS, TRANSACTIONS
from custody.records import Applied, Change, NewRequest, RequestRecord
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
_OWES_NO_MORE: Final = delete(OUTBOX).where(OUTBOX.c.request == bindparam("wanted"))
_OWE: Final = insert(OUTBOX)


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
    owe(db, new.request, effects=START.effects, now_ms=now_ms)
    record = RequestRecord(**{name: row[name] for name in FIELDS})
    emit(db, record, effects=START.effects, now_ms=now_ms)
    return record


def owe(db: Connection, request: bytes, *, effects: Iterable[Effect], now_ms: int) -> None:
    """The effects of the last transition replace those of the one before."""
    db.execute(_OWES_NO_MORE, {"wanted": request})
    due = [{"request": request, "effect": one, "attempts": 0, "due_ms": now_ms} for one in effects]
    if due:
        db.execute(_OWE, due)


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
    changed: dict[str, Any] = {"error": "", **change.fields, "state": state, "updated_ms": now_ms}
    after = replace(before, **changed)
    values = {f"new_{name}": getattr(after, name) for name in _CHANGING}
    db.execute(_CHANGE, {"wanted": change.request, **values})
    if effects is None:
        emit_if_new(db, change.request, now_ms=now_ms)
    else:
        emit(db, after, effects=effects, now_ms=now_ms)
    return Applied(after, effects or ())


def _keep_what_comes_with(db: Connection, change: Change) -> None:
    if change.payment is not None:
        count_payment(db, change.request, payment=change.payment)  # before its transaction is there
    if change.transaction is not None:
        db.execute(insert_or_ignore(db, TRANSACTIONS), values_of(change.transaction))
    if change.slot is not None:
        slot = {"chain": change.slot.chain, "account": change.slot.account, "nonce": change.slot.nonce}
        db.execute(insert_or_ignore(db, SLOTS), {**slot, "request": change.request})
