"""Frames between a node and its worker: byte strings with lengths, and nothing that is unpickled.

A frame is a length and parts, each with its length; the first part is a word. Both ends are ours, but
the worker reads what peers sent: what comes out of it is read as strictly as what comes from outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from policy.encoding import Json, parse_canonical
from policy.errors import CallerError, MalformedError
from policy.fields import Fields
from signer_nodes.hsm.context import SealContext

LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
DOCUMENT_BYTES_MAX: Final = 16 * 1024
SESSION_BYTES: Final = 32
PARTIES_MAX: Final = 9
FILE_KEY_BYTES: Final = 32
POINT_BYTES: Final = 33

READY: Final = b"ready"
BUSY: Final = b"b"
RUN: Final = b"run"
DELIVER: Final = b"deliver"
SEND: Final = b"send"
RESULT: Final = b"result"
FAULTY: Final = b"faulty"
UNKNOWN: Final = b"unknown"
TROUBLE: Final = b"trouble"
FAILED: Final = b"failed"


@dataclass(frozen=True, slots=True)
class FileSealed:
    """State sealed under a file key of its own. SECRET: the file key, until the HSM has wrapped it."""

    file_key: bytes = field(repr=False)
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Holding:
    """This node's sealed share of an epoch, under its ``context``."""

    context: SealContext
    share: FileSealed

    def to_parts(self) -> list[bytes]:
        """Three parts of a frame. SECRET."""
        return [self.context.canonical_bytes(), self.share.file_key, self.share.blob]


def frame(word: bytes, *parts: bytes) -> bytes:
    """One frame with its length."""
    content = b"".join(len(part).to_bytes(LENGTH_BYTES, "big") + part for part in (word, *parts))
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def frame_length(prefix: bytes) -> int:
    """How many bytes follow the four bytes of a frame's length."""
    length = int.from_bytes(prefix, "big")
    if length > FRAME_BYTES_MAX:
        raise MalformedError(f"a frame of {length} bytes, the limit is {FRAME_BYTES_MAX}")
    return length


def split(content: bytes) -> tuple[bytes, list[bytes]]:
    """A frame's word and parts. Raises ``MalformedError``."""
    parts, at = [], 0
    while at < len(content):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "big")
        if at > len(content):
            break
        parts.append(content[start:at])
    if at != len(content) or not parts:
        raise MalformedError(f"a frame of {len(content)} bytes does not split into its parts")
    return parts[0], parts[1:]


def parse_context(data: bytes) -> SealContext:
    """Read ``SealContext.canonical_bytes``. Raises ``MalformedError``."""
    fields = Fields(parse_document(data), "seal context")
    try:
        context = SealContext(
            suite=fields.name("suite"),
            key_id=fields.name("key_id"),
            group_key=fields.hex("group_key", length_max=33),
            node=fields.name("node"),
            min_signers=fields.integer("min_signers"),
            participants=fields.integer("participants"),
            epoch=fields.integer("epoch"),
        )
    except CallerError as error:
        raise MalformedError(f"seal context: {error}") from error
    fields.done()
    return context


def parse_holding(parts: Sequence[bytes]) -> Holding:
    """Read what ``Holding.to_parts`` wrote."""
    if len(parts) != 3:
        raise MalformedError(f"a sealed share has a context, a file key and a blob, got {len(parts)} parts")
    return Holding(parse_context(parts[0]), parse_sealed(1, parts[1:])[0])


def parse_sealed(count: int, parts: Sequence[bytes]) -> list[FileSealed]:
    """A file key and a blob for each of ``count`` secrets."""
    if len(parts) != 2 * count or any(len(key) != FILE_KEY_BYTES for key in parts[::2]):
        raise MalformedError(f"{len(parts)} parts are not a file key and a blob for each of {count} secrets")
    return [FileSealed(key, blob) for key, blob in zip(parts[::2], parts[1::2], strict=True)]


def parse_indices(fields: Fields, name: str) -> tuple[int, ...]:
    """Distinct party indices."""
    values = fields.items(name, lambda value: value if isinstance(value, int) else 0, count_max=PARTIES_MAX)
    if any(not 1 <= value <= PARTIES_MAX for value in values) or len(set(values)) != len(values):
        raise MalformedError(f"{name} are distinct indices from 1 to {PARTIES_MAX}")
    return values


def parse_document(data: bytes) -> Json:
    """A canonical document of a frame."""
    return parse_canonical(data, bytes_max=DOCUMENT_BYTES_MAX)
