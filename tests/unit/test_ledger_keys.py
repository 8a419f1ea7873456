"""A key's epochs in the log: who must have signed, what never changes, and what an old epoch still may."""

from typing import Any, cast

import pytest

from policy.keys import key_admission_gap
from policy.state import KeyRecord
from policy.suites import FROST_TAPROOT
from tests.simulation.world import DAY_MS, KEY, ORIGIN, Book, World, signatures

WORLD = World(nodes=4, w=4)
NODES = WORLD.nodes


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def record(book: Book) -> KeyRecord:
    return book.state.keys[KEY]


def refresh(book: Book, **changed: Any) -> bool:
    by = changed.pop("by", NODES)
    return book.key(by=by, **{"change": "refresh", "epoch": 1, **changed}).accepted


def reshare(book: Book, **changed: Any) -> bool:
    """A resharing to the first three nodes, dealt by the first and the last."""
    fields = {
        "change": "reshare",
        "epoch": 1,
        "participants": list(NODES[:3]),
        "public_shares": ["02" + "11" * 32] * 3,
        "dealers": [NODES[0], NODES[3]],
    }
    by = changed.pop("by", NODES)
    return book.key(by=by, **{**fields, **changed}).accepted


def wants_three(book: Book) -> None:
    """The policy now wants the key with the first three nodes."""
    wanted = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES[:3])}
    book.change("policy", WORLD.policy(keys={KEY: wanted}))
    book.advance(DAY_MS)
    book.idle()


def test_a_refresh_begins_the_next_epoch(book: Book) -> None:
    before = record(book)

    assert refresh(book, transcript="77" * 32)

    after = record(book)
    assert (after.epoch, after.index, after.transcript) == (1, book.state.size - 1, bytes([0x77] * 32))
    assert (after.group_key, after.chain_code, after.suite) == (
        before.group_key,
        before.chain_code,
        before.suite,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 0},
        {"epoch": 2},
        {"group_key": "02" + "11" * 32},
        {"chain_code": "00" * 32},
        {"min_signers": 3},
        {"participants": list(NODES[:3]), "public_shares": ["02" + "11" * 32] * 3},
        {"dealers": list(NODES[:3])},
        {"public_shares": ["02" + "11" * 32]},
        {"suite": FROST_TAPROOT},
        {"change": "generate"},
        {"change": "import"},
        {"by": NODES[:3]},
        {"origin": "log.example.com/other"},
    ],
)
def test_a_refresh_of_anything_else_is_inert(book: Book, changed: dict[str, Any]) -> None:
    before = record(book)

    assert not refresh(book, **changed)
    assert record(book) == before


def test_a_refresh_is_taken_in_once(book: Book) -> None:
    assert refresh(book)
    assert not refresh(book)
    assert refresh(book, epoch=2)


def test_a_resharing_leads_where_the_policy_in_force_says(book: Book) -> None:
    assert not reshare(book)
    wants_three(book)
    assert key_admission_gap(book.state, record(book)).startswith("the policy wants 2 of node-1")

    assert reshare(book)

    assert record(book).participants == NODES[:3]
    assert key_admission_gap(book.state, record(book)) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"dealers": [NODES[0]]},
        {"dealers": [NODES[0], NODES[1], NODES[3]]},
        {"dealers": [NODES[0], "witness-1"]},
        {"by": NODES[:3]},
        {"by": (NODES[0], NODES[1], NODES[3])},
        {"min_signers": 3},
        {"group_key": "02" + "11" * 32},
    ],
)
def test_a_resharing_needs_its_dealers_and_all_it_deals_to(book: Book, changed: dict[str, Any]) -> None:
    wants_three(book)

    assert not reshare(book, **changed)


def test_a_resharing_lifts_the_bans_of_the_epoch_before(book: Book) -> None:
    wants_three(book)
    book.ban(NODES[0], NODES[1])
    assert book.state.mutual_ban(KEY, 0, signers=NODES[:2])

    assert reshare(book)

    assert not book.state.mutual_ban(KEY, record(book).epoch, signers=NODES[:2])


@pytest.mark.parametrize(("wanted", "change"), [(False, "import"), (True, "generate")])
def test_a_key_comes_about_as_the_policy_says(wanted: bool, change: str) -> None:
    keys = cast("dict[str, Any]", WORLD.policy()["keys"])
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(keys={KEY: {**keys[KEY], "imported": wanted}}))

    dealers = list(NODES) if change == "generate" else []

    assert not book.key(change=change, dealers=dealers).accepted


def test_an_imported_key_is_marked_for_ever() -> None:
    keys = cast("dict[str, Any]", WORLD.policy()["keys"])
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(keys={KEY: {**keys[KEY], "imported": True}}))
    assert book.key(change="import", dealers=[]).accepted
    assert record(book).imported

    assert refresh(book)

    assert record(book).imported


def test_a_key_has_one_name() -> None:
    keys = cast("dict[str, Any]", WORLD.policy()["keys"])
    again = {**keys[KEY], "imported": True}
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(keys={**keys, "again": again}))
    assert book.key().accepted

    assert not book.key(key="again", change="import", dealers=[]).accepted
    assert "one key has one name" in book.last.reason


def test_no_policy_makes_another_suite_of_a_key(book: Book) -> None:
    other = {"suite": FROST_TAPROOT, "min_signers": 2, "participants": list(NODES)}

    book.change("policy", WORLD.policy(keys={KEY: other}, wallets={}, rules=[], limits=[]))

    assert not book.last.accepted


def test_a_policy_that_waited_while_a_key_was_made_otherwise_is_dropped() -> None:
    keys = cast("dict[str, Any]", WORLD.policy()["keys"])
    book = Book(WORLD, start=False)
    book.genesis()
    before = book.state.policy_hash
    book.change("policy", WORLD.policy(keys={KEY: {**keys[KEY], "imported": True}}))
    assert book.last.accepted
    assert book.key().accepted

    book.advance(DAY_MS)
    book.idle()

    assert book.state.policy_hash == before
    assert not book.state.pending


def test_a_reservation_of_an_epoch_that_is_over_is_denied(book: Book) -> None:
    request = book.request(1)
    assert refresh(book)

    book.reserve(request, nonce=0)

    assert book.last.verdict is not None
    assert book.last.verdict.rule == "key-unknown"


def shred(book: Book, *, epoch: int = 0, by: str = NODES[0], signer: str = NODES[0]) -> bool:
    body = {"origin": ORIGIN, "key": KEY, "epoch": epoch, "by": by}
    return book.write("shred", body, signatures=signatures("shred", body, [signer])).accepted


def test_a_shred_receipt_is_for_an_epoch_that_is_over(book: Book) -> None:
    assert not shred(book)
    assert refresh(book)

    assert not shred(book, epoch=1)
    assert not shred(book, signer=NODES[1])
    assert shred(book)
    assert not shred(book)
    assert book.state.shreds == {(KEY, 0, NODES[0])}
