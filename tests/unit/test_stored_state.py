"""A stored state is the folded one: read back at any size, and folded on from there."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import canonical
from policy.entries import Entry
from policy.governance import activate_due
from policy.ledger import fold, initial
from policy.state import State
from policy.stored.layered import Layered
from policy.stored.pages import EMPTY, LEAF_BYTES_MAX, DamagedState, find, page_names, update, walk
from policy.stored.states import CODECS, WINDOWS, Tables, read_state, rebased_state, state_document
from policy.values import replace
from tests.simulation.world import DAY_MS, Book
from tests.unit.stored_logs import LOGS, Pages, kinds

KEYS = st.binary(max_size=3)
VALUES = st.binary(max_size=9).map(lambda value: 99 * value)  # so that they do not fit one leaf
CHANGES = st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=60), max_size=4)
LARGE = bytes(LEAF_BYTES_MAX // 8)


@pytest.fixture(scope="module", params=list(LOGS))
def book(request: pytest.FixtureRequest) -> Book:
    made: Book = LOGS[request.param]()
    return made


def read_back(state: State, tables: Tables) -> State:
    document = json.loads(canonical(state_document(state)))
    return read_state(document, tables)


def same(one: State, other: State) -> bool:
    """Equal but for what is kept apart of it."""
    return replace(one, stored_size=0) == replace(other, stored_size=0)


# The state.


def test_the_logs_hold_every_kind_of_entry() -> None:
    assert set().union(*(kinds(make()) for make in LOGS.values())) == set(get_args(Entry))


def test_each_part_of_a_state_is_in_the_document_or_in_a_table() -> None:
    book = LOGS["governed"]()
    named = {"roster_document": "roster", "policy_document": "policy"}
    derived = {"roster_or_none", "policy_or_none", "book_hash", "stored_size"}
    tables = {*CODECS, WINDOWS}
    document = state_document(book.state)

    kept = {named.get(name, name) for name in State.__struct_fields__} - derived - tables
    assert kept == set(document)


def test_a_state_read_back_is_the_folded_one_at_every_size(book: Book) -> None:
    for state, _ in book.past[1:]:
        pages = Pages()

        assert same(read_back(state, pages.stored(state)), state)


@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_log_folded_over_what_is_stored_comes_to_the_same(book: Book, every: int) -> None:
    pages = Pages()
    state, outcome = fold(initial(), book.entries[0])
    tables = pages.stored(state)
    state = read_back(state, tables)
    for size, entry in enumerate(book.entries[1:], start=2):
        state, outcome = fold(state, entry)

        expected = book.past[size][0]
        assert (state.digest, outcome) == (expected.digest, book.outcomes[size - 1])
        if size % every == 0:
            assert same(state, expected)
            tables = pages.stored(state, tables)
            state = read_back(state, tables)
    live = {name for root in tables.roots.values() for name in page_names(pages.read, root)}
    assert set(pages.pages) == live


@pytest.mark.parametrize("lag", [1, 4, 11])
def test_what_memory_keeps_over_an_earlier_stored_state_is_the_difference(book: Book, lag: int) -> None:
    pages, tables, state = Pages(), None, initial()
    past = [state]
    for size, entry in enumerate(book.entries, start=1):
        state, _ = fold(state, entry)
        past.append(state)
        if size % (2 * lag) == 0:
            stored = past[size - lag]
            tables = pages.stored(stored, tables)
            state = rebased_state(state, stored, tables=tables)
            past = [*past[:-1], state]

            assert same(state, book.past[size][0])
            assert state.stored_size == size - lag
            assert all(len(getattr(state, name).top) <= 3 * lag for name in CODECS)


def test_what_an_entry_reads_does_not_grow_with_the_log() -> None:
    pages, book, reads = Pages(), LOGS["everyday"](), []
    tables = pages.stored(book.state)
    for nonce in range(100, 160):
        book.state = read_back(book.state, tables)
        pages.reads = 0
        book.advance(DAY_MS // 24)
        book.pay(1, nonce=nonce)
        reads.append(pages.reads)
        tables = pages.stored(book.state, tables)

    assert max(reads[-20:]) < 100, "each of its entries looks some records up, on a path of a few pages"


def test_jobs_are_told_from_a_size_on_that_is_not_stored_yet() -> None:
    book, pages = LOGS["everyday"](), Pages()
    sizes = [job.index for job in book.state.jobs_since(0)]
    middle = book.past[sizes[2]][0]
    state = rebased_state(book.state, middle, tables=pages.stored(middle))

    assert [job.index for job in state.jobs_since(sizes[2])] == sizes[2:]
    with pytest.raises(Exception, match="are stored"):
        state.jobs_since(sizes[2] - 1)


def test_a_change_of_policy_looks_only_at_what_still_counts() -> None:
    """Also where windows that were all rebuilt are not stored yet when more is."""
    book = LOGS["governed"]()
    pages = Pages()
    for size in range(len(book.entries) - 12, len(book.entries)):
        stored = book.past[size - 4][0]
        pages.pages.clear()
        before = pages.stored(stored)
        state = read_back(stored, before)
        states = [state]
        for entry in book.entries[size - 4 : size]:
            states.append(fold(states[-1], entry)[0])
        tables = pages.stored(states[2], before)

        assert same(rebased_state(states[-1], states[2], tables=tables), book.past[size][0])


def test_due_changes_take_effect_alike_over_a_stored_state() -> None:
    book, pages = LOGS["governed"](), Pages()
    for state, _ in book.past[2:]:
        later = replace(state, time_ms=state.time_ms + 10**9)
        read = replace(read_back(state, pages.stored(state)), time_ms=later.time_ms)

        assert same(activate_due(read), activate_due(later))
        pages.pages.clear()


# The pages.


@given(CHANGES)
@settings(max_examples=200)
def test_a_map_of_pages_is_a_map(batches: list[dict[bytes, bytes | None]]) -> None:
    pages, root, expected = Pages(), EMPTY, dict[bytes, bytes]()
    for changes in batches:
        made = update(pages.read, root, changes=changes)
        assert not made.retired & made.added.keys()
        for name in made.retired:
            del pages.pages[name]
        assert not pages.pages.keys() & made.added.keys()
        pages.pages |= made.added
        root = made.root
        expected |= {key: value for key, value in changes.items() if value is not None}
        for key in [key for key, value in changes.items() if value is None]:
            expected.pop(key, None)

    assert dict(walk(pages.read, root)) == expected
    assert all(find(pages.read, root, key=key) == value for key, value in expected.items())
    assert find(pages.read, root, key=b"no such key") is None
    assert set(page_names(pages.read, root)) == set(pages.pages)


@given(st.lists(st.integers(0, LEAF_BYTES_MAX + 99), min_size=1, max_size=60))
def test_records_share_a_leaf_as_long_as_they_fit_a_page_of_the_disk(sizes: list[int]) -> None:
    records: dict[bytes, bytes | None] = {bytes([n]): bytes(size) for n, size in enumerate(sizes)}
    made = update(Pages().read, EMPTY, changes=records)

    leaves = [page for page in made.added.values() if page[:1] == b"\x00"]
    assert all(
        len(leaf) <= LEAF_BYTES_MAX or len(dict(walk({b"": leaf}.__getitem__, b""))) == 1 for leaf in leaves
    )
    if sum(9 + size for size in sizes) < LEAF_BYTES_MAX:
        assert len(made.added) == 1


def test_every_altered_page_is_noticed_by_whoever_reads_through_it() -> None:
    pages = Pages()
    made = update(pages.read, EMPTY, changes={number.to_bytes(2, "big"): LARGE for number in range(150)})
    for name, page in made.added.items():
        for spoiled in (None, page[:-1] + bytes([page[-1] ^ 1]), b"\x00"):
            pages.pages = {**made.added, name: spoiled} if spoiled is not None else dict(made.added)
            if spoiled is None:
                del pages.pages[name]

            with pytest.raises(DamagedState):
                dict(walk(pages.read, made.root))


def test_a_record_of_an_older_map_is_not_found_under_the_newer_root() -> None:
    pages = Pages()
    old = update(pages.read, EMPTY, changes={bytes([n]): b"old" + LARGE for n in range(100)})
    pages.pages |= old.added
    new = update(pages.read, old.root, changes={b"\x07": b"new", b"\x08": None})
    by_place = dict(zip(sorted(new.retired), sorted(new.added), strict=False))
    pages.pages |= new.added
    assert find(pages.read, new.root, key=b"\x07") == b"new"
    assert find(pages.read, new.root, key=b"\x08") is None

    for older, newer in by_place.items():
        spoiled = {**pages.pages, newer: pages.pages[older]}
        reader = Pages()
        reader.pages = spoiled
        with pytest.raises(DamagedState):
            dict(walk(reader.read, new.root))


def test_layers_read_like_a_map() -> None:
    pages = Pages()
    tables = Tables(pages.read, dict.fromkeys((*CODECS, WINDOWS, "counted", "queue"), EMPTY))
    made = update(pages.read, EMPTY, changes={b"nonces/a": b"1", b"nonces/b": b"2"})
    pages.pages |= made.added
    base = tables._replace(roots={**tables.roots, "nonces": made.root}).stored("nonces")
    table: Layered[bytes, bytes] = Layered(base)
    changed = table.set(b"c", b"3").delete(b"a").set(b"b", b"4")

    assert dict(table) == {b"a": b"1", b"b": b"2"}
    assert dict(changed) == {b"b": b"4", b"c": b"3"}
    assert (b"a" in changed, changed.get(b"a"), changed.get(b"a", b"-"), len(changed)) == (
        False,
        None,
        b"-",
        2,
    )
    with pytest.raises(KeyError):
        changed.delete(b"a")
    with pytest.raises(KeyError):
        changed[b"a"]
    assert dict(changed.set(b"a", b"5")) == {b"a": b"5", b"b": b"4", b"c": b"3"}
