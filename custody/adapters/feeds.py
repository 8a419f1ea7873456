"""The feed of events, the deliveries that webhooks are owed, and the addresses given out: in tables."""

import functools
import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.sql import Select

from custody.adapters.deposits import deposits, paid_at
from custody.adapters.leased import insert_or_ignore, values_of
from custody.adapters.retained import Retained
from custody.adapters.tables import ADDRESSES, DELIVERIES, EVENTS, FEED, OUTBOX, REQUESTS, WEBHOOKS
from custody.feeds import (
    AddressesInDoubt,
    Backlog,
    Delivery,
    Deposit,
    DepositAddress,
    Event,
    LabelTaken,
    UnknownPosition,
    deposit_document,
)
from custody.records import RequestRecord, storable
from custody.requests import Effect, State, Substate, substate
from policy.encoding import canonical

FEED_NAME_BYTES = 4
QUEUED_AT_ONCE_MAX = 1000
_COPIED = ("request", "initiator", "state", "rule", "chain", "tx_hash", "block", "approvals", "error")
_WHOSE = EVENTS.c.initiator == bindparam("whose")
_EVENT = insert(EVENTS)
_NEXT_EVENT = insert(EVENTS).values(  # made once: making it costs more than carrying it out
    sequence=select(func.coalesce(func.max(EVENTS.c.sequence), 0) + 1).scalar_subquery(),
    number=select(func.coalesce(func.max(EVENTS.c.number), 0) + 1).where(_WHOSE).scalar_subquery(),
)
_NEWEST_OF = select(EVENTS).where(
    EVENTS.c.sequence.in_(
        select(func.max(EVENTS.c.sequence))
        .where(EVENTS.c.request.in_(bindparam("of", expanding=True)))
        .group_by(EVENTS.c.request)
    )
)
_IS_DOUBT = (ADDRESSES.c.chain == "") & (ADDRESSES.c.wallet == "")
_DOUBT = select(ADDRESSES.c.address).where(_IS_DOUBT)
_FEED = select(FEED.c.name)
_NEWEST = select(func.coalesce(func.max(EVENTS.c.sequence), 0))
_NEWEST_OF_ONE = select(func.coalesce(func.max(EVENTS.c.number), 0)).where(_WHOSE)


@functools.cache
def _events_after(of_request: bool, by_initiator: bool) -> "Select[Any]":
    """Carried out with those of ``after``, ``of``, ``by`` and ``at_most`` that it has."""
    number = EVENTS.c.number if by_initiator else EVENTS.c.sequence
    query = select(EVENTS).where(number > bindparam("after"))
    if of_request:
        query = query.where(EVENTS.c.request == bindparam("of"))
    if by_initiator:
        query = query.where(EVENTS.c.initiator == bindparam("by"))
    return query.order_by(number).limit(bindparam("at_most", type_=Integer))


