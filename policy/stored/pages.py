"""A map on disk of which one hash pins every record: a tree of pages, each named by the hash of its bytes.

A key's place is its SHA-256, four bits a level. A page is a leaf with records of up to ``LEAF_BYTES_MAX``
together (or a larger one alone), or the hashes of 16 pages below it. Whoever knows the root's hash notices,
when it is read, a record that was altered, taken out, put in, or is older than the root, and also that a key
is not there. Nothing is ever changed in place: an update gives the pages to add and those that it replaces.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, TypeAlias, TypeVar

from policy.errors import OperationalError

HASH_BYTES: Final = 32
EMPTY: Final = bytes(HASH_BYTES)
LEAF_BYTES_MAX: Final = 4000  # with its name in one page of SQLite
_FAN: Final = 16
_DEPTH_MAX: Final = 2 * HASH_BYTES
_LEAF, _INNER = b"\x00", b"\x01"
_PLACES: Final = range(1, 1 + _FAN * HASH_BYTES, HASH_BYTES)
_TWO: Final = Struct(">II")  # the lengths of a key and of its record
_LENGTHS: Final = _TWO.size

PART: Final = 32
"""How many records are placed at once."""
T = TypeVar("T")
Steps: TypeAlias = Generator[int, None, T]
"""Work in parts: gives how many records it dealt with since the last time, and at its end what came of it."""
Read: TypeAlias = Callable[[bytes], bytes]
"""Gives the page of a hash after ``checked``; raises ``DamagedState``."""


class DamagedState(OperationalError):
    """The stored state is not what its hash says: throw it away and fold the log."""


class StaleState(DamagedState):
    """The state that is looked at was stored over: look at the newest one."""


@dataclass(slots=True)
class Update:
    """What a change of a map comes to: its new root, new pages by their hash, hashes of pages replaced."""

    root: bytes
    added: dict[bytes, bytes] = field(default_factory=dict)
    retired: set[bytes] = field(default_factory=set)


def page_hash(page: bytes) -> bytes:
    """The name of a page."""
    return hashlib.sha256(page).digest()


def checked(name: bytes, page: bytes | None) -> bytes:
    """The page, if it is the one of this name. Raises ``DamagedState``."""
    if page is None or page_hash(page) != name:
        what = "is missing" if page is None else "was altered"
        raise DamagedState(f"page {name.hex()[:16]} of the stored state {what}: fold the log anew")
    return page


def find(read: Read, root: bytes, *, key: bytes) -> bytes | None:
    """The record of ``key`` in the map of ``root``; None if it has none."""
    place, depth = page_hash(key), 0
    while root != EMPTY:
        page = read(root)
        if page[:1] == _LEAF:
            return _record(page, key)
        root = _child(page, _nibble(place, depth))
        depth += 1
    return None


def walk(read: Read, root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All keys and records, one page after the other, in no order that means anything."""
    for name in page_names(read, root):
        page = read(name)
        if page[:1] == _LEAF:
            yield from _records(page).items()


def page_names(read: Read, root: bytes) -> Iterator[bytes]:
    """The names of all pages of a map."""
    waiting = [root] if root != EMPTY else []
    while waiting:
        name = waiting.pop()
        yield name
        page = read(name)
        if page[:1] == _INNER:
            waiting += [child for child in _children(page) if child != EMPTY]


