"""Which transaction may be signed: one anchor a request, proofs of release, retries, cancellations."""

from typing import Any

import pytest

from policy.intent import request_id
from policy.state import CANCEL, JobStatus
from policy.values import replace
from tests.simulation.world import (
    CANCEL_FEE_MAX,
    CUSTOMER,
    DAY_MS,
    OTHER,
    PAIR,
    TOKEN,
    Book,
    World,
    seed,
    signatures,
    unsigned,
)

WORLD = World()
PRESIGNATURE = [seed("one presignature").hex()]


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def rule_of(book: Book) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


def expired(book: Book, **changed: Any) -> bytes:
    """A request with one reserved job, past its expiry."""
    request = book.request(100, **changed)
    book.reserve(request)
    book.advance(DAY_MS)
    return request


# Anchors.


def test_a_request_has_one_anchor(book: Book) -> None:
    request = book.request(100)
    book.reserve(request, nonce=3)
    assert book.last.accepted
    book.reserve(request, nonce=4)

    assert rule_of(book) == "anchor-changed"

    book.reserve(request, nonce=3)

    assert book.last.accepted


def test_another_account_is_another_anchor(book: Book) -> None:
    request = book.request(100)
    book.reserve(request, nonce=3)
    book.reserve(request, nonce=3, paths=["m/0/1"])

    assert rule_of(book) == "anchor-changed"

    book.reserve(book.request(100), nonce=3, paths=["m/0/1"])

    assert book.last.accepted


def test_an_anchor_serves_one_request(book: Book) -> None:
    book.reserve(book.request(100), nonce=3)
    book.reserve(book.request(100), nonce=3)

    assert rule_of(book) == "anchor-taken"


def test_burns_release_the_limit_but_never_the_anchor(book: Book) -> None:
    request = book.request(100)
    book.burn(book.reserve(request, nonce=3))

    assert book.used() == 0

    book.reserve(book.request(100), nonce=3)

    assert rule_of(book) == "anchor-taken"

    book.reserve(request, nonce=4)

    assert rule_of(book) == "anchor-changed"


def test_an_inert_reservation_takes_no_anchor_presignature_or_job(book: Book) -> None:
    request, before = book.request(100), book.state
    job = book.log_reservation(
        book.reservation(request, nonce=3, presignatures=PRESIGNATURE, signers=["node-1", "node-4"])
    )
    book.log_reservation(
        book.reservation(request, nonce=3, presignatures=PRESIGNATURE),
        claim={"outcome": "deny", "rule": "small"},
    )

    assert not book.last.accepted
    assert job not in book.state.jobs
    assert (book.state.anchors, book.state.presignatures) == (before.anchors, before.presignatures)
    assert book.state.requests[request].anchor is None

    book.reserve(book.request(100), nonce=3, presignatures=PRESIGNATURE)

    assert book.last.accepted


# What the bytes must be.


