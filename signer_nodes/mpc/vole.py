"""Random vector OLE: Protocol 5.2 of DKLs23 (ePrint 2023/765), with two inputs and one check, in batches.

For each instance b of a batch the sender puts in a_1, a_2, the receiver holds choice bits β_j that fix
χ = ⟨g, β⟩ before the inputs are known; they end with c_k and d_k such that c_k + d_k = a_k·χ mod q.

    ã_jk = α0_jk − α1_jk + a_k   (k = 1, 2; k = 3 with a fresh random â)
    θ    = H(transcript, all ã, b),   η = â + θ1·a_1 + θ2·a_2
    μ_j  = α0_j3 + θ1·α0_j1 + θ2·α0_j2,   sent as one hash
    d_jk = (α0 or α1 by β_j)_jk + β_j·ã_jk,   c_k = −⟨g, α0_k⟩,   d_k = ⟨g, d_k⟩

The receiver recomputes μ_j as d_j3 + θ1·d_j1 + θ2·d_j2 − β_j·η. A difference says bits of β: it bans.
``vole_reference`` computes the same one number at a time; tests compare the two.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from gmpy2 import mpz

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot import lanes
from signer_nodes.mpc.ot.extension import SCALARS, Direction, ReceiverRows, SenderRows
from signer_nodes.mpc.ot.lanes import LANES, Bytes, Floats

INSTANCE_BYTES = SCALARS * LANES * 32 + 64
"""Bytes of one instance in the sender's message: ã, then η, then the hash of all μ."""

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Gadget:
    """The vector g_1..g_416 of a session, chosen by no party, and its limbs."""

    values: tuple[int, ...]
    limbs: Floats

    def chi(self, choices: Bytes) -> list[int]:
        """χ = ⟨g, β⟩ for every row of 416 choice bits."""
        return [lanes.from_limbs(row) for row in choices.astype(np.float64) @ self.limbs]


@dataclass(frozen=True, slots=True)
class SenderInput:
    """The sender's numbers of one instance: a_1, a_2 and a fresh uniform â."""

    values: Pair = field(repr=False)
    check: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class VoleMessage:
    """A parsed sender's message: ã (B, 3, 416, 32), and η and the hash of all μ for each instance."""

    differences: Bytes = field(repr=False)
    etas: tuple[int, ...] = field(repr=False)
    check_hashes: tuple[bytes, ...]


def gadget(session: bytes) -> Gadget:
    """g_j = H_gadget(session, j), 512 bits reduced mod q."""
    prefix = tagged_hash("quorumkeep/mpc/vole/gadget/v1", session)
    digests = [hashlib.sha512(prefix + number.to_bytes(2, "big")).digest() for number in range(LANES)]
    values = tuple(int.from_bytes(digest, "big") % Q for digest in digests)
    data = b"".join(value.to_bytes(32, "big") for value in values)
    return Gadget(values, lanes.limbs(np.frombuffer(data, np.uint8).reshape(LANES, 32)))


def send(
    direction: Direction, rows: SenderRows, *, vector: Gadget, inputs: Sequence[SenderInput]
) -> tuple[bytes, list[Pair]]:
    """Multiply: the message to the receiver, and (c_1, c_2) for every instance."""
    if len(inputs) != direction.batch:
        raise CallerError(f"got {len(inputs)} inputs for a batch of {direction.batch}")
    zeros, ones = (pads.transpose(0, 2, 1, 3) for pads in rows.pads())
    packed = [
        [lanes.pack(zero, one) for zero, one in zip(zeros[b], ones[b], strict=True)]
        for b in range(direction.batch)
    ]
    differences = [_differences(instance, values) for instance, values in zip(packed, inputs, strict=True)]
    digest = _digest(direction, rows.transcript, b"".join(differences))
    parts = []
    for b, (instance, values) in enumerate(zip(packed, inputs, strict=True)):
        theta = _theta(digest, b)
        eta = (values.check + theta[0] * values.values[0] + theta[1] * values.values[1]) % Q
        mu = lanes.unpack(lanes.reduce_lanes(_linear([zero for zero, _ in instance], theta))).tobytes()
        parts += [differences[b], eta.to_bytes(32, "big"), _mu_hash(digest, b, mu)]
    products = [lanes.inner_products(vector.limbs, _limbs(instance[:2])) for instance in zeros]
    return b"".join(parts), [(-first % Q, -second % Q) for first, second in products]


