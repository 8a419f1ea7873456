"""FROST's nonce pairs: what one signer makes beforehand, alone, and uses for one signature or never.

A signer needs no message of its peers to make them. Their ids are the same at every signer, because the
session id hashes what all of them know; so a reservation names one pair of each signer by one id. Rules,
the caller's where a pure function cannot know:

1. A session id is used once at a signer: it covers boot ids and a batch id that rises for ever.
2. A pair is bound to one (job id, index), durably, before its opening leaves the process. It lives in memory
   only: after a restart there is none.
3. ``NoncePair.take`` hands the nonces out once and keeps nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from policy.ciphersuites import Ciphersuite, ciphersuite
from policy.errors import CallerError, MalformedError
from policy.groups import SCALAR_BYTES
from policy.ids import ID_BYTES
from signer_nodes.api.presignature_ids import NONCE_PROTOCOL, batch_session, nonce_id
from signer_nodes.mpc.keyshare import PARTIES_MAX, KeyShare, check_signers
from signer_nodes.mpc.rounds import parts
from signer_nodes.mpc.stream import RandomStream

BATCH_MAX: Final = 256
NONCE_RANDOMNESS_BYTES: Final = 32
_MAGIC: Final = b"QKNONCES\x01"
_HEAD_BYTES: Final = len(_MAGIC) + 2


def nonce_session(
    suite: str, *, version: int, key_id: str, epoch: int, batch_id: int, boot_ids: Mapping[str, bytes]
) -> bytes:
    """The session id of one batch: 32 bytes, the same at every signer.

    ``boot_ids`` has the 32-byte boot id of each signer by node name, and so names the signing set;
    ``batch_id`` is a number that every node uses once a boot for a (key, set) and that only rises.
    """
    protocol = NONCE_PROTOCOL + ciphersuite(suite).name.encode()
    return batch_session(
        protocol, version=version, key_id=key_id, epoch=epoch, batch_id=batch_id, boot_ids=boot_ids
    )


def nonce_from(suite: Ciphersuite, randomness: bytes, *, share: int) -> int:
    """One nonce from 32 fresh bytes, hedged by the share (RFC 9591 section 4.1, ``nonce_generate``).

    Where the bytes are bad but never repeat, the nonce is still unknown to who does not know the share.
    """
    if len(randomness) != NONCE_RANDOMNESS_BYTES:
        raise CallerError(
            f"a nonce takes {NONCE_RANDOMNESS_BYTES} bytes of randomness, got {len(randomness)}"
        )
    return suite.h3(randomness + suite.group.scalar_bytes(share))


@dataclass(slots=True, eq=False)
class NoncePair:
    """Signer ``me``'s nonces d and e of pair ``index``, until they are taken, and their opening D ‖ E.

    ``signers`` is sorted. The opening has 66 bytes on secp256k1 and 64 on Ed25519; it is public from round
    1 on.
    """

    suite: str
    session: bytes
    index: int
    signers: tuple[int, ...]
    me: int
    group_key: bytes
    opening: bytes
    _nonces: tuple[int, int] | None = field(repr=False)

    def __post_init__(self) -> None:
        group = ciphersuite(self.suite).group
        if not 2 <= len(self.signers) <= PARTIES_MAX or list(self.signers) != sorted(set(self.signers)):
            raise CallerError(f"signers must be 2 to {PARTIES_MAX} sorted indices, got {self.signers}")
        if self.me not in self.signers or not 1 <= self.signers[0] <= self.signers[-1] <= PARTIES_MAX:
            raise CallerError(f"party {self.me} or one of the signers {self.signers} cannot be")
        if not 0 <= self.index < BATCH_MAX or len(self.session) != ID_BYTES:
            raise CallerError(f"pair {self.index} of a session id of {len(self.session)} bytes cannot be")
        if len(self.group_key) != group.point_bytes or len(self.opening) != 2 * group.point_bytes:
            raise CallerError(f"group key and opening are one and two points of {group.point_bytes} bytes")
        if self._nonces is None or not all(0 < nonce < group.order for nonce in self._nonces):
            raise CallerError("two nonces from 1 to below the order make a pair")

    @property
    def presign_id(self) -> bytes:
        """The 32-byte name that reservations use."""
        return nonce_id(self.session, self.index)

    def take(self) -> tuple[int, int]:
        """d and e, for the one partial signature. Raises ``CallerError`` when they were taken before."""
        taken, self._nonces = self._nonces, None
        if taken is None:
            raise CallerError(
                f"nonce pair {self.presign_id.hex()} was used: a second use would give the share away"
            )
        return taken

    def to_bytes(self) -> bytes:
        """The one encoding. SECRET: for the pipe between the worker process and its node only."""
        if self._nonces is None:
            raise CallerError(f"nonce pair {self.presign_id.hex()} was used: there is nothing left to encode")
        group, name = ciphersuite(self.suite).group, self.suite.encode()
        head = _MAGIC + bytes([len(name), len(self.signers)]) + name + self.session
        place = self.index.to_bytes(2, "big") + bytes([self.me, *self.signers])
        secret = b"".join(group.scalar_bytes(nonce) for nonce in self._nonces)
        return head + place + self.group_key + self.opening + secret

    @classmethod
    def from_bytes(cls, data: bytes) -> "NoncePair":
        """Decode ``to_bytes``; ``MalformedError`` for anything else.

        Points are not checked: the opening was made here, and is checked with all others when it is used.
        """
        if len(data) < _HEAD_BYTES or not data.startswith(_MAGIC):
            raise MalformedError("not an encoded nonce pair: another kind or version")
        name_bytes, count = data[_HEAD_BYTES - 2 : _HEAD_BYTES]
        try:
            name = data[_HEAD_BYTES:][:name_bytes].decode("ascii")
            group = ciphersuite(name).group
            lengths = (
                _HEAD_BYTES + name_bytes,
                ID_BYTES,
                2,
                1,
                count,
                group.point_bytes,
                2 * group.point_bytes,
            )
            _, session, index, me, signers, key, opening, d, e = parts(
                data, *lengths, SCALAR_BYTES, SCALAR_BYTES
            )
            nonces = group.scalar_of(d, nonzero=True), group.scalar_of(e, nonzero=True)
            place = int.from_bytes(index, "big"), tuple(signers), me[0]
            return cls(name, session, *place, key, opening, nonces)
        except (CallerError, UnicodeDecodeError) as error:
            raise MalformedError(f"encoded nonce pair: {error}") from error


def make_nonces(
    share: KeyShare, *, session: bytes, batch: int, signers: tuple[int, ...], randomness: bytes
) -> tuple[NoncePair, ...]:
    """A batch of nonce pairs for one signing set, in order of their index.

    ``session`` is ``nonce_session`` of the set, ``batch`` from 1 to 256, ``signers`` the indices of exactly
    min_signers parties, ``randomness`` 32 fresh bytes.
    """
    suite = ciphersuite(share.suite)
    check_signers(share, signers)
    if not 1 <= batch <= BATCH_MAX:
        raise CallerError(f"a batch has 1 to {BATCH_MAX} nonce pairs, got {batch}")
    stream = RandomStream(randomness).fork("frost/nonces")
    pairs = []
    for index in range(batch):
        d, e = (nonce_from(suite, stream.bytes(NONCE_RANDOMNESS_BYTES), share=share.share) for _ in "de")
        opening = suite.group.base_mul(d) + suite.group.base_mul(e)
        place = (session, index, tuple(sorted(signers)), share.index)
        pairs.append(NoncePair(share.suite, *place, share.group_key, opening, (d, e)))
    return tuple(pairs)
