"""The log as static files: hash tiles and entry bundles. Source: c2sp.org/tlog-tiles v0.1.0.

A level-L tile holds 256 nodes of tree level 8*L; an entry bundle the 256 entries under a level-0 tile.
Rules: (1) the bytes at a path never change, so writing an increment again after a crash is harmless;
(2) write the tiles of an increment before anybody sees its checkpoint; (3) a partial tile may go only
once the full one is there, and a reader falls back to the full one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policy.errors import CallerError, InvariantError, MalformedError
from policy.log.merkle import (
    HASH_BYTES,
    SIZE_MAX,
    Frontier,
    HashReader,
    frontier_at,
    leaf_hash,
    leaf_reader,
)

TILE_WIDTH = 256
TILE_HEIGHT = 8
ENTRY_BYTES_MAX = 65535
LEVEL_MAX = 63
BUNDLE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)

Read: TypeAlias = Callable[[str], bytes | None]
"""Gives the bytes at a path, or None when nothing is there."""

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class TilePath:
    """Where a tile is: ``level`` is None for an entry bundle, ``width`` is 256 for a full one."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= LEVEL_MAX:
            raise CallerError(f"tile level {self.level} is not from 0 to {LEVEL_MAX}")
        if not 0 <= self.index <= SIZE_MAX or not 1 <= self.width <= TILE_WIDTH:
            raise CallerError(f"there is no tile {self.index} of width {self.width}")

    def __str__(self) -> str:
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{'entries' if self.level is None else self.level}/{_index_text(self.index)}{suffix}"


def parse_tile_path(text: str) -> TilePath:
    """Read a path as ``str(TilePath)`` writes it. Raises ``MalformedError`` for any other text."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise MalformedError(f"{text[:80]!r} is not the path of a tile")
    level, index, width = match.groups()
    digits = index.replace("x", "").replace("/", "")
    try:
        path = TilePath(None if level == "entries" else int(level), int(digits), int(width or TILE_WIDTH))
    except CallerError as error:
        raise MalformedError(f"{text[:80]!r}: {error}") from error
    if str(path) != text:
        raise MalformedError(f"{text[:80]!r} is not the canonical path of a tile")
    return path


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bundle of 1 to 256 entries: each after its length in two bytes, big-endian."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise CallerError(f"a bundle has 1 to {TILE_WIDTH} entries, got {len(entries)}")
    for entry in entries:
        check_entry(entry)
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, count: int) -> tuple[bytes, ...]:
    """Read a bundle of exactly ``count`` entries. Raises ``MalformedError`` otherwise."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < count:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise MalformedError(f"entry {len(entries)} of the bundle goes beyond its {len(data)} bytes")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(entries) != count:
        raise MalformedError(f"bundle of {len(data)} bytes does not hold exactly {count} entries")
    return tuple(entries)


def check_entry(entry: bytes) -> None:
    """Raise ``CallerError`` when an entry is longer than a bundle can hold."""
    if len(entry) > ENTRY_BYTES_MAX:
        raise CallerError(f"entry has {len(entry)} bytes, at most {ENTRY_BYTES_MAX} fit into the log")


