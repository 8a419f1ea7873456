"""The names of presignatures before they are made: what a batch of preprocessing is called, and its items.

Whoever knows the signers' boot ids knows these names. So a reservation may name a presignature of a batch
that is only ordered yet, as in a cold ceremony, where every exchange is a walk; the nodes alone know what
is in it.
"""

from collections.abc import Mapping
from typing import Final

from policy.encoding import tagged_hash
from policy.errors import CallerError
from policy.suites import DKLS23_SECP256K1

PROTOCOL_VERSION: Final = 1
PRESIGN_PROTOCOL: Final = b"quorumkeep/dkls23-presign"
NONCE_PROTOCOL: Final = b"quorumkeep/frost-nonces/"


def batch_session(
    protocol: bytes, *, version: int, key_id: str, epoch: int, batch_id: int, boot_ids: Mapping[str, bytes]
) -> bytes:
    """32 bytes, the same at every signer.

    ``boot_ids`` has the 32-byte boot id of each signer by node name; ``batch_id`` is a number that every node
    uses once a boot for a (key, set) and that only rises.
    """
    if any(len(boot_id) != 32 for boot_id in boot_ids.values()):
        raise CallerError("a boot id has 32 bytes")
    if not all(0 <= number < 2**64 for number in (version, epoch, batch_id)):
        raise CallerError("version, epoch and batch id must be from 0 to 2**64 - 1")
    parties = [part for name in sorted(boot_ids) for part in (name.encode(), boot_ids[name])]
    numbers = [number.to_bytes(8, "big") for number in (version, epoch, batch_id)]
    tag = "quorumkeep/mpc/presign/session/v1"
    return tagged_hash(tag, protocol, *numbers, key_id.encode(), *parties)


def presignature_id(session: bytes, b: int) -> bytes:
    """The 32-byte name of instance ``b`` of a session of ECDSA presigning, the same at every signer."""
    return tagged_hash("quorumkeep/mpc/presign/id/v1", session, b.to_bytes(2, "big"))


def nonce_id(session: bytes, b: int) -> bytes:
    """The 32-byte name of FROST's nonce pair ``b`` of a session, the same at every signer."""
    return tagged_hash("quorumkeep/mpc/frost/id/v1", session, b.to_bytes(2, "big"))


def names_of_batch(
    suite: str, *, key_id: str, epoch: int, batch_id: int, boot_ids: Mapping[str, bytes], count: int
) -> tuple[bytes, ...]:
    """The first ``count`` names of a batch that these boots would make for a key of ``suite``."""
    pairwise = suite == DKLS23_SECP256K1
    session = batch_session(
        PRESIGN_PROTOCOL if pairwise else NONCE_PROTOCOL + suite.encode(),
        version=PROTOCOL_VERSION,
        key_id=key_id,
        epoch=epoch,
        batch_id=batch_id,
        boot_ids=boot_ids,
    )
    name = presignature_id if pairwise else nonce_id
    return tuple(name(session, b) for b in range(count))
