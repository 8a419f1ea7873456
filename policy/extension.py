"""The check of what a log has gained since somebody folded all of it, by whoever keeps what they folded.

The tree says that the log goes on from there: over the kept frontier and the new entries its root has to be
the checkpoint's. And w cosigners signed the digest that folding them comes to. What an audit checks of a
whole log besides (limits added up again, nonces that repeat) is not looked at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policy.audit import NOTE_BYTES_MAX, Trust
from policy.errors import MalformedError, ProtocolError
from policy.ledger import fold
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    quorum,
    verify_log_signature,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.state import State


@dataclass(frozen=True, slots=True)
class Folded:
    """A log's state after so many entries, and the tree over them."""

    state: State
    frontier: Frontier


def checkpoint_of(note: bytes, trust: Trust) -> Checkpoint:
    """The checkpoint of a note under pinned trust. Raises ``ProtocolError``."""
    parsed = parse_note(note, NOTE_BYTES_MAX)
    checkpoint = parse_checkpoint(parsed.body)
    if checkpoint.origin != trust.origin:
        raise MalformedError(f"the checkpoint is of {checkpoint.origin}, not of {trust.origin}")
    _check_signed(parsed, trust.origin, trust.log_key, keys=trust.cosigners, w=trust.w)
    return checkpoint


def extended(before: Folded, note: bytes, *, entries: Iterable[bytes], trust: Trust) -> Folded:
    """What is folded up to the checkpoint of ``note``. Raises ``ProtocolError`` if the log does not hold."""
    checkpoint = checkpoint_of(note, trust)
    state, frontier = before.state, before.frontier
    for entry in entries:
        state, _ = fold(state, entry)
        frontier = frontier.append(leaf_hash(entry))
    if (frontier.size, frontier.root()) != (checkpoint.size, checkpoint.root):
        raise MalformedError(
            f"the {frontier.size} entries are not those of the checkpoint of {checkpoint.size}: the log does "
            "not go on from what was folded before; keep both"
        )
    if state.digest != checkpoint.state:
        raise MalformedError("the checkpoint claims another state than its entries fold to")
    roster = state.roster
    _check_signed(
        parse_note(note, NOTE_BYTES_MAX),
        state.origin,
        roster.log_key,
        keys=roster.cosigner_keys(),
        w=roster.w,
    )
    return Folded(state, frontier)


def _check_signed(note: Note, origin: str, log_key: bytes, *, keys: Mapping[str, bytes], w: int) -> None:
    verify_log_signature(note, origin, public_key=log_key)
    if not quorum(note, keys, w=w):
        raise ProtocolError(f"checkpoint: it has not the cosignatures of {w} of {len(keys)} cosigners")
