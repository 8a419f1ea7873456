"""Whether a node's disk is the one that its token remembers: looked at before it is started, nothing changed.

A disk from a backup is behind the token, so such a node does not start (``node_log.RolledBack``). A disk and
a token that are old together know of nothing that came since, and the node asks its peers before it cosigns.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

from policy.errors import InvariantError, OperationalError
from policy.log.merkle import Frontier, leaf_hash
from signer_nodes.hsm.doctor import Finding
from signer_nodes.node_log import RE_ENROL
from signer_nodes.ports import StoreBusy, StoreOlder
from signer_nodes.token_head import TokenHead

CHUNK: Final = 4096
DISK: Final = "disk"


class Disk(Protocol):
    """What is looked at of a store."""

    def size(self) -> int:
        """The number of entries."""

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Entries of [start, stop)."""

    def marks_chain_at(self, count: int) -> bytes | None:
        """The head of the chain of marks."""

    def check(self) -> None:
        """Read everything once. Raises ``InvariantError``."""

    def close(self) -> None:
        """Let go of it."""


def examine_disk(
    path: Path, head: TokenHead | None, *, genesis: bytes, open_disk: Callable[[Path], Disk]
) -> Finding:
    """The store at ``path`` beside what the token remembers; ``genesis`` is the log's that is configured."""
    if _absent(path):
        if head is None:
            return Finding(DISK, True, "neither disk nor token has a log: a new node")
        return Finding(
            DISK, False, f"{path} is not there, the token remembers {head.size} entries: {RE_ENROL}"
        )
    try:
        with closing(open_disk(path)) as disk:
            disk.check()
            problem = _problem(disk, head, genesis)
            return Finding(DISK, not problem, problem or f"{disk.size()} entries, as the token remembers")
    except StoreBusy:
        return Finding(DISK, True, "held by the running node, which compared it when it started")
    except (InvariantError, OperationalError) as error:
        return Finding(DISK, False, str(error))


def examine_store(path: Path, genesis: bytes, *, open_disk: Callable[[Path], Disk]) -> str:
    """What keeps a node from starting on a store, whatever its token remembers; empty if nothing."""
    if _absent(path):
        return ""
    try:
        with closing(open_disk(path)) as disk:
            disk.check()
            return _foreign(disk, genesis)
    except (StoreBusy, StoreOlder):  # held by the running node, or a start upgrades it
        return ""
    except (InvariantError, OperationalError) as error:
        return str(error)


def _absent(path: Path) -> bool:
    """An empty file is no store either: opening it would make one of it."""
    return not path.exists() or (path.is_file() and not path.stat().st_size)


def _foreign(disk: Disk, genesis: bytes) -> str:
    first = disk.entries(0, 1)
    if first and leaf_hash(first[0]) != genesis:
        return "the disk has the log of another deployment: give this node's own data_dir"
    return ""


def _problem(disk: Disk, head: TokenHead | None, genesis: bytes) -> str:
    size = disk.size()
    if foreign := _foreign(disk, genesis):
        return foreign
    if head is None:
        return f"the token remembers no log, the disk has {size} entries: {RE_ENROL}" if size else ""
    if head.size > size or _root(disk, head.size) != head.root:
        return f"the disk has {size} entries, the token remembers {head.size} of this log: {RE_ENROL}"
    if disk.marks_chain_at(head.marks) != head.marks_chain:
        return f"the disk lacks marks of signatures that the token remembers: {RE_ENROL}"
    return ""


def _root(disk: Disk, size: int) -> bytes:
    frontier = Frontier()
    for start in range(0, size, CHUNK):
        for entry in disk.entries(start, min(start + CHUNK, size)):
            frontier = frontier.append(leaf_hash(entry))
    return frontier.root()
