"""A head of the log as pages: the tables of its state, the log's hashes, and one page over them all.

The hash of that page pins everything: whoever keeps it trusts what is under it. What a head has beside state
and frontier is its ``Form``'s to write and to read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar

from policy.encoding import Json, canonical
from policy.log import tiles
from policy.log.merkle import Frontier, HashReader
from policy.state import State
from policy.stored.pages import EMPTY, HASH_BYTES, Read, Steps, done, find, page_hash, updating
from policy.stored.states import (
    FORMAT,
    NO_TABLES,
    Tables,
    read_state,
    rebased_state,
    shape,
    state_document,
    storing_tables,
)

TILES: Final = "tiles"


class Head(Protocol):
    """Where somebody stands in the log."""

    @property
    def state(self) -> State:
        """The state there."""

    @property
    def frontier(self) -> Frontier:
        """The tree there; its size is that of the log."""


H = TypeVar("H", bound=Head)


class Form(Protocol[H]):
    """What to store of one kind of head, beside its state and its frontier."""

    def nothing(self) -> H:
        """The head before the first entry."""

    def document(self, head: H) -> dict[str, Json]:
        """What else it has, under none of ``format``, ``shape``, ``frontier``, ``state``, ``tables``."""

    def read(self, found: Mapping[str, Any], state: State, *, frontier: Frontier) -> H | None:
        """The head of a ``document``; None if it is another log's."""

    def over(self, head: H, state: State) -> H:
        """The head with the same state in other layers."""


@dataclass(frozen=True, slots=True)
class StoredHead(Generic[H]):
    """What stands under ``root``. ``head`` has its tables there and nothing of them in memory."""

    root: bytes
    head: H
    tables: Tables

    @property
    def size(self) -> int:
        """How many entries it has folded."""
        return self.head.frontier.size

    def hashes(self) -> HashReader:
        """The nodes of the tree over its entries."""
        return tiles.tile_hash_reader(_tiles(self.tables), self.size)


@dataclass(frozen=True, slots=True)
class Written(Generic[H]):
    """A head to store, by the pages that come and go."""

    stored: StoredHead[H]
    added: Mapping[bytes, bytes]
    retired: frozenset[bytes]


def nothing(form: Form[H], read: Read) -> StoredHead[H]:
    """Before anything is stored."""
    return StoredHead(b"", form.nothing(), Tables(read, {**NO_TABLES, TILES: EMPTY}))


def write(
    form: Form[H], head: H, *, before: StoredHead[H], leaves: Sequence[bytes], read: Read
) -> Written[H]:
    """What stores ``head`` after ``before``; ``leaves`` are the hashes of the entries between them.

    By ``read`` the new one's pages are read.
    """
    return done(writing(form, head, before=before, leaves=leaves, read=read))


def writing(
    form: Form[H], head: H, *, before: StoredHead[H], leaves: Sequence[bytes], read: Read
) -> Steps[Written[H]]:
    """``write`` in parts, with other work between them."""
    updates = yield from storing_tables(head.state, before.tables)
    old, roots = before.tables
    updates[TILES] = yield from updating(old, roots[TILES], changes=_new_tiles(before, leaves))
    tables = Tables(read, {name: one.root for name, one in updates.items()})
    page = canonical(_document(form, head, tables.roots))
    root = page_hash(page)
    added = {root: page}
    retired = {before.root} if before.root else set()
    for one in updates.values():
        added |= one.added
        retired |= one.retired
    state = rebased_state(head.state, head.state, tables=tables)
    return Written(StoredHead(root, form.over(head, state), tables), added, frozenset(retired))


def rebased(form: Form[H], head: H, *, before: H, stored: StoredHead[H]) -> H:
    """``head`` over ``stored``, as which ``before`` was written, an earlier one of the same log."""
    return form.over(head, rebased_state(head.state, before.state, tables=stored.tables))


def read_stored(form: Form[H], root: bytes, *, read: Read) -> StoredHead[H] | None:
    """What stands under ``root``; None if it is another log's, or of another format."""
    found = json.loads(read(root))
    if found.get("format") != FORMAT or found.get("shape") != shape():
        return None
    tables = Tables(read, {name: bytes.fromhex(one) for name, one in found["tables"].items()})
    state = read_state(found["state"], tables)
    head = form.read(found, state, frontier=Frontier.from_bytes(bytes.fromhex(found["frontier"])))
    return None if head is None else StoredHead(root, head, tables)


def _document(form: Form[H], head: H, roots: Mapping[str, bytes]) -> Json:
    return {
        **form.document(head),
        "format": FORMAT,
        "shape": shape(),
        "frontier": head.frontier.to_bytes().hex(),
        "state": state_document(head.state),
        "tables": {name: root.hex() for name, root in roots.items()},
    }


def _new_tiles(before: StoredHead[H], leaves: Sequence[bytes]) -> dict[bytes, bytes | None]:
    made = tiles.hash_tiles(_tiles(before.tables), before.head.frontier, leaves=leaves)
    return {_tile_key(tiles.parse_tile_path(path)): data for path, data in made}


def _tiles(tables: Tables) -> tiles.Read:
    """The tiles of the table, of which the last one of a row is as wide as it has come."""

    def read(path: str) -> bytes | None:
        tile = tiles.parse_tile_path(path)
        data = find(tables.read, tables.roots[TILES], key=_tile_key(tile))
        width = tile.width * HASH_BYTES
        return None if data is None or len(data) < width else data[:width]

    return read


def _tile_key(tile: tiles.TilePath) -> bytes:
    return str(replace(tile, width=tiles.TILE_WIDTH)).encode()
