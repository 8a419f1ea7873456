"""The coordinator's database: SQLAlchemy Core on SQLite or PostgreSQL, by URL.

Rules: (1) a request's state and what it owes (the outbox) change in one transaction; (2) entries and
their checkpoint are durable, with every projection of them, before anybody is sent them; (3) methods
are synchronous and safe from several threads; each is one transaction; (4) every transaction that writes
first checks, and locks, that the lease still has the number this store took; (5) what changes a request
puts an event into the feed, in the same transaction.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from custody.adapters.destinations import add_up_older, paid_to
from custody.adapters.feeds import Feeds, emit_if_new
from custody.adapters.leased import insert_or_ignore, values_of
from custody.adapters.tables import (
    APPROVALS,
    CEREMONIES,
    CHECKPOINTS,
    ENTRIES,
    OUTBOX,
    PRESIGNATURES,
    REPORTS,
    REQUESTS,
    SLOTS,
    TRANSACTIONS,
)
from custody.adapters.transitions import (
    COLUMNS,
    UNPLANNED,
    apply,
    apply_all,
    find,
    find_by_key,
    insert_request,
    owe,
    record_of,
)
from custody.records import (
    Applied,
    Change,
    Duty,
    IdempotencyConflict,
    NewRequest,
    PaidTo,
    PendingApproval,
    PooledPresignature,
    ReportRecord,
    RequestRecord,
    SignedTransaction,
    storable,
)
from custody.requests import START, Effect, State
from custody.storage import ENTRIES_BYTES_MAX
from policy.approval import Slot

LIST_MAX, LAST_ASKED = 500, 101
# What every payment needs, made once: making a statement costs more than carrying it out.
_ENTRY, _CHECKPOINT = insert(ENTRIES), insert(CHECKPOINTS)
_BETWEEN = (
    select(ENTRIES.c.data)
    .where(ENTRIES.c.index >= bindparam("from_"), ENTRIES.c.index < bindparam("to"))
    .order_by(ENTRIES.c.index)
)
_QUORUM = (
    update(CHECKPOINTS).where(CHECKPOINTS.c.size == bindparam("wanted")).values(quorum=bindparam("cosigned"))
)
_TRANSACTIONS = select(TRANSACTIONS).where(TRANSACTIONS.c.request == bindparam("wanted"))
_POSTPONE = (
    update(OUTBOX)
    .where(OUTBOX.c.request == bindparam("wanted"), OUTBOX.c.effect == bindparam("owed"))
    .values(due_ms=bindparam("due"), attempts=bindparam("tried"))
)


class Store(Feeds):
    """One database of the coordinator, for its one writer; see ``Leased``."""

    def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer; add up what was signed before destinations had a history."""
        fence = super().take_lease(now_ms, lease_ms)
        with self._transaction() as db:
            add_up_older(db)
        return fence

    # The log.

    def head(self) -> tuple[int, bytes]:
        """Size and note of the newest checkpoint; (0, b"") for an empty log."""
        with self._reading() as db:
            query = (
                select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
            )
            row = db.execute(query).first()
            return (row.size, row.note) if row else (0, b"")

    def quorum_note(self) -> bytes:
        """The newest checkpoint's note with w cosignatures, or b"" when there is none yet."""
        with self._reading() as db:
            query = select(CHECKPOINTS.c.quorum).where(CHECKPOINTS.c.quorum.is_not(None))
            row = db.execute(query.order_by(CHECKPOINTS.c.size.desc()).limit(1)).first()
            return bytes(row.quorum) if row else b""

    def entries(self, start: int, stop: int, *, bytes_max: int = ENTRIES_BYTES_MAX) -> tuple[bytes, ...]:
        """Entries from ``start`` up to ``stop``, at least one if there is one, within ``bytes_max``."""
        found: list[bytes] = []
        total = 0
        with self._reading() as db:
            for row in db.execute(_BETWEEN, {"from_": start, "to": stop}):
                total += len(row.data)
                if found and total > bytes_max:
                    break
                found.append(row.data)
        return tuple(found)

    def checkpoint_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest checkpoint with ``above < size <= at_most``; if none, the smallest above."""
        sizes = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).where(CHECKPOINTS.c.size > above)
        largest = sizes.where(CHECKPOINTS.c.size <= at_most).order_by(CHECKPOINTS.c.size.desc()).limit(1)
        with self._reading() as db:
            row = (
                db.execute(largest).first() or db.execute(sizes.order_by(CHECKPOINTS.c.size).limit(1)).first()
            )
            return (row.size, row.note) if row else None

    def quorum_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest note with w cosignatures and ``above < size <= at_most``."""
        inside = (CHECKPOINTS.c.size > above) & (CHECKPOINTS.c.size <= at_most)
        query = select(CHECKPOINTS.c.size, CHECKPOINTS.c.quorum).where(CHECKPOINTS.c.quorum.is_not(None))
        with self._reading() as db:
            row = db.execute(query.where(inside).order_by(CHECKPOINTS.c.size.desc()).limit(1)).first()
            return (row.size, row.quorum) if row else None

    def first_quorum(self, above: int) -> tuple[int, bytes] | None:
        """The smallest note with w cosignatures and ``above < size``."""
        query = select(CHECKPOINTS.c.size, CHECKPOINTS.c.quorum).where(CHECKPOINTS.c.quorum.is_not(None))
        with self._reading() as db:
            row = db.execute(query.where(CHECKPOINTS.c.size > above).order_by(CHECKPOINTS.c.size)).first()
            return (row.size, row.quorum) if row else None

    def set_aside_log(self, now_ms: int) -> None:
        """Forget the log and what it says of requests, which are owed anew; another branch takes its place.

        What was received and what was signed is kept; a cold ceremony was of that log and is over.
        """
        with self._transaction() as db:
            for table in (ENTRIES, CHECKPOINTS, SLOTS, OUTBOX):
                db.execute(delete(table))
            db.execute(delete(CEREMONIES).where(CEREMONIES.c.place == 0))
            db.execute(update(REQUESTS).values(state=START.state, updated_ms=now_ms, **UNPLANNED))
            for row in db.execute(select(REQUESTS.c.request)).all():
                owe(db, row.request, effects=START.effects, now_ms=now_ms)
                emit_if_new(db, row.request, now_ms=now_ms)

    def append(
        self, start: int, entries: Sequence[bytes], *, note: bytes, changes: Sequence[Change], now_ms: int
    ) -> tuple[Applied, ...]:
        """Make entries, their checkpoint and what they change durable, together."""
        with self._transaction() as db:
            if entries:
                rows = [{"index": start + i, "data": data} for i, data in enumerate(entries)]
                db.execute(_ENTRY, rows)
                db.execute(_CHECKPOINT, {"size": start + len(entries), "note": note})
            return apply_all(db, changes, now_ms=now_ms)

    def set_quorum(self, size: int, note: bytes) -> None:
        """Keep the note of the checkpoint of ``size`` with its w cosignatures."""
        with self._transaction() as db:
            db.execute(_QUORUM, {"wanted": size, "cosigned": note})

    # Requests.

    def submit(self, new: NewRequest, now_ms: int) -> tuple[RequestRecord, bool]:
        """Store a request once; the record and whether it is new.

        Raises ``IdempotencyConflict`` when its initiator used the key for another body.
        """
        with self._transaction() as db:
            known = find_by_key(db, new)
            if known is None:
                return insert_request(db, new, now_ms=now_ms), True
            if known.request != new.request:
                raise IdempotencyConflict(new.idempotency_key)
            return known, False

    def get(self, request: bytes) -> RequestRecord | None:
        """One request, or None."""
        with self._reading() as db:
            return find(db, request)

    def requests(
        self, *, state: str = "", initiator: str = "", limit: int = 100, before: bytes = b""
    ) -> tuple[RequestRecord, ...]:
        """Requests, newest first, continuing after ``before``."""
        query = select(*COLUMNS).order_by(REQUESTS.c.created_order.desc()).limit(min(limit, LIST_MAX))
        if state:
            query = query.where(REQUESTS.c.state == state)
        if initiator:
            query = query.where(REQUESTS.c.initiator == initiator)
        if before:
            order = select(REQUESTS.c.created_order).where(REQUESTS.c.request == before).scalar_subquery()
            query = query.where(REQUESTS.c.created_order < order)
        with self._reading() as db:
            return tuple(record_of(row) for row in db.execute(query))

    def settled(self, chain: str, blocks: int, *, states: Collection[State]) -> tuple[RequestRecord, ...]:
        """Requests in these states whose block on a chain is among the last ones, as far as any is known.

        Where the chain is, most of those that changed last say: one absurd number hides nothing.
        """
        there = (REQUESTS.c.chain == chain) & (REQUESTS.c.block > 0) & REQUESTS.c.state.in_(states)
        last = select(REQUESTS.c.block).where(there).order_by(REQUESTS.c.updated_ms.desc()).limit(LAST_ASKED)
        with self._reading() as db:
            known = sorted(db.execute(last).scalars())
            newest = known[(len(known) - 1) // 2] if known else 0
            query = select(*COLUMNS).where(there, REQUESTS.c.block > newest - blocks)
            return tuple(record_of(row) for row in db.execute(query.order_by(REQUESTS.c.block)))

    def counts(self, initiator: str = "") -> dict[str, int]:
        """How many requests, of one initiator or of all, are in each state."""
        query = select(REQUESTS.c.state, func.count()).group_by(REQUESTS.c.state)
        if initiator:
            query = query.where(REQUESTS.c.initiator == initiator)
        with self._reading() as db:
            return {row[0]: row[1] for row in db.execute(query)}

    def overdue(self, now_ms: int) -> tuple[RequestRecord, ...]:
        """Requests past their expiry that wait for something and are not being signed."""
        open_states = [
            *(State.RECEIVED, State.LOGGED, State.WAITING, State.READY, State.AWAITING_CEREMONY),
        ]
        query = select(*COLUMNS).where(REQUESTS.c.expires_ms <= now_ms, REQUESTS.c.state.in_(open_states))
        with self._reading() as db:
            return tuple(record_of(row) for row in db.execute(query))

    def apply(self, change: Change, now_ms: int) -> Applied | None:
        """Make one event durable; None when it changes nothing."""
        with self._transaction() as db:
            return apply(db, change, now_ms=now_ms)

    # The outbox.

    def duties(self) -> tuple[Duty, ...]:
        """Everything still owed, oldest first: where a start goes on."""
        with self._reading() as db:
            return tuple(_duty(row) for row in db.execute(select(OUTBOX).order_by(OUTBOX.c.due_ms)))

    def postpone(self, duty: Duty, *, due_ms: int, error: str) -> None:
        """Try a duty again at ``due_ms``, and show why on its request, unless it is owed no more."""
        with self._transaction() as db:
            same = {"wanted": duty.request, "owed": duty.effect}
            owed = db.execute(_POSTPONE, {**same, "due": due_ms, "tried": duty.attempts + 1})
            if error and owed.rowcount:
                same_request = REQUESTS.c.request == duty.request
                db.execute(update(REQUESTS).where(same_request).values(error=storable(error[:1000])))

    def drop_duty(self, request: bytes, effect: Effect, *, now_ms: int) -> None:
        """Nothing is owed by this effect any more."""
        with self._transaction() as db:
            db.execute(delete(OUTBOX).where(OUTBOX.c.request == request, OUTBOX.c.effect == effect))
            emit_if_new(db, request, now_ms=now_ms)

    # Slots.

    def slots(self) -> tuple[tuple[Slot, bytes], ...]:
        """Every slot a request holds or held."""
        with self._reading() as db:
            rows = db.execute(select(SLOTS)).all()
        return tuple((Slot(row.chain, row.account, row.nonce), row.request) for row in rows)

    def release_slot(self, request: bytes) -> None:
        """Give back a slot that no transaction of the log ever named."""
        with self._transaction() as db:
            db.execute(delete(SLOTS).where(SLOTS.c.request == request))

    def slot_is_waited_for(self, request: bytes) -> bool:
        """Whether the account has a later slot, which cannot confirm before this one is used up."""
        with self._reading() as db:
            mine = db.execute(select(SLOTS).where(SLOTS.c.request == request)).first()
            if mine is None:
                return False
            of_account = (SLOTS.c.chain == mine.chain) & (SLOTS.c.account == mine.account)
            return db.execute(select(SLOTS).where(of_account, SLOTS.c.nonce > mine.nonce)).first() is not None

    def waiting_by_account(self, chain: str) -> dict[str, int]:
        """How many requests wait for approvals on each account."""
        query = (
            select(REQUESTS.c.account, func.count())
            .where(REQUESTS.c.chain == chain, REQUESTS.c.state == State.WAITING)
            .group_by(REQUESTS.c.account)
        )
        with self._reading() as db:
            return {row[0]: row[1] for row in db.execute(query)}

    # Approvals that are not in the log yet.

    def add_approval(self, approval: PendingApproval) -> None:
        """Keep an approval until it is in the log; the same one twice is one."""
        with self._transaction() as db:
            db.execute(insert_or_ignore(db, APPROVALS), values_of(approval))

    def pending_approvals(self) -> tuple[PendingApproval, ...]:
        """Approvals received and not logged."""
        with self._reading() as db:
            rows = db.execute(select(APPROVALS))
            return tuple(PendingApproval(r.approval_id, r.request, r.body, r.assertion) for r in rows)

    def drop_approval(self, approval_id: bytes) -> None:
        """Forget an approval that is in the log, or that the log refused."""
        with self._transaction() as db:
            db.execute(delete(APPROVALS).where(APPROVALS.c.approval_id == approval_id))

    # Signed transactions.

    def transactions(self, request: bytes) -> tuple[SignedTransaction, ...]:
        """Every transaction ever signed for a request."""
        with self._reading() as db:
            rows = db.execute(_TRANSACTIONS, {"wanted": request}).all()
        return tuple(SignedTransaction(r.job, r.request, r.purpose, r.tx_hash, r.raw) for r in rows)

    def paid_to(self, chain: str, destination: str) -> tuple[PaidTo, ...]:
        """What was paid to a destination, by initiator and asset, newest first."""
        with self._reading() as db:
            return paid_to(db, chain, destination=destination)

    # The pool of presignatures.

    def add_presignatures(self, items: Iterable[PooledPresignature]) -> None:
        """Put fresh presignatures into the pool."""
        rows = [{**values_of(item), "state": "free"} for item in items]
        with self._transaction() as db:
            db.execute(insert(PRESIGNATURES), rows)

    def free_presignatures(self) -> tuple[PooledPresignature, ...]:
        """What is left in the pool."""
        query = select(PRESIGNATURES).where(PRESIGNATURES.c.state == "free")
        with self._reading() as db:
            rows = db.execute(query).all()
        return tuple(
            PooledPresignature(r.presignature, r.nonce_point, r.key, r.epoch, r.signers, r.boots)
            for r in rows
        )

    # What rebalancers say.

    def put_report(self, report: ReportRecord) -> None:
        """Keep a rebalancer's report, unless one that is not older is kept of it."""
        mine = REPORTS.c.initiator == report.initiator
        with self._transaction() as db:
            known = db.execute(select(REPORTS.c.time_ms).where(mine)).scalar()
            if known is None or known < report.time_ms:
                db.execute(delete(REPORTS).where(mine))
                db.execute(insert(REPORTS).values(values_of(report)))

    def reports(self) -> tuple[ReportRecord, ...]:
        """The newest report of each rebalancer, by name."""
        with self._reading() as db:
            rows = db.execute(select(REPORTS).order_by(REPORTS.c.initiator)).mappings()
            return tuple(ReportRecord(**row) for row in rows)

    # Cold ceremonies.

    def ceremonies(self) -> bytes:
        """What was kept of cold ceremonies last, or b"" when nothing is."""
        with self._reading() as db:
            row = db.execute(select(CEREMONIES.c.document).where(CEREMONIES.c.place == 0)).first()
            return bytes(row.document) if row else b""

    def keep_ceremonies(self, document: bytes) -> None:
        """Keep how cold ceremonies stand, in place of what was kept before."""
        with self._transaction() as db:
            db.execute(delete(CEREMONIES).where(CEREMONIES.c.place == 0))
            db.execute(insert(CEREMONIES).values(place=0, document=document))

    def set_aside_ceremonies(self) -> int:
        """Move what is kept to a place where nothing is written over it; which place that is."""
        with self._transaction() as db:
            last = db.execute(select(func.max(CEREMONIES.c.place))).scalar() or 0
            db.execute(update(CEREMONIES).where(CEREMONIES.c.place == 0).values(place=last + 1))
            return last + 1


def _duty(row: Row[Any]) -> Duty:
    return Duty(row.request, Effect(row.effect), row.attempts, row.due_ms)
