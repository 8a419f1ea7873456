"""Deposits, and what settled last, in the coordinator's database: SQLite and PostgreSQL alike."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from custody.adapters.store import Store
from custody.feeds import DepositAddress, UnknownPosition
from custody.records import Change, DepositRecord, NewRequest
from custody.requests import Event, State

pytest_plugins = ("tests.fixtures_postgres",)
CHAIN, ADDRESS = "evm:1", "0x" + "11" * 20
GIVEN = DepositAddress(CHAIN, ADDRESS, "hot", "m/0/1", "shop", "ann", 5)
PAID = DepositRecord(
    deposit=b"\x07" * 32,
    chain=CHAIN,
    tx=b"\x09" * 64,
    place=2**32 - 1,
    wallet="hot",
    address=ADDRESS,
    asset="eth",
    amount=2**256 - 1,
    block=2**53 - 1,
    gone=False,
    time_ms=6,
    statement=b'{"body":{},"signatures":[]}',
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.take_lease(0, 1_000)
    yield store
    store.close()


def say(store: Store, record: DepositRecord, now_ms: int = 7) -> None:
    assert store.apply(Change(record.deposit, None, deposit=record), now_ms) is None


def test_a_deposit_is_kept_as_stated_last_and_told_each_time(store: Store) -> None:
    store.give_address([GIVEN])
    say(store, PAID)
    say(store, replace(PAID, gone=True, block=8, time_ms=9), 9)

    (found,) = store.deposits("hot", "shop", after=b"", limit=10)
    assert (found.record, found.initiator, found.label) == (
        replace(PAID, gone=True, block=8, time_ms=9),
        "shop",
        "ann",
    )
    told = store.events(0, initiator="shop")
    assert [(one.sequence, one.request, one.time_ms) for one in told] == [
        (1, PAID.deposit, 7),
        (2, PAID.deposit, 9),
    ]
    assert b'"gone":false' in told[0].deposit and b'"gone":true' in told[1].deposit


def test_who_was_given_no_such_address_is_shown_nothing(store: Store) -> None:
    say(store, PAID)

    assert store.deposits("hot", "shop", after=b"", limit=10) == ()
    assert store.events(0, initiator="shop") == ()
    (found,) = store.deposits("hot", "", after=b"", limit=10)
    assert (found.record, found.initiator, found.label) == (PAID, "", "")


def test_deposits_of_a_wallet_come_in_order_after_one(store: Store) -> None:
    ids = [bytes([number]) * 32 for number in (9, 3, 5)]
    for one in ids:
        say(store, replace(PAID, deposit=one))
    say(store, replace(PAID, deposit=b"\x01" * 32, wallet="cold"))

    listed = store.deposits("hot", "", after=ids[0], limit=1)
    assert [one.record.deposit for one in listed] == [ids[1]]
    assert [one.record.deposit for one in store.deposits("hot", "", after=b"", limit=10)] == ids
    with pytest.raises(UnknownPosition):
        store.deposits("hot", "", after=b"\xee" * 32, limit=10)


def test_what_settled_in_the_last_blocks_is_found(store: Store) -> None:
    for number, block in enumerate((10, 290, 299, 300, 0)):
        new = NewRequest(bytes([number]) * 32, "shop", f"key-{number}", b"{}", b"s" * 64, expires_ms=1_000)
        store.submit(new, 5)
        store.apply(Change(new.request, Event.ENTRY_ACCEPTED, {"chain": CHAIN}), 6)
        store.apply(Change(new.request, Event.RESERVATION_LOGGED), 7)
        if block:
            store.apply(Change(new.request, Event.MINED, {"block": block}), 8)

    found = store.settled(CHAIN, 256, states=(State.SETTLED,))
    assert [one.block for one in found] == [290, 299, 300]
    assert store.settled("evm:5", 256, states=(State.SETTLED,)) == ()
    store.apply(Change(found[0].request, Event.UNDONE, {"block": 0}), 9)
    assert [one.block for one in store.settled(CHAIN, 256, states=(State.SETTLED,))] == [299, 300]
