"""Single use of presignatures: each serves one (job, index), once, and lives in memory only.

Bind before anything that depends on it leaves; take it out to compute the one partial signature.
What was dropped, taken or never there cannot be bound. A restart empties the pool.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from policy.errors import CallerError
from signer_nodes.mpc.nonces import NoncePair
from signer_nodes.mpc.presignature import Presignature


@dataclass(frozen=True, slots=True)
class Held:
    """A presignature in the pool, with the key, epoch and signers it was made for.

    For threshold Schnorr it is this node's nonce pair.
    """

    presignature: Presignature | NoncePair = field(repr=False)
    key: str
    epoch: int
    signers: tuple[str, ...]

    @property
    def opening(self) -> bytes:
        """What round 1 lets out: ρ of a presignature, both nonce commitments of a nonce pair."""
        match self.presignature:
            case Presignature(rho=rho):
                return rho
            case NoncePair(opening=opening):
                return opening


def nonce_point(presignature: Presignature | NoncePair) -> bytes:
    """R, which the coordinator needs for adding ECDSA partial signatures up; empty for a nonce pair."""
    return presignature.R if isinstance(presignature, Presignature) else b""


class PresignaturePool:
    """The presignatures of one node, by id.

    They are made, and dropped with a peer, on the event loop, and bound and taken in threads beside it: what
    looks through all of them looks through a copy.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, Held] = {}
        self._bound: dict[bytes, tuple[bytes, int]] = {}

    def add(self, held: Iterable[Held]) -> None:
        """Put a finished batch in. Raises ``CallerError`` for an id that is there already."""
        for item in held:
            identifier = item.presignature.presign_id
            if identifier in self._held:
                raise CallerError("this presignature is in the pool already")
            self._held[identifier] = item

    def find(self, identifier: bytes) -> Held | None:
        """The presignature, bound or not; None once taken or dropped."""
        return self._held.get(identifier)

    def free(self, identifier: bytes) -> bool:
        """Whether it is here and bound to nothing."""
        return identifier in self._held and identifier not in self._bound

    def bind(self, identifier: bytes, job: bytes, *, index: int) -> None:
        """Give it to one (job, index) for good. Raises ``CallerError`` if it is another's or not here."""
        if not self.free(identifier) and not self.bound_to(identifier, job, index=index):
            raise CallerError("only a free presignature can be bound")
        self._bound[identifier] = (job, index)

    def bound_to(self, identifier: bytes, job: bytes, *, index: int) -> bool:
        """Whether it is here and was bound to exactly this."""
        return self._bound.get(identifier) == (job, index) and identifier in self._held

    def take(self, identifier: bytes, job: bytes, *, index: int) -> Held | None:
        """Remove it for its one use; None unless it is here and bound to exactly this.

        That it was both a moment ago says nothing: the event loop may have dropped it since.
        """
        if not self.bound_to(identifier, job, index=index):
            return None
        self._bound.pop(identifier, None)
        return self._held.pop(identifier, None)

    def drop(self, identifiers: Iterable[bytes]) -> None:
        """Destroy presignatures, bound or not."""
        for identifier in identifiers:
            self._bound.pop(identifier, None)
            self._held.pop(identifier, None)

    def drop_peer(self, name: str) -> int:
        """Destroy everything made together with ``name``: its memory is gone. Returns how many."""
        gone = [identifier for identifier, held in self._held.copy().items() if name in held.signers]
        self.drop(gone)
        return len(gone)

    def drop_epochs_before(self, key: str, epoch: int) -> None:
        """Destroy everything made of earlier epochs of a key, bound or not."""
        over = [i for i, held in self._held.copy().items() if held.key == key and held.epoch < epoch]
        self.drop(over)

    def keep_epochs(self, epochs: Mapping[str, int]) -> None:
        """Destroy everything made of another epoch than these, by key; bound or not."""
        self.drop([i for i, held in self._held.copy().items() if epochs.get(held.key) != held.epoch])

    def stock(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """How many free ones there are by key and signers."""
        stock: dict[tuple[str, tuple[str, ...]], int] = {}
        for identifier, held in self._held.copy().items():
            if identifier not in self._bound:
                place = (held.key, held.signers)
                stock[place] = stock.get(place, 0) + 1
        return stock

    def keep_only(self, identifiers: Collection[bytes]) -> None:
        """Destroy all but these."""
        self.drop([identifier for identifier in self._held.copy() if identifier not in identifiers])
