"""A private key out of backups, offline: the one place where a key of ours is ever whole.

What it needs: backups of ``min_signers`` nodes from one epoch, and for each of them the keys of as many
officers as its ``quorum`` says. A key that was whole once is a key to retire: move what it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.errors import MalformedError, ProtocolError
from signer_nodes.backup import NONCE_BYTES, Backup, Public, piece_info, share_cipher, share_context
from signer_nodes.envelopes import EnvelopeError, open_envelope
from signer_nodes.mpc.groups import SECP256K1_GROUP, group_of
from signer_nodes.mpc.sharing import interpolate


class RecoveryError(ProtocolError):
    """These backups and officers' keys do not give a key; the message says what to bring instead."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A private key, 32 bytes as its curve encodes scalars. ``nodes`` are those whose shares gave it."""

    public: Public
    nodes: tuple[str, ...]
    private_key: bytes = field(repr=False)


def recover(backups: Mapping[str, Backup], keys: Mapping[str, X25519PrivateKey]) -> Recovered:
    """The private key behind ``min_signers`` backups. Both maps go by the names that messages use.

    Every share is checked against its public share, and what they give against the group key. Raises
    ``RecoveryError`` saying what is wrong or missing.
    """
    public = _same_key(backups)
    group = group_of(public.suite)
    shares = {backup.public.index: open_share(name, backup, keys=keys) for name, backup in backups.items()}
    chosen = dict(sorted(shares.items())[: public.min_signers])
    secret = interpolate(group, chosen)
    nodes = tuple(public.participants[index - 1] for index in chosen)
    if secret == 0 or group.base_mul(secret) != public.group_key:
        raise RecoveryError(
            f"the shares of {', '.join(nodes)} fit their public shares, but give another group key than "
            f"{public.group_key.hex()}: no honest node made these backups"
        )
    return Recovered(public, nodes, group.scalar_bytes(secret))


def open_share(name: str, backup: Backup, *, keys: Mapping[str, X25519PrivateKey]) -> int:
    """The share in the backup called ``name``, checked against its public share. Raises ``RecoveryError``."""
    public, group = backup.public, group_of(backup.public.suite)
    pieces = _pieces(name, backup, keys)
    opener = interpolate(SECP256K1_GROUP, pieces)
    nonce, sealed = backup.sealed_share[:NONCE_BYTES], backup.sealed_share[NONCE_BYTES:]
    try:
        share = group.scalar_of(
            share_cipher(opener).decrypt(nonce, sealed, share_context(public)), nonzero=True
        )
    except (InvalidTag, MalformedError) as error:
        officers = ", ".join(public.officers[place - 1].name for place in pieces)
        raise RecoveryError(
            f"{name}: the pieces of {officers} do not open the share of {public.node}: the file was altered, "
            "or sealed wrong; bring another backup of this epoch"
        ) from error
    if group.base_mul(share) != public.public_shares[public.index - 1]:
        raise RecoveryError(
            f"{name}: the share of {public.node} is not behind its public share: something else was sealed; "
            "bring another node's backup"
        )
    return share


def _pieces(name: str, backup: Backup, keys: Mapping[str, X25519PrivateKey]) -> dict[int, int]:
    """``quorum`` officers' pieces by their place."""
    public = backup.public
    by_public = {key.public_key().public_bytes_raw(): key for key in keys.values()}
    pieces: dict[int, int] = {}
    broken = []
    for place, officer in enumerate(public.officers, start=1):
        key = by_public.get(officer.key)
        if key is None or len(pieces) == public.quorum:
            continue
        try:
            opened = open_envelope(key, backup.pieces[place - 1], info=piece_info(public, officer))
            pieces[place] = SECP256K1_GROUP.scalar_of(opened)
        except (EnvelopeError, MalformedError):
            broken.append(officer.name)
    if len(pieces) < public.quorum:
        raise RecoveryError(_too_few(name, public, keys, opened=len(pieces), broken=broken))
    return pieces


def _too_few(
    name: str, public: Public, keys: Mapping[str, X25519PrivateKey], *, opened: int, broken: list[str]
) -> str:
    officers = {officer.key for officer in public.officers}
    strangers = [given for given, key in keys.items() if key.public_key().public_bytes_raw() not in officers]
    listed = ", ".join(officer.name for officer in public.officers)
    text = f"{name}: need the keys of {public.quorum} of its officers ({listed}), got {opened}"
    if strangers:
        text += f"; of none of them is the key {', '.join(strangers)}"
    if broken:
        text += f"; the piece of {', '.join(broken)} does not open: the file was altered"
    return text


def _same_key(backups: Mapping[str, Backup]) -> Public:
    """What all backups say alike, once there are enough of them."""
    if not backups:
        raise RecoveryError("no backup was given: bring those of as many nodes as sign with the key")
    (first, backup), *others = backups.items()
    public, seen = backup.public, {backup.public.index: first}
    for name, other in ((name, other.public) for name, other in others):
        _check_same(public, other, names=(first, name))
        if other.index in seen:
            raise RecoveryError(
                f"{seen[other.index]} and {name} both are backups of {other.node}: bring another node's"
            )
        seen[other.index] = name
    if len(seen) < public.min_signers:
        rest = [node for index, node in enumerate(public.participants, start=1) if index not in seen]
        raise RecoveryError(
            f"need backups of {public.min_signers} nodes, got {len(seen)}: bring more of {', '.join(rest)}, "
            f"of epoch {public.epoch}"
        )
    return public


def _check_same(one: Public, other: Public, *, names: tuple[str, str]) -> None:
    if one.key_id != other.key_id:
        raise RecoveryError(
            f"{names[0]} is of key {one.key_id}, {names[1]} of key {other.key_id}: recover one key at a time"
        )
    if one.epoch != other.epoch:
        raise RecoveryError(
            f"{names[0]} is of epoch {one.epoch}, {names[1]} of epoch {other.epoch}: shares of two epochs do "
            f"not fit together; bring backups of {one.min_signers} nodes from one epoch"
        )
    for fact in ("suite", "group_key", "chain_code", "min_signers", "participants", "public_shares"):
        if getattr(one, fact) != getattr(other, fact):
            raise RecoveryError(
                f"{names[0]} and {names[1]} say different things of key {one.key_id} in epoch {one.epoch}: "
                f"their field {fact!r} differs; one of them was not made by this key's nodes"
            )
