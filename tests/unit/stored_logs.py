"""Logs that between them hold every kind of entry, taken in and inert: what a stored state must stand for."""

from collections.abc import Callable, Iterator
from typing import Any

from policy.encoding import Json
from policy.entries import parse_entry
from policy.state import CANCEL, State
from policy.stored.pages import checked
from policy.stored.states import NO_TABLES, Tables, store_tables
from tests.simulation.deposits import deposit
from tests.simulation.world import (
    ADMINISTRATORS,
    CUSTOMER,
    DAY_MS,
    KEY,
    OBSERVERS,
    ORIGIN,
    OTHER,
    SANCTIONED,
    STRANGER,
    Book,
    World,
    limit,
    signatures,
)
from tests.unit.schnorr_house import NONCE, SchnorrBook
from tests.unit.tier_house import TierBook, level
from tests.unit.tier_house import tiered as tiered_policy

HOUR_MS = 3_600_000
PRICES = {"unit": "usd", "decimals": 2, "max_age_ms": 7 * DAY_MS}
FOUR = World(nodes=4, w=4)


def kinds(book: Book) -> set[type]:
    """The kinds of entries that a log has taken in, and those it found inert."""
    taken = zip(book.entries, book.outcomes, strict=True)
    return {type(parse_entry(entry).entry) for entry, outcome in taken if outcome.kind != "malformed"}


def everyday() -> Book:
    """Payments of all fates under limits of every scope, with what people and observers say of them."""
    book = Book(World(), start=False)
    limits = [
        limit("daily", "eth", 100_000),
        limit("each", "eth", 50_000, per=["destination"]),
        {"name": "count", "window_ms": 2 * HOUR_MS, "per": ["initiator"], "count_max": 50},
        {"name": "worth", "window_ms": DAY_MS, "per": [], "value_max": str(10**9)},
    ]
    book.genesis(policy=book.world.policy(prices=PRICES, limits=limits))
    book.key()
    book.price(2500_00)
    first = book.pay(100, nonce=0)
    book.settle(first)
    book.settle(first, by=OBSERVERS)
    for turn in (0, 1, 2, 2):
        deposit(book, turn)
    again = book.request(200, to=OTHER)
    book.screen(again)
    book.burn(book.reserve(again, nonce=1))
    second = book.reserve(again, nonce=1, fee=20)
    book.reserve(again, nonce=1, fee=30)
    book.sign(second)
    book.sign(second)
    large = book.request(5_000)
    for operator in ("alice", "bob"):
        book.approve(large, operator, nonce=2)
    book.approve(large, "alice", nonce=2)
    book.sign(book.reserve(large, nonce=2))
    stopped = book.request(5_000)
    book.approve(stopped, "alice", nonce=3)
    book.reject(stopped, by="bob")
    book.reserve(stopped, nonce=3, purpose=CANCEL)
    book.request(10, to=SANCTIONED)
    book.append(b"{}")
    book.advance(3 * HOUR_MS)
    book.pay(300, nonce=4, to=OTHER)
    book.price(2600_00)
    book.price(2400_00)
    open_one = book.reserve(book.request(400), nonce=5)
    book.request(100, asset="usdc")
    book.advance(DAY_MS)
    book.pay(500, nonce=6)
    book.burn(open_one)
    _said(book)
    return book


def _said(book: Book) -> None:
    """What is in the log only to be read."""
    body: dict[str, Json] = {"origin": ORIGIN, "by": "desk", "about": "eth", "text": "no news", "noted_ms": 1}
    book.write("note", body, signatures=signatures("note", body, ["desk"]))
    record: dict[str, Json] = {
        "origin": ORIGIN,
        "ceremony": "c0" * 32,
        "key": KEY,
        "nodes": ["node-1", "node-2"],
        "began_ms": 1,
        "ended_ms": 2,
        "outcome": "made",
        "checklist": ["the seals were whole"],
        "witnesses": [{"name": "alice", "role": "conductor"}],
    }
    book.write("ceremony", record, signatures=signatures("ceremony", record, ["alice"]))


