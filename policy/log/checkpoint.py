"""Checkpoints of the log and the cosignatures that make them binding.

Sources: c2sp.org/tlog-checkpoint v1.0.0, c2sp.org/tlog-cosignature v1.0.1 (its Ed25519 type) and
c2sp.org/signed-note v1.0.0, whose format `policy.log.note` holds. Our logs add one extension line,
``state <base64>``, the hash of the folded state: our cosigners state with it that they folded the
entries to that state. A signed message begins with its own first line (``cosignature/v1``, an origin,
``quorumkeep/v1 <tag>``), and an origin contains no space, so none parses as another kind.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.log.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from policy.log.note import (
    SIGNATURE_BYTES,
    TYPE_COSIGNATURE,
    TYPE_ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    check_name,
    check_public_key,
    decode_base64,
    encode_vkey,
    key_id,
    parse_note,
    parse_vkey,
    verify_ed25519,
)

__all__ = [
    "CHECKPOINT_BYTES_MAX",
    "COSIGNATURE_HEADER",
    "TIME_MAX_S",
    "TYPE_COSIGNATURE",
    "TYPE_ED25519",
    "Checkpoint",
    "Note",
    "NoteSignature",
    "VerifierKey",
    "cosignature",
    "cosignature_message",
    "encode_vkey",
    "key_id",
    "log_signature",
    "log_signature_message",
    "parse_checkpoint",
    "parse_note",
    "parse_vkey",
    "quorum",
    "verify_cosignatures",
    "verify_log_signature",
]

TIME_MAX_S = 2**63 - 1
COSIGNATURE_HEADER = "cosignature/v1"
CHECKPOINT_BYTES_MAX = 4096
_TIME_BYTES = 8
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: its size, its root, and the hash of the state that folding its entries gives."""

    origin: str
    size: int
    root: bytes
    state: bytes

    def __post_init__(self) -> None:
        check_name(self.origin)
        if self.origin == COSIGNATURE_HEADER:
            raise CallerError(
                f"a log cannot be called {COSIGNATURE_HEADER!r}: its text would look like a cosignature"
            )
        if not 0 <= self.size <= SIZE_MAX:
            raise CallerError(f"a checkpoint of size {self.size}; from 0 to {SIZE_MAX} are possible")
        if len(self.root) != HASH_BYTES or len(self.state) != HASH_BYTES:
            raise CallerError(
                f"root and state have {HASH_BYTES} bytes, got {len(self.root)} and {len(self.state)}"
            )
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CallerError("the root of an empty log is the hash of nothing")

    def body(self) -> bytes:
        """The text of the checkpoint's note: four lines."""
        root, state = (base64.b64encode(digest).decode() for digest in (self.root, self.state))
        return f"{self.origin}\n{self.size}\n{root}\nstate {state}\n".encode()


def parse_checkpoint(body: bytes) -> Checkpoint:
    """Read the text of a checkpoint's note. Raises ``MalformedError`` unless ``body()`` gives it back."""
    if len(body) > CHECKPOINT_BYTES_MAX:
        raise MalformedError(f"checkpoint has {len(body)} bytes, at most {CHECKPOINT_BYTES_MAX} are accepted")
    try:
        lines = body.decode().split("\n")
        if len(lines) != 5 or not _SIZE.fullmatch(lines[1]) or not lines[3].startswith("state "):
            raise MalformedError("checkpoint is not the four lines origin, size, root, state")
        root, state = decode_base64(lines[2], "root"), decode_base64(lines[3].removeprefix("state "), "state")
        checkpoint = Checkpoint(lines[0], int(lines[1]), root, state)
    except (CallerError, UnicodeDecodeError) as error:
        raise MalformedError(f"checkpoint: {error}") from error
    if checkpoint.body() != body:
        raise MalformedError("checkpoint is not in its canonical encoding")
    return checkpoint


def log_signature_message(body: bytes) -> bytes:
    """What the log's own key signs: the text of the note as it is."""
    _check_body(body)
    return body


