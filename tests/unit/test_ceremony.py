"""The record of a cold ceremony: on the word of all who were there, once, and without effect on any limit."""

from collections.abc import Mapping
from typing import Any

import pytest

from policy.ceremony import ceremony_digest
from policy.encoding import Json
from policy.errors import MalformedError
from policy.roster import parse_roster
from policy.state import JobStatus
from tests.simulation.world import KEY, ORIGIN, Book, World, authenticator, key_of, signatures

COLD = ("cold-1", "cold-2", "cold-3")
CEREMONY = "ce" * 32
THERE = {"alice": "custodian", "ada": "conductor", "adam": "witness"}


class ColdWorld(World):
    """The key's nodes have no network; the online ones cosign."""

    def roster(self, **changed: Any) -> dict[str, Json]:
        return super().roster(**{"cold": [key_of(name) for name in COLD], **changed})

    def policy(self, **changed: Any) -> dict[str, Json]:
        key = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(COLD)}
        return super().policy(**{"keys": {KEY: key}, **changed})


WORLD = ColdWorld()


@pytest.fixture
def book() -> Book:
    made = Book(WORLD, start=False)
    made.genesis()
    outcome = made.key(by=COLD, participants=list(COLD), dealers=list(COLD))
    assert outcome.accepted, outcome.reason
    return made


def reserved(book: Book, *, nonce: int = 0) -> bytes:
    return book.reserve(book.request(), nonce=nonce, signers=list(COLD[:2]))


def record(
    book: Book,
    *,
    job: bytes = b"",
    by: tuple[str, ...] = tuple(THERE),
    passkeys: Mapping[str, str] | None = None,
    **changed: Any,
) -> str:
    """Why a record is inert; empty when it is taken in. ``passkeys`` are whose passkey signs for whom."""
    named: dict[str, Json] = {"job": job.hex()} if job else {}
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "ceremony": CEREMONY,
        "key": KEY,
        "nodes": list(COLD[:2]),
        "began_ms": book.now_ms - 1000,
        "ended_ms": book.now_ms,
        "outcome": "signed",
        "checklist": ["the seals of both machines were whole", "both screens showed the same request"],
        "witnesses": [{"name": name, "role": role} for name, role in sorted(THERE.items())],
        **named,
        **changed,
    }
    asserted: list[Json] = [
        {"name": name, "assertion": authenticator(whose).assert_(ceremony_digest(body)).body()}
        for name, whose in (passkeys or {}).items()
    ]
    proof: dict[str, Json] = {"signatures": signatures("ceremony", body, by)}
    outcome = book.write("ceremony", body, **proof, **({"assertions": asserted} if asserted else {}))
    return "" if outcome.accepted else outcome.reason


def test_cold_nodes_sign_and_burn_and_count_in_no_quorum(book: Book) -> None:
    job = reserved(book)
    other = reserved(book, nonce=1)

    assert book.sign(job).accepted
    assert book.burn(other, by=COLD[:2]).accepted
    assert book.state.jobs[job].status is JobStatus.SIGNED
    assert book.state.jobs[other].status is JobStatus.BURNED
    assert (book.state.roster.c, book.state.roster.w) == (4, 3)


def test_a_record_is_taken_in_once_and_changes_no_limit(book: Book) -> None:
    job = reserved(book)
    book.sign(job)
    used, windows = book.used(), book.state.windows

    assert record(book, job=job) == ""
    assert book.last.subject.hex() == CEREMONY
    assert "has its record already" in record(book, job=job)
    assert (book.used(), book.state.windows) == (used, windows)


@pytest.mark.parametrize(
    ("by", "why"),
    [
        (("ada", "adam"), "all who were there sign, and nobody else: alice"),
        (("ada", "adam", "alice", "dave"), "all who were there sign, and nobody else: dave"),
        (("ada", "adam", "cold-1"), "cold-1"),
        ((), "all who were there sign"),
    ],
)
def test_all_who_were_there_sign_and_nobody_else(book: Book, by: tuple[str, ...], why: str) -> None:
    job = reserved(book)
    book.sign(job)

    assert why in record(book, job=job, by=by)