class Feeds(Retained):
    """What backends are told; see ``custody.feeds.FeedStorage``."""

    def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer; name the feed, and put into it the requests that it does not know."""
        fence = super().take_lease(now_ms, lease_ms)
        with self._transaction() as db:
            if db.execute(select(FEED)).first() is None:
                db.execute(insert(FEED).values(place=0, name=secrets.token_hex(FEED_NAME_BYTES)))
            told = exists().where(EVENTS.c.request == REQUESTS.c.request)
            silent = select(REQUESTS.c.request).where(~told)
            for row in db.execute(silent.order_by(REQUESTS.c.created_order)).all():
                emit_if_new(db, row.request, now_ms=now_ms)
        return fence

    def feed(self, initiator: str = "") -> tuple[str, int]:
        """Name and newest number of an initiator's feed; for an empty one, of everybody's."""
        with self._reading() as db:
            return _feed_of(self._feed_name(db), initiator), _newest(db, initiator)

    def events(
        self, after: int, *, request: bytes = b"", initiator: str = "", limit: int = 100
    ) -> tuple[Event, ...]:
        """Events in order; of one request, and of one initiator in its own feed, or of all for empty ones."""
        wanted: dict[str, object] = {"after": after, "at_most": limit}
        wanted |= {"of": request} if request else {}
        wanted |= {"by": initiator} if initiator else {}
        return self._events(_events_after(bool(request), bool(initiator)), wanted, own=bool(initiator))

    def newest_events(self, requests: Sequence[bytes], *, own: bool = False) -> dict[bytes, Event]:
        """The newest event of each request, as everybody's feed has it, or the initiator's ``own``."""
        found = self._events(_NEWEST_OF, {"of": list(requests)}, own=own)
        return {event.request: event for event in found}

    def _feed_name(self, db: Connection) -> str:
        """A promoted standby may lack events that were told, so its feed has another name."""
        name: str = db.execute(_FEED).scalar_one()
        return _feed_of(name, f"timeline {self._timeline}") if self._timeline > 1 else name

    def _events(self, query: "Select[Any]", wanted: Mapping[str, object], *, own: bool) -> tuple[Event, ...]:
        with self._reading() as db:
            feed = self._feed_name(db)
            return tuple(_event(row, feed, own=own) for row in db.execute(query, wanted))

    # What webhooks are owed.

    def queue_deliveries(
        self, webhook: str, initiator: str, *, now_ms: int, state: State | None = None
    ) -> None:
        """Owe a webhook the events since it was last asked for; nothing for one that is new."""
        with self._reading() as db:
            newest = _newest(db)
            known = db.execute(select(WEBHOOKS).where(WEBHOOKS.c.webhook == webhook)).first()
        if known is not None and known.position == newest:
            return
        with self._transaction() as db:
            if known is None:
                db.execute(insert(WEBHOOKS).values(webhook=webhook, position=newest))
                return
            stop = min(newest, known.position + QUEUED_AT_ONCE_MAX)
            chosen = _chosen(initiator, first=known.position + 1, last=stop, state=state)
            _queue(db, webhook, chosen, now_ms=now_ms)
            mine = WEBHOOKS.c.webhook == webhook
            db.execute(update(WEBHOOKS).where(mine).values(position=stop))

    def queue_again(self, webhook: str, initiator: str, *, first: int, last: int, now_ms: int) -> int:
        """Owe a webhook these events of the initiator's own feed (once more); how many."""
        chosen = (EVENTS.c.initiator == initiator) & EVENTS.c.number.between(first, last)
        with self._transaction() as db:
            return _queue(db, webhook, chosen, now_ms=now_ms)

    def deliveries(self, webhook: str, now_ms: int, *, limit: int) -> tuple[Delivery, ...]:
        """What is due: of each request its oldest event alone, as its initiator's own feed has it."""
        oldest = (
            select(func.min(DELIVERIES.c.sequence))
            .where(DELIVERIES.c.webhook == webhook)
            .group_by(DELIVERIES.c.request)
        )
        query = (
            select(EVENTS, DELIVERIES.c.attempts)
            .join(DELIVERIES, DELIVERIES.c.sequence == EVENTS.c.sequence)
            .where(DELIVERIES.c.webhook == webhook, DELIVERIES.c.due_ms <= now_ms)
            .where(DELIVERIES.c.sequence.in_(oldest))
            .order_by(DELIVERIES.c.due_ms, DELIVERIES.c.sequence)
            .limit(limit)
        )
        with self._reading() as db:
            feed = self._feed_name(db)
            return tuple(
                Delivery(webhook, row.sequence, _event(row, feed, own=True), row.attempts)
                for row in db.execute(query)
            )

    def delivered(self, webhook: str, place: int) -> None:
        """A webhook has taken an event."""
        with self._transaction() as db:
            db.execute(delete(DELIVERIES).where(_delivery(webhook, place)))

    def postpone_delivery(self, webhook: str, place: int, *, due_ms: int, error: str) -> None:
        """Try again at ``due_ms``."""
        changed = {"due_ms": due_ms, "attempts": DELIVERIES.c.attempts + 1, "error": storable(error[:300])}
        with self._transaction() as db:
            db.execute(update(DELIVERIES).where(_delivery(webhook, place)).values(changed))

    def backlog(self, webhook: str) -> Backlog:
        """What a webhook is still owed."""
        mine = DELIVERIES.c.webhook == webhook
        with self._reading() as db:
            waiting = db.execute(select(func.count()).select_from(DELIVERIES).where(mine)).scalar_one()
            failed = select(DELIVERIES.c.error).where(mine, DELIVERIES.c.error != "")
            error = db.execute(failed.order_by(DELIVERIES.c.sequence).limit(1)).scalar()
        return Backlog(waiting, error or "")

    # Addresses.

    def doubt_addresses(self, now_ms: int) -> None:
        """From here on nobody knows whether all addresses that were given stand here."""
        with self._transaction() as db:
            doubt_addresses(db, now_ms)

    def addresses_in_doubt(self) -> str:
        """The name of the newest doubt, or "" for none."""
        with self._reading() as db:
            return str(db.execute(_DOUBT).scalar() or "")

    def doubted_ms(self) -> int:
        """Since when this database may lack what another one knew, such as used nonces; 0 for never."""
        with self._reading() as db:
            return int(db.execute(select(ADDRESSES.c.created_ms).where(_IS_DOUBT)).scalar() or 0)

    def promoted_ms(self) -> int:
        """When this writer began, if its server was ever promoted, maybe just before; 0 otherwise."""
        return self._taken_ms if self._timeline > 1 else 0

    def give_address(
        self, wanted: Sequence[DepositAddress], *, claims: bool = False, vouched: str = ""
    ) -> DepositAddress | None:
        """The first of these that nobody was given, or what has their label; None when all are given.

        Raises ``AddressesInDoubt`` unless somebody ``claims`` what they were given, or has ``vouched`` that
        this was done. Who claims is told what was paid there when nobody knew whose it is.
        """
        with self._transaction() as db:
            labelled = db.execute(select(ADDRESSES).where(_same_label(wanted[0]))).first()
            if labelled is not None:
                return _address(labelled)
            doubt = db.execute(_DOUBT).scalar() or ""
            if doubt and not claims and vouched != doubt:
                raise AddressesInDoubt(doubt)
            given = {
                row.address
                for row in db.execute(select(ADDRESSES.c.address).where(ADDRESSES.c.chain == wanted[0].chain))
            }
            free = next((one for one in wanted if one.address not in given), None)
            if free is not None:
                order = select(func.coalesce(func.max(ADDRESSES.c.created_order), 0) + 1).scalar_subquery()
                db.execute(insert(ADDRESSES).values(**values_of(free), created_order=order))
                for known in paid_at(db, free) if claims else ():
                    emit_deposit(db, known, now_ms=free.created_ms)
            return free

    def addresses(self, wallet: str, initiator: str, *, after: str, limit: int) -> tuple[DepositAddress, ...]:
        """What an initiator (or, for none, all) was given of a wallet, oldest first; after an address."""
        mine = ADDRESSES.c.wallet == wallet
        if initiator:
            mine &= ADDRESSES.c.initiator == initiator
        query = select(ADDRESSES).where(mine).order_by(ADDRESSES.c.created_order).limit(limit)
        if after:
            position = select(ADDRESSES.c.created_order).where(mine, ADDRESSES.c.address == after)
            query = query.where(ADDRESSES.c.created_order > position.scalar_subquery())
        with self._reading() as db:
            if after and db.execute(position).first() is None:
                raise UnknownPosition
            return tuple(_address(row) for row in db.execute(query))

    def deposits(self, wallet: str, initiator: str, *, after: bytes, limit: int) -> tuple[Deposit, ...]:
        """What was paid to a wallet, or to what an initiator was given of it, as first stated; after one."""
        with self._reading() as db:
            return deposits(db, wallet, initiator=initiator, after=after, limit=limit)

    def label_address(self, wanted: DepositAddress) -> DepositAddress | None:
        """Change a given address's label; None when it is not the initiator's. Raises ``LabelTaken``."""
        mine = (
            (ADDRESSES.c.wallet == wanted.wallet)
            & (ADDRESSES.c.initiator == wanted.initiator)
            & (ADDRESSES.c.address == wanted.address)
        )
        with self._transaction() as db:
            if db.execute(select(ADDRESSES).where(mine)).first() is None:
                return None
            other = db.execute(select(ADDRESSES).where(_same_label(wanted))).first()
            if other is not None and other.address != wanted.address:
                raise LabelTaken(other.address)
            db.execute(update(ADDRESSES).where(mine).values(label=wanted.label))
            return _address(db.execute(select(ADDRESSES).where(mine)).one())


