"""Random vector OLE: Protocol 5.2 of DKLs23 (ePrint 2023/765), with two inputs and one check, in batches.

For each instance b of a batch the sender puts in a_1, a_2, the receiver holds choice bits β_j that fix
χ = ⟨g, β⟩ before the inputs are known; they end with c_k and d_k such that c_k + d_k = a_k·χ mod q.

    ã_jk = α0_jk − α1_jk + a_k   (k = 1, 2; k = 3 with a fresh random â)
    θ    = H(transcript, all ã, b),   η = â + θ1·a_1 + θ2·a_2
    μ_j  = α0_j3 + θ1·α0_j1 + θ2·α0_j2,   sent as one hash
    d_jk = (α0 or α1 by β_j)_jk + β_j·ã_jk,   c_k = −⟨g, α0_k⟩,   d_k = ⟨g, d_k⟩

The receiver recomputes μ_j as d_j3 + θ1·d_j1 + θ2·d_j2 − β_j·η. A difference says bits of β: it bans.
Instances are worked on by chunks, which reuse memory. ``vole_reference`` computes the same one number at a
time; tests compare the two.
"""

import hashlib
import hmac
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot import lanes
from signer_nodes.mpc.ot.extension import Direction, ReceiverRows, SenderRows
from signer_nodes.mpc.ot.lanes import Floats
from signer_nodes.mpc.ot.rows import LANES, SCALARS, Bytes, RowMemory

DIFFERENCES_BYTES = SCALARS * LANES * 32
INSTANCE_BYTES = DIFFERENCES_BYTES + 64
"""Bytes of one instance in the sender's message: ã, η, and the hash of all μ."""

Pair: TypeAlias = tuple[int, int]
_CHUNK_MAX = 8


@dataclass(frozen=True, slots=True)
class Gadget:
    """The vector g_1..g_416 of a session, chosen by no party: numbers, bytes, and 32-bit limbs."""

    values: tuple[int, ...]
    digits: Floats
    limbs: Floats

    def chi(self, choices: Bytes) -> list[int]:
        """χ = ⟨g, β⟩ for every row of 416 choice bits."""
        return lanes.integers(choices.astype(np.float64) @ self.limbs, bits=32)


class Memory:
    """What every multiplication of a run works in, one after the other: about 4 MB, full of secrets.

    Fresh memory would cost more time than the arithmetic, and so would chunks that outgrow the processor's
    cache: a chunk is at most 8 instances.
    """

    def __init__(self, batch: int) -> None:
        self.chunk = math.gcd(batch, _CHUNK_MAX)
        self.lanes = lanes.Lanes(self.chunk)
        self.rows = RowMemory(self.chunk * LANES)

    def chunks(self, batch: int) -> list[slice]:
        """The instances of a batch, chunk by chunk."""
        return [slice(at, at + self.chunk) for at in range(0, batch, self.chunk)]


@dataclass(frozen=True, slots=True)
class SenderInput:
    """The sender's numbers of one instance: a_1, a_2 and a fresh uniform â."""

    values: Pair = field(repr=False)
    check: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class VoleMessage:
    """A sender's message: ã (B, 3, 416, 32), and for each instance η and the hash of all μ."""

    differences: Bytes = field(repr=False)
    etas: tuple[int, ...] = field(repr=False)
    check_hashes: tuple[bytes, ...]

    def parts(self) -> Iterator[bytes | memoryview]:
        """Its encoding in pieces, so that ã is copied once: every ã, every η, every hash."""
        yield self.differences.reshape(-1).data
        yield b"".join(eta.to_bytes(32, "big") for eta in self.etas)
        yield b"".join(self.check_hashes)


def gadget(session: bytes) -> Gadget:
    """g_j = H_gadget(session, j), 512 bits reduced mod q."""
    prefix = tagged_hash("quorumkeep/mpc/vole/gadget/v1", session)
    digests = [hashlib.sha512(prefix + number.to_bytes(2, "big")).digest() for number in range(LANES)]
    values = tuple(int.from_bytes(digest, "big") % Q for digest in digests)
    return Gadget(values, lanes.digits_of(values), lanes.limbs_of(values))


