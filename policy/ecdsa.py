"""Threshold ECDSA's public half: δ, adding partial signatures up, and what a signature is.

Symbols as in DKLs23 (ePrint 2023/765, Protocol 3.6), re-randomised after Groth and Shoup (ePrint
2021/1330): R the presignature's nonce point, ρ a signer's opening, δ = H(all ρ, R, derived key, m, job
id, index), R' = δ·R, r' = x(R') mod q, s = Σw / Σu. Everything here is public: nodes and coordinator run
the same code, and nothing in it is constant-time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coincurve import PublicKey

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant, MalformedError, UnknownFault

Q = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1."""
INDEX_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class SigningTask:
    """One signature of a job: 32-byte message hash m and job id, the tweak τ and its derived key.

    ``derived_key`` is the compressed group key + τ·G; ``index`` counts the signatures of one job.
    """

    message_hash: bytes
    tweak: int
    derived_key: bytes
    job_id: bytes
    index: int

    def __post_init__(self) -> None:
        if len(self.message_hash) != 32 or len(self.job_id) != 32 or len(self.derived_key) != 33:
            raise CallerError("a task takes a hash and a job id of 32 bytes and a key of 33")
        if not 0 <= self.tweak < Q or not 0 <= self.index <= INDEX_MAX:
            raise CallerError("a task takes a tweak below q and an index from 0 to 2**32 - 1")


@dataclass(frozen=True, slots=True)
class Partial:
    """One signer's partial signature: w_i and u'_i = δ·u_i, scalars in [0, q). Public once sent."""

    w: int = field(repr=False)
    u: int = field(repr=False)

    def __post_init__(self) -> None:
        if not (0 <= self.w < Q and 0 <= self.u < Q):
            raise CallerError("w and u must be below q")

    def to_bytes(self) -> bytes:
        """64 bytes: w, then u, big-endian."""
        return self.w.to_bytes(32, "big") + self.u.to_bytes(32, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Partial":
        """Read exactly 64 canonical bytes. Raises ``MalformedError``; the caller knows the sender."""
        if len(data) != 64:
            raise MalformedError(f"a partial signature has 64 bytes, got {len(data)}")
        w, u = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
        if w >= Q or u >= Q:
            raise MalformedError("a partial signature holds a scalar of q or above")
        return cls(w, u)


@dataclass(frozen=True, slots=True)
class Signature:
    """A low-s ECDSA signature. ``recovery_id``: bit 0 parity of y(R'), bit 1 whether x(R') was q or above."""

    r: int
    s: int
    recovery_id: int

    def __post_init__(self) -> None:
        if not (0 < self.r < Q and 0 < self.s <= Q // 2 and 0 <= self.recovery_id <= 3):
            raise CallerError("a signature takes r in [1, q), low s and a recovery id from 0 to 3")

    def to_bytes(self) -> bytes:
        """64 bytes: r, then s, big-endian."""
        return self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big")

    def to_der(self) -> bytes:
        """The DER encoding that Bitcoin uses, without a sighash byte."""
        body = _der_integer(self.r) + _der_integer(self.s)
        return b"\x30" + bytes([len(body)]) + body

    def y_parity(self) -> int:
        """What typed EVM transactions carry.

        Raises ``UnknownFault`` for the one r' in 2**127 that EVM cannot recover.
        """
        if self.recovery_id > 1:
            raise UnknownFault(
                "x(R') is not below q, which EVM cannot recover: sign again with a new presignature"
            )
        return self.recovery_id

    def eth_v(self, chain_id: int | None = None) -> int:
        """v of a legacy EVM transaction: by EIP-155 with ``chain_id``, 27 or 28 without."""
        return self.y_parity() + (27 if chain_id is None else 35 + 2 * chain_id)


def delta(task: SigningTask, *, R: bytes, rhos: Mapping[int, bytes]) -> int:
    """δ in [1, q) from every signer's ρ.

    Raises ``UnknownFault`` for zero, and ``FaultyParticipant`` for a ρ that is not 32 bytes long.
    """
    for party in sorted(rhos):
        if len(rhos[party]) != 32:
            raise FaultyParticipant(party, f"its ρ has {len(rhos[party])} bytes, expected 32")
    openings = b"".join(party.to_bytes(2, "big") + rhos[party] for party in sorted(rhos))
    fields = (openings, R, task.derived_key, task.message_hash, task.job_id, task.index.to_bytes(4, "big"))
    value = int.from_bytes(tagged_hash("quorumkeep/mpc/ecdsa/delta/v1", *fields), "big") % Q
    if value == 0:
        raise UnknownFault("δ is zero: use a new presignature")
    return value


def nonce_point(R: bytes, value: int) -> tuple[int, int]:
    """(r', recovery id) of R' = δ·R. Raises ``UnknownFault`` when r' is zero."""
    try:
        encoded = PublicKey(R).multiply(value.to_bytes(32, "big")).format()
    except ValueError as error:
        raise CallerError(f"R of {len(R)} bytes is no point, or δ is not in [1, q)") from error
    x = int.from_bytes(encoded[1:], "big")
    if x % Q == 0:
        raise UnknownFault("r' is zero: use a new presignature")
    return x % Q, (encoded[0] & 1) | (2 if x >= Q else 0)


def combine(
    partials: Mapping[int, Partial], *, R: bytes, rhos: Mapping[int, bytes], task: SigningTask
) -> Signature:
    """Add up the partial signatures of a signing set, and verify the result under the derived key.

    Raises ``UnknownFault`` when no valid signature comes out: some signer's w or u is wrong, and the
    protocol cannot say whose. The presignature is burnt then, whatever the cause.
    """
    if sorted(partials) != sorted(rhos) or len(partials) < 2:
        raise CallerError(f"need one partial and one ρ a signer, got {sorted(partials)} and {sorted(rhos)}")
    factor = delta(task, R=R, rhos=rhos)
    r, recovery_id = nonce_point(R, factor)
    numerator = sum(partial.w for partial in partials.values()) % Q
    denominator = sum(partial.u for partial in partials.values()) % Q
    if numerator == 0 or denominator == 0:
        raise UnknownFault(
            f"Σw or Σu of signers {sorted(partials)} is zero: burn the presignature, compare δ {factor:064x}"
        )
    signature = low_s(r, numerator * pow(denominator, -1, Q) % Q, recovery_id=recovery_id)
    if not verify(signature, task.message_hash, public_key=task.derived_key):
        raise UnknownFault(
            f"partial signatures of {sorted(partials)} do not add up under key {task.derived_key.hex()}: "
            f"burn the presignature and retry as a new job; compare δ = {factor:064x} at every signer: it "
            "covers R, every ρ, message, key and job"
        )
    return signature


def low_s(r: int, s: int, *, recovery_id: int) -> Signature:
    """The one of (r, s) and (r, q − s) with the lower s, as every chain here wants it."""
    return Signature(r, s, recovery_id) if s <= Q // 2 else Signature(r, Q - s, recovery_id ^ 1)


def verify(signature: Signature, message_hash: bytes, *, public_key: bytes) -> bool:
    """Whether the signature is valid and its recovery id recovers exactly ``public_key`` (compressed)."""
    data = signature.to_bytes() + bytes([signature.recovery_id])
    try:
        recovered = PublicKey.from_signature_and_message(data, message_hash, hasher=None).format()
        valid = PublicKey(public_key).verify(signature.to_der(), message_hash, hasher=None)
    except ValueError:
        return False
    return valid and recovered == public_key


def _der_integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(data)]) + data
