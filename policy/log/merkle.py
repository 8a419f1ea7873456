"""The Merkle tree of RFC 6962: hashes, a compact frontier that only grows, inclusion and consistency proofs.

Words: a *node* ``(level, index)`` is the hash of the complete subtree over the leaves
``[index << level, (index + 1) << level)``; level 0 are leaf hashes. A ``HashReader`` answers nodes
from wherever they are kept (a list, a table, tiles); only complete subtrees are ever asked for.
Source: RFC 6962 section 2.1 (trees and proofs), RFC 9162 section 2.1.3.2 and 2.1.4.2 (verification).
"""

import functools
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policy.encoding import INTEGER_MAX
from policy.errors import CallerError, MalformedError

HASH_BYTES = 32
SIZE_MAX = INTEGER_MAX
PROOF_HASHES_MAX = 64  # a consistency proof has at most one hash a level, and one more
EMPTY_ROOT = hashlib.sha256(b"").digest()

HashReader: TypeAlias = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one log entry, apart from every node's by its prefix."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to append to a tree of ``size`` leaves and to know its root.

    ``hashes`` are the roots of its complete subtrees, widest first: one for each 1 bit of ``size``.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX:
            raise CallerError(f"a tree of {self.size} leaves; from 0 to {SIZE_MAX} are possible")
        if len(self.hashes) != self.size.bit_count():
            raise CallerError(
                f"{self.size} leaves need {self.size.bit_count()} hashes, got {len(self.hashes)}"
            )
        if any(len(digest) != HASH_BYTES for digest in self.hashes):
            raise CallerError(f"a frontier's hashes have {HASH_BYTES} bytes each")

    def append(self, leaf: bytes) -> "Frontier":
        """The frontier with one more leaf, given by its leaf hash; this one stays as it is."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> "Frontier":
        """The frontier with more leaves, given by their leaf hashes; this one stays as it is."""
        kept, size = list(self.hashes), self.size
        for leaf in leaves:
            node = leaf
            for _ in range(_trailing_ones(size)):
                node = node_hash(kept.pop(), node)
            kept.append(node)
            size += 1
        return Frontier(size, tuple(kept))

    def root(self) -> bytes:
        """The root hash of the tree (of RFC 6962's MTH)."""
        if not self.hashes:
            return EMPTY_ROOT
        return functools.reduce(lambda right, left: node_hash(left, right), reversed(self.hashes))

    def to_bytes(self) -> bytes:
        """Eight bytes of size, big-endian, and the hashes in order."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @staticmethod
    def from_bytes(data: bytes) -> "Frontier":
        """Read ``to_bytes``. Raises ``MalformedError`` for any other bytes."""
        size = int.from_bytes(data[:8], "big")
        length = 8 + HASH_BYTES * size.bit_count()
        if len(data) != length or size > SIZE_MAX:
            raise MalformedError(f"frontier of size {size} has {len(data)} bytes, expected {length}")
        return Frontier(size, _split(data[8:]))


def leaf_reader(leaves: Sequence[bytes]) -> HashReader:
    """A reader over leaf hashes held in memory; a node costs as many hashes as it has leaves."""

    def read(level: int, index: int) -> bytes:
        first, after = index << level, (index + 1) << level
        if first < 0 or after > len(leaves):
            raise CallerError(f"node ({level}, {index}) needs {after} leaves, there are {len(leaves)}")
        row = list(leaves[first:after])
        while len(row) > 1:
            row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    return read


def frontier_at(read: HashReader, size: int) -> Frontier:
    """The frontier of the first ``size`` leaves that ``read`` knows."""
    return Frontier(size, tuple(read(level, index) for level, index in _complete_nodes(0, size)))


def prove_inclusion(read: HashReader, index: int, *, size: int) -> tuple[bytes, ...]:
    """The audit path of leaf ``index`` (from 0) in the tree of ``size`` leaves, lowest sibling first."""
    if not 0 <= index < size <= SIZE_MAX:
        raise CallerError(f"leaf {index} is not in a tree of {size} leaves")
    path: list[bytes] = []
    first, after = 0, size
    while after - first > 1:
        middle = first + _split_point(after - first)
        if index < middle:
            path.append(_range_hash(read, middle, after))
            after = middle
        else:
            path.append(_range_hash(read, first, middle))
            first = middle
    return tuple(reversed(path))


def prove_consistency(read: HashReader, old_size: int, *, new_size: int) -> tuple[bytes, ...]:
    """The proof that the tree of ``new_size`` leaves begins with the one of ``old_size``.

    Empty when the sizes are equal or the old tree is empty: then the roots alone decide.
    """
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise CallerError(f"a tree of {new_size} leaves does not extend one of {old_size}")
    if old_size in (0, new_size):
        return ()
    proof: list[bytes] = []
    first, after = 0, new_size
    while old_size != after:
        middle = first + _split_point(after - first)
        if old_size <= middle:
            proof.append(_range_hash(read, middle, after))
            after = middle
        else:
            proof.append(_range_hash(read, first, middle))
            first = middle
    if first > 0:  # otherwise the last hash is the old root, which the verifier has
        proof.append(_range_hash(read, first, after))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, *, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows the leaf hash ``leaf`` at ``index`` (from 0) under ``root`` of ``size`` leaves.

    Total: a wrong index, size, length or hash is False and never an error.
    """
    if not 0 <= index < size <= SIZE_MAX or not _are_hashes(leaf, root, *proof):
        return False
    position, last = index, size - 1
    digest = leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            digest = node_hash(sibling, digest)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and hmac.compare_digest(digest, root)


def verify_consistency(old: tuple[int, bytes], new: tuple[int, bytes], *, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the head ``new`` extends the head ``old``; a head is ``(size, root)``.

    Total, like ``verify_inclusion``. Every head extends the empty one, whose root must be ``EMPTY_ROOT``.
    """
    (old_size, old_root), (new_size, new_root) = old, new
    if not 0 <= old_size <= new_size <= SIZE_MAX or not _are_hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        sound_empty = old_size > 0 or old_root == EMPTY_ROOT
        return not proof and sound_empty and hmac.compare_digest(old_root, new_root)
    if old_size == 0:
        return not proof and hmac.compare_digest(old_root, EMPTY_ROOT)
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a complete tree: its root is where the proof starts
        path.insert(0, old_root)
    return bool(path) and _replay_consistency(old, new, path)


def _replay_consistency(old: tuple[int, bytes], new: tuple[int, bytes], path: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2, steps 3 to 8, with ``0 < old size < new size`` and a non-empty path."""
    (old_size, old_root), (new_size, new_root) = old, new
    skipped = _trailing_ones(old_size - 1)
    position, last = (old_size - 1) >> skipped, (new_size - 1) >> skipped
    old_digest = new_digest = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_digest, new_digest = node_hash(sibling, old_digest), node_hash(sibling, new_digest)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_digest = node_hash(new_digest, sibling)
        position, last = position >> 1, last >> 1
    matches = hmac.compare_digest(old_digest, old_root) and hmac.compare_digest(new_digest, new_root)
    return matches and last == 0


def _range_hash(read: HashReader, first: int, after: int) -> bytes:
    """The hash of leaves ``[first, after)`` where ``first`` is aligned as in every RFC 6962 subtree."""
    digests = [read(level, index) for level, index in _complete_nodes(first, after)]
    return functools.reduce(lambda right, left: node_hash(left, right), reversed(digests))


def _complete_nodes(first: int, after: int) -> list[tuple[int, int]]:
    """The widest complete nodes that cover ``[first, after)``, left to right."""
    nodes: list[tuple[int, int]] = []
    while first < after:
        level = (after - first).bit_length() - 1
        nodes.append((level, first >> level))
        first += 1 << level
    return nodes


def _split_point(width: int) -> int:
    """The largest power of two below ``width`` (at least 2)."""
    return int(1 << (width - 1).bit_length() - 1)


def _trailing_ones(number: int) -> int:
    return (~number & (number + 1)).bit_length() - 1


def _are_hashes(*digests: bytes) -> bool:
    return len(digests) <= PROOF_HASHES_MAX + 2 and all(len(digest) == HASH_BYTES for digest in digests)


def _split(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