def send(
    direction: Direction,
    rows: SenderRows,
    *,
    vector: Gadget,
    inputs: Sequence[SenderInput],
    memory: Memory,
) -> tuple[VoleMessage, list[Pair]]:
    """Multiply: the message to the receiver, and (c_1, c_2) for every instance."""
    if len(inputs) != direction.batch:
        raise CallerError(f"got {len(inputs)} inputs for a batch of {direction.batch}")
    work, zeros = memory.lanes, []
    differences = np.empty((direction.batch, SCALARS, LANES, 32), dtype=np.uint8)
    for chunk, (zero, one) in zip(memory.chunks(direction.batch), rows.pads(memory.rows), strict=True):
        constants = lanes.difference_constants([(*item.values, item.check) for item in inputs[chunk]])
        work.subtract(zero, one, constants=constants, out=differences[chunk])
        zeros.append(zero)
    digest = _digest(direction, rows.transcript, differences)
    thetas = [_theta(digest, b) for b in range(direction.batch)]
    matrices = lanes.combinations([(*theta, 0) for theta in thetas])
    hashes: list[bytes] = []
    products = lanes.room_for_products(len(zeros), memory.chunk)
    for chunk, zero, storage in zip(memory.chunks(direction.batch), zeros, products, strict=True):
        work.load(zero)
        work.products(vector.digits, storage)
        hashes += _mu_hashes(digest, chunk, mus=work.combine(matrices[chunk]))
    etas = tuple(
        (item.check + theta[0] * item.values[0] + theta[1] * item.values[1]) % Q
        for item, theta in zip(inputs, thetas, strict=True)
    )
    outputs = [(-first % Q, -second % Q) for first, second in lanes.inner_products(products)]
    return VoleMessage(differences, etas, tuple(hashes)), outputs


def parse(direction: Direction, message: bytes | memoryview) -> VoleMessage:
    """Read a sender's message, without copying ã.

    Raises ``FaultyParticipant`` (no ban) for a wrong length or scalar.
    """
    expected = direction.batch * INSTANCE_BYTES
    if len(message) != expected:
        reason = f"multiplication message has {len(message)} bytes, expected {expected}"
        raise FaultyParticipant(direction.sender, reason)
    data = np.frombuffer(message, np.uint8)
    etas_at, hashes_at = direction.batch * DIFFERENCES_BYTES, direction.batch * (DIFFERENCES_BYTES + 32)
    if not lanes.all_canonical(data[:hashes_at]):
        raise FaultyParticipant(direction.sender, "multiplication message holds a scalar of q or above")
    etas, hashes = (data[at : at + 32 * direction.batch].reshape(-1, 32) for at in (etas_at, hashes_at))
    return VoleMessage(
        data[:etas_at].reshape(direction.batch, SCALARS, LANES, 32),
        tuple(int.from_bytes(row.tobytes(), "big") for row in etas),
        tuple(row.tobytes() for row in hashes),
    )


def receive(
    direction: Direction, rows: ReceiverRows, *, vector: Gadget, message: VoleMessage, memory: Memory
) -> list[Pair]:
    """Check the sender's message and give (d_1, d_2) for every instance.

    Raises ``FaultyParticipant`` naming the sender with ``ban=True`` when a μ differs.
    """
    digest = _digest(direction, rows.transcript, message.differences)
    matrices = lanes.combinations([(*_theta(digest, b), Q - eta) for b, eta in enumerate(message.etas)])
    work, found = memory.lanes, []
    products = lanes.room_for_products(direction.batch // memory.chunk, memory.chunk)
    for chunk, pads, storage in zip(
        memory.chunks(direction.batch), rows.pads(memory.rows), products, strict=True
    ):
        work.load(pads)
        work.add_chosen(message.differences[chunk], rows.choices[chunk])
        work.products(vector.digits, storage)
        found += _mu_hashes(digest, chunk, mus=work.combine(matrices[chunk]))
    if not hmac.compare_digest(b"".join(found), b"".join(message.check_hashes)):
        raise FaultyParticipant(direction.sender, "the multiplication's check failed", ban=True)
    return lanes.inner_products(products)


def _mu_hashes(digest: bytes, chunk: slice, *, mus: Bytes) -> list[bytes]:
    return [_mu_hash(digest, chunk.start + at, mu.tobytes()) for at, mu in enumerate(mus)]


def _digest(direction: Direction, transcript: bytes, differences: Bytes) -> bytes:
    """Binds session, ordered pair, the whole OT-extension message and all ã of the batch."""
    tag = "quorumkeep/mpc/vole/differences/v1"
    digest = hashlib.sha256(differences.data).digest()
    return tagged_hash(tag, direction.session, direction.pair, transcript, digest)


def _theta(digest: bytes, b: int) -> Pair:
    prefix = tagged_hash("quorumkeep/mpc/vole/theta/v1", digest, b.to_bytes(2, "big"))
    first, second = (hashlib.sha512(prefix + number).digest() for number in (b"\1", b"\2"))
    return int.from_bytes(first, "big") % Q, int.from_bytes(second, "big") % Q


def _mu_hash(digest: bytes, b: int, mu: bytes) -> bytes:
    return tagged_hash("quorumkeep/mpc/vole/mu/v1", digest, b.to_bytes(2, "big"), mu)
