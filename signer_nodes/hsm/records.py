"""Rollback records: what an old copy of the disk, or of the token, cannot know.

``head`` holds the last log head that this node cosigned, ``boot`` counts its starts. Both only rise.
A record detects a rollback of the disk; it does not prevent one, and a clone of the whole token
carries it along: then peers see the same boot counter twice and bar it for good.
"""

from typing import Final

from policy.errors import CallerError
from signer_nodes.hsm import objects
from signer_nodes.hsm.token import Token

PREFIX: Final = "record/"
RECORD_NAMES: Final = ("boot", "head")
BOOT_ID_BYTES: Final = 32


def read_record(token: Token, name: str) -> tuple[int, bytes] | None:
    """Sequence number and bytes of a record, or nothing when it was never written."""
    stored = objects.read(token, _label(name))
    return None if stored is None else (stored.sequence, stored.data)


def write_record(token: Token, name: str, *, data: bytes) -> int:
    """Store ``data`` and return its sequence number, higher than any before it.

    Not to be written by two processes at once. No secret, the version before stays until ``tidy``.
    """
    return objects.write(token, _label(name), data=data, tidy_later=True)


def raise_boot_counter(token: Token, boot_id: bytes) -> int:
    """Count this start under its 32 random bytes; the new counter is the record's sequence number."""
    if len(boot_id) != BOOT_ID_BYTES:
        raise CallerError(f"a boot id has {BOOT_ID_BYTES} bytes, got {len(boot_id)}")
    return write_record(token, "boot", data=boot_id)


def _label(name: str) -> str:
    if name not in RECORD_NAMES:
        raise CallerError(f"a record is one of {', '.join(RECORD_NAMES)}")
    return PREFIX + name