def doubt_addresses(db: Connection, now_ms: int) -> None:
    """Mark it by a row of no chain and no wallet, which backups have, too; a new doubt has a new name."""
    name = secrets.token_hex(FEED_NAME_BYTES)
    db.execute(delete(ADDRESSES).where(_IS_DOUBT))
    row = {"chain": "", "address": name, "wallet": "", "path": "", "initiator": "", "label": ""}
    db.execute(insert(ADDRESSES).values(**row, created_order=0, created_ms=now_ms))


def emit(
    db: Connection, request: RequestRecord | Row[Any], *, effects: Collection[Effect], now_ms: int
) -> None:
    """Put into the feed how a request is now, and what is owed."""
    _insert_event(db, _told(request, effects), now_ms)


def emit_all(
    db: Connection, changed: Sequence[tuple[RequestRecord, Collection[Effect]]], *, now_ms: int
) -> None:
    """The same for several, in their order."""
    sequence, numbers, rows = _newest(db), dict[str, int](), []
    for record, effects in changed:
        whose = record.initiator
        numbers[whose] = numbers.get(whose) or _newest(db, whose)
        numbers[whose] += 1
        sequence += 1
        rows.append(
            {**_told(record, effects), "time_ms": now_ms, "sequence": sequence, "number": numbers[whose]}
        )
    db.execute(_EVENT, rows)


