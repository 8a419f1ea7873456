"""Readings: what a node states of a transaction that nobody has reserved yet."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from policy.encoding import canonical, parse_canonical, statement
from policy.errors import MalformedError
from policy.reading import reading
from policy.roster import verify_statement
from signer_nodes.api import node_pb2 as pb
from tests.simulation.node_faults import CALLER, ME, Machine
from tests.simulation.world import CHAIN, CUSTOMER, OTHER, PAIR, STRANGER, Book, World, public_key, unsigned
from tests.unit.test_ledger_calls import DEPOSITS, VAULT, ask, book_with, deposit

WORLD = World()
ROOT = bytes(range(32))


def read(book: Book, request: bytes, **changed: Any) -> Any:
    body = book.reservation(request, **changed)
    return reading(book.state, body, node="node-1", root=ROOT, time_ms=book.now_ms)


def test_a_reading_says_what_the_bytes_do_and_the_verdict_at_this_place_of_the_log() -> None:
    book = Book(WORLD)
    request = book.request(100)
    tx = unsigned(CUSTOMER, 100, nonce=3, fee=10)
    found = read(book, request, tx=tx)

    assert found["decoded"].pop("slot")["nonce"] == "3"
    assert found["decoded"] == {"asset": "eth", "destination": CUSTOMER, "amount": "100", "fee_max": "10"}
    assert (found["verdict"]["outcome"], found["request"]) == ("allow", request.hex())
    assert found["tx"] == sha256(tx).hexdigest()
    assert found["log"] == {"size": book.state.size, "root": ROOT.hex()}
    assert found["policy"] == book.state.policy_hash.hex()


def test_a_reading_says_what_the_bytes_do_though_it_is_not_what_was_asked() -> None:
    book = Book(WORLD)
    found = read(book, book.request(100), tx=unsigned(OTHER, 99, nonce=3, fee=10))

    assert (found["decoded"]["destination"], found["decoded"]["amount"]) == (OTHER, "99")
    assert (found["verdict"]["outcome"], found["verdict"]["rule"]) == ("deny", "intent-mismatch")


def test_a_call_is_read_with_the_hash_of_its_data() -> None:
    book = book_with(DEPOSITS)
    data = deposit()
    found = read(book, ask(book, data, value=7), tx=unsigned(VAULT, 7, nonce=0, fee=10, data=data))

    assert found["decoded"]["calldata_sha256"] == sha256(data).hexdigest()
    assert (found["decoded"]["destination"], found["decoded"]["amount"]) == (VAULT, "7")
    assert "asset" not in found["decoded"]


def test_bytes_that_cannot_be_read_are_said_to_be_unreadable() -> None:
    book = Book(WORLD)
    found = read(book, book.request(100), tx=b"\x02\xff")

    assert list(found["decoded"]) == ["unreadable"]
    assert found["verdict"]["outcome"] == "deny"


def test_a_request_that_the_log_does_not_have_is_read_as_nothing() -> None:
    book = Book(WORLD)
    found = read(book, bytes(32), tx=unsigned(CUSTOMER, 1, nonce=0, fee=1))

    assert found["decoded"] == {"unreadable": "no admitted request has this id"}
    assert found["verdict"]["rule"] == "request-unknown"


def test_who_can_sign_together_is_no_part_of_what_a_payment_does() -> None:
    book = Book(WORLD)
    request = book.request(100)
    before = read(book, request, tx=unsigned(CUSTOMER, 100, nonce=3, fee=10))["verdict"]
    a, b = PAIR
    book.ban(a, b)
    book.ban(b, a)

    assert read(book, request, tx=unsigned(CUSTOMER, 100, nonce=3, fee=10))["verdict"] == before


async def test_a_node_signs_what_it_finds_and_nothing_comes_of_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    request = machine.book.request(100)
    await machine.send(machine.book)
    node = await machine.up()
    head = await node.head(CALLER, pb.HeadQuery())
    body = machine.book.reservation(request, tx=unsigned(STRANGER, 100, nonce=3, fee=10))
    reply = await node.read(CALLER, pb.Read(reservation=canonical(body)))
    found: Any = parse_canonical(reply.body, bytes_max=10_000)

    verify_statement("reading", found, key=public_key(ME), signature=reply.signature, signer=ME)
    assert found["decoded"]["destination"] == STRANGER
    assert found["decoded"]["slot"]["chain"] == CHAIN
    assert found["log"] == {
        "size": len(machine.book.entries),
        "root": machine.book.frontier.root().hex(),
    }
    assert await node.head(CALLER, pb.HeadQuery()) == head
    assert machine.store is not None
    assert machine.store.marks() == []
    assert statement("reading", found).startswith(b"quorumkeep/v1 reading\n")


@pytest.mark.parametrize("reservation", [b"", b"{}", b'"x"', b"\xff" * 100, b"[" * 10**6])
async def test_a_node_refuses_to_read_what_is_no_reservation(tmp_path: Path, reservation: bytes) -> None:
    node = await Machine(tmp_path, Book(WORLD)).up()

    with pytest.raises(MalformedError):
        await node.read(CALLER, pb.Read(reservation=reservation))
