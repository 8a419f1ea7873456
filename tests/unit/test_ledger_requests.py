"""Requests and approvals in the fold: what is taken in, what stays without effect, and who may say yes."""

from typing import Any

import pytest

from policy.evaluate import Outcome as Answer
from policy.intent import request_id
from policy.values import replace
from tests.simulation.world import (
    CUSTOMER,
    DAY_MS,
    OTHER,
    SANCTIONED,
    STRANGER,
    Book,
    World,
    seed,
)

WORLD = World()


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def large(book: Book, *operators: str, nonce: int = 0, **changed: Any) -> bytes:
    """A request that needs two approvals of treasury, with those of ``operators``."""
    request = book.request(700, **changed)
    for operator in operators:
        book.approve(request, operator, nonce=nonce)
    return request


def rule_of(book: Book) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


def test_an_allowed_request_is_taken_in(book: Book) -> None:
    request = book.request(100)

    assert book.last.accepted
    assert book.state.requests[request].rule == "small"


@pytest.mark.parametrize("to", [SANCTIONED, STRANGER])
def test_a_denied_request_stands_in_the_log_and_takes_nothing(book: Book, to: str) -> None:
    before = book.state
    request = book.request(100, to=to, idempotency_key="once")

    assert not book.last.accepted
    assert rule_of(book) in ("sanctions", "no-rule-matches")
    assert request not in book.state.requests
    assert book.state.idempotency == before.idempotency

    again = book.request(100, idempotency_key="once")

    assert book.last.accepted
    assert book.state.idempotency["desk", "once"] == again


def test_a_request_not_signed_by_its_initiator_takes_nothing(book: Book) -> None:
    for signer in ("backend", "coordinator", "node-1"):
        book.log_request(book.asked(100, idempotency_key="once"), by=signer)

        assert not book.last.accepted
    assert not book.state.requests
    assert not book.state.idempotency


def test_an_idempotency_key_serves_one_request_of_its_initiator(book: Book) -> None:
    first = book.request(100, idempotency_key="once")
    book.request(101, idempotency_key="once")

    assert rule_of(book) == "idempotency-key-taken"

    book.request(100, idempotency_key="once")

    assert rule_of(book) == "request-known"

    book.request(100, idempotency_key="once", initiator="backend")

    assert book.last.accepted
    assert book.state.idempotency["desk", "once"] == first


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"origin": "log.example.com/other"}, "origin-foreign"),
        ({"initiator": "stranger"}, "initiator-unknown"),
        ({"created_ms": 1, "expires_ms": 2}, "request-expired"),
        ({"fee_ceiling": 201}, "fee-ceiling"),
        ({"wallet": "cold"}, "error"),
        ({"asset": "doge"}, "error"),
    ],
)
def test_a_request_outside_the_rules_is_denied(book: Book, changed: dict[str, Any], rule: str) -> None:
    book.request(100, **changed)

    assert not book.last.accepted
    assert rule_of(book) == rule


def test_a_request_expires_at_its_very_millisecond(book: Book) -> None:
    at = book.now_ms
    book.request(100, created_ms=1, expires_ms=at + 1, idempotency_key="later")

    assert book.last.accepted

    book.request(100, created_ms=1, expires_ms=at, idempotency_key="now")

    assert rule_of(book) == "request-expired"


@pytest.mark.parametrize("outcome", ["allow", "deny", "wait"])
@pytest.mark.parametrize("rule", ["small", "large", "daily"])
def test_a_request_whose_claim_differs_is_inert(book: Book, outcome: str, rule: str) -> None:
    request = book.asked(100)
    truth = {"outcome": "allow", "rule": "small"}
    book.log_request(request, claim={"outcome": outcome, "rule": rule})

    assert book.last.accepted == (truth == {"outcome": outcome, "rule": rule})
    assert (request_id(request.body()) in book.state.requests) == book.last.accepted


def test_a_claim_of_consent_to_a_denied_request_is_inert(book: Book) -> None:
    book.log_request(book.asked(100, to=SANCTIONED), claim={"outcome": "allow", "rule": "small"})

    assert not book.last.accepted
    assert not book.state.requests


# Approvals.


def test_a_large_payment_waits_for_its_approvals(book: Book) -> None:
    request = large(book, "alice")

    assert book.state.requests[request].rule == "large"
    book.reserve(request)
    assert book.last.verdict is not None
    assert book.last.verdict.outcome is Answer.WAIT
    assert not book.state.jobs

    book.approve(request, "bob", nonce=0)
    job = book.reserve(request)

    assert book.last.accepted
    assert book.state.jobs[job].anchor == WORLD.slot(0)


