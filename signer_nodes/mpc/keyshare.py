"""What one party keeps of a key: its share, and the oblivious-transfer state toward each peer.

Both encode to one strict binary form, which is what an HSM seals. Bit ``i`` of a byte string is
``(data[i // 8] >> (i % 8)) & 1`` (``numpy.unpackbits(..., bitorder="little")``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from policy.errors import CallerError, InvariantError, MalformedError
from policy.fields import NAME
from policy.suites import suite_named
from signer_nodes.mpc.groups import SCALAR_BYTES, Group, group_of, interpolate_points

KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
MIN_SIGNERS_MIN: Final = 2
PARTIES_MAX: Final = 9
EPOCH_MAX: Final = 2**32 - 1
CHAIN_CODE_BYTES: Final = 32
COLUMNS: Final = 128  # base oblivious transfers an ordered pair: λ_c
DELTA_BYTES: Final = COLUMNS // 8
COLUMN_SEED_BYTES: Final = 32
ZERO_SEED_BYTES: Final = 32
_SHARE_MAGIC: Final = b"QKSHARE\x02"
_PAIR_MAGIC: Final = b"QKPAIR\x00\x01"


def check_committee(min_signers: int, participants: Sequence[str]) -> None:
    """Refuse what is no committee: 2 ≤ min_signers ≤ n ≤ 9, distinct well-formed names."""
    n = len(participants)
    if not MIN_SIGNERS_MIN <= min_signers <= n <= PARTIES_MAX:
        raise CallerError(
            f"need {MIN_SIGNERS_MIN} <= min_signers <= n <= {PARTIES_MAX}, got {min_signers} of {n}"
        )
    if len(set(participants)) != n or not all(NAME.fullmatch(name) for name in participants):
        raise CallerError(f"participants must be {n} distinct names")


def check_key_id(key_id: str, epoch: int) -> None:
    """Refuse a key id or an epoch that has no encoding."""
    if not KEY_ID.fullmatch(key_id) or not 0 <= epoch <= EPOCH_MAX:
        raise CallerError(f"key id {key_id[:64]!r} or epoch {epoch} is out of bounds")


def check_public_shares(
    group: Group, min_signers: int, *, public_shares: Sequence[bytes], group_key: bytes
) -> None:
    """Raise ``InvariantError`` unless all public shares lie on one polynomial that gives the group key.

    Its degree is ``min_signers - 1``; the shares are in the order of their indices.
    """
    for last in range(min_signers, len(public_shares) + 1):
        indices = (*range(1, min_signers), last)
        points = {index: public_shares[index - 1] for index in indices}
        if interpolate_points(group, points) != group_key:
            raise InvariantError(f"public shares {indices} give another group key than {group_key.hex()}")


@dataclass(frozen=True, slots=True)
class KeyShare:
    """Party ``index``'s share of one key in one epoch. ``participants[i - 1]`` names party i.

    ``suite`` says which scheme the key is for, and so in which group its points are. Construction checks
    shapes only and costs nothing; ``check`` does the curve arithmetic.
    """

    suite: str
    key_id: str
    epoch: int
    index: int
    min_signers: int
    participants: tuple[str, ...]
    share: int = field(repr=False)
    public_shares: tuple[bytes, ...]
    group_key: bytes
    chain_code: bytes

    def __post_init__(self) -> None:
        suite_named(self.suite)
        check_key_id(self.key_id, self.epoch)
        check_committee(self.min_signers, self.participants)
        if not 1 <= self.index <= len(self.participants) == len(self.public_shares):
            raise CallerError(f"party {self.index} with {len(self.public_shares)} public shares cannot be")
        if not 0 < self.share < self.group.order or len(self.chain_code) != CHAIN_CODE_BYTES:
            raise CallerError("the share must be in [1, order) and the chain code 32 bytes")
        length = self.group.point_bytes
        if any(len(point) != length for point in (*self.public_shares, self.group_key)):
            raise CallerError(f"public shares and group key are points of {length} bytes")

    @property
    def group(self) -> Group:
        """The group of the suite."""
        return group_of(self.suite)

    def check(self) -> None:
        """Raise ``InvariantError`` unless the share belongs to the public shares and these to the key.

        All n public shares are checked to lie on one polynomial of degree min_signers - 1.
        """
        if self.group.base_mul(self.share) != self.public_shares[self.index - 1]:
            raise InvariantError(f"share {self.index} of key {self.key_id} is not behind its public share")
        check_public_shares(
            self.group, self.min_signers, public_shares=self.public_shares, group_key=self.group_key
        )

    def to_bytes(self) -> bytes:
        """The one encoding. SECRET: it contains the share."""
        names = b"".join(_text(name) for name in self.participants)
        numbers = bytes([self.index, self.min_signers, len(self.participants)])
        points = b"".join(self.public_shares) + self.group_key
        key = _text(self.suite) + _text(self.key_id) + self.epoch.to_bytes(4, "big")
        secret = self.group.scalar_bytes(self.share)
        return _SHARE_MAGIC + key + numbers + names + secret + points + self.chain_code

    @classmethod
    def from_bytes(cls, data: bytes) -> "KeyShare":
        """Decode ``to_bytes``; ``MalformedError`` for anything else. Call ``check`` before use."""
        reader = _Reader(data, _SHARE_MAGIC)
        suite, key_id, epoch = reader.text(), reader.text(), reader.integer(4)
        index, min_signers, n = reader.integer(1), reader.integer(1), reader.integer(1)
        participants = tuple(reader.text() for _ in range(n))
        try:
            group = group_of(suite)
            share = group.scalar_of(reader.take(SCALAR_BYTES), nonzero=True)
            public_shares = tuple(group.point_of(reader.take(group.point_bytes)) for _ in range(n))
            group_key, chain_code = (
                group.point_of(reader.take(group.point_bytes)),
                reader.take(CHAIN_CODE_BYTES),
            )
            reader.done()
            return cls(
                suite=suite,
                key_id=key_id,
                epoch=epoch,
                index=index,
                min_signers=min_signers,
                participants=participants,
                share=share,
                public_shares=public_shares,
                group_key=group_key,
                chain_code=chain_code,
            )
        except CallerError as error:
            raise MalformedError(f"stored key share: {error}") from error


def check_signers(share: KeyShare, signers: Sequence[int]) -> None:
    """Refuse what is no signing set of this share: min_signers distinct parties, this one among them."""
    count = len(share.participants)
    if len(set(signers)) != share.min_signers or len(signers) != share.min_signers:
        raise CallerError(f"need {share.min_signers} distinct signers, got {tuple(signers)}")
    if share.index not in signers or not 1 <= min(signers) <= max(signers) <= count:
        raise CallerError(f"party {share.index} cannot sign with {tuple(signers)} out of {count}")


@dataclass(frozen=True, slots=True)
class PairState:
    """Party ``me``'s oblivious-transfer state toward ``peer``, for one key and epoch. All secret.

    ``delta`` (16 bytes) and ``delta_seeds``: mine as *sender* of the OT extension, one seed a column,
    selected by that bit of ``delta``. ``receiver_seeds``: both seeds of each column, mine as
    *receiver*. ``zero_seed``: the same 32 bytes at both parties, for sharing zero.
    """

    key_id: str
    epoch: int
    me: int
    peer: int
    delta: bytes = field(repr=False)
    delta_seeds: tuple[bytes, ...] = field(repr=False)
    receiver_seeds: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    zero_seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_key_id(self.key_id, self.epoch)
        if self.me == self.peer or not (1 <= self.me <= PARTIES_MAX and 1 <= self.peer <= PARTIES_MAX):
            raise CallerError(f"parties {self.me} and {self.peer} are no pair")
        seeds = (*self.delta_seeds, *(seed for pair in self.receiver_seeds for seed in pair))
        if (
            len(self.delta) != DELTA_BYTES
            or len(self.zero_seed) != ZERO_SEED_BYTES
            or len(self.delta_seeds) != COLUMNS
            or len(self.receiver_seeds) != COLUMNS
            or any(len(seed) != COLUMN_SEED_BYTES for seed in seeds)
            or len(seeds) != 3 * COLUMNS
        ):
            raise CallerError(f"pair state {self.me}-{self.peer} has a part of the wrong length")

    def to_bytes(self) -> bytes:
        """The one encoding (12 KiB). SECRET."""
        head = _PAIR_MAGIC + _text(self.key_id) + self.epoch.to_bytes(4, "big") + bytes([self.me, self.peer])
        both = b"".join(zero + one for zero, one in self.receiver_seeds)
        return head + self.delta + b"".join(self.delta_seeds) + both + self.zero_seed

    @classmethod
    def from_bytes(cls, data: bytes) -> "PairState":
        """Decode ``to_bytes``; ``MalformedError`` for anything else."""
        reader = _Reader(data, _PAIR_MAGIC)
        key_id, epoch = reader.text(), reader.integer(4)
        me, peer, delta = reader.integer(1), reader.integer(1), reader.take(DELTA_BYTES)
        mine = tuple(reader.take(COLUMN_SEED_BYTES) for _ in range(COLUMNS))
        both = tuple((reader.take(COLUMN_SEED_BYTES), reader.take(COLUMN_SEED_BYTES)) for _ in range(COLUMNS))
        zero_seed = reader.take(ZERO_SEED_BYTES)
        reader.done()
        try:
            return cls(key_id, epoch, me, peer, delta, mine, both, zero_seed)
        except CallerError as error:
            raise MalformedError(f"stored pair state: {error}") from error


class _Reader:
    def __init__(self, data: bytes, magic: bytes) -> None:
        self._data = data
        self._at = 0
        found = self.take(len(magic))
        if found[:-1] == magic[:-1] and found[-1] > magic[-1]:
            raise MalformedError(
                f"stored state has version {found[-1]}, this program knows {magic[-1]}: "
                "start the newer program"
            )
        if found != magic:
            raise MalformedError(f"stored state does not start with {magic!r}: another kind or version")

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) != length:
            raise MalformedError(f"stored state ends after {len(self._data)} bytes, too early")
        self._at += length
        return part

    def integer(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def text(self) -> str:
        try:
            return self.take(self.integer(1)).decode("ascii")
        except UnicodeDecodeError as error:
            raise MalformedError("stored state has a name that is not ASCII") from error

    def done(self) -> None:
        if self._at != len(self._data):
            raise MalformedError(f"stored state has {len(self._data) - self._at} bytes too many")


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    return bytes([len(data)]) + data