def parse(direction: Direction, message: bytes) -> VoleMessage:
    """Read a sender's message. Raises ``FaultyParticipant`` (no ban) for a wrong length or scalar."""
    expected = direction.batch * INSTANCE_BYTES
    if len(message) != expected:
        reason = f"multiplication message has {len(message)} bytes, expected {expected}"
        raise FaultyParticipant(direction.sender, reason)
    instances = np.frombuffer(message, np.uint8).reshape(direction.batch, INSTANCE_BYTES)
    if not lanes.all_canonical(instances[:, :-32]):
        raise FaultyParticipant(direction.sender, "multiplication message holds a scalar of q or above")
    return VoleMessage(
        np.ascontiguousarray(instances[:, :-64]).reshape(direction.batch, SCALARS, LANES, 32),
        tuple(int.from_bytes(row.tobytes(), "big") for row in instances[:, -64:-32]),
        tuple(row.tobytes() for row in instances[:, -32:]),
    )


def receive(direction: Direction, rows: ReceiverRows, *, vector: Gadget, message: VoleMessage) -> list[Pair]:
    """Check the sender's message and give (d_1, d_2) for every instance.

    Raises ``FaultyParticipant`` naming the sender with ``ban=True`` when a μ differs.
    """
    pads = rows.pads().transpose(0, 2, 1, 3)
    masks = (np.uint8(0) - rows.choices)[:, np.newaxis, :, np.newaxis]
    chosen = message.differences & masks
    digest = _digest(direction, rows.transcript, message.differences.tobytes())
    found = []
    for b in range(direction.batch):
        theta = _theta(digest, b)
        instance = [sum(lanes.pack(pads[b, k], chosen[b, k])) for k in range(SCALARS)]
        correction = lanes.spread_bits(rows.choices[b]) * (Q - message.etas[b])
        mu = lanes.unpack(lanes.reduce_lanes(_linear(instance, theta) + correction)).tobytes()
        found.append(_mu_hash(digest, b, mu))
    if not hmac.compare_digest(b"".join(found), b"".join(message.check_hashes)):
        raise FaultyParticipant(direction.sender, "the multiplication's check failed", ban=True)
    return [_receiver_shares(vector, pads[b, :2], chosen[b, :2]) for b in range(direction.batch)]


def _receiver_shares(vector: Gadget, pads: Bytes, chosen: Bytes) -> Pair:
    sums = [left + right for left, right in zip(_limbs(pads), _limbs(chosen), strict=True)]
    first, second = lanes.inner_products(vector.limbs, sums)
    return first, second


def _differences(columns: Sequence[tuple[mpz, mpz]], inputs: SenderInput) -> bytes:
    """The three columns ã of one instance; α1 is below 2q, so 2q − α1 is not negative."""
    constants = (*inputs.values, inputs.check)
    return b"".join(
        lanes.unpack(lanes.reduce_lanes(zero + lanes.spread(2 * Q + constant) - one, folds=1)).tobytes()
        for (zero, one), constant in zip(columns, constants, strict=True)
    )


def _linear(columns: Sequence[mpz], theta: Pair) -> mpz:
    """Column 3 + θ1·column 1 + θ2·column 2 in every lane, not reduced: below 2**515."""
    return columns[2] + columns[0] * theta[0] + columns[1] * theta[1]


def _limbs(columns: Bytes) -> list[Floats]:
    return [lanes.limbs(column) for column in columns]


def _digest(direction: Direction, transcript: bytes, differences: bytes) -> bytes:
    """Binds session, ordered pair, the whole OT-extension message and all ã of the batch."""
    tag = "quorumkeep/mpc/vole/differences/v1"
    return tagged_hash(tag, direction.session, direction.pair, transcript, differences)


def _theta(digest: bytes, b: int) -> Pair:
    prefix = tagged_hash("quorumkeep/mpc/vole/theta/v1", digest, b.to_bytes(2, "big"))
    first, second = (hashlib.sha512(prefix + number).digest() for number in (b"\1", b"\2"))
    return int.from_bytes(first, "big") % Q, int.from_bytes(second, "big") % Q


def _mu_hash(digest: bytes, b: int, mu: bytes) -> bytes:
    return tagged_hash("quorumkeep/mpc/vole/mu/v1", digest, b.to_bytes(2, "big"), mu)