def test_an_operator_signs_the_record_by_the_passkey_that_the_roster_has(book: Book) -> None:
    job = reserved(book)
    book.sign(job)

    assert "does not verify" in record(book, job=job, by=("ada", "adam"), passkeys={"alice": "bob"})
    assert "ada is no operator" in record(book, job=job, by=("alice", "adam"), passkeys={"ada": "alice"})
    assert "all who were there sign" in record(book, job=job, by=("ada",), passkeys={"alice": "alice"})
    assert record(book, job=job, by=("ada", "adam"), passkeys={"alice": "alice"}) == ""


def test_nobody_signs_a_record_twice(book: Book) -> None:
    record(book, outcome="failed", passkeys={"alice": "alice"})

    assert (book.last.kind, book.last.accepted) == ("malformed", False)


def test_an_assertion_is_over_the_record_that_it_stands_in(book: Book) -> None:
    statement = {"name": "alice", "assertion": authenticator("alice").assert_(bytes(32)).body()}
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "ceremony": CEREMONY,
        "key": KEY,
        "nodes": list(COLD[:2]),
        "began_ms": 0,
        "ended_ms": 1,
        "outcome": "failed",
        "checklist": ["the seals of both machines were whole"],
        "witnesses": [{"name": name, "role": role} for name, role in sorted(THERE.items())],
    }

    outcome = book.write(
        "ceremony",
        body,
        signatures=signatures("ceremony", body, ("ada", "adam")),
        assertions=[statement],
    )

    assert not outcome.accepted and "challenge" in outcome.reason


@pytest.mark.parametrize(
    "witnesses",
    [
        {"ada": "conductor", "adam": "conductor"},
        {"ada": "conductor", "adam": "custodian"},
        {"ada": "witness", "adam": "witness"},
    ],
)
def test_it_takes_one_conductor_and_a_witness(book: Book, witnesses: dict[str, str]) -> None:
    job = reserved(book)
    book.sign(job)
    listed: list[Json] = [{"name": name, "role": role} for name, role in witnesses.items()]

    assert "one conductor" in record(book, job=job, by=tuple(witnesses), witnesses=listed)


def test_what_it_says_came_of_it_must_be_so(book: Book) -> None:
    job = reserved(book)

    assert "no signature of this job" in record(book, job=job)
    book.sign(job)
    assert "was signed under" in record(book, job=job, nodes=list(COLD[1:]))
    assert "no key" in record(book, outcome="made", nodes=list(COLD[:2]))
    assert "never a node" in record(book, job=job, nodes=["cold-1", "cold-9"])
    assert "a time to come" in record(book, job=job, ended_ms=book.now_ms + 10_000)
    assert record(book, outcome="failed") == ""
    assert record(book, outcome="made", nodes=list(COLD), ceremony="cf" * 32) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": "signed"},
        {"outcome": "made", "job": b"\xaa" * 32},
        {"checklist": []},
        {"witnesses": [{"name": "ada", "role": "conductor"}, {"name": "ada", "role": "witness"}]},
        {"witnesses": [{"name": "ada", "role": "boss"}]},
        {"nodes": ["cold-1"]},
    ],
)
def test_a_record_without_form_is_malformed(book: Book, changed: dict[str, Any]) -> None:
    record(book, **changed)

    assert (book.last.kind, book.last.accepted) == ("malformed", False)


def test_a_key_is_of_cold_nodes_or_of_none(book: Book) -> None:
    mixed = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": ["cold-1", WORLD.nodes[0]]}
    other = Book(WORLD, start=False)

    assert "all cold nodes, or none is" in other.genesis(policy=WORLD.policy(keys={KEY: mixed})).reason


def test_the_roster_refuses_more_cold_nodes_than_it_has_room_for() -> None:
    many = [key_of(f"cold-{at}") for at in range(40)]

    with pytest.raises(MalformedError, match="cold"):
        parse_roster(WORLD.roster(cold=many))