@pytest.mark.parametrize(
    ("tx", "rule"),
    [
        (unsigned(OTHER, 100, nonce=0, fee=10), "intent-mismatch"),
        (unsigned(CUSTOMER, 101, nonce=0, fee=10), "intent-mismatch"),
        (unsigned(TOKEN, 0, nonce=0, fee=10, data=b"\xa9\x05\x9c\xbb"), "undecodable"),
        (unsigned(CUSTOMER, 100, nonce=0, fee=10, chain_id=2), "undecodable"),
        (unsigned(CUSTOMER, 100, nonce=0, fee=101), "fee-ceiling"),
        (unsigned(CUSTOMER, 0, nonce=0, fee=10), "undecodable"),
        (b"\x02", "undecodable"),
        (b"", "undecodable"),
    ],
)
def test_bytes_that_do_anything_else_are_not_reserved(book: Book, tx: bytes, rule: str) -> None:
    body = book.reservation(book.request(100))
    book.log_reservation({**body, "tx": tx.hex()})

    assert not book.last.accepted
    assert rule_of(book) == rule


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"request": seed("unknown").hex()}, "request-unknown"),
        ({"key": "other"}, "source-foreign"),
        ({"paths": ["m/0/2"]}, "source-foreign"),
        ({"paths": ["m/0/0/"]}, "source-foreign"),
        ({"paths": ["m/0/0", "m/0/2"]}, "source-foreign"),
        ({"paths": ["m/0/0", "m/0/1"]}, "presignatures-invalid"),
        ({"paths": ["m/0/0"] * 2, "presignatures": ["11" * 32, "11" * 32]}, "presignatures-invalid"),
        ({"paths": ["m/0/0"] * 2, "presignatures": ["11" * 32, "22" * 32]}, "undecodable"),
        ({"epoch": 1}, "key-unknown"),
        ({"signers": ["node-2", "node-1"]}, "signers-invalid"),
        ({"signers": ["node-1", "witness-1"]}, "signers-invalid"),
        ({"signers": ["node-1", "node-2", "node-3"]}, "signers-invalid"),
        ({"presignatures": []}, "presignatures-invalid"),
        ({"presignatures": ["11" * 32, "22" * 32]}, "presignatures-invalid"),
        ({"presignatures": ["11" * 32, "11" * 32]}, "presignatures-invalid"),
    ],
)
def test_a_reservation_outside_the_rules_is_denied(book: Book, changed: dict[str, Any], rule: str) -> None:
    book.log_reservation({**book.reservation(book.request(100)), **changed})

    assert not book.last.accepted
    assert rule_of(book) == rule


def test_only_the_account_that_a_request_names_pays_it(book: Book) -> None:
    for source, rule in (("m/0/1", "source-foreign"), ("m/0/0", "small")):
        asked = book.asked(100)
        request = replace(asked, intent=replace(asked.intent, source=source))
        book.log_request(request)
        book.log_reservation(book.reservation(request_id(request.body())))

        assert rule_of(book) == rule
        assert book.last.accepted == (source == "m/0/0")


def test_a_claim_that_differs_is_inert(book: Book) -> None:
    body = book.reservation(book.request(100))
    for claim in ({"outcome": "allow", "rule": "large"}, {"outcome": "wait", "rule": "small"}):
        book.log_reservation(body, claim=claim)

        assert not book.last.accepted
    assert not book.state.jobs


def test_a_presignature_serves_one_job(book: Book) -> None:
    first = book.request(100)
    book.burn(book.reserve(first, nonce=0, presignatures=PRESIGNATURE))
    for request, nonce in ((first, 0), (book.request(100), 1)):
        book.reserve(request, nonce=nonce, presignatures=PRESIGNATURE)

        assert rule_of(book) == "presignature-used"


@pytest.mark.parametrize(("by", "against"), [("node-1", "node-2"), ("node-2", "node-1")])
def test_banned_pairs_are_not_reserved(book: Book, by: str, against: str) -> None:
    book.ban(by, against)
    request = book.request(100)
    book.reserve(request, signers=["node-1", "node-2"])

    assert rule_of(book) == "signers-banned"

    book.reserve(request, signers=["node-1", "node-3"])

    assert book.last.accepted


def test_a_ban_is_the_word_of_the_node_itself(book: Book) -> None:
    for by, against, signer in (
        ("node-1", "node-2", "node-2"),
        ("node-1", "node-2", "ada"),
        ("node-1", "node-1", "node-1"),
        ("witness-1", "node-1", "witness-1"),
    ):
        book.ban(by, against, signer=signer)

        assert not book.last.accepted
    assert not book.state.bans


# Signatures.


