"""The session id of one batch of preprocessing, whatever is preprocessed."""

from collections.abc import Mapping

from policy.encoding import tagged_hash
from policy.errors import CallerError


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