def log_signature(name: str, public_key: bytes, *, signature: bytes) -> NoteSignature:
    """The note line for a signature over ``log_signature_message``; does not verify it."""
    _check_signature(signature)
    check_public_key(public_key)
    return NoteSignature(name, key_id(name, TYPE_ED25519, public_key=public_key), signature)


def verify_log_signature(note: Note, name: str, *, public_key: bytes) -> None:
    """Check that the log's key signed ``note``.

    Raises ``InvalidSignatureError`` when its signature is missing or does not verify.
    """
    check_public_key(public_key)
    line = _line_of(note, name, key_id(name, TYPE_ED25519, public_key=public_key))
    if line is None:
        raise InvalidSignatureError(
            f"the note carries no signature of log {name!r} under the key it is known by"
        )
    verify_ed25519(public_key, line.payload, message=log_signature_message(note.body), author=f"log {name!r}")


def cosignature_message(body: bytes, *, time_s: int) -> bytes:
    """What a cosigner signs: that at ``time_s`` this was the largest consistent tree it had seen."""
    _check_body(body)
    _check_time(time_s)
    return f"{COSIGNATURE_HEADER}\ntime {time_s}\n".encode() + body


def cosignature(name: str, public_key: bytes, *, time_s: int, signature: bytes) -> NoteSignature:
    """The note line for a signature over ``cosignature_message``; does not verify it."""
    _check_time(time_s)
    _check_signature(signature)
    check_public_key(public_key)
    payload = time_s.to_bytes(_TIME_BYTES, "big") + signature
    return NoteSignature(name, key_id(name, TYPE_COSIGNATURE, public_key=public_key), payload)


def verify_cosignatures(note: Note, keys: Mapping[str, bytes]) -> dict[str, int]:
    """The times at which the cosigners in ``keys`` (name to public key) cosigned ``note``, by name.

    Lines of unknown keys are ignored, also those that share a name or an id with a known one. One
    invalid line of a known key refuses the whole note with ``InvalidSignatureError``: whoever collects
    cosignatures must verify each before adding it. Says nothing about what the text means: the caller
    parses it. Raises ``CallerError`` when two names share a key, for one key would count twice.
    """
    if len(set(keys.values())) != len(keys):
        raise CallerError("two cosigners share one public key: give each its own")
    times: dict[str, int] = {}
    for name, public_key in keys.items():
        check_public_key(public_key)
        line = _line_of(note, name, key_id(name, TYPE_COSIGNATURE, public_key=public_key))
        if line is not None:
            times[name] = _verify_cosignature(note.body, line, public_key)
    return times


def quorum(note: Note, keys: Mapping[str, bytes], *, w: int) -> bool:
    """Whether at least ``w`` of the cosigners in ``keys`` cosigned ``note``; errors as in the above."""
    if w < 1:
        raise CallerError(f"a quorum of {w} cosigners proves nothing: ask for at least 1")
    return len(verify_cosignatures(note, keys)) >= w


def _verify_cosignature(body: bytes, line: NoteSignature, public_key: bytes) -> int:
    author = f"cosigner {line.name!r}"
    time_s = int.from_bytes(line.payload[:_TIME_BYTES], "big")
    if len(line.payload) != _TIME_BYTES + SIGNATURE_BYTES or time_s > TIME_MAX_S:
        raise InvalidSignatureError(f"the cosignature of {author} is not a time and {SIGNATURE_BYTES} bytes")
    message = cosignature_message(body, time_s=time_s)
    verify_ed25519(public_key, line.payload[_TIME_BYTES:], message=message, author=author)
    return time_s


def _line_of(note: Note, name: str, identity: bytes) -> NoteSignature | None:
    matching = (line for line in note.signatures if (line.name, line.key_id) == (name, identity))
    return next(matching, None)  # a note holds at most one line of each key


def _check_body(body: bytes) -> None:
    if not body.endswith(b"\n"):
        raise CallerError("the text to sign ends with a newline")


def _check_time(time_s: int) -> None:
    if not 0 <= time_s <= TIME_MAX_S:
        raise CallerError(f"time {time_s} s is not from 0 to {TIME_MAX_S}")


def _check_signature(signature: bytes) -> None:
    if len(signature) != SIGNATURE_BYTES:
        raise CallerError(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes, got {len(signature)}")
