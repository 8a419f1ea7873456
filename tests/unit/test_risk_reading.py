"""What a scoring observer reads from a log, and that whoever has the log comes to the same."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody.risk.reading import Reader, Scored, Stated
from policy.audit import audit
from policy.encoding import Json
from policy.entries import make_entry, parse_entry
from policy.errors import MalformedError
from policy.fact_entries import Basis, ScreeningEntry
from policy.intent import request_id
from tests.simulation.world import (
    CUSTOMER,
    DAY_MS,
    ORIGIN,
    OTHER,
    SANCTIONED,
    STRANGER,
    Book,
    World,
    signatures,
)
from tests.unit.test_audit import published

WORLD = World()
LIST = bytes(range(32))


def read(book: Book) -> tuple[Reader, dict[bytes, Scored], list[Stated]]:
    """The log of a book, from its files."""
    reader, scored, stated = Reader(), dict[bytes, Scored](), list[Stated]()

    def hear(step: Any) -> None:
        match reader.hear(step):
            case Scored() as one:
                scored[one.ask.request] = one
            case Stated() as one:
                stated.append(one)
            case None:
                pass

    report = audit(published(book).get, trust=None, progress=lambda done, total: None, watch=hear)
    assert report.ok
    return reader, scored, stated


def paying(days: int) -> Book:
    """A desk that pays the customer every day."""
    book = Book(WORLD)
    for nonce in range(days):
        book.pay(90 + nonce % 5, nonce=nonce)
        book.advance(DAY_MS)
    return book


def points(book: Book, request: bytes) -> dict[str, int]:
    return dict(read(book)[1][request].score.points)


def test_what_was_signed_is_usual_and_what_was_only_asked_for_is_not() -> None:
    asked, paid = Book(WORLD), paying(10)
    for _ in range(10):
        asked.request(90)
        asked.advance(DAY_MS)

    assert points(paid, paid.request(91)) == {}
    assert points(asked, asked.request(91)) == {"first-use": 10, "amount": 10}


def test_a_score_follows_from_the_entries_before_it_alone() -> None:
    book = paying(9)
    request = book.request(500, to=OTHER)
    before = read(book)[1][request]
    for nonce in range(9, 20):
        book.pay(500, nonce=nonce, to=OTHER)
        book.advance(DAY_MS)

    assert before.score.points
    assert read(book)[1][request] == before


@pytest.mark.parametrize("stopped", ["denied", "rejected"])
def test_a_request_that_was_refused_counts_against_who_asked(stopped: str) -> None:
    book = paying(10)
    if stopped == "denied":
        book.request(100, to=SANCTIONED)
    else:
        book.reject(book.request(100), by="alice")

    assert points(book, book.request(91))["failed"] == 10


def test_a_no_of_the_initiator_itself_is_no_failure() -> None:
    book = paying(10)
    book.reject(book.request(100), by="desk")

    assert "failed" not in points(book, book.request(91))


def test_nobody_can_make_another_one_fail() -> None:
    book = paying(10)
    book.log_request(book.asked(100, to=SANCTIONED), by="backend")
    book.log_request(book.asked(100, to=STRANGER), claim={"outcome": "deny", "rule": "made-up"})

    assert not any(outcome.accepted for outcome in book.outcomes[-2:])
    assert "failed" not in points(book, book.request(91))


def test_a_list_that_a_rule_asks_for_names_its_addresses_and_one_that_is_forbidden_does_not() -> None:
    found = {"lists": {"customers": [CUSTOMER], "odd": [OTHER]}, "forbids": []}
    rules: Json = [{"name": "any", "when": {"assets": ["eth"]}, "then": {"outcome": "allow"}}]
    named: Json = [
        {
            "name": "c",
            "when": {"assets": ["eth"], "destinations": ["customers"]},
            "then": {"outcome": "allow"},
        }
    ]
    odd: Json = [{"name": "odd", "when": {"destinations": ["odd"]}, "then": {"outcome": "deny"}}]
    asks = {}
    for name, more in (("none", rules), ("customers", named + rules), ("odd", odd + rules)):  # type: ignore[operator]
        book = Book(WORLD, start=False)
        book.genesis(policy=WORLD.policy(**found, rules=more))
        book.key()
        asks[name] = points(book, book.request(100))["first-use"]

    assert asks == {"none": 25, "customers": 10, "odd": 25}


def test_an_own_account_is_known_from_the_key_on() -> None:
    book = Book(WORLD, start=False)
    rules: Json = [{"name": "any", "when": {"assets": ["eth"]}, "then": {"outcome": "allow"}}]
    book.genesis(policy=WORLD.policy(rules=rules))
    book.key()
    own = WORLD.account("m/0/1")
    poisoned = own[:6] + "5" * 32 + own[38:]

    assert points(book, book.request(100, to=own))["first-use"] == 10
    assert points(book, book.request(100, to=poisoned))["lookalike"] == 60


def state(book: Book, request: bytes, shares: tuple[tuple[str, int], ...], **changed: Any) -> None:
    basis = Basis("open-2", LIST, shares)
    book.screen(request, risk=basis.risk, basis={**basis.to_json(), **changed})


def test_a_true_statement_is_made_again_from_the_log() -> None:
    book = paying(10)
    request = book.request(600, to=OTHER)
    scored = read(book)[1][request]
    state(book, request, scored.score.points)
    (found,) = read(book)[2]

    assert book.last.accepted
    assert (found.wrong, found.risk) == ("", scored.score.risk)
    assert found.signers == ("olga", "oskar")
    assert found.basis is not None
    assert found.basis.list_hash == LIST


def test_a_false_share_an_unknown_model_and_a_statement_by_hand_are_told_apart() -> None:
    book = paying(10)
    request = book.request(600, to=OTHER)
    true = read(book)[1][request].score.points
    book.screen(request, risk=3)
    book.advance(1)
    state(book, request, (("first-use", 1),))
    book.advance(1)
    state(book, request, true, model="other-2")

    assert book.last.accepted
    by_hand, false, other = (one.wrong for one in read(book)[2])
    assert by_hand == ""
    assert "its shares are first-use 1; from the log follow first-use 10, amount" in false
    assert "the model other-2" in other


def test_a_statement_that_does_not_count_is_not_read() -> None:
    book = paying(1)
    book.screen(book.request(100), by=["olga"])

    assert read(book)[2] == []


def screening(**changed: Any) -> bytes:
    shares: list[Json] = [{"feature": "amount", "points": 30}, {"feature": "hour", "points": 20}]
    basis: dict[str, Json] = {"model": "open-2", "list": LIST.hex(), "shares": shares}
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "request": LIST.hex(),
        "result": "clear",
        "risk": 50,
        "observed_ms": 5,
        "basis": {**basis, **changed},
    }
    return make_entry("screening", 7, body=body, signatures=signatures("screening", body, ["olga"]))


def test_the_basis_of_a_statement_is_read_and_written_the_same() -> None:
    entry = parse_entry(screening()).entry

    assert isinstance(entry, ScreeningEntry)
    assert entry.basis is not None
    assert screening(**entry.basis.to_json()) == screening()


@pytest.mark.parametrize(
    "changed",
    [
        {"shares": [{"feature": "amount", "points": 49}]},
        {"shares": [{"feature": "amount", "points": 25}, {"feature": "amount", "points": 25}]},
        {"shares": [{"feature": "amount", "points": 50}, {"feature": "hour", "points": 0}]},
        {"shares": [{"feature": "amount", "points": 101}]},
        {"shares": [{"feature": f"f{n}", "points": 1} for n in range(17)]},
        {"list": "00"},
        {"model": ""},
        {"more": 1},
    ],
)
def test_shares_that_do_not_make_the_risk_are_malformed(changed: dict[str, Json]) -> None:
    with pytest.raises(MalformedError):
        parse_entry(screening(**changed))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.sampled_from([(100, CUSTOMER), (600, CUSTOMER), (90, OTHER), (100, SANCTIONED)]),
        min_size=1,
        max_size=8,
    )
)
def test_the_same_log_gives_the_same_scores_in_pieces_and_at_once(asks: list[tuple[int, str]]) -> None:
    book, seen = paying(2), dict[bytes, Scored]()
    for amount, to in asks:
        request = book.asked(amount, to=to)
        book.log_request(request)
        book.advance(DAY_MS // 5)
        seen |= read(book)[1]

    assert read(book)[1] == seen
    assert all(request_id(one.request.body()) == key for key, one in book.state.requests.items())
