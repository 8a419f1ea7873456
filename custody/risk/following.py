"""A log as its observer knows it: folded here, and believed only as far as enough cosigners have signed it.

Each look costs what came since the last one. Whatever does not hold ends the follower: its memory then may
have learnt from what is not in the log, so it is thrown away and the log is folded anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from custody.risk.ports import LogSource
from policy.audit import NOTE_BYTES_MAX, Trust
from policy.collecting import uncollected
from policy.errors import CallerError, OperationalError, ProtocolError
from policy.ledger import fold, initial
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
    verify_log_signature,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.replay import Step
from policy.shapes import read_entry
from policy.state import State

NO_LOG: Final = "the coordinator has no checkpoint that enough cosigners signed"


class BadLog(OperationalError):
    """What the coordinator gave is not the log that was pinned, or no log at all."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a log was read: the folded state, and the tree over its entries."""

    state: State
    frontier: Frontier


NOTHING: Final = Progress(initial(), Frontier())


class Follower:
    """Follows one log, whose beginning is pinned. ``hear`` is told of each entry that can be read.

    Where it starts, enough cosigners have signed.
    """

    def __init__(
        self, source: LogSource, trust: Trust, *, hear: Callable[[Step], object], start: Progress = NOTHING
    ) -> None:
        self._source, self._trust, self._hear = source, trust, hear
        self._frontier = start.frontier
        self._bad, self._signed = "", start.frontier.size
        self.state: State = start.state

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(self.state, self._frontier)

    def rebase(self, progress: Progress) -> None:
        """Go on with the same state over other layers."""
        if (progress.frontier, progress.state.digest) != (self._frontier, self.state.digest):
            raise CallerError("another state is no other layering of this one")
        self.state = progress.state

    @property
    def holds(self) -> bool:
        """Whether all that was heard is under a checkpoint that enough cosigners signed."""
        return 0 < self._signed == self._frontier.size

    def advance(self) -> None:
        """Take in what is new. Raises ``OperationalError``, and ``BadLog`` for good."""
        if self._bad:
            raise BadLog(self._bad)
        try:
            self._advance()
        except ProtocolError as error:
            self._bad = f"{error}: keep what the coordinator gave, and ask the cosigners' people"
            raise BadLog(self._bad) from error

    def _advance(self) -> None:
        data = self._source.note()
        if not data:
            raise OperationalError(f"{NO_LOG}: ask again")
        note = parse_note(data, NOTE_BYTES_MAX)
        checkpoint = parse_checkpoint(note.body)
        _check_signed(note, checkpoint, key=self._trust.log_key, cosigners={}, w=0)
        if checkpoint.origin != self._trust.origin:
            raise ProtocolError(f"the checkpoint is of {checkpoint.origin}, not of {self._trust.origin}")
        if checkpoint.size < self._frontier.size or checkpoint.size == self._signed:
            return  # nothing new, or an older head than was promised before
        with uncollected():
            while self._frontier.size < checkpoint.size:
                self._take(self._source.entries(self._frontier.size, checkpoint.size), checkpoint.size)
        roster = self.state.roster
        if (self._frontier.root(), self.state.digest) != (checkpoint.root, checkpoint.state):
            raise ProtocolError(f"the first {checkpoint.size} entries are not those of their checkpoint")
        _check_signed(note, checkpoint, key=roster.log_key, cosigners=roster.cosigner_keys(), w=roster.w)
        self._signed = checkpoint.size

    def _take(self, entries: tuple[bytes, ...], size: int) -> None:
        if not entries:
            raise OperationalError(f"the log is being read anew, {self._frontier.size} of {size}: ask again")
        for data in entries[: size - self._frontier.size]:
            leaf = leaf_hash(data)
            if not self._frontier.size and leaf != self._trust.genesis:
                raise ProtocolError("the log does not begin with the genesis entry that is pinned")
            self._fold(data)
            self._frontier = self._frontier.append(leaf)

    def _fold(self, data: bytes) -> None:
        before, index = self.state, self.state.size
        self.state, outcome = fold(before, data)
        try:
            timed = read_entry(data)
        except (ProtocolError, CallerError):
            return
        self._hear(Step(before, index, data, timed, outcome, self.state))


def _check_signed(
    note: Note, checkpoint: Checkpoint, *, key: bytes, cosigners: Mapping[str, bytes], w: int
) -> None:
    """The log's signature, and ``w`` of the cosigners'. Raises ``ProtocolError``."""
    verify_log_signature(note, checkpoint.origin, public_key=key)
    count = len(verify_cosignatures(note, cosigners)) if w else 0
    if count < w:
        raise ProtocolError(f"the checkpoint has {count} cosignatures, {w} are needed")
