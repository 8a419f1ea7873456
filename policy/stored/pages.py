"""A map on disk of which one hash pins every record: a tree of pages, each named by the hash of its bytes.

A key's place is its SHA-256, four bits a level. A page is a leaf with up to ``LEAF_RECORDS_MAX`` records, or
the hashes of 16 pages below it. Whoever knows the root's hash notices, when it is read, a record that was
altered, taken out, put in, or is older than the root, and also that a key is not there. Nothing is ever
changed in place: an update gives the pages to add and those that it replaces.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from policy.errors import OperationalError

HASH_BYTES: Final = 32
EMPTY: Final = bytes(HASH_BYTES)
LEAF_RECORDS_MAX: Final = 8
_FAN: Final = 16
_DEPTH_MAX: Final = 2 * HASH_BYTES
_LEAF, _INNER = b"\x00", b"\x01"

Read: TypeAlias = Callable[[bytes], bytes]
"""Gives the page of a hash after ``checked``; raises ``DamagedState``."""


class DamagedState(OperationalError):
    """The stored state is not what its hash says: throw it away and fold the log."""


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
            return _records(page).get(key)
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


def update(read: Read, root: bytes, *, changes: Mapping[bytes, bytes | None]) -> Update:
    """The map of ``root`` with these records instead of those it had; None takes a record out."""
    result = Update(root)
    placed = [(page_hash(key), key, value) for key, value in changes.items()]
    if placed:
        result.root = _updated(read, result, root, placed, 0)
    same = result.retired & result.added.keys()
    result.retired -= same
    for name in same:
        del result.added[name]
    return result


_Change: TypeAlias = tuple[bytes, bytes, bytes | None]


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
    if len(records) <= LEAF_RECORDS_MAX or depth == _DEPTH_MAX:
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
        parts += (len(key).to_bytes(4, "big"), len(value).to_bytes(4, "big"), key, value)
    return b"".join(parts)


def _records(page: bytes) -> dict[bytes, bytes]:
    records, at = {}, 1
    while at < len(page):
        key_end = at + 8 + int.from_bytes(page[at : at + 4], "big")
        end = key_end + int.from_bytes(page[at + 4 : at + 8], "big")
        records[page[at + 8 : key_end]] = page[key_end:end]
        at = end
    return records


def _children(page: bytes) -> list[bytes]:
    return [_child(page, nibble) for nibble in range(_FAN)]


def _child(page: bytes, nibble: int) -> bytes:
    return page[1 + nibble * HASH_BYTES : 1 + (nibble + 1) * HASH_BYTES]


def _nibble(place: bytes, depth: int) -> int:
    byte = place[depth // 2]
    return byte & 15 if depth % 2 else byte >> 4
