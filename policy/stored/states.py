"""A state of the log out of what is stored of it, and what to write so that another one is.

The tables are maps of pages, each under a root of its own. The rest, which is as large as the policy and not
as the log, is one document. Documents are parsed anew, as when they were folded.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from immutables import Map

from policy.address_book import book_hash, with_book
from policy.document import parse_policy
from policy.encoding import Json, canonical, tagged_hash
from policy.errors import InvariantError
from policy.roster import parse_roster
from policy.state import (
    ApprovalRecord,
    Deposit,
    Holding,
    Job,
    KeyRecord,
    PendingChange,
    PricePoint,
    RequestState,
    Screening,
    Signing,
    State,
)
from policy.stored import records as r
from policy.stored.layered import GONE, Codec, Layered, Stored, Table, apart, changes, rebased
from policy.stored.pages import EMPTY, Read, Steps, Update, done, page_names, updating
from policy.values import replace
from policy.windows import Counted, Window

K = TypeVar("K")
V = TypeVar("V")
FORMAT: Final = 2  # to be raised when folding or encoding changes and ``shape`` does not
WINDOWS: Final = "windows"
COUNTED: Final = "counted"
QUEUE: Final = "queue"
_CODECS: Final[Mapping[str, Codec[Any, Any]]] = {
    "requests": r.REQUESTS,
    "idempotency": r.PAIR_TO_ID,
    "approval_ids": r.ID_TO_ID,
    "anchors": r.SLOT_TO_ID,
    "jobs": r.JOBS,
    "presignatures": r.ID_TO_ID,
    "nonces": r.ID_TO_ID,
    "paid": r.PAIR_TO_ID,
    "changes": r.IDS,
    "approved": r.IDS,
    "reserved": r.ID_TO_ID,
    "signed": r.TIMED,
    "deposits": r.DEPOSITS,
}
CODECS: Final = {name: apart(name, codec) for name, codec in _CODECS.items()}
TABLES: Final = (*CODECS, WINDOWS, COUNTED, QUEUE)


class Tables(NamedTuple):
    """Where pages are read, and the root of each table."""

    read: Read
    roots: Mapping[str, bytes]

    def stored(self, name: str) -> Stored[Any, Any]:
        """One of the tables that are fields of a state."""
        if name != WINDOWS:
            return Stored(CODECS[name], self.read, root=self.roots[name])
        codec = r.windows(self.read, self.roots[COUNTED], queue=self.roots[QUEUE])
        return Stored(codec, self.read, root=self.roots[WINDOWS])


NO_TABLES: Final = dict.fromkeys(TABLES, EMPTY)


def shape() -> str:
    """Names what a stored state has: one of another shape is from another program, and says nothing here."""
    kinds = (State, RequestState, Job, Signing, ApprovalRecord, Screening, KeyRecord, PendingChange)
    others = (
        PricePoint._fields,
        Holding._fields,
        Deposit._fields,
        *(kind.__struct_fields__ for kind in (Window, Counted)),
    )
    named = [*(kind.__struct_fields__ for kind in kinds), *others, TABLES]
    return tagged_hash("state-shape", canonical([list(names) for names in named])).hex()


def store_tables(state: State, before: Tables) -> dict[str, Update]:
    """What to write, table by table, so that the tables are those of ``state``.

    ``before`` is what is stored. A table that ``state`` has in memory alone replaces the stored one.
    """
    return done(storing_tables(state, before))


def storing_tables(state: State, before: Tables) -> Steps[dict[str, Update]]:
    """``store_tables`` in parts, with other work between them."""
    found: dict[str, Update] = {}
    for name in CODECS:
        found[name] = yield from _stored(getattr(state, name), before, name, CODECS[name])
    codec = r.windows(before.read, EMPTY, queue=EMPTY)
    found[WINDOWS] = yield from _stored(state.windows, before, WINDOWS, codec)
    inside = {COUNTED: dict[bytes, bytes | None](), QUEUE: dict[bytes, bytes | None]()}
    for place, window in changes(state.windows):
        if isinstance(window, Window):
            inside[COUNTED] |= yield from _encoded(window.counted, r.counted_of(place))
            inside[QUEUE] |= yield from _encoded(window.queue, r.queue_of(place))
    layered = isinstance(state.windows, Layered)
    for name, new in inside.items():
        found[name] = yield from _written(before, name, new, layered=layered)
    return found


def rebased_state(state: State, stored: State, *, tables: Tables) -> State:
    """``state`` over ``tables``, in which ``stored`` was written, an earlier state of the same log."""
    over: dict[str, Any] = {name: _over(state, stored, name, tables.stored(name)) for name in CODECS}
    windows = _windows_over(state.windows, stored.windows, tables)
    return replace(state, **over, windows=windows, stored_size=stored.size)


def _over(state: State, stored: State, name: str, base: Stored[Any, Any]) -> Table[Any, Any]:
    new, old = getattr(state, name), getattr(stored, name)
    _check_same_base(name, new, old)
    return rebased(new, old, base=base)


def _windows_over(
    new: Table[r.Pair, Window], old: Table[r.Pair, Window], tables: Tables
) -> Table[r.Pair, Window]:
    """Windows that were all rebuilt since stay in memory until they are stored."""
    if not isinstance(new, Layered) and (isinstance(old, Layered) or not set(old) <= set(new)):
        return new
    _check_same_base(WINDOWS, new, old)
    base: Stored[r.Pair, Window] = tables.stored(WINDOWS)
    before: dict[r.Pair, Any] = dict(changes(old))
    top: dict[r.Pair, Any] = {}
    for place, window in changes(new):
        if before.get(place) is not window:
            top[place] = _window_over(cast("Window", window), old.get(place), place, tables)
    return Layered(base, Map(top))


def _window_over(window: Window, old: Window | None, place: r.Pair, tables: Tables) -> Window:
    before = old or Window()
    counted = Stored(r.counted_of(place), tables.read, root=tables.roots[COUNTED])
    queue = Stored(r.queue_of(place), tables.read, root=tables.roots[QUEUE])
    return replace(
        window,
        counted=rebased(window.counted, before.counted, base=counted),
        queue=rebased(window.queue, before.queue, base=queue),
    )


def _check_same_base(name: str, new: Table[Any, Any], old: Table[Any, Any]) -> None:
    roots = [table.base.root if isinstance(table, Layered) else EMPTY for table in (new, old)]
    if roots[0] != roots[1]:
        raise InvariantError(f"table {name} does not stand over what was stored of it: stop and look")


def _stored(table: Table[K, V], before: Tables, name: str, codec: Codec[K, V]) -> Steps[Update]:
    layered = isinstance(table, Layered)
    if isinstance(table, Layered) and table.base.root != before.roots[name]:
        raise InvariantError(f"table {name} stands over another root than the stored one: stop and look")
    records = yield from _encoded(table, codec)
    return (yield from _written(before, name, records, layered=layered))


def _encoded(table: Table[K, V], codec: Codec[K, V]) -> Steps[dict[bytes, bytes | None]]:
    records: dict[bytes, bytes | None] = {}
    for key, value in changes(table):
        records[codec.key(key)] = None if value is GONE else codec.value(cast("V", value))
        yield 1
    return records


def _written(before: Tables, name: str, new: Mapping[bytes, bytes | None], *, layered: bool) -> Steps[Update]:
    root = before.roots[name]
    if layered or root == EMPTY:
        return (yield from updating(before.read, root, changes=new))
    written = yield from updating(before.read, EMPTY, changes=new)
    old = set(page_names(before.read, root))
    same = old & written.added.keys()
    kept = {page: data for page, data in written.added.items() if page not in same}
    return Update(written.root, kept, old - same)


def state_document(state: State) -> dict[str, Json]:
    """All of a state but its tables."""
    return {
        "size": state.size,
        "time_ms": state.time_ms,
        "digest": state.digest.hex(),
        "rules": state.rules,
        "origin": state.origin,
        "roster": _text(state.roster_document),
        "roster_hash": state.roster_hash.hex(),
        "policy": _text(state.policy_document),
        "policy_hash": state.policy_hash.hex(),
        "book": [[*place, label] for place, label in sorted(state.book.items())],
        "pending": [pending_document(change) for change in state.pending],
        "identities": {name: key.hex() for name, key in state.identities.items()},
        "key_owners": [[kind, key.hex(), name] for (kind, key), name in sorted(state.key_owners.items())],
        "frozen": state.frozen,
        "freeze": state.freeze.hex(),
        "keys": [key_document(key) for _, key in sorted(state.keys.items())],
        "bans": [list(ban) for ban in sorted(state.bans)],
        "shreds": [list(shred) for shred in sorted(state.shreds)],
        "owned": [[*place, wallet] for place, wallet in sorted(state.owned.items())],
        "prices": _points(state.prices),
        "lows": _points(state.lows),
        "holdings": [
            [*place, str(one.amount), one.observed_ms, one.size]
            for place, one in sorted(state.holdings.items())
        ],
        "holdings_since": state.holdings_since,
        "statements": state.statements,
        "signed_count": state.signed_count,
    }


def read_state(found: Mapping[str, Any], tables: Tables) -> State:
    """The state of ``state_document`` over its tables."""
    book = Map({(name, address): label for name, address, label in found["book"]})
    policy_document, roster_document = json.loads(found["policy"]), json.loads(found["roster"])
    layers = {name: Layered(tables.stored(name)) for name in (*CODECS, WINDOWS)}
    return State(
        size=found["size"],
        time_ms=found["time_ms"],
        digest=bytes.fromhex(found["digest"]),
        rules=found["rules"],
        origin=found["origin"],
        roster_document=roster_document,
        roster_hash=bytes.fromhex(found["roster_hash"]),
        roster_or_none=parse_roster(roster_document),
        policy_document=policy_document,
        policy_or_none=with_book(parse_policy(policy_document), book),
        policy_hash=bytes.fromhex(found["policy_hash"]),
        book=book,
        book_hash=book_hash(book),
        pending=tuple(map(read_pending, found["pending"])),
        identities=Map({name: bytes.fromhex(key) for name, key in found["identities"].items()}),
        key_owners=Map({(kind, bytes.fromhex(key)): name for kind, key, name in found["key_owners"]}),
        frozen=found["frozen"],
        freeze=bytes.fromhex(found["freeze"]),
        keys=Map({key.key: key for key in map(read_key, found["keys"])}),
        bans=frozenset((key, epoch, by, against) for key, epoch, by, against in found["bans"]),
        shreds=frozenset((key, epoch, by) for key, epoch, by in found["shreds"]),
        owned=Map({(chain, address): wallet for chain, address, wallet in found["owned"]}),
        prices=_read_points(found["prices"]),
        lows=_read_points(found["lows"]),
        holdings=Map({(w, a): Holding(int(amount), *seen) for w, a, amount, *seen in found["holdings"]}),
        holdings_since=found["holdings_since"],
        statements=found["statements"],
        signed_count=found["signed_count"],
        stored_size=found["size"],
        **layers,
    )


def _text(document: Json) -> str:
    """A document as text inside another, which so is nested no deeper for it."""
    return canonical(document).decode()


def _points(prices: Mapping[str, tuple[PricePoint, ...]]) -> Json:
    return {
        asset: [[point.observed_ms, str(point.price)] for point in points] for asset, points in prices.items()
    }


def _read_points(found: Mapping[str, list[tuple[int, str]]]) -> Map[str, tuple[PricePoint, ...]]:
    return Map(
        {asset: tuple(PricePoint(ms, int(price)) for ms, price in points) for asset, points in found.items()}
    )


def pending_document(change: PendingChange) -> Json:
    """A change that waits."""
    return {
        "kind": change.kind,
        "document": _text(change.document),
        "document_hash": change.document_hash.hex(),
        "previous": change.previous.hex(),
        "effective_ms": change.effective_ms,
        "index": change.index,
    }


def read_pending(found: Mapping[str, Any]) -> PendingChange:
    """Read ``pending_document``."""
    return PendingChange(
        kind=found["kind"],
        document=json.loads(found["document"]),
        document_hash=bytes.fromhex(found["document_hash"]),
        previous=bytes.fromhex(found["previous"]),
        effective_ms=found["effective_ms"],
        index=found["index"],
    )


def key_document(key: KeyRecord) -> Json:
    """A key in its epoch."""
    return {
        "key": key.key,
        "epoch": key.epoch,
        "suite": key.suite,
        "imported": key.imported,
        "min_signers": key.min_signers,
        "participants": list(key.participants),
        "group_key": key.group_key.hex(),
        "chain_code": key.chain_code.hex(),
        "public_shares": [share.hex() for share in key.public_shares],
        "transcript": key.transcript.hex(),
        "index": key.index,
    }


def read_key(found: Mapping[str, Any]) -> KeyRecord:
    """Read ``key_document``."""
    return KeyRecord(
        key=found["key"],
        epoch=found["epoch"],
        suite=found["suite"],
        imported=found["imported"],
        min_signers=found["min_signers"],
        participants=tuple(found["participants"]),
        group_key=bytes.fromhex(found["group_key"]),
        chain_code=bytes.fromhex(found["chain_code"]),
        public_shares=tuple(map(bytes.fromhex, found["public_shares"])),
        transcript=bytes.fromhex(found["transcript"]),
        index=found["index"],
    )
