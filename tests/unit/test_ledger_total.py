"""The fold is total: whatever bytes a coordinator writes, every cosigner comes to the same state."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import canonical
from policy.entries import parse_entry
from policy.intent import request_id
from policy.ledger import UnknownVersion, fold, initial
from policy.state import CANCEL, State
from policy.values import replace
from tests.simulation.world import CUSTOMER, DAY_MS, OTHER, STRANGER, Book, World
from tests.unit.typed_data_house import PERMITS, TYPED_DATA, permit, request_of

LEAVES = st.one_of(
    st.integers(-1, 2**53 - 1),
    st.booleans(),
    st.text(max_size=8),
    st.binary(max_size=33).map(bytes.hex),
    st.sampled_from(["node-1", "ada", "eth", "evm:9999999999999999", "0", "m/0/0", "1" * 78, "payment"]),
    st.just([]),
    st.just({}),
)


@cache
def busy() -> Book:
    """A log in which every kind of entry has had its effect, except a version."""
    book = Book(World())
    job = book.pay(nonce=0)
    book.settle(job)
    large = book.request(700)
    for operator in ("alice", "bob"):
        book.approve(large, operator, nonce=1)
    book.sign(book.reserve(large, nonce=1))
    cancelled = book.request(50)
    book.burn(book.reserve(cancelled, nonce=2))
    book.reserve(book.request(60), nonce=3)
    book.ban("node-1", "node-3")
    lists = {"addresses": [CUSTOMER, OTHER], "quorum": 1, "cool_down_ms": 5}
    second: dict[str, Any] = book.world.policy(name="second", lists={"customers": lists, "sanctioned": []})
    second |= {"typed_data": TYPED_DATA, "rules": [*second["rules"], PERMITS]}
    book.change("policy", second)
    book.change("roster", book.world.roster(policy_delay_ms=5))
    book.order("veto", book.change("policy", book.world.policy(name="third")))
    book.order("freeze", bytes(32))
    book.order("unfreeze", book.last.subject, by=["ada", "adam"])
    book.advance(DAY_MS)
    book.reserve(cancelled, nonce=2, purpose=CANCEL)
    asked = request_of(permit(), key="permit", now_ms=book.now_ms)
    book.log_request(asked)
    book.sign(book.reserve(request_id(asked.body()), tx=canonical(permit())))
    book.list_address("add", STRANGER)
    book.advance(5)
    book.list_address("remove", CUSTOMER)
    assert all(outcome.accepted for outcome in book.outcomes), book.outcomes
    return book


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def same_but_digest(a: State, b: State) -> bool:
    return replace(a, size=0, digest=b"", time_ms=0) == replace(b, size=0, digest=b"", time_ms=0)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_inert(data: bytes) -> None:
    for state in (initial(), busy().state):
        after, outcome = fold(state, data)

        assert not outcome.accepted
        assert after.size == state.size + 1
        assert after.digest != state.digest
        assert same_but_digest(after, state)


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_entry_never_raises_and_folds_alike_everywhere(data: st.DataObject) -> None:
    book = busy()
    index = data.draw(st.integers(0, len(book.entries) - 1))
    document = json.loads(book.entries[index])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(document)))
        try:
            put(document, path, data.draw(LEAVES))
        except (KeyError, TypeError, IndexError):
            continue  # an earlier change removed this place
    entry = canonical(document)
    state = book.state if data.draw(st.booleans()) else initial()
    try:
        first, second = fold(state, entry), fold(state, entry)
    except UnknownVersion:
        assert b'"genesis"' in entry
        return

    assert first == second
    assert first[0].size == state.size + 1


@settings(max_examples=60)
@given(st.data())
def test_any_order_of_true_entries_folds(data: st.DataObject) -> None:
    entries = busy().entries
    order = data.draw(st.lists(st.sampled_from(range(len(entries))), max_size=25))
    state, _ = fold(initial(), entries[0])
    for index in order:
        before = state
        state, outcome = fold(state, entries[index])
        if not outcome.accepted and not state.pending and not before.pending:
            assert same_but_digest(state, before)


def test_a_log_folds_to_the_same_state_every_time() -> None:
    book, state = busy(), initial()
    for entry in book.entries:
        state, _ = fold(state, entry)

    assert state == book.state


@pytest.mark.parametrize("index", range(len(busy().entries)))
def test_a_changed_bit_changes_the_digest(index: int) -> None:
    entries = list(busy().entries)
    entries[index] = entries[index][:-2] + bytes([entries[index][-2] ^ 1]) + entries[index][-1:]
    state = initial()
    for entry in entries:
        state, _ = fold(state, entry)

    assert state.digest != busy().state.digest


def test_every_kind_of_entry_is_among_those_mutated() -> None:
    assert {parse_entry(entry).kind for entry in busy().entries} >= {
        *("genesis", "key", "request", "approval", "reserve", "signature", "burn", "observation"),
        *("ban", "policy", "roster", "veto", "freeze", "unfreeze"),
    }


def test_what_time_alone_changes_shows_in_the_digest() -> None:
    book = Book(World())
    digests = set()
    for later in (0, 1, DAY_MS):
        branch = book.fork()
        branch.advance(later)
        branch.append(b"the same bytes")
        branch.idle()
        digests.add(branch.state.digest)

    assert len(digests) == 3
