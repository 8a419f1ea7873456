"""Backups of shares to recovery officers: the file, and making one. ``rebuild`` makes the key of them again.

A backup is one canonical JSON document of one share. The share is sealed under a one-time file key
(AES-256-GCM); the file key follows from a scalar that is split among the officers, any ``quorum`` of whom
give it back; each piece is in an envelope (HPKE) to its officer. Everything public about share and key stands
beside it in the clear and is bound to the share and to each piece. Sources: RFC 9180; Shamir (1979).

Backups of any epoch rebuild the key, also after a refresh, but all from one epoch: shares of two epochs do
not fit together. So a backup is worth as much as its share was, for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.encoding import Json, canonical, parse_canonical, statement, tagged_hash
from policy.errors import CallerError, InvariantError, MalformedError
from policy.fields import Fields
from policy.suites import SUITES
from signer_nodes.envelopes import ENVELOPE_OVERHEAD_BYTES, envelope_info, seal_envelope
from signer_nodes.mpc.groups import SCALAR_BYTES, SECP256K1_GROUP, group_of
from signer_nodes.mpc.keyshare import (
    CHAIN_CODE_BYTES,
    EPOCH_MAX,
    MIN_SIGNERS_MIN,
    PARTIES_MAX,
    KeyShare,
)
from signer_nodes.mpc.sharing import random_polynomial
from signer_nodes.mpc.stream import RandomStream
from signer_nodes.officers import OFFICERS_MAX, Officer, check_officers, read_officer

FORMAT: Final = "quorumkeep-backup"
VERSION: Final = 1
BACKUP_BYTES_MAX: Final = 16 * 1024
PIECE_BYTES: Final = SCALAR_BYTES + ENVELOPE_OVERHEAD_BYTES
NONCE_BYTES: Final = 12
SEALED_SHARE_BYTES: Final = NONCE_BYTES + SCALAR_BYTES + 16


@dataclass(frozen=True, slots=True)
class Public:
    """What a backup says in the clear of its share and of the key. ``quorum`` officers open it."""

    suite: str
    key_id: str
    epoch: int
    index: int
    min_signers: int
    participants: tuple[str, ...]
    public_shares: tuple[bytes, ...]
    group_key: bytes
    chain_code: bytes
    officers: tuple[Officer, ...]
    quorum: int

    @property
    def node(self) -> str:
        """The node whose share it is."""
        return self.participants[self.index - 1]

    def body(self) -> dict[str, Json]:
        """The document."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "suite": self.suite,
            "key": self.key_id,
            "epoch": self.epoch,
            "index": self.index,
            "min_signers": self.min_signers,
            "participants": list(self.participants),
            "public_shares": [point.hex() for point in self.public_shares],
            "group_key": self.group_key.hex(),
            "chain_code": self.chain_code.hex(),
            "officers": [officer.body() for officer in self.officers],
            "quorum": self.quorum,
        }


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read: one sealed piece for each officer, in their order, and the sealed share."""

    public: Public
    pieces: tuple[bytes, ...]
    sealed_share: bytes

    def to_bytes(self) -> bytes:
        """The file."""
        document: dict[str, Json] = {
            "public": self.public.body(),
            "pieces": [piece.hex() for piece in self.pieces],
            "sealed_share": self.sealed_share.hex(),
        }
        return canonical(document)


def make_backup(share: KeyShare, officers: Sequence[Officer], *, quorum: int, randomness: bytes) -> bytes:
    """A backup of ``share``, read back before it is returned. ``randomness``: 32 fresh bytes, used once.

    Raises ``InvariantError`` for a share that is not behind its public share, ``CallerError`` for officers
    that cannot be, and ``MalformedError`` for an officer's key that is none.
    """
    check_officers(officers, quorum)
    share.check()
    backup = _sealed(_public(share, officers, quorum), share.share, randomness=randomness)
    if parse_backup(backup.to_bytes()) != backup:
        raise InvariantError(f"the backup of {share.key_id} does not read back as it was written")
    return backup.to_bytes()


def parse_backup(data: bytes) -> Backup:
    """Read a backup strictly. Raises ``MalformedError`` naming the field; opens nothing."""
    fields = Fields(parse_canonical(data, bytes_max=BACKUP_BYTES_MAX), "backup")
    public = _read_public(fields.nested("public"))
    pieces = _hexes(fields, "pieces", length=PIECE_BYTES, count=len(public.officers))
    sealed_share = fields.hex("sealed_share", length=SEALED_SHARE_BYTES)
    fields.done()
    return Backup(public, pieces, sealed_share)


def share_context(public: Public) -> bytes:
    """What the sealed share is bound to: the whole public part."""
    return statement("backup", public.body())


def piece_info(public: Public, officer: Officer) -> bytes:
    """What an officer's piece is bound to: the whole public part, and whose it is."""
    return envelope_info("backup", {"backup": public.body(), "officer": officer.name})