def governed() -> Book:
    """A log whose rules, lists and people change while payments and approvals are open."""
    book = Book(World(), start=False)
    lists = {
        "customers": {"addresses": [CUSTOMER, OTHER, SANCTIONED], "quorum": 1, "cool_down_ms": HOUR_MS},
        "sanctioned": [SANCTIONED],
    }
    book.genesis(policy=book.world.policy(lists=lists, limits=[limit("daily", "eth", 100_000)]))
    book.key()
    book.pay(100, nonce=0)
    approved = book.request(5_000)
    book.approve(approved, "alice", nonce=1)
    book.approve(approved, "bob", nonce=1)
    book.list_address("add", STRANGER)
    book.list_address("remove", OTHER)
    book.advance(HOUR_MS)
    book.pay(100, nonce=2, to=STRANGER)
    book.list_address("add", OTHER)
    held = book.reserve(book.request(200), nonce=3)
    vetoed = book.change("policy", book.world.policy(name="vetoed"))
    book.order("veto", vetoed)
    wider = [
        limit("weekly", "eth", 90_000, window_ms=7 * DAY_MS),
        limit("each", "eth", 9_000, per=["initiator"]),
    ]
    book.change("policy", book.world.policy(name="second", lists=lists, limits=wider))
    roster = book.world.roster()
    roster["operators"] = [one for one in _list(roster["operators"]) if one["name"] != "bob"]
    book.change("roster", roster)
    book.advance(DAY_MS)
    book.pay(300, nonce=4)
    book.approve(approved, "alice", nonce=1)
    book.sign(held)
    frozen = book.order("freeze", bytes(32))
    book.reserve(book.request(100), nonce=8)
    book.order("unfreeze", frozen.subject, by=ADMINISTRATORS[:2])
    book.ban("node-1", "node-3")
    book.version(2, by=["node-1"])
    _forked(book)
    book.change("policy", book.world.policy(name="third", lists=lists, limits=wider))
    book.change("policy", book.world.policy(name="waits"))
    book.advance(DAY_MS)
    book.pay(500, nonce=5)
    return book


def keyed() -> Book:
    """A key through its epochs."""
    book, nodes = Book(FOUR), FOUR.nodes
    book.pay(100, nonce=0)
    book.key(by=nodes, change="refresh", epoch=1)
    for node in nodes[:2]:
        body: Json = {"origin": ORIGIN, "key": KEY, "epoch": 0, "by": node}
        book.write("shred", body, signatures=signatures("shred", body, [node]))
    book.reserve(book.request(100), nonce=1)
    book.sign(book.reserve(book.request(100), nonce=1, epoch=1))
    return book


def tiered() -> TierBook:
    """Moves between tiers, and what observers state of the wallets while some of them are pending."""
    book = TierBook(hot={"maximum": level(900, eth=150)}, cold={"share_min_bp": 100})
    book.state_price()
    book.state_all(100, 300, 600)
    first = book.move(30, "hot", "cold")
    book.sign(book.take(first))
    second = book.move(20, "warm", "hot")
    book.agree(second)
    burned = book.take(second)
    book.state_holdings("hot", 60, pending=[second])
    book.state_holdings("cold", 630)
    book.state_holdings("cold", 630, size=0)
    book.burn(burned)
    book.sign(book.take(second, nonce=0, fee=20))
    book.state_price(2)
    book.state_holdings("warm", 280)
    book.move(200, "warm", "hot")
    book.change("policy", tiered_policy(book.world, name="second"))
    book.advance(DAY_MS)
    book.take(book.move(10, "hot", "cold"))
    book.state_holdings("hot", 70)
    return book


def schnorr() -> SchnorrBook:
    """Jobs of several signatures, on chains of other families."""
    book = SchnorrBook(World())
    settled = book.solana(book.ask("sol", 1_000))
    book.finish(settled)
    book.settle(settled, tx_hash=book.state.jobs[settled].signatures[0].hex())
    request = book.ask("sol", 1_000)
    book.solana(request, nonce=NONCE[::-1], price=1)
    book.solana(request, nonce=NONCE[::-1], price=2)
    job = book.bitcoin(book.ask("btc", 10_000))
    book.finish(job, 0)
    book.finish(job, 1)
    book.bitcoin(book.ask("btc", 10_000), first=7)
    return book


LOGS: dict[str, Callable[[], Book]] = {
    "everyday": everyday,
    "governed": governed,
    "keyed": keyed,
    "schnorr": schnorr,
    "tiered": tiered,
}


class Pages:
    """Pages in memory, as a disk has them; counts what is read."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.reads = 0

    def read(self, name: bytes) -> bytes:
        self.reads += 1
        return checked(name, self.pages.get(name))

    def stored(self, state: State, before: Tables | None = None) -> Tables:
        """The tables of a state, written here; what they replace is gone at once."""
        before = before or Tables(self.read, NO_TABLES)
        updates = store_tables(state, before)
        for update in updates.values():
            for name in update.retired:
                del self.pages[name]
            self.pages |= update.added
        return Tables(self.read, {name: update.root for name, update in updates.items()})


def _forked(book: Book) -> None:
    body: Json = {
        "origin": ORIGIN,
        "size": 2,
        "root": book.past[2][1].root().hex(),
        "abandoned": [],
    }
    book.write("fork", body, signatures=signatures("fork", body, ADMINISTRATORS[:2]), burns=[])


def _list(found: Any) -> Iterator[dict[str, Any]]:
    yield from found
