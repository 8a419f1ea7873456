"""The history of a destination: each paid request once, added up when its signature is kept."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from custody.adapters.store import Store
from custody.projection import payment_of
from custody.records import Change, PaidTo, SignedTransaction, new_request
from policy.intent import Request
from tests.unit.custody_cluster import ANVIL_CHAIN, PAYEE, make_request


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'custody.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    store.take_lease(0, 1_000)
    yield store
    store.close()


def asked(store: Store, key: str, *, amount: int = 5, asset: str = "eth", by: str = "shop") -> Request:
    found, _, signature = make_request(key, amount=amount, now_ms=1, asset=asset)
    body = found.body()
    assert isinstance(body, dict)
    request = new_request({**body, "initiator": by}, signature)
    store.submit(request, 2)
    return Request(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "initiator": by})


def sign(store: Store, request: Request, *, job: bytes = b"j", signed_ms: int = 10) -> bytes:
    """Keep a signed payment of a request, as the log's signature entry has it kept."""
    stored = new_request(request.body(), bytes(64))
    digest = stored.request
    signed = SignedTransaction(digest[:31] + job, digest, "payment", b"h" * 32, b"raw")
    paid = payment_of(request, signed_ms=signed_ms)
    store.apply(Change(digest, None, transaction=signed, payment=paid), 11)
    return digest


def test_payments_are_counted_by_initiator_and_asset_the_last_first(store: Store) -> None:
    sign(store, asked(store, "1", amount=2**255), signed_ms=10)
    second = sign(store, asked(store, "2", amount=7), signed_ms=20)
    third = sign(store, asked(store, "3", asset="usdc"), signed_ms=30)
    fourth = sign(store, asked(store, "4", by="desk"), signed_ms=15)

    assert store.paid_to(ANVIL_CHAIN, PAYEE) == (
        PaidTo(ANVIL_CHAIN, PAYEE, "usdc", "shop", 1, 5, 30, third),
        PaidTo(ANVIL_CHAIN, PAYEE, "eth", "shop", 2, 2**255 + 7, 20, second),
        PaidTo(ANVIL_CHAIN, PAYEE, "eth", "desk", 1, 5, 15, fourth),
    )
    assert store.paid_to("evm:1", PAYEE) == store.paid_to(ANVIL_CHAIN, "0x" + "99" * 20) == ()


def test_a_request_counts_once_with_all_its_transactions(store: Store) -> None:
    request = asked(store, "1")
    for job in (b"j", b"k", b"j"):
        sign(store, request, job=job)

    (paid,) = store.paid_to(ANVIL_CHAIN, PAYEE)
    assert (paid.payments, paid.total) == (1, 5)


def test_a_log_that_is_read_again_counts_nothing_twice(store: Store) -> None:
    request = asked(store, "1")
    sign(store, request)
    store.set_aside_log(9)
    sign(store, request)

    (paid,) = store.paid_to(ANVIL_CHAIN, PAYEE)
    assert paid.payments == 1


def test_a_database_that_is_older_than_the_history_is_added_up_once(store: Store, url: str) -> None:
    sign(store, asked(store, "1"))
    sign(store, asked(store, "2"))
    with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
        other.execute("DELETE FROM destinations")
    for _ in range(2):
        again = Store(url)
        again.take_lease(10_000, 1_000)
        (paid,) = again.paid_to(ANVIL_CHAIN, PAYEE)
        again.close()

        assert (paid.payments, paid.total) == (2, 10)


def test_a_history_is_found_by_the_index_alone(store: Store, url: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
        query = "EXPLAIN QUERY PLAN SELECT * FROM destinations WHERE chain = ? AND destination = ?"
        plan = other.execute(query, (ANVIL_CHAIN, PAYEE)).fetchall()

    assert all("USING INDEX" in row[3] for row in plan), plan