def done(steps: Steps[T]) -> T:
    """What comes of the work, all of it done now."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def update(read: Read, root: bytes, *, changes: Mapping[bytes, bytes | None]) -> Update:
    """The map of ``root`` with these records instead of those it had; None takes a record out."""
    return done(updating(read, root, changes=changes))


def updating(read: Read, root: bytes, *, changes: Mapping[bytes, bytes | None]) -> Steps[Update]:
    """``update`` in parts. Neighbours go together, so that parts have few pages in common."""
    total = Update(root)
    placed = sorted((page_hash(key), key, value) for key, value in changes.items())

    def read_new(name: bytes) -> bytes:
        return total.added.get(name) or read(name)

    for start in range(0, len(placed), PART):
        part = placed[start : start + PART]
        _follow(total, _updated_once(read_new, total.root, part))
        yield len(part)
    return total


def _follow(total: Update, part: Update) -> None:
    """Have ``total`` lead to where ``part`` leads from its end."""
    total.root = part.root
    for name in part.retired:
        if total.added.pop(name, None) is None:
            total.retired.add(name)
    for name, page in part.added.items():
        if name in total.retired:
            total.retired.remove(name)
        else:
            total.added[name] = page


_Change: TypeAlias = tuple[bytes, bytes, bytes | None]


def _updated_once(read: Read, root: bytes, changes: list[_Change]) -> Update:
    result = Update(root)
    result.root = _updated(read, result, root, changes, 0)
    same = result.retired & result.added.keys()
    result.retired -= same
    for name in same:
        del result.added[name]
    return result


def _updated(read: Read, result: Update, root: bytes, changes: list[_Change], depth: int) -> bytes:
    page = read(root) if root != EMPTY else _LEAF
    if root != EMPTY:
        result.retired.add(root)
    if page[:1] == _LEAF:
        records = _records(page)
        for _, key, value in changes:
            if value is None:
                records.pop(key, None)
            else:
                records[key] = value
        return _built(result, records, depth)
    children = _children(page)
    below: dict[int, list[_Change]] = {}
    for change in changes:
        below.setdefault(_nibble(change[0], depth), []).append(change)
    for nibble, some in below.items():
        children[nibble] = _updated(read, result, children[nibble], some, depth + 1)
    return _inner(result, children)


def _built(result: Update, records: dict[bytes, bytes], depth: int) -> bytes:
    if not records:
        return EMPTY
    if len(records) == 1 or depth == _DEPTH_MAX or _leaf_bytes(records) <= LEAF_BYTES_MAX:
        return _added(result, _leaf(records))
    below: list[dict[bytes, bytes]] = [{} for _ in range(_FAN)]
    for key, value in records.items():
        below[_nibble(page_hash(key), depth)][key] = value
    return _inner(result, [_built(result, some, depth + 1) for some in below])


def _inner(result: Update, children: list[bytes]) -> bytes:
    if all(child == EMPTY for child in children):
        return EMPTY
    return _added(result, _INNER + b"".join(children))


def _added(result: Update, page: bytes) -> bytes:
    name = page_hash(page)
    result.added[name] = page
    return name


def _leaf(records: Mapping[bytes, bytes]) -> bytes:
    parts = [_LEAF]
    for key, value in sorted(records.items()):
        parts += (_TWO.pack(len(key), len(value)), key, value)
    return b"".join(parts)


def _leaf_bytes(records: Mapping[bytes, bytes]) -> int:
    return 1 + sum(_LENGTHS + len(key) + len(value) for key, value in records.items())


def _record(page: bytes, key: bytes) -> bytes | None:
    """One of a leaf's records."""
    at = 1
    while at < len(page):
        start = at + _LENGTHS
        key_bytes, value_bytes = _TWO.unpack_from(page, at)
        end = start + key_bytes
        at = end + value_bytes
        if page[start:end] == key:
            return page[end:at]
    return None


def _records(page: bytes) -> dict[bytes, bytes]:
    records, at = {}, 1
    while at < len(page):
        key_bytes, value_bytes = _TWO.unpack_from(page, at)
        key_end = at + _LENGTHS + key_bytes
        at = key_end + value_bytes
        records[page[key_end - key_bytes : key_end]] = page[key_end:at]
    return records


def _children(page: bytes) -> list[bytes]:
    return [page[at : at + HASH_BYTES] for at in _PLACES]


def _child(page: bytes, nibble: int) -> bytes:
    return page[1 + nibble * HASH_BYTES : 1 + (nibble + 1) * HASH_BYTES]


def _nibble(place: bytes, depth: int) -> int:
    byte = place[depth // 2]
    return byte & 15 if depth % 2 else byte >> 4
