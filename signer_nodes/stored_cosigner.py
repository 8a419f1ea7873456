"""A cosigner at one head as pages: the tables of its state, its log's hashes, and one page over them all.

The hash of that page pins everything, and the token keeps it. What is under it is trusted as the token is.
What it does not cover stands elsewhere: the last quorum's head, the branches renounced, since when changes
are had.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policy.delays import Change, Delays
from policy.encoding import Json, canonical
from policy.log import tiles
from policy.log.merkle import Frontier, HashReader
from policy.roster import parse_roster
from policy.stored.pages import EMPTY, HASH_BYTES, Read, find, page_hash, update
from policy.stored.states import (
    FORMAT,
    NO_TABLES,
    Tables,
    read_state,
    rebased_state,
    shape,
    state_document,
    store_tables,
)
from signer_nodes.witness import Cosigner, Identity, InForce, new_cosigner

TILES: Final = "tiles"


@dataclass(frozen=True, slots=True)
class StoredCosigner:
    """What stands under ``root``. ``cosigner`` has its tables there and nothing of them in memory."""

    root: bytes
    cosigner: Cosigner
    tables: Tables

    @property
    def size(self) -> int:
        """How many entries it has folded."""
        return self.cosigner.size

    def hashes(self) -> HashReader:
        """The nodes of the tree over its entries."""
        return tiles.tile_hash_reader(_tiles(self.tables), self.size)


@dataclass(frozen=True, slots=True)
class Written:
    """A cosigner to store, by the pages that come and go."""

    stored: StoredCosigner
    added: Mapping[bytes, bytes]
    retired: frozenset[bytes]


def nothing(identity: Identity, read: Read) -> StoredCosigner:
    """Before anything is stored: a cosigner that has folded nothing."""
    return StoredCosigner(b"", new_cosigner(identity), Tables(read, {**NO_TABLES, TILES: EMPTY}))


def write(cosigner: Cosigner, before: StoredCosigner, *, leaves: Sequence[bytes]) -> Written:
    """What stores ``cosigner`` after ``before``; ``leaves`` are the hashes of the entries between them."""
    updates = store_tables(cosigner.state, before.tables)
    read, roots = before.tables
    updates[TILES] = update(read, roots[TILES], changes=_new_tiles(before, leaves))
    tables = Tables(read, {name: one.root for name, one in updates.items()})
    page = canonical(_head(cosigner, tables.roots))
    root = page_hash(page)
    added = {root: page}
    retired = {before.root} if before.root else set()
    for one in updates.values():
        added |= one.added
        retired |= one.retired
    state = rebased_state(cosigner.state, cosigner.state, tables=tables)
    return Written(StoredCosigner(root, replace(cosigner, state=state), tables), added, frozenset(retired))


def rebased(cosigner: Cosigner, before: Cosigner, *, stored: StoredCosigner) -> Cosigner:
    """``cosigner`` over ``stored``, as which ``before`` was written, an earlier one of the same log."""
    return replace(cosigner, state=rebased_state(cosigner.state, before.state, tables=stored.tables))


def read_stored(root: bytes, read: Read, *, identity: Identity) -> StoredCosigner | None:
    """What stands under ``root``; None if it is another log's, or of another format."""
    found = json.loads(read(root))
    expected = {"format": FORMAT, "shape": shape(), "genesis": identity.genesis.hex()}
    if any(found.get(name) != value for name, value in expected.items()):
        return None
    tables = Tables(read, {name: bytes.fromhex(one) for name, one in found["tables"].items()})
    rosters = tuple(map(_read_roster, found["rosters"]))
    for key in found["later_log_keys"]:
        identity = identity.knowing(bytes.fromhex(key))
    cosigner = Cosigner(
        identity=identity,
        state=read_state(found["state"], rosters[-1].roster, tables=tables),
        frontier=Frontier.from_bytes(bytes.fromhex(found["frontier"])),
        rosters=rosters,
        delays=Delays(tuple(map(_read_change, found["delays"]))),
    )
    return StoredCosigner(root, cosigner, tables)


def _head(cosigner: Cosigner, roots: Mapping[str, bytes]) -> Json:
    return {
        "format": FORMAT,
        "shape": shape(),
        "genesis": cosigner.identity.genesis.hex(),
        "later_log_keys": [key.hex() for key in cosigner.identity.later_log_keys],
        "frontier": cosigner.frontier.to_bytes().hex(),
        "rosters": [[one.size, canonical(one.document).decode()] for one in cosigner.rosters],
        "delays": [_change(change) for change in cosigner.delays.changes],
        "state": state_document(cosigner.state),
        "tables": {name: root.hex() for name, root in roots.items()},
    }


def _read_roster(found: Any) -> InForce:
    size, text = found
    document = json.loads(text)
    return InForce(size, parse_roster(document), document)


def _change(change: Change) -> Json:
    """Since when it was had stands elsewhere: that is no fact of the log."""
    fields: dict[str, Json] = {"index": change.index, "delay_ms": change.delay_ms}
    return fields if change.enacted_at is None else {**fields, "enacted_at": change.enacted_at}


def _read_change(found: Mapping[str, int]) -> Change:
    return Change(found["index"], found["delay_ms"], None, found.get("enacted_at"))


def _new_tiles(before: StoredCosigner, leaves: Sequence[bytes]) -> dict[bytes, bytes | None]:
    frontier = before.cosigner.frontier
    made = tiles.hash_tiles(_tiles(before.tables), frontier, leaves=leaves)
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