def emit_if_new(db: Connection, request: bytes, *, now_ms: int) -> None:
    """The same by the database, unless that is what the feed says of the request already."""
    row = db.execute(select(REQUESTS).where(REQUESTS.c.request == request)).first()
    if row is None:
        return
    owed = db.execute(select(OUTBOX.c.effect).where(OUTBOX.c.request == request)).scalars()
    values = _told(row, [Effect(effect) for effect in owed])
    last = select(EVENTS).where(EVENTS.c.request == request).order_by(EVENTS.c.sequence.desc()).limit(1)
    before = db.execute(last).first()
    if before is None or any(getattr(before, name) != value for name, value in values.items()):
        _insert_event(db, values, now_ms)


def emit_deposit(db: Connection, one: Deposit, *, now_ms: int) -> None:
    """Put into the feed what was stated of a deposit; it stands there as a request that is over."""
    document = canonical(deposit_document(one))
    told = {**dict.fromkeys(("rule", "error"), ""), "tx_hash": b"", "block": 0, "approvals": 0}
    told |= {"request": one.record.deposit, "initiator": one.initiator, "deposit": document}
    told |= {"state": State.SETTLED, "substate": Substate.IDLE, "chain": one.record.chain}
    _insert_event(db, told, now_ms)


def _told(row: RequestRecord | Row[Any], effects: Collection[Effect]) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in _COPIED}, "substate": substate(effects)}


def _insert_event(db: Connection, values: dict[str, Any], now_ms: int) -> None:
    db.execute(_NEXT_EVENT, {**values, "time_ms": now_ms, "whose": values["initiator"]})


def _chosen(initiator: str, *, first: int, last: int, state: State | None = None) -> Any:
    """Events of one initiator or, for none, of all; with ``state`` of each request the first one in it."""
    chosen: Any = EVENTS.c.sequence.between(first, last)
    if initiator:
        chosen &= EVENTS.c.initiator == initiator
    if state is not None:
        earlier = EVENTS.alias()
        before = (earlier.c.request == EVENTS.c.request) & (earlier.c.sequence < EVENTS.c.sequence)
        chosen &= (EVENTS.c.state == state) & ~exists().where(before & (earlier.c.state == state))
    return chosen


def _queue(db: Connection, webhook: str, chosen: Any, *, now_ms: int) -> int:
    rows = db.execute(select(EVENTS.c.sequence, EVENTS.c.request).where(chosen)).all()
    for row in rows:
        values = {"webhook": webhook, "sequence": row.sequence, "request": row.request}
        values |= {"attempts": 0, "due_ms": now_ms, "error": ""}
        db.execute(insert_or_ignore(db, DELIVERIES), values)
    return len(rows)


def _feed_of(feed: str, initiator: str) -> str:
    """An initiator's feed has a name of its own: a number of another feed is no place in it."""
    if not initiator:
        return feed
    return hashlib.sha256(f"{feed} {initiator}".encode()).hexdigest()[: 2 * FEED_NAME_BYTES]


def _newest(db: Connection, initiator: str = "") -> int:
    found = db.execute(_NEWEST_OF_ONE, {"whose": initiator}) if initiator else db.execute(_NEWEST)
    newest: int = found.scalar_one()
    return newest


def _delivery(webhook: str, place: int) -> Any:
    return (DELIVERIES.c.webhook == webhook) & (DELIVERIES.c.sequence == place)


def _same_label(wanted: DepositAddress) -> Any:
    return (
        (ADDRESSES.c.wallet == wanted.wallet)
        & (ADDRESSES.c.initiator == wanted.initiator)
        & (ADDRESSES.c.label == wanted.label)
    )


def _event(row: Row[Any], feed: str, *, own: bool) -> Event:
    values = {name: getattr(row, name) for name in Event.__dataclass_fields__ if name != "feed"}
    values |= {"state": State(row.state), "substate": Substate(row.substate)}
    if not own:
        return Event(feed=feed, **values)
    return Event(feed=_feed_of(feed, row.initiator), **{**values, "sequence": row.number})


def _address(row: Row[Any]) -> DepositAddress:
    return DepositAddress(**{name: getattr(row, name) for name in DepositAddress.__dataclass_fields__})