def test_one_operator_counts_once(book: Book) -> None:
    request = large(book, "alice", "alice")
    book.reserve(request)

    assert not book.last.accepted


def test_whoever_stands_behind_the_initiator_cannot_approve(book: Book) -> None:
    request = large(book, "carol")

    assert not book.last.accepted
    assert "initiator-cannot-approve" in book.last.reason
    assert book.state.requests[request].approvals == ()


def test_an_operator_of_another_group_does_not_count(book: Book) -> None:
    book.reserve(large(book, "alice", "dave"))

    assert not book.last.accepted


def test_an_approval_is_for_its_slot_alone(book: Book) -> None:
    request = large(book, "alice", "bob", nonce=5)
    book.reserve(request, nonce=4)

    assert not book.last.accepted

    book.reserve(request, nonce=5)

    assert book.last.accepted


def test_an_approval_counts_until_its_very_expiry(book: Book) -> None:
    request = book.request(700, expires_ms=book.now_ms + 2 * DAY_MS)
    book.approve(request, "alice", nonce=0)
    book.approve(request, "bob", nonce=0, expires_ms=book.now_ms + 1000)
    late = book.fork()
    book.advance(999)
    late.advance(1000)
    book.reserve(request)
    late.reserve(request)

    assert book.last.accepted
    assert not late.last.accepted


def test_an_approval_bounds_the_fee(book: Book) -> None:
    request = book.request(700)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, fee_ceiling=20)
    book.reserve(request, fee=21)

    assert not book.last.accepted

    book.reserve(request, fee=20)

    assert book.last.accepted


def test_a_fee_bump_within_the_ceiling_needs_no_new_approval(book: Book) -> None:
    request = large(book, "alice", "bob")
    book.reserve(request, fee=10)
    book.reserve(request, fee=90)

    assert book.last.accepted


def test_an_approval_serves_once(book: Book) -> None:
    request = book.request(700)
    approval = book.approval(request, "alice", nonce=0)
    book.log_approval(approval)
    assert book.last.accepted
    book.log_approval(approval)

    assert not book.last.accepted
    assert "has been used" in book.last.reason


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "log.example.com/other"},
        {"request": seed("another request")},
        {"calldata_hash": bytes(32)},
        {"fee_ceiling": 101},
        {"policy": bytes(32)},
        {"expires_ms": 1},
        {"operator": "eve"},
    ],
)
def test_an_approval_of_something_else_is_inert(book: Book, changed: dict[str, Any]) -> None:
    request = book.request(700)
    approval = replace(book.approval(request, "alice", nonce=0), **changed)
    book.log_approval(approval, passkey="alice")

    assert not book.last.accepted
    assert book.state.requests[request].approvals == ()
    assert approval.approval_id not in book.state.approval_ids


def test_an_approval_of_another_intent_is_inert(book: Book) -> None:
    request = book.request(700)
    other = book.asked(700, to=OTHER).intent
    for intent in (other, book.asked(701, to=CUSTOMER).intent):
        book.approve(
            request, "alice", nonce=0, intent=intent, calldata_hash=intent.calldata_hash(native=True)
        )

        assert not book.last.accepted


def test_an_approval_by_anothers_passkey_is_inert(book: Book) -> None:
    request = book.request(700)
    book.log_approval(book.approval(request, "alice", nonce=0), passkey="bob")

    assert not book.last.accepted
    assert book.state.requests[request].approvals == ()


def test_a_denied_request_cannot_be_approved(book: Book) -> None:
    good = book.request(700)
    approval = replace(book.approval(good, "alice", nonce=0), request=book.request(100, to=SANCTIONED))
    book.log_approval(approval)

    assert not book.last.accepted


# Time.


def test_time_never_goes_back(book: Book) -> None:
    book.request(100)
    time_ms, accepted = book.state.time_ms, book.state
    book.advance(-1)
    book.log_request(book.asked(100), claim={"outcome": "allow", "rule": "small"})

    assert not book.last.accepted
    assert book.state.time_ms == time_ms
    assert book.state.requests == accepted.requests


def test_equal_times_are_in_order(book: Book) -> None:
    book.request(100)
    book.request(100)

    assert book.last.accepted
