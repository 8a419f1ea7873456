"""What stands on a cold machine's screen before it signs, and what a person must type."""

from typing import Any

import pytest

from policy.state import CANCEL, PAYMENT, JobStatus
from policy.values import replace
from policy.words.units import amount_text, readable_address
from signer_nodes.cold_screen import TYPED_MIN, is_request, job_shown, lines
from tests.simulation.world import Book, World

REQUEST = "4a5b6c7d8e9f0a1b" * 2 + "00" * 16
ROOT = bytes(32)


@pytest.mark.parametrize(
    "typed", [REQUEST, REQUEST[:TYPED_MIN], "4A5B 6c7d 8e9f 0a1b 4a5b 6c7d 8e9f 0a1b", f" {REQUEST[:40]} "]
)
def test_a_person_types_the_id_or_enough_of_it(typed: str) -> None:
    assert is_request(typed, REQUEST)


@pytest.mark.parametrize("typed", ["", "y", "yes", REQUEST[: TYPED_MIN - 1], REQUEST[1:], REQUEST + "0"])
def test_nothing_else_is_a_yes(typed: str) -> None:
    assert not is_request(typed, REQUEST)


@pytest.fixture
def book() -> Book:
    return Book(World())


def screen(book: Book, job: bytes, **changed: Any) -> str:
    return "\n".join(lines(job_shown(book.state, replace(book.state.jobs[job], **changed), root=ROOT)))


def test_amount_and_fee_are_in_the_units_that_people_use(book: Book) -> None:
    request = book.request()
    job = book.reserve(request, nonce=0)
    intent = book.state.requests[request].request.intent
    decimals = book.state.policy.assets[intent.asset].decimals

    text = screen(book, job)

    amount = amount_text(intent.amount, asset=intent.asset, decimals=decimals)
    assert decimals > 0 and f"{amount} to {readable_address(intent.destination)}" in text
    assert request.hex() in text and "A PAYMENT" in text
    assert "signed before" not in text


def test_a_cancellation_says_first_that_it_pays_nobody(book: Book) -> None:
    job = book.reserve(book.request(), nonce=0)

    first = screen(book, job, purpose=CANCEL).splitlines()[0]

    assert "CANCELLATION" in first and "pays nobody" in first
    assert book.state.jobs[job].purpose == PAYMENT


def test_a_replacement_says_that_the_request_was_signed_before(book: Book) -> None:
    request = book.request()
    first = book.reserve(request, nonce=0)
    book.sign(first)
    second = book.reserve(request, nonce=0, fee=20)

    assert book.state.jobs[first].status is JobStatus.SIGNED
    assert "signed before for it: 1" in screen(book, second)


def test_a_payment_to_the_wallet_itself_says_so(book: Book) -> None:
    request = book.request()
    job = book.reserve(request, nonce=0)
    intent = book.state.requests[request].request.intent
    place = (intent.chain, intent.destination)
    own, other = (
        replace(book.state, owned=book.state.owned.set(place, wallet)) for wallet in (intent.wallet, "other")
    )

    text = "\n".join(lines(job_shown(own, own.jobs[job], root=ROOT)))

    assert f"to the wallet itself, at {readable_address(intent.destination)}" in text
    assert "the wallet itself" not in "\n".join(lines(job_shown(other, other.jobs[job], root=ROOT)))
    assert "the wallet itself" not in screen(book, job)