def test_a_signature_must_be_the_jobs_own(book: Book) -> None:
    first, second = (book.reserve(book.request(100), nonce=nonce) for nonce in (0, 1))
    foreign = WORLD.signature(book.state.jobs[second])
    own = WORLD.signature(book.state.jobs[first])
    high_s = own[:32] + (2**256 - 2**32 - int.from_bytes(own[32:64], "big")).to_bytes(32, "big") + own[64:]
    for wrong in (
        foreign,
        own[:64] + b"\x04",
        own[:64] + bytes([own[64] ^ 1]),
        high_s,
        bytes(65),
        b"\xff" * 65,
    ):
        book.write("signature", {"job": first.hex(), "index": 0, "signature": wrong.hex()})

        assert not book.last.accepted
    book.write("signature", {"job": first.hex(), "index": 1, "signature": own.hex()})

    assert not book.last.accepted

    book.sign(first)

    assert book.last.accepted
    assert book.state.jobs[first].status is JobStatus.SIGNED


def test_a_job_is_signed_once(book: Book) -> None:
    job = book.pay(nonce=0)
    book.sign(job, nonce=77)

    assert not book.last.accepted


def test_a_repeated_nonce_is_not_taken_in(book: Book) -> None:
    first, second = (book.reserve(book.request(100), nonce=nonce) for nonce in (0, 1))
    book.sign(first, nonce=12345)
    book.sign(second, nonce=12345)

    assert not book.last.accepted
    assert "repeats a nonce" in book.last.reason
    assert book.state.jobs[second].status is JobStatus.RESERVED


# Burns.


@pytest.mark.parametrize(
    "by", [[], ["node-1"], ["node-1", "node-3"], ["node-1", "node-2", "node-3"], ["ada"]]
)
def test_a_job_is_released_only_by_the_word_of_all_its_signers(book: Book, by: list[str]) -> None:
    job = book.reserve(book.request(100))
    book.burn(job, by=by)

    assert not book.last.accepted
    assert book.used() == 110

    book.burn(job, by=PAIR)

    assert book.last.accepted
    assert book.used() == 0


def test_a_job_is_never_released_by_the_clock(book: Book) -> None:
    book.reserve(book.request(100))
    book.advance(1000 * DAY_MS)
    book.idle()

    assert book.used() == 110


def test_a_signed_job_cannot_be_burned_nor_a_burned_one_signed(book: Book) -> None:
    signed = book.pay(nonce=0)
    book.burn(signed)

    assert not book.last.accepted

    burned = book.reserve(book.request(100), nonce=1)
    book.burn(burned)
    book.sign(burned)

    assert not book.last.accepted
    assert book.state.jobs[burned].status is JobStatus.BURNED


def test_burn_statements_are_for_one_log(book: Book) -> None:
    job = book.reserve(book.request(100))
    body = {"origin": "log.example.com/other", "job": job.hex()}

    book.write("burn", body, signatures=signatures("burn", body, PAIR))

    assert not book.last.accepted


# Settling.


def test_settled_closes_the_request_and_gives_nothing_back(book: Book) -> None:
    job = book.pay(nonce=0)
    request = book.state.jobs[job].request_id
    book.settle(job, success=False)

    assert book.last.accepted
    assert book.state.requests[request].closed
    assert book.used() == 110

    book.reserve(request)

    assert rule_of(book) == "request-closed"

    book.settle(job)

    assert not book.last.accepted


def test_only_a_signed_job_of_the_request_settles_it(book: Book) -> None:
    job = book.reserve(book.request(100), nonce=0)
    book.settle(job)

    assert not book.last.accepted

    signed = book.pay(nonce=1)
    book.settle(signed, request=book.state.jobs[job].request_id.hex())

    assert not book.last.accepted

    book.settle(signed, by=["eve"])

    assert not book.last.accepted

    book.settle(signed, by=["oskar", "olga"])

    assert book.last.accepted


# Cancellations.


def test_an_expired_requests_anchor_can_be_closed_without_approval(book: Book) -> None:
    request = expired(book)
    cancel = book.reserve(request, purpose=CANCEL)

    assert book.last.accepted
    assert rule_of(book) == "cancel"
    assert book.state.jobs[cancel].anchor == WORLD.slot(0)


