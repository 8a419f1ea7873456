"""A presignature share: what one signer keeps of one instance of presigning, until one job takes it."""

from dataclasses import dataclass, field

from policy.encoding import tagged_hash
from policy.errors import CallerError, MalformedError
from signer_nodes.api.presignature_ids import presignature_id
from signer_nodes.mpc.curve import POINT_BYTES, Q, point_of, scalar_bytes, scalar_of
from signer_nodes.mpc.keyshare import PARTIES_MAX
from signer_nodes.mpc.ot.extension import BATCH_MAX

RHO_BYTES = 32
_MAGIC = b"QKPRESIG\x01"
_HEAD_BYTES = len(_MAGIC) + 32 + 2 + 1 + 1


def rho_commitment(session: bytes, party: int, *, b: int, rho: bytes) -> bytes:
    """The commitment to one ρ. ρ is 32 uniform bytes, so it hides itself and opens alone."""
    place = party.to_bytes(2, "big") + b.to_bytes(2, "big")
    return tagged_hash("quorumkeep/mpc/presign/commit-rho/v1", session, place, rho)


@dataclass(frozen=True, slots=True)
class Presignature:
    """Signer ``me``'s share of instance ``index``: R = Σ R_i, Σu = r·φ and Σv = sk·φ over the signers.

    Use it for one (job id, index) only, bound before ``rho`` leaves the process; keep it in memory only.
    ``signers`` is sorted; ``commitments`` has every signer's commitment to its ρ, in that order.
    """

    session: bytes
    index: int
    signers: tuple[int, ...]
    me: int
    group_key: bytes
    R: bytes
    commitments: tuple[bytes, ...]
    rho: bytes = field(repr=False)
    phi: int = field(repr=False)
    u: int = field(repr=False)
    v: int = field(repr=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.signers) <= PARTIES_MAX or list(self.signers) != sorted(set(self.signers)):
            raise CallerError(f"signers must be 2 to {PARTIES_MAX} sorted indices, got {self.signers}")
        if self.me not in self.signers or not 1 <= self.signers[0] <= self.signers[-1] <= PARTIES_MAX:
            raise CallerError(f"party {self.me} or one of the signers {self.signers} cannot be")
        if not 0 <= self.index < BATCH_MAX or len(self.commitments) != len(self.signers):
            raise CallerError(f"instance {self.index} with {len(self.commitments)} commitments cannot be")
        if any(len(part) != 32 for part in (self.session, self.rho, *self.commitments)):
            raise CallerError("session, ρ and commitments have 32 bytes each")
        if any(len(point) != POINT_BYTES for point in (self.group_key, self.R)):
            raise CallerError(f"group key and R have {POINT_BYTES} bytes each")
        if not all(0 <= scalar < Q for scalar in (self.phi, self.u, self.v)):
            raise CallerError("φ, u and v must be below q")

    @property
    def presign_id(self) -> bytes:
        """The 32-byte name that reservations use."""
        return presignature_id(self.session, self.index)

    def to_bytes(self) -> bytes:
        """The one encoding. SECRET: for the pipe from the worker process to its node only."""
        numbers = self.index.to_bytes(2, "big") + bytes([self.me, len(self.signers), *self.signers])
        public = self.group_key + self.R + b"".join(self.commitments)
        secret = self.rho + scalar_bytes(self.phi) + scalar_bytes(self.u) + scalar_bytes(self.v)
        return _MAGIC + self.session + numbers + public + secret

    @classmethod
    def from_bytes(cls, data: bytes) -> "Presignature":
        """Decode ``to_bytes``; ``MalformedError`` for anything else."""
        if len(data) < _HEAD_BYTES or not data.startswith(_MAGIC):
            raise MalformedError("not an encoded presignature: another kind or version")
        count = data[_HEAD_BYTES - 1]
        expected = _HEAD_BYTES + count + 2 * POINT_BYTES + 32 * count + 4 * 32
        if len(data) != expected:
            raise MalformedError(f"a presignature of {count} signers has {expected} bytes, got {len(data)}")
        head, signers, rest = (
            data[len(_MAGIC) : _HEAD_BYTES],
            data[_HEAD_BYTES:][:count],
            data[_HEAD_BYTES + count :],
        )
        points, words = rest[: 2 * POINT_BYTES], rest[2 * POINT_BYTES :]
        parts = [words[at : at + 32] for at in range(0, len(words), 32)]
        try:
            return cls(
                session=head[:32],
                index=int.from_bytes(head[32:34], "big"),
                signers=tuple(signers),
                me=head[34],
                group_key=point_of(points[:POINT_BYTES]),
                R=point_of(points[POINT_BYTES:]),
                commitments=tuple(parts[:count]),
                rho=parts[count],
                phi=scalar_of(parts[count + 1]),
                u=scalar_of(parts[count + 2]),
                v=scalar_of(parts[count + 3]),
            )
        except CallerError as error:
            raise MalformedError(f"encoded presignature: {error}") from error
