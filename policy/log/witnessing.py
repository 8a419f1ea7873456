"""What a witness of logs decides: c2sp.org/tlog-witness, its call ``add-checkpoint``, without any I/O.

A witness says of a log's checkpoints one thing only: each extends all that it cosigned before. It reads the
first three lines of any checkpoint, so it serves logs of other kinds, too. What it cosigned last must be
durable before it answers, and comparing with it and replacing it must be one step: both are the caller's.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from policy.errors import CallerError, MalformedError, ProtocolError
from policy.log.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    TYPE_COSIGNATURE,
    Note,
    parse_note,
    verify_cosignatures,
    verify_log_signature,
)
from policy.log.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX, prove_consistency, verify_consistency
from policy.log.note import TYPE_ED25519, NoteSignature, decode_base64, key_id
from policy.log.tiles import Read, tile_hash_reader

PROOF_LINES_MAX: Final = 63
REQUEST_BYTES_MAX: Final = 64 * 1024
SIZE_TYPE: Final = "text/x.tlog.size"
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


class Status(IntEnum):
    """What the protocol answers by."""

    BAD_REQUEST = 400
    FORBIDDEN = 403
    NOT_FOUND = 404
    CONFLICT = 409
    UNPROCESSABLE = 422


class Head(NamedTuple):
    """Size and root of a log as they were cosigned last."""

    size: int
    root: bytes


NOTHING: Final = Head(0, EMPTY_ROOT)


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint with the proof that it extends one of ``old_size`` entries."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    origin: str
    head: Head

    def to_bytes(self) -> bytes:
        """The body of the call."""
        hashes = (base64.b64encode(one).decode() for one in self.proof)
        lines = "".join(f"{line}\n" for line in (f"old {self.old_size}", *hashes))
        return lines.encode() + b"\n" + self.note.to_bytes()


class Refused(Exception):
    """What to answer instead of a cosignature; ``body`` is for programs where the protocol says so."""

    def __init__(self, status: Status, reason: str, *, body: bytes = b"") -> None:
        super().__init__(reason)
        self.status, self.reason, self.body = status, reason, body


def parse_submission(data: bytes) -> Submission:
    """Read the body of a call strictly. Raises ``MalformedError``; no signature is verified."""
    if len(data) > REQUEST_BYTES_MAX:
        raise MalformedError(f"the call has {len(data)} bytes, at most {REQUEST_BYTES_MAX} are read")
    head, separator, rest = data.partition(b"\n\n")
    lines = head.decode("ascii", errors="replace").split("\n")
    word, _, number = lines[0].partition(" ")
    if not separator or word != "old" or not _SIZE.fullmatch(number):
        raise MalformedError(
            "the call does not begin with a line 'old' and a size, then hashes and an empty line"
        )
    if len(lines) - 1 > PROOF_LINES_MAX:
        raise MalformedError(f"the proof has {len(lines) - 1} lines, at most {PROOF_LINES_MAX} are read")
    proof = tuple(decode_base64(line, "a hash of the proof") for line in lines[1:])
    if any(len(one) != HASH_BYTES for one in proof):
        raise MalformedError(f"a hash of the proof has not {HASH_BYTES} bytes")
    note = parse_note(rest, REQUEST_BYTES_MAX)
    origin, found = read_head(note.body)
    return Submission(int(number), proof, note, origin, found)


def ask(read: Read, note: Note, *, old_size: int) -> Submission:
    """What to send for a published checkpoint to a witness that cosigned ``old_size`` entries last.

    Raises ``MalformedError`` without the tiles, and ``CallerError`` when the log is shorter than that.
    """
    origin, head = read_head(note.body)
    proof = prove_consistency(tile_hash_reader(read, head.size), old_size, new_size=head.size)
    return Submission(old_size, proof, note, origin, head)


def lines_of(answer: bytes, note: Note, *, keys: Mapping[str, bytes]) -> tuple[NoteSignature, ...]:
    """The cosignatures in a witness's answer that verify under its keys. Raises ``ProtocolError``."""
    found = parse_note(note.body + b"\n" + answer, REQUEST_BYTES_MAX)
    known = Note(note.body, tuple(line for line in found.signatures if line.name in keys))
    names = verify_cosignatures(known, keys)
    if not names:
        raise MalformedError("the witness answered without a cosignature under the key it is known by")
    ids = {(name, key_id(name, TYPE_COSIGNATURE, public_key=keys[name])) for name in names}
    return tuple(line for line in known.signatures if (line.name, line.key_id) in ids)


def read_head(body: bytes) -> tuple[str, Head]:
    """Origin and head of any log's checkpoint: its first three lines. Raises ``MalformedError``."""
    if len(body) > CHECKPOINT_BYTES_MAX:
        raise MalformedError(f"checkpoint has {len(body)} bytes, at most {CHECKPOINT_BYTES_MAX} are accepted")
    lines = body.decode().split("\n")
    if len(lines) < 4 or not lines[0] or not _SIZE.fullmatch(lines[1]) or "" in lines[3:-1]:
        raise MalformedError("checkpoint does not begin with the lines origin, size and root")
    root, size = decode_base64(lines[2], "root"), int(lines[1])
    if len(root) != HASH_BYTES or size > SIZE_MAX:
        raise MalformedError(f"a root has {HASH_BYTES} bytes and a size at most {SIZE_MAX}")
    return lines[0], Head(size, root)


def consider(found: Submission, *, log_keys: Mapping[str, bytes], last: Head) -> NoteSignature:
    """Whether to cosign it, after ``last`` of this origin; the log's line, verified. Raises ``Refused``.

    In the order of the specification: who signed it, then sizes, then hashes.
    """
    key = log_keys.get(found.origin)
    if key is None:
        raise Refused(Status.NOT_FOUND, f"no log {found.origin[:80]!r} is witnessed here")
    try:
        verify_log_signature(found.note, found.origin, public_key=key)
    except (ProtocolError, CallerError) as error:
        raise Refused(Status.FORBIDDEN, str(error)) from error
    if found.old_size > found.head.size:
        raise Refused(Status.BAD_REQUEST, f"size {found.head.size} is below the old size {found.old_size}")
    if found.old_size != last.size:
        reason = f"{last.size} entries were cosigned last, the proof is from {found.old_size}"
        raise Refused(Status.CONFLICT, reason, body=f"{last.size}\n".encode())
    if found.head.size == 0 and found.head.root != EMPTY_ROOT:
        raise Refused(Status.UNPROCESSABLE, "the root of an empty log is the hash of nothing")
    if not verify_consistency(last, found.head, proof=found.proof):
        reason = f"the proof does not show that {found.head.size} entries go on from the {last.size} cosigned"
        raise Refused(Status.UNPROCESSABLE, reason)
    return next(line for line in found.note.signatures if _is_of(line, found.origin, key))


def _is_of(line: NoteSignature, origin: str, key: bytes) -> bool:
    return (line.name, line.key_id) == (origin, key_id(origin, TYPE_ED25519, public_key=key))