def increment(read: Read, frontier: Frontier, *, entries: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Paths and bytes to write so that ``entries`` follow the tree of ``frontier``, already published.

    Costs O(entries) and at most one old tile a level, however long the log is. Raises, before the first
    pair, ``InvariantError`` when the old tiles do not add up to ``frontier`` and ``MalformedError`` when
    one is missing or damaged: publish nothing, the store was changed or is behind. The caller must know
    that ``frontier`` is that of its last checkpoint.
    """
    size = frontier.size
    for entry in entries:
        check_entry(entry)
    old_rows = _old_rows(read, frontier)
    if entries:
        yield from _bundles(read, old_rows[0], size, entries=entries)
    yield from _hash_tiles(old_rows, size, added=[leaf_hash(entry) for entry in entries])


def hash_tiles(read: Read, frontier: Frontier, *, leaves: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """``increment`` by leaf hashes, without the bundles of entries."""
    yield from _hash_tiles(_old_rows(read, frontier), frontier.size, added=list(leaves))


def _hash_tiles(old_rows: list[list[bytes]], size: int, *, added: list[bytes]) -> Iterator[tuple[str, bytes]]:
    level = 0
    while added:
        old = old_rows[level] if level < len(old_rows) else []
        row = old + added
        first = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
        for tile, start in enumerate(range(0, len(row), TILE_WIDTH), first):
            hashes = row[start : start + TILE_WIDTH]
            yield str(TilePath(level, tile, len(hashes))), b"".join(hashes)
        full = len(row) // TILE_WIDTH
        added = [_tile_root(row[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]) for at in range(full)]
        level += 1


def superseded(old_size: int, new_size: int) -> Iterator[str]:
    """Folders of partial tiles (``<path>.p``) that may be deleted: the full tile came with ``new_size``."""
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise CallerError(f"a log of {new_size} entries does not extend one of {old_size}")
    for level in range(_levels(new_size)):
        old, new = old_size >> (TILE_HEIGHT * level), new_size >> (TILE_HEIGHT * level)
        for index in range(old // TILE_WIDTH, new // TILE_WIDTH):
            yield f"{TilePath(level, index)}.p"
            if level == 0:
                yield f"{TilePath(None, index)}.p"


def read_entries(read: Read, size: int) -> Iterator[bytes]:
    """The first ``size`` entries in order; verifies nothing but the encoding, see ``audit_tiles``."""
    for path in _row_paths(None, size):
        yield from _read_bundle(read, path)


def read_entry(read: Read, index: int, *, size: int) -> bytes:
    """The entry at ``index`` of a log of ``size``; verifies nothing but the encoding."""
    if not 0 <= index < size:
        raise CallerError(f"entry {index} is not in a log of {size} entries")
    bundle, at = divmod(index, TILE_WIDTH)
    return _read_bundle(read, TilePath(None, bundle, min(TILE_WIDTH, size - bundle * TILE_WIDTH)))[at]


def audit_tiles(read: Read, size: int) -> Frontier:
    """The frontier of the first ``size`` entries, after comparing every tile with what they hash to.

    The caller compares its root with a checkpoint. Raises ``MalformedError`` naming the first tile that
    is missing or differs. Reads one tile at a time.
    """
    frontier = Frontier()
    rows: list[list[bytes]] = [[] for _ in range(_levels(size))]
    for bundle in _row_paths(None, size):
        for entry in _read_bundle(read, bundle):
            leaf = leaf_hash(entry)
            frontier = frontier.append(leaf)
            rows[0].append(leaf)
        _audit_full_rows(read, rows, frontier.size)
    for level, row in enumerate(rows):
        if row:
            _audit_tile(read, TilePath(level, size >> (TILE_HEIGHT * (level + 1)), len(row)), row)
    return frontier


def tile_hash_reader(read: Read, size: int) -> HashReader:
    """A reader of the nodes of the tree of ``size`` leaves out of its tiles, for making proofs."""

    def node(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise CallerError(f"node ({level}, {index}) is not in a tree of {size} leaves")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile, first = divmod(index << height, TILE_WIDTH)
        width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * tile_level)) - tile * TILE_WIDTH)
        hashes = _read_tile(read, TilePath(tile_level, tile, width))
        return leaf_reader(hashes)(height, first >> height)

    return node


def _bundles(
    read: Read, old_leaves: list[bytes], size: int, *, entries: Sequence[bytes]
) -> Iterator[tuple[str, bytes]]:
    """The entry bundles of an increment; the old partial one must hash to ``old_leaves``."""
    first, width = divmod(size, TILE_WIDTH)
    path = TilePath(None, first, width) if width else None
    old = _read_bundle(read, path) if path else ()
    if [leaf_hash(entry) for entry in old] != old_leaves:
        raise InvariantError(f"stored {path} does not hash to its tile: compare the store with a cosigner's")
    row = (*old, *entries)
    for index, start in enumerate(range(0, len(row), TILE_WIDTH), first):
        bundle = row[start : start + TILE_WIDTH]
        yield str(TilePath(None, index, len(bundle))), encode_bundle(bundle)


def _old_rows(read: Read, frontier: Frontier) -> list[list[bytes]]:
    """The hashes of the partial tile of each level, checked against the frontier."""
    rows: list[list[bytes]] = []
    subtrees: list[bytes] = []
    for level in range(_levels(frontier.size)):
        index, width = divmod(frontier.size >> (TILE_HEIGHT * level), TILE_WIDTH)
        row = _read_tile(read, TilePath(level, index, width)) if width else []
        subtrees = [*frontier_at(leaf_reader(row), width).hashes, *subtrees]
        rows.append(row)
    if tuple(subtrees) != frontier.hashes:
        raise InvariantError(
            f"stored tiles are not those of size {frontier.size}: compare the store with a cosigner's"
        )
    return rows or [[]]


def _audit_full_rows(read: Read, rows: list[list[bytes]], size: int) -> None:
    """Compare and fold up every row that is full once the first ``size`` entries are in."""
    for level, row in enumerate(rows):
        if len(row) < TILE_WIDTH:
            return
        _audit_tile(read, TilePath(level, (size >> (TILE_HEIGHT * (level + 1))) - 1), row)
        rows[level + 1].append(_tile_root(row))
        row.clear()


def _audit_tile(read: Read, path: TilePath, expected: list[bytes]) -> None:
    if _read_tile(read, path) != expected:
        raise MalformedError(f"{path} does not agree with the entries below it")


def _read_bundle(read: Read, path: TilePath) -> tuple[bytes, ...]:
    data = read(str(path))
    if data is not None:
        return decode_bundle(data, path.width)
    return decode_bundle(_read_full(read, path), TILE_WIDTH)[: path.width]


def _read_tile(read: Read, path: TilePath) -> list[bytes]:
    data, width = read(str(path)), path.width
    if data is None:
        data, width = _read_full(read, path), TILE_WIDTH
    if len(data) != width * HASH_BYTES:
        raise MalformedError(f"{path} has {len(data)} bytes, expected {width * HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, path.width * HASH_BYTES, HASH_BYTES)]


def _read_full(read: Read, path: TilePath) -> bytes:
    data = None if path.width == TILE_WIDTH else read(str(TilePath(path.level, path.index)))
    if data is None:
        raise MalformedError(f"{path} is missing")
    return data


def _row_paths(level: int | None, size: int) -> Iterator[TilePath]:
    if not 0 <= size <= SIZE_MAX:
        raise CallerError(f"a log of {size} entries; from 0 to {SIZE_MAX} are possible")
    full, rest = divmod(size, TILE_WIDTH)
    for index in range(full):
        yield TilePath(level, index)
    if rest:
        yield TilePath(level, full, rest)


def _levels(size: int) -> int:
    """How many levels of tiles a tree of ``size`` leaves has."""
    return (size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT


def _tile_root(hashes: list[bytes]) -> bytes:
    return leaf_reader(hashes)(TILE_HEIGHT, 0)


def _index_text(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
