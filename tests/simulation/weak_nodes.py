"""What we do not build: cosigners that lack one rule each, to see what the rule is for."""

from collections.abc import Sequence

from policy.log.checkpoint import Checkpoint, parse_checkpoint, parse_note
from signer_nodes.gate import Node
from signer_nodes.witness import NOTE_BYTES_MAX, Extension, Refusal, follow, last_quorum
from tests.simulation.cluster import SimNode, Statement


class ByLogTime(SimNode):
    """For it a delay is over when the log says so, and the future has come."""

    def _extended(self, start: int, entries: Sequence[bytes], note: bytes) -> Extension:
        return follow(self.cosigner, start, entries=entries, note=note, now_ms=self.clock.now_ms)

    def _node(self) -> Node:
        return Node(self.name, self.clock.now_ms, self.frozen)


class WithoutQuorum(SimNode):
    """It signs under any checkpoint of the log."""

    def learn(self, note: bytes) -> Checkpoint:
        checkpoint = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
        if checkpoint.size > self.size or self._root_at(checkpoint.size) != checkpoint.root:
            raise Refusal("branch", "another branch")
        return checkpoint


class LeavesWhenAsked(SimNode):
    """It goes back to its last quorum head without anybody's statement."""

    def leave(self, statements: Sequence[Statement]) -> None:
        size, _ = last_quorum(self.cosigner)
        if self.size > size:
            self._go_back(size)


class OldReservations(SimNode):
    """It gives partial signatures however old the reservation is: its gate has no clock."""

    def _node(self) -> Node:
        return Node(self.name, 0, self.frozen)
