"""Whose checkpoint it is: the signature of its log, and w cosignatures; if not, whose is missing and why."""

from collections.abc import Mapping

from policy.audit_files import Bad
from policy.errors import ProtocolError
from policy.log.checkpoint import Note, verify_cosignatures, verify_log_signature
from policy.log.note import TYPE_ED25519, key_id

ANOTHER_KEY = "under another key than the one known here"

NOT_OF_THIS_LOG = (
    "is not signed by this log: it is another deployment's, or was altered, and says nothing of it"
)


def is_signed_by_log(note: Note, origin: str, *, key: bytes) -> bool:
    """Whether the log's key signed it: what it did not sign is no evidence against it."""
    try:
        verify_log_signature(note, origin, public_key=key)
    except ProtocolError:
        return False
    return True


def check_log_signature(note: Note, origin: str, *, key: bytes, size: int) -> None:
    """Raises ``Bad`` unless the log's key signed it."""
    try:
        verify_log_signature(note, origin, public_key=key)
    except ProtocolError as error:
        why, known = str(error), key_id(origin, TYPE_ED25519, public_key=key)
        of_log = {line.key_id for line in note.signatures if line.name == origin}
        if of_log and known not in of_log:
            why = f"log {origin!r} signed it {ANOTHER_KEY}: another deployment's log, or another's trust file"
        raise Bad(size, f"checkpoint: {why}") from error


def count_cosigners(note: Note, keys: Mapping[str, bytes], *, w: int, size: int) -> int:
    """How many cosigners signed it. Raises ``Bad`` below w, or for a signature that is none."""
    try:
        good = verify_cosignatures(note, keys)
    except ProtocolError as error:
        raise Bad(size, f"checkpoint: {error}") from error
    if len(good) < w:
        said = f"need cosignatures of {w} of {len(keys)} cosigners, got {len(good)}"
        raise Bad(size, f"checkpoint: {said}{_missing(note, keys.keys() - good.keys())}")
    return len(good)


def _missing(note: Note, names: set[str]) -> str:
    lines = {line.name for line in note.signatures}
    others, absent = sorted(names & lines), sorted(names - lines)
    said = f"; {', '.join(others)} signed it {ANOTHER_KEY}" if others else ""
    return said + (f"; no line of {', '.join(absent)}" if absent else "")
