"""Whether the files of a log are what its checkpoint is of; if not, the first of them that is wrong."""

from collections.abc import Iterator

from policy.errors import MalformedError, ProtocolError
from policy.log.checkpoint import Checkpoint
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import TILE_WIDTH, Read, TilePath, audit_tiles, decode_bundle


class Bad(Exception):
    """Ends the check at an entry; never leaves the modules of audits."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index
        self.why = why


def check_structure(read: Read, checkpoint: Checkpoint) -> None:
    """Compare every tile with the entries and the root with the checkpoint. Raises ``Bad``."""
    try:
        if audit_tiles(read, checkpoint.size).root() == checkpoint.root:
            return
        why = "the root is not that of the entries: it belongs to another log or branch"
    except ProtocolError as error:
        why = str(error)
    raise _blame(read, checkpoint, why)


def _blame(read: Read, checkpoint: Checkpoint, why: str) -> Bad:
    """The first entry that does not hash to its tile; which of both is wrong, the root decides."""
    entries, tiles = Frontier(), Frontier()
    first: int | None = None
    try:
        for index, (leaf, tiled) in enumerate(_leaves(read, checkpoint.size)):
            if leaf != tiled and first is None:
                first = index
            entries, tiles = entries.append(leaf), tiles.append(tiled)
    except Bad as bad:
        return bad if first is None else Bad(first, "the entry does not hash to its tile")
    if first is not None and tiles.root() == checkpoint.root:
        return Bad(first, "the entry was changed: it does not hash to its tile, which the checkpoint covers")
    if first is not None and entries.root() == checkpoint.root:
        return Bad(first, "the entry's hash in its tile was changed: the checkpoint covers the entry")
    if first is not None:
        return Bad(first, "the entry does not hash to its tile, and the checkpoint covers neither")
    return Bad(checkpoint.size, why)


def _leaves(read: Read, size: int) -> Iterator[tuple[bytes, bytes]]:
    """For each entry its own hash, and the hash that its level-0 tile has for it."""
    for start in range(0, size, TILE_WIDTH):
        width = min(TILE_WIDTH, size - start)
        bundle, tile = (TilePath(level, start // TILE_WIDTH, width) for level in (None, 0))
        entries, hashes = (_tile(read, path, start) for path in (bundle, tile))
        try:
            found = _decode_some(entries, width)
        except MalformedError as error:
            raise Bad(start, f"{bundle}: {error}") from error
        for at, entry in enumerate(found):
            yield leaf_hash(entry), hashes[32 * at : 32 * at + 32]
        if len(found) < width:
            raise Bad(start + len(found), f"{bundle} ends before this entry")


def _decode_some(data: bytes, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle, as far as it goes; also of a full one in place of a partial one."""
    found: list[bytes] = []
    while len(found) < width and len(data) >= 2:
        length = int.from_bytes(data[:2], "big")
        if len(data) < 2 + length:
            break
        found += decode_bundle(data[: 2 + length], 1)
        data = data[2 + length :]
    return tuple(found)


def _tile(read: Read, path: TilePath, start: int) -> bytes:
    data = read(str(path))
    if data is None:
        data = read(str(TilePath(path.level, path.index)))
    if data is None:
        raise Bad(start, f"{path} is missing")
    return data