def share_cipher(opener: int) -> AESGCM:
    """The cipher under the file key that follows from the scalar split among the officers."""
    return AESGCM(tagged_hash("backup/file-key", SECP256K1_GROUP.scalar_bytes(opener)))


def _sealed(public: Public, share: int, *, randomness: bytes) -> Backup:
    stream = RandomStream(randomness)
    opener = random_polynomial(SECP256K1_GROUP, stream, terms=public.quorum)
    pieces = []
    for place, officer in enumerate(public.officers, start=1):
        piece = SECP256K1_GROUP.scalar_bytes(opener.at(place))
        pieces.append(seal_envelope(officer.key, piece, info=piece_info(public, officer)))
    nonce = stream.bytes(NONCE_BYTES)
    plaintext = group_of(public.suite).scalar_bytes(share)
    sealed = share_cipher(opener.coefficients[0]).encrypt(nonce, plaintext, share_context(public))
    return Backup(public, tuple(pieces), nonce + sealed)


def _public(share: KeyShare, officers: Sequence[Officer], quorum: int) -> Public:
    return Public(
        suite=share.suite,
        key_id=share.key_id,
        epoch=share.epoch,
        index=share.index,
        min_signers=share.min_signers,
        participants=share.participants,
        public_shares=share.public_shares,
        group_key=share.group_key,
        chain_code=share.chain_code,
        officers=tuple(officers),
        quorum=quorum,
    )


def _read_public(fields: Fields) -> Public:
    fields.choice("format", FORMAT)
    version = fields.integer("version", low=VERSION)
    if version > VERSION:
        raise MalformedError(
            f"backup: field 'version' is {version}, this program knows {VERSION}: use the newer program"
        )
    suite = fields.choice("suite", *SUITES)
    participants = fields.names("participants", count_min=MIN_SIGNERS_MIN, count_max=PARTIES_MAX)
    n, group = len(participants), group_of(suite)
    officers = fields.objects("officers", read_officer, count_max=OFFICERS_MAX)
    public = Public(
        suite=suite,
        key_id=fields.name("key"),
        epoch=fields.integer("epoch", high=EPOCH_MAX),
        index=fields.integer("index", low=1, high=n),
        min_signers=fields.integer("min_signers", low=MIN_SIGNERS_MIN, high=n),
        participants=participants,
        public_shares=_hexes(fields, "public_shares", length=group.point_bytes, count=n),
        group_key=fields.hex("group_key", length=group.point_bytes),
        chain_code=fields.hex("chain_code", length=CHAIN_CODE_BYTES),
        officers=officers,
        quorum=fields.integer("quorum", low=1, high=OFFICERS_MAX),
    )
    fields.done()
    _check(public)
    return public


def _check(public: Public) -> None:
    """What the fields together must be. Raises ``MalformedError``."""
    try:
        check_officers(public.officers, public.quorum)
    except CallerError as error:
        raise MalformedError(f"backup.public: fields 'officers' and 'quorum': {error}") from error
    for name, points in (("public_shares", public.public_shares), ("group_key", (public.group_key,))):
        for point in points:
            try:
                group_of(public.suite).point_of(point)
            except MalformedError as error:
                raise MalformedError(f"backup.public: field {name!r}: {error}") from error


def _hexes(fields: Fields, name: str, *, length: int, count: int) -> tuple[bytes, ...]:
    path = fields.path(name)
    found = fields.items(
        name, lambda value: Fields({"item": value}, path).hex("item", length=length), count_max=count
    )
    if len(found) != count:
        raise MalformedError(f"{path} has {len(found)} items instead of {count}")
    return found
