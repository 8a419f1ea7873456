"""Entries are read strictly, each kind with its own proof, and a job's id binds its place in the log."""

import json
from typing import Any

import pytest

from policy.encoding import canonical
from policy.entries import ENTRY_BYTES_MAX, freeze_id, job_id, make_entry, parse_entry
from policy.errors import MalformedError
from tests.simulation.world import ADMINISTRATORS, ORIGIN, START_MS, Book, World


def one_of_each() -> dict[str, bytes]:
    book = Book(World())
    job = book.pay(nonce=0)
    book.settle(job)
    large = book.request(700)
    book.approve(large, "alice", nonce=1)
    book.burn(book.reserve(book.request(50), nonce=2))
    book.ban("node-1", "node-2")
    book.change("policy", book.world.policy(name="second"))
    book.change("roster", book.world.roster(policy_delay_ms=5))
    book.list_address("add", "0x" + "ef" * 20)
    book.order("veto", bytes(32))
    book.order("freeze", bytes(32))
    book.order("unfreeze", bytes(32))
    book.write("fork", fork_body(), signatures=[], burns=[])
    book.version(2, by=book.world.nodes)
    return {parse_entry(entry).kind: entry for entry in book.entries}


def fork_body() -> dict[str, Any]:
    return {"origin": ORIGIN, "size": 1, "root": "00" * 32, "abandoned": []}


ENTRIES = one_of_each()


def test_every_kind_is_read_back() -> None:
    assert len(ENTRIES) == 17
    for kind, entry in ENTRIES.items():
        assert parse_entry(entry).kind == kind
        assert parse_entry(entry).time_ms == START_MS


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_no_field_is_optional_and_none_is_ignored(kind: str) -> None:
    document = json.loads(ENTRIES[kind])
    places = [(document, name) for name in document]
    places += [(document["body"], name) for name in document["body"]]
    for place, name in places:
        value = place.pop(name)
        with pytest.raises(MalformedError):
            parse_entry(canonical(document))
        place[name] = value
    for place in (document, document["body"]):
        place["zzz"] = 1
        with pytest.raises(MalformedError):
            parse_entry(canonical(document))
        del place["zzz"]

    assert parse_entry(canonical(document)).kind == kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind":"request"}',
        canonical({"kind": "gift", "time_ms": 1, "body": {}}),
        ENTRIES["veto"] + b"\n",
        b" " + ENTRIES["veto"],
        json.dumps(json.loads(ENTRIES["veto"])).encode(),
        b'{"a":' * 5000,
    ],
)
def test_anything_but_one_canonical_entry_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_entry(data)


def test_an_entry_is_bounded() -> None:
    body: Any = {"padding": "x" * ENTRY_BYTES_MAX}

    with pytest.raises(MalformedError, match="at most 65535"):
        parse_entry(make_entry("veto", 1, body=body))


def test_nobody_signs_twice() -> None:
    document = json.loads(ENTRIES["veto"])
    document["signatures"] *= 2

    with pytest.raises(MalformedError, match="signs twice"):
        parse_entry(canonical(document))


def test_a_job_id_binds_log_place_and_entry() -> None:
    entry = ENTRIES["reserve"]
    ids = {
        job_id(ORIGIN, 5, data=entry),
        job_id("log.example.com/other", 5, data=entry),
        job_id(ORIGIN, 6, data=entry),
        job_id(ORIGIN, 5, data=entry + b" "),
    }

    assert len(ids) == 4
    assert job_id(ORIGIN, 5, data=entry) in ids


def test_a_freeze_id_binds_the_place_in_the_log() -> None:
    assert (
        len({freeze_id(ORIGIN, index, body={"by": name}) for index in (1, 2) for name in ADMINISTRATORS}) == 6
    )