def test_a_request_that_can_still_be_paid_is_not_cancelled(book: Book) -> None:
    request = book.request(100)
    book.reserve(request)
    book.reserve(request, purpose=CANCEL)

    assert rule_of(book) == "cancel-too-early"


def test_an_expired_request_is_not_paid(book: Book) -> None:
    book.reserve(expired(book))

    assert rule_of(book) == "request-expired"


def test_what_has_neither_a_transaction_nor_an_approval_has_nothing_to_cancel(book: Book) -> None:
    waiting = book.request(700)
    book.advance(DAY_MS)
    book.reserve(waiting, purpose=CANCEL, nonce=9)

    assert rule_of(book) == "cancel-without-anchor"
    assert WORLD.slot(9) not in book.state.anchors


def test_a_slot_that_an_approval_of_the_request_names_can_be_cancelled(book: Book) -> None:
    waiting = book.request(700)
    book.approve(waiting, "bob", nonce=9)
    book.advance(DAY_MS)
    cancel = book.reserve(waiting, purpose=CANCEL, nonce=9)

    assert rule_of(book) == "cancel"
    assert book.state.jobs[cancel].anchor == WORLD.slot(9)


def test_an_approval_lets_no_other_slot_be_cancelled(book: Book) -> None:
    waiting, other = book.request(700), book.request(701)
    book.approve(waiting, "bob", nonce=9)
    book.approve(other, "bob", nonce=10)
    book.advance(DAY_MS)
    book.reserve(waiting, purpose=CANCEL, nonce=10)

    assert rule_of(book) == "cancel-without-anchor"
    assert WORLD.slot(10) not in book.state.anchors


def test_a_cancellation_uses_the_requests_own_anchor(book: Book) -> None:
    book.reserve(expired(book), purpose=CANCEL, nonce=1)

    assert rule_of(book) == "anchor-changed"


@pytest.mark.parametrize(
    ("tx", "rule"),
    [
        (unsigned(CUSTOMER, 0, nonce=0, fee=10), "undecodable"),
        (unsigned(WORLD.account(), 1, nonce=0, fee=10), "undecodable"),
        (unsigned(WORLD.account(), 0, nonce=0, fee=10, data=b"\x01"), "undecodable"),
        (unsigned(WORLD.account("m/0/1"), 0, nonce=0, fee=10), "undecodable"),
        (unsigned(WORLD.account(), 0, nonce=0, fee=CANCEL_FEE_MAX + 1), "fee-ceiling"),
    ],
)
def test_a_cancellation_moves_nothing_and_has_a_fee_ceiling(book: Book, tx: bytes, rule: str) -> None:
    book.reserve(expired(book), purpose=CANCEL, tx=tx)

    assert rule_of(book) == rule


def test_a_settled_request_is_not_cancelled(book: Book) -> None:
    job = book.pay(nonce=0)
    book.settle(job)
    book.advance(DAY_MS)
    book.reserve(book.state.jobs[job].request_id, purpose=CANCEL)

    assert rule_of(book) == "request-closed"


# Keys.


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "log.example.com/other"},
        {"key": "unknown"},
        {"epoch": 1},
        {"min_signers": 3},
        {"participants": ["node-2", "node-1", "node-3"]},
        {"public_shares": []},
    ],
)
def test_a_key_that_is_not_the_policys_is_inert(changed: dict[str, Any]) -> None:
    book = Book(WORLD, start=False)
    book.genesis()
    book.key(**changed)

    assert not book.last.accepted


@pytest.mark.parametrize("by", [["node-1", "node-2"], ["node-1", "node-2", "witness-1"]])
def test_a_key_needs_the_word_of_all_its_participants(by: list[str]) -> None:
    book = Book(WORLD, start=False)
    book.genesis()
    book.key(by=by)

    assert not book.last.accepted


def test_a_key_is_taken_in_once(book: Book) -> None:
    book.key(group_key=WORLD.group_key.hex())

    assert not book.last.accepted
