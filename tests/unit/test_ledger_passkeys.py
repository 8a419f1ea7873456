"""An operator's passkey says no to a request, and stops all signing; it serves for nothing else and once."""

from typing import Any

import pytest

from policy.approval import approval_digest
from policy.encoding import Json
from policy.governance import PASSKEY_FREEZE_MS_MAX, change_hash
from policy.ledger import fold, initial_unverified
from policy.state import State
from policy.statements import rejection_digest
from tests.simulation.world import ORIGIN, START_MS, Book, World, authenticator, signatures

WORLD = World()
TARGET = (bytes(31) + b"\x07").hex()


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def freeze_body(by: str = "alice", **changed: Json) -> dict[str, Json]:
    body: dict[str, Json] = {"origin": ORIGIN, "target": TARGET, "reason": "an odd payment", "by": by}
    return {**body, "expires_ms": START_MS + PASSKEY_FREEZE_MS_MAX, **changed}


def freeze(book: Book, body: dict[str, Json], *, passkey: str = "alice", challenge: bytes = b"") -> bool:
    """Whether a freeze that ``passkey`` has signed is taken in."""
    given = authenticator(passkey).assert_(challenge or change_hash("freeze", body))
    book.write("freeze", body, assertion=given.body())
    return book.last.accepted


def test_one_operators_passkey_stops_all_signing(book: Book) -> None:
    request = book.request(100)

    assert freeze(book, freeze_body())
    assert (book.state.frozen, book.state.freeze) == (True, book.last.subject)
    book.reserve(request)
    assert book.last.verdict is not None
    assert book.last.verdict.rule == "frozen"


def test_an_operators_freeze_ends_by_the_administrators_quorum_alone(book: Book) -> None:
    freeze(book, freeze_body())
    frozen = book.last.subject
    body: Json = {"origin": ORIGIN, "target": frozen.hex(), "reason": "x", "by": "alice"}
    given = authenticator("alice").assert_(change_hash("unfreeze", body))
    book.write("unfreeze", body, assertion=given.body())
    assert book.state.frozen
    book.order("unfreeze", frozen, by=["ada"])
    assert book.state.frozen
    book.order("unfreeze", frozen, by=["ada", "adam"])

    assert not book.state.frozen


def test_what_an_operator_signed_stops_signing_once(book: Book) -> None:
    freeze(book, freeze_body())
    entry = book.entries[-1]
    book.order("unfreeze", book.state.freeze, by=["ada", "adam"])
    book.append(entry)

    assert not book.state.frozen
    assert "taken in before" in book.last.reason
    assert freeze(book, freeze_body(target="11" * 32))


@pytest.mark.parametrize(("late_ms", "taken"), [(-1, False), (0, True), (PASSKEY_FREEZE_MS_MAX, True)])
def test_a_freeze_that_was_held_back_stops_nothing_later(book: Book, late_ms: int, taken: bool) -> None:
    book.advance(late_ms + 1)

    assert freeze(book, freeze_body(expires_ms=START_MS + PASSKEY_FREEZE_MS_MAX + 1)) is taken
    assert taken or "sign another one" in book.last.reason


def test_a_freeze_signed_while_signing_is_frozen_is_not_kept_for_when_it_is_not(book: Book) -> None:
    book.order("freeze", bytes(32), by=["agnes"])
    body = freeze_body()
    assert not freeze(book, body)
    book.order("unfreeze", book.state.freeze, by=["ada", "adam"])
    book.advance(PASSKEY_FREEZE_MS_MAX + 1)

    assert not freeze(book, body)
    assert not book.state.frozen


def test_an_operator_changes_no_freeze_that_is_in_force(book: Book) -> None:
    book.order("freeze", bytes(32), by=["agnes"])
    frozen = book.state.freeze

    assert not freeze(book, freeze_body())
    assert book.state.freeze == frozen


BODY = freeze_body()
WRONG: list[dict[str, Any]] = [
    {"passkey": "bob"},
    {"challenge": approval_digest(BODY)},
    {"challenge": rejection_digest(BODY)},
    {"challenge": change_hash("unfreeze", BODY)},
    {"challenge": change_hash("freeze", freeze_body(reason="another"))},
]


@pytest.mark.parametrize("wrong", WRONG, ids=["passkey", "approval", "rejection", "unfreeze", "another"])
def test_an_assertion_over_anything_else_stops_nothing(book: Book, wrong: dict[str, Any]) -> None:
    assert not freeze(book, freeze_body(), **wrong)
    assert not book.state.frozen


@pytest.mark.parametrize("by", ["ada", "backend", "nobody"])
def test_nobody_but_an_operator_has_a_passkey(book: Book, by: str) -> None:
    assert not freeze(book, freeze_body(by))
    assert "is no operator" in book.last.reason


def test_a_freeze_is_signed_in_one_way_and_names_who_did_by_passkey(book: Book) -> None:
    unnamed = {name: value for name, value in freeze_body().items() if name != "by"}
    assert not freeze(book, unnamed)
    named = freeze_body("ada")
    book.write("freeze", named, signatures=signatures("freeze", named, ["ada"]))
    assert not book.last.accepted
    given = authenticator("alice").assert_(change_hash("freeze", BODY)).body()
    book.write("freeze", BODY, assertion=given, signatures=[])
    assert not book.last.accepted
    book.write("veto", BODY, assertion=given)

    assert not book.last.accepted
    assert not book.state.frozen


def test_a_fold_that_does_not_verify_comes_to_the_same_state(book: Book) -> None:
    freeze(book, freeze_body())
    state: State = initial_unverified()
    for entry in book.entries:
        state, _ = fold(state, entry)

    assert (state.frozen, state.freeze, state.digest) == (True, book.state.freeze, book.state.digest)


# A no to one request.


def reject(book: Book, request: bytes, *, passkey: str = "alice", challenge: bytes = b"") -> bool:
    body: Json = {"origin": ORIGIN, "request": request.hex(), "by": "alice", "reason": "not mine"}
    given = authenticator(passkey).assert_(challenge or rejection_digest(body))
    book.write("reject", body, assertion=given.body())
    return book.last.accepted


def test_an_operators_passkey_rejects_a_request(book: Book) -> None:
    request = book.request(100)

    assert reject(book, request)
    assert book.state.requests[request].rejected_by == "alice"


@pytest.mark.parametrize("wrong", [{"passkey": "bob"}, {"challenge": bytes(32)}])
def test_nobody_elses_passkey_rejects_and_no_other_assertion(book: Book, wrong: dict[str, Any]) -> None:
    request = book.request(100)

    assert not reject(book, request, **wrong)
    assert book.state.requests[request].rejected_by == ""
