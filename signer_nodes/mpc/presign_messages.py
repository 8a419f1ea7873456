"""The bodies of presigning's two rounds: fixed lengths, parsed before anything is computed.

Round 1: commitment to all R, B commitments to ρ, OT-extension message.
Round 2: hash of all commitments seen, salt, B times (R, pk, Γu, Γv, ψ), multiplication message.
"""

from dataclasses import dataclass, field

from policy.errors import FaultyParticipant
from signer_nodes.mpc import vole
from signer_nodes.mpc.curve import POINT_BYTES, scalar_bytes, scalar_of
from signer_nodes.mpc.ot.extension import Direction
from signer_nodes.mpc.points import Point, parse_point
from signer_nodes.mpc.rounds import blaming

HASH_BYTES = 32
INSTANCE_BYTES = 4 * POINT_BYTES + 32


@dataclass(frozen=True, slots=True)
class Commitments:
    """One party's round-1 commitments: to all its R at once, and to each ρ alone."""

    points: bytes
    rhos: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """32·(1 + B) bytes."""
        return self.points + b"".join(self.rhos)


@dataclass(frozen=True, slots=True)
class Commit:
    """Round 1 to one peer; ``extension`` is its OT-extension message, not yet checked."""

    commitments: Commitments
    extension: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The body."""
        return self.commitments.to_bytes() + self.extension


@dataclass(frozen=True, slots=True)
class InstanceOpening:
    """One instance in round 2: R_i, pk_i, and toward one peer Γu, Γv and ψ."""

    R: Point
    pk: Point
    gamma_u: Point
    gamma_v: Point
    psi: int = field(repr=False)

    def to_bytes(self) -> bytes:
        """164 bytes."""
        points = (self.R, self.pk, self.gamma_u, self.gamma_v)
        return b"".join(point.encoded for point in points) + scalar_bytes(self.psi)


@dataclass(frozen=True, slots=True)
class Multiply:
    """Round 2 to one peer; ``product`` is the multiplication message."""

    view: bytes
    salt: bytes
    instances: tuple[InstanceOpening, ...]
    product: vole.VoleMessage

    def to_bytes(self) -> bytes:
        """The body."""
        openings = (item.to_bytes() for item in self.instances)
        return b"".join([self.view, self.salt, *openings, *self.product.parts()])


def round_bytes_max(direction: Direction) -> int:
    """The longer of the two bodies of a batch."""
    return max(_commit_bytes(direction), _multiply_bytes(direction.batch))


def parse_commit(body: bytes, outgoing: Direction) -> Commit:
    """Read round 1 of ``outgoing.receiver``. Raises ``FaultyParticipant`` without a ban."""
    _check_length(body, outgoing.receiver, expected=_commit_bytes(outgoing))
    split = HASH_BYTES * (1 + outgoing.batch)
    hashes = [body[at : at + HASH_BYTES] for at in range(0, split, HASH_BYTES)]
    return Commit(Commitments(hashes[0], tuple(hashes[1:])), body[split:])


def parse_multiply(body: bytes, incoming: Direction) -> Multiply:
    """Read round 2 of ``incoming.sender``. Raises ``FaultyParticipant`` without a ban."""
    _check_length(body, incoming.sender, expected=_multiply_bytes(incoming.batch))
    start = 2 * HASH_BYTES
    end = start + incoming.batch * INSTANCE_BYTES
    with blaming(incoming.sender):
        instances = tuple(
            _parse_instance(body[at : at + INSTANCE_BYTES]) for at in range(start, end, INSTANCE_BYTES)
        )
    product = vole.parse(incoming, memoryview(body)[end:])
    return Multiply(body[:HASH_BYTES], body[HASH_BYTES:start], instances, product)


def _parse_instance(data: bytes) -> InstanceOpening:
    R, pk, gamma_u, gamma_v = (parse_point(data[at * POINT_BYTES :][:POINT_BYTES]) for at in range(4))
    return InstanceOpening(R, pk, gamma_u, gamma_v, scalar_of(data[4 * POINT_BYTES :]))


def _commit_bytes(direction: Direction) -> int:
    return HASH_BYTES * (1 + direction.batch) + direction.message_bytes


def _multiply_bytes(batch: int) -> int:
    return 2 * HASH_BYTES + batch * (INSTANCE_BYTES + vole.INSTANCE_BYTES)


def _check_length(body: bytes, sender: int, *, expected: int) -> None:
    if len(body) != expected:
        raise FaultyParticipant(sender, f"presigning body has {len(body)} bytes, expected {expected}")
