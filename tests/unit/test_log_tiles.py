"""The static layout of the log: paths, bundles, cheap increments, and an audit that sees every change."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, InvariantError, MalformedError
from policy.log.merkle import (
    Frontier,
    frontier_at,
    leaf_hash,
    leaf_reader,
    prove_consistency,
    prove_inclusion,
)
from policy.log.tiles import (
    ENTRY_BYTES_MAX,
    TilePath,
    audit_tiles,
    decode_bundle,
    encode_bundle,
    increment,
    parse_tile_path,
    read_entries,
    superseded,
    tile_hash_reader,
)

ENTRIES = [f"entry {number}".encode() for number in range(1100)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
EMPTY: dict[str, bytes] = {}
BIG = 66_000  # more than 256 * 256: three levels of tiles


def _published(*sizes: int) -> dict[str, bytes]:
    """A store after publishing checkpoints of these sizes, one after the other."""
    store: dict[str, bytes] = {}
    done = 0
    for size in sizes:
        store.update(increment(store.get, frontier_at(leaf_reader(LEAVES), done), entries=ENTRIES[done:size]))
        done = size
    return store


@pytest.fixture(scope="module")
def big() -> dict[str, bytes]:
    return dict(
        increment(EMPTY.get, Frontier(), entries=[number.to_bytes(3, "big") for number in range(BIG)])
    )


def test_paths_are_those_of_the_specification() -> None:
    assert str(TilePath(0, 1234067)) == "tile/0/x001/x234/067"
    assert str(TilePath(None, 5, 17)) == "tile/entries/005.p/17"
    assert str(TilePath(2, 1000)) == "tile/2/x001/000"


def test_a_tree_has_the_tiles_that_the_specification_counts(big: dict[str, bytes]) -> None:
    paths = [parse_tile_path(path) for path in big]

    widths = {level: [path.width for path in paths if path.level == level] for level in (None, 0, 1, 2, 3)}

    full, rest = divmod(BIG, 256)
    assert widths[0] == widths[None] == [256] * full + [rest]
    assert widths[1] == [256, full - 256]
    assert (widths[2], widths[3]) == ([1], [])


@given(st.integers(0, 2**53 - 1), st.one_of(st.none(), st.integers(0, 63)), st.integers(1, 256))
def test_a_path_survives_its_encoding(index: int, level: int | None, width: int) -> None:
    path = TilePath(level, index, width)

    assert parse_tile_path(str(path)) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/../000",
        "tile/data/000",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 5 + "999",
    ],
)
def test_any_other_text_is_no_path(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(text)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=256))
def test_a_bundle_survives_its_encoding(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == tuple(entries)


def test_a_bundle_of_another_length_or_count_is_refused() -> None:
    data = encode_bundle([b"", b"a", b"bc"])

    for wrong in (data[:-1], data + b"\x00", data + b"\x00\x00", data[:5], b""):
        with pytest.raises(MalformedError):
            decode_bundle(wrong, 3)
    for count in (0, 2, 4):
        with pytest.raises(MalformedError):
            decode_bundle(data, count)


def test_an_entry_fits_up_to_its_limit() -> None:
    longest = bytes(ENTRY_BYTES_MAX)

    assert decode_bundle(encode_bundle([longest]), 1) == (longest,)
    with pytest.raises(CallerError):
        encode_bundle([longest + b"\x00"])
    with pytest.raises(CallerError):
        list(increment(EMPTY.get, Frontier(), entries=[longest + b"\x00"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1100), min_size=1, max_size=6).map(sorted))
def test_a_log_published_in_steps_is_the_log_published_at_once(sizes: list[int]) -> None:
    stepwise, at_once = _published(*sizes), _published(sizes[-1])

    assert {path: stepwise[path] for path in at_once} == at_once
    assert audit_tiles(stepwise.get, sizes[-1]) == frontier_at(leaf_reader(LEAVES), sizes[-1])
    assert list(read_entries(stepwise.get, sizes[-1])) == ENTRIES[: sizes[-1]]


def test_every_published_size_stays_readable() -> None:
    sizes = [1, 3, 255, 256, 257, 600, 1024, 1100]
    store = _published(*sizes)

    for path in [path for path in store for gone in superseded(0, 1100) if path.startswith(gone)]:
        store.pop(path, None)

    assert "tile/0/000.p/255" not in store
    for size in sizes:
        assert audit_tiles(store.get, size).root() == frontier_at(leaf_reader(LEAVES), size).root()


def test_only_partial_tiles_with_a_full_one_are_superseded() -> None:
    assert list(superseded(255, 255)) == []
    assert list(superseded(3, 255)) == []
    assert list(superseded(255, 256)) == ["tile/0/000.p", "tile/entries/000.p"]
    assert list(superseded(65535, 65536)) == ["tile/0/255.p", "tile/entries/255.p", "tile/1/000.p"]
    with pytest.raises(CallerError):
        list(superseded(2, 1))


def test_an_increment_costs_what_it_adds(big: dict[str, bytes]) -> None:
    frontier = audit_tiles(big.get, BIG)
    read: list[str] = []

    def counting(path: str) -> bytes | None:
        read.append(path)
        return big.get(path)

    written = dict(increment(counting, frontier, entries=[b"one more"]))

    assert len(read) == 4  # one partial tile a level, and one bundle
    assert [parse_tile_path(path).level for path in written] == [None, 0]


def test_an_increment_written_twice_is_written_the_same() -> None:
    store = _published(300)
    frontier = frontier_at(leaf_reader(LEAVES), 300)
    first = dict(increment(store.get, frontier, entries=ENTRIES[300:700]))

    store.update(first)

    assert dict(increment(store.get, frontier, entries=ENTRIES[300:700])) == first


def test_nothing_is_published_on_tiles_that_are_not_those_of_the_frontier() -> None:
    for path in ("tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"):
        store = _published(600)
        store[path] = store[path][:-1] + bytes([store[path][-1] ^ 1])

        with pytest.raises(InvariantError):
            next(increment(store.get, frontier_at(leaf_reader(LEAVES), 600), entries=[b"new"]))
    with pytest.raises(MalformedError, match="missing"):
        next(increment(_published(500).get, frontier_at(leaf_reader(LEAVES), 600), entries=[b"new"]))


def test_no_entries_need_no_tiles() -> None:
    assert list(increment(EMPTY.get, Frontier(), entries=[])) == []
    assert list(increment(_published(300).get, frontier_at(leaf_reader(LEAVES), 300), entries=[])) == []
    assert audit_tiles(EMPTY.get, 0) == Frontier()


@pytest.mark.parametrize("change", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:-1]])
def test_an_audit_sees_every_changed_tile(change: Callable[[bytes], bytes]) -> None:
    for path in _published(600):
        store = _published(600)
        store[path] = change(store[path])

        with pytest.raises(MalformedError):
            audit_tiles(store.get, 600)


def test_an_audit_sees_every_missing_tile() -> None:
    for path in _published(600):
        store = _published(600)
        del store[path]

        with pytest.raises(MalformedError, match="missing"):
            audit_tiles(store.get, 600)


def test_an_audit_sees_changed_tiles_of_upper_levels(big: dict[str, bytes]) -> None:
    assert audit_tiles(big.get, BIG).size == BIG
    for path in ("tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"):
        changed = {**big, path: bytes(len(big[path]))}

        with pytest.raises(MalformedError, match=path):
            audit_tiles(changed.get, BIG)


def test_proofs_out_of_tiles_are_those_out_of_the_leaves() -> None:
    store = _published(300, 1100)
    for size in (1100, 300):
        from_tiles, from_leaves = tile_hash_reader(store.get, size), leaf_reader(LEAVES)

        for index in (0, 17, 255, 256, size - 1):
            assert prove_inclusion(from_tiles, index, size=size) == prove_inclusion(
                from_leaves, index, size=size
            )
        assert prove_consistency(from_tiles, 257, new_size=size) == prove_consistency(
            from_leaves, 257, new_size=size
        )


def test_a_tile_reader_knows_only_the_nodes_of_its_tree() -> None:
    read = tile_hash_reader(_published(300).get, 300)

    for level, index in [(0, 300), (9, 0), (-1, 0), (0, -1), (3, 37)]:
        with pytest.raises(CallerError):
            read(level, index)
