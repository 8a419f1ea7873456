"""Limits: each request counts its largest live job, fees included, until a window after it is signed."""

from typing import Any

import pytest

from policy.state import CANCEL
from tests.simulation.world import (
    CANCEL_FEE_MAX,
    CUSTOMER,
    DAY_MS,
    LIMIT,
    OTHER,
    TOKEN_LIMIT,
    Book,
    World,
    limit,
)

WORLD = World()


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def with_limits(*limits: dict[str, Any]) -> Book:
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(limits=list(limits)))
    book.key()
    return book


def rule_of(book: Book) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


def test_the_limit_can_be_used_to_the_last_unit(book: Book) -> None:
    book.pay(590, nonce=0, fee=10)
    book.pay(390, nonce=1, fee=10, fee_ceiling=10)

    assert book.last.accepted
    assert book.used() == LIMIT


def test_one_unit_more_is_denied(book: Book) -> None:
    book.pay(590, nonce=0, fee=10)
    request = book.request(390, fee_ceiling=10)
    book.request(391, fee_ceiling=10)

    assert rule_of(book) == "daily"

    book.reserve(book.request(1, fee_ceiling=0, idempotency_key="x"), nonce=1, fee=0)
    book.reserve(request, nonce=2, fee=10)

    assert rule_of(book) == "daily"
    assert book.used() == 601


def test_a_reservation_counts_before_it_is_signed(book: Book) -> None:
    waiting = [book.request(500), book.request(500)]
    book.reserve(waiting[0], nonce=0)
    book.reserve(waiting[1], nonce=1)

    assert rule_of(book) == "daily"
    assert book.used() == 510


def test_a_request_alone_counts_nothing(book: Book) -> None:
    book.request(500)

    assert book.used() == 0


def test_a_retry_costs_only_what_its_fee_rises(book: Book) -> None:
    request = book.request(500)
    for fee, used in ((10, 510), (30, 530), (20, 530), (100, 600)):
        book.reserve(request, fee=fee)

        assert book.last.accepted
        assert book.used() == used


def test_burning_the_dearest_job_leaves_the_next_dearest(book: Book) -> None:
    request = book.request(500)
    cheap, dear = book.reserve(request, fee=10), book.reserve(request, fee=100)
    book.burn(dear)

    assert book.used() == 510

    book.burn(cheap)

    assert book.used() == 0


def test_a_retry_that_would_exceed_the_limit_is_denied(book: Book) -> None:
    request = book.request(500)
    book.reserve(request, fee=10)
    book.reserve(book.request(380), nonce=1, fee=100)
    book.reserve(request, fee=20)

    assert book.last.accepted

    book.reserve(request, fee=21)

    assert rule_of(book) == "daily"
    assert book.used() == LIMIT


def test_the_window_opens_when_signed_and_ends_to_the_millisecond(book: Book) -> None:
    first, second = (book.request(a, fee_ceiling=10, expires_ms=book.now_ms + 9 * DAY_MS) for a in (590, 400))
    job = book.reserve(first)
    book.advance(5000)
    book.sign(job)
    early = book.fork()
    early.advance(DAY_MS - 1)
    book.advance(DAY_MS)
    early.reserve(second, nonce=1)
    book.reserve(second, nonce=1)

    assert rule_of(early) == "daily"
    assert book.last.accepted
    assert (early.used(), book.used()) == (600, 410)


def test_an_unsigned_job_holds_its_limit_for_ever(book: Book) -> None:
    book.reserve(book.request(590))
    book.advance(100 * DAY_MS)
    book.request(400)

    assert rule_of(book) == "daily"


def test_a_retry_of_a_signed_request_holds_the_limit_anew(book: Book) -> None:
    request = book.request(590, expires_ms=book.now_ms + 9 * DAY_MS)
    book.sign(book.reserve(request))
    book.advance(DAY_MS)
    assert book.used() == 0
    retry = book.reserve(request, fee=20)
    book.advance(3 * DAY_MS)

    assert book.used() == 610

    book.burn(retry)

    assert book.used() == 600
    book.advance(DAY_MS)
    assert book.used() == 0


def test_a_signature_of_an_earlier_job_does_not_start_the_window(book: Book) -> None:
    request = book.request(590)
    first, second = book.reserve(request), book.reserve(request, fee=20)
    book.sign(first)
    book.advance(2 * DAY_MS)

    assert book.used() == 610

    book.sign(second)
    book.advance(DAY_MS)

    assert book.used() == 0


def test_settling_gives_nothing_back(book: Book) -> None:
    book.settle(book.pay(590, nonce=0), success=False)

    assert book.used() == 600


def test_a_cancellation_counts_its_fee_only(book: Book) -> None:
    request = book.request(590)
    book.burn(book.reserve(request))
    book.advance(DAY_MS)
    book.reserve(request, purpose=CANCEL, fee=CANCEL_FEE_MAX)

    assert book.used() == CANCEL_FEE_MAX


def test_a_cancellation_beside_a_live_payment_counts_the_larger(book: Book) -> None:
    request = book.request(590)
    book.reserve(request, fee=10)
    book.advance(DAY_MS)
    cancel = book.reserve(request, purpose=CANCEL, fee=CANCEL_FEE_MAX)

    assert book.last.accepted
    assert book.used() == 600

    book.sign(cancel)
    book.advance(DAY_MS)

    assert book.used() == 0


def test_a_cancellation_is_bounded_by_the_limit_too(book: Book) -> None:
    request = book.request(100)
    book.burn(book.reserve(request))
    book.advance(DAY_MS)
    book.reserve(book.request(590), nonce=1)
    book.reserve(book.request(290, fee_ceiling=80), nonce=2, fee=80)
    book.reserve(request, purpose=CANCEL, fee=31)

    assert rule_of(book) == "daily"

    book.reserve(request, purpose=CANCEL, fee=30)

    assert book.last.accepted


def test_a_tokens_fee_counts_in_the_native_limit(book: Book) -> None:
    book.reserve(book.request(TOKEN_LIMIT, asset="usdc"), fee=70)

    assert book.last.accepted
    assert (book.used("tokens-daily"), book.used()) == (TOKEN_LIMIT, 70)

    book.request(1, asset="usdc")

    assert rule_of(book) == "tokens-daily"


def test_a_denied_reservation_counts_nothing(book: Book) -> None:
    book.reserve(book.request(100), signers=["node-1", "node-9"])

    assert book.used() == 0


@pytest.mark.parametrize("per", ["destination", "initiator"])
def test_scopes_count_apart(per: str) -> None:
    book = with_limits(limit("each", "eth", LIMIT, per=[per]))
    book.pay(590, nonce=0)
    book.pay(590, nonce=1, to=OTHER, initiator="backend")

    assert book.last.accepted
    book.request(590)
    assert rule_of(book) == "each"
    scopes = {"destination": f"destination={CUSTOMER}", "initiator": "initiator=desk"}
    assert book.used("each", scopes[per]) == 600


def test_windows_of_different_lengths_end_apart() -> None:
    book = with_limits(limit("hourly", "eth", 700, window_ms=3_600_000), limit("daily", "eth", 1200))
    book.pay(590, nonce=0)
    book.request(100)
    assert rule_of(book) == "hourly"
    book.advance(3_600_000)
    book.pay(590, nonce=1, fee_ceiling=10)

    assert (book.used("hourly"), book.used("daily")) == (600, 1200)

    book.advance(3_600_000)
    book.request(1, fee_ceiling=0)

    assert rule_of(book) == "daily"
