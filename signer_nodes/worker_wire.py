"""What passes between a node and its worker: frames of byte strings, and nothing that is unpickled.

A frame is a length and parts, each with its length; the first part is a word. Both ends are ours, but
the worker reads what peers sent: what comes out of it is read as strictly as what comes from outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from policy.encoding import Json, canonical, parse_canonical
from policy.errors import CallerError, MalformedError
from policy.fields import Fields
from signer_nodes.hsm.context import SealContext

LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
DOCUMENT_BYTES_MAX: Final = 16 * 1024
SESSION_BYTES: Final = 32
PARTIES_MAX: Final = 9
BATCH_MAX: Final = 128
FILE_KEY_BYTES: Final = 32
POINT_BYTES: Final = 33

READY: Final = b"ready"
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
class KeygenJob:
    """Generate key ``key_id``: ``participants[index - 1]`` is this node, ``session`` 32 unused bytes."""

    session: bytes
    suite: str
    key_id: str
    min_signers: int
    participants: tuple[str, ...]
    index: int
    epoch: int = 0

    @property
    def peers(self) -> tuple[int, ...]:
        """The indices that messages go to and come from."""
        return tuple(index for index in range(1, len(self.participants) + 1) if index != self.index)

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run."""
        document: dict[str, Json] = {
            "session": self.session.hex(),
            "suite": self.suite,
            "key_id": self.key_id,
            "min_signers": self.min_signers,
            "participants": list(self.participants),
            "index": self.index,
            "epoch": self.epoch,
        }
        return [b"keygen", canonical(document)]


@dataclass(frozen=True, slots=True)
class PresignJob:
    """A batch of presignatures with ``signers`` (indices, ``index`` among them) of one key.

    ``share`` and ``pairs`` (by peer index) are what keygen sealed, under ``context``.
    """

    session: bytes
    batch: int
    index: int
    signers: tuple[int, ...]
    context: SealContext
    share: FileSealed
    pairs: Mapping[int, FileSealed]

    @property
    def peers(self) -> tuple[int, ...]:
        """The indices that messages go to and come from."""
        return tuple(index for index in self.signers if index != self.index)

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run. SECRET."""
        document: dict[str, Json] = {
            "session": self.session.hex(),
            "batch": self.batch,
            "index": self.index,
            "signers": list(self.signers),
            "pairs": [*sorted(self.pairs)],
        }
        sealed = (self.share, *(self.pairs[peer] for peer in sorted(self.pairs)))
        secrets = [part for item in sealed for part in (item.file_key, item.blob)]
        return [b"presign", canonical(document), self.context.canonical_bytes(), *secrets]


Job: TypeAlias = KeygenJob | PresignJob


@dataclass(frozen=True, slots=True)
class Fault:
    """A participant's fault, as a ``FaultyParticipant`` carries it."""

    participant: int
    reason: str
    ban: bool


@dataclass(frozen=True, slots=True)
class KeygenOutcome:
    """A new key: what is public of it, and this node's state, sealed under file keys.

    Wrap every file key with the HSM under ``context`` and forget it. The key counts only with all n
    signatures over ``transcript``.
    """

    context: SealContext
    public_shares: tuple[bytes, ...]
    chain_code: bytes
    transcript: bytes
    share: FileSealed
    pairs: Mapping[int, FileSealed]

    @property
    def group_key(self) -> bytes:
        """The key."""
        return self.context.group_key

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that ends the run. SECRET."""
        public: dict[str, Json] = {
            "public_shares": b"".join(self.public_shares).hex(),
            "chain_code": self.chain_code.hex(),
            "transcript": self.transcript.hex(),
            "pairs": [*sorted(self.pairs)],
        }
        sealed = (self.share, *(self.pairs[peer] for peer in sorted(self.pairs)))
        secrets = [part for item in sealed for part in (item.file_key, item.blob)]
        return [self.context.canonical_bytes(), canonical(public), *secrets]


@dataclass(frozen=True, slots=True)
class PresignOutcome:
    """The encoded presignatures of a batch, in order. SECRET: for this process's memory only."""

    presignatures: tuple[bytes, ...] = field(repr=False)

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that ends the run. SECRET."""
        return list(self.presignatures)


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


def parse_job(parts: Sequence[bytes]) -> Job:
    """Read what ``to_parts`` of a job wrote."""
    match list(parts):
        case [b"keygen", document]:
            return _parse_keygen(Fields(_json(document), "keygen job"))
        case [b"presign", document, context, *secrets]:
            return _parse_presign(Fields(_json(document), "presign job"), parse_context(context), secrets)
        case _:
            raise MalformedError("a job of an unknown kind")


def parse_keygen_outcome(parts: Sequence[bytes]) -> KeygenOutcome:
    """Read what ``KeygenOutcome.to_parts`` wrote."""
    if len(parts) < 2:
        raise MalformedError("a key generation's outcome has a context and a document")
    fields = Fields(_json(parts[1]), "keygen outcome")
    joined = fields.hex("public_shares", length_max=PARTIES_MAX * POINT_BYTES)
    shares = tuple(joined[at : at + POINT_BYTES] for at in range(0, len(joined), POINT_BYTES))
    chain_code, transcript = fields.hex("chain_code", length=32), fields.hex("transcript", length=32)
    share, pairs = _sealed(_indices(fields, "pairs"), parts[2:])
    fields.done()
    return KeygenOutcome(parse_context(parts[0]), shares, chain_code, transcript, share, pairs)


def parse_fault(data: bytes) -> Fault:
    """Read the fault of a participant."""
    fields = Fields(_json(data), "fault")
    fault = Fault(fields.integer("participant"), fields.text("reason", length_max=500), fields.boolean("ban"))
    fields.done()
    return fault


def parse_context(data: bytes) -> SealContext:
    """Read ``SealContext.canonical_bytes``. Raises ``MalformedError``."""
    fields = Fields(_json(data), "seal context")
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


def _parse_keygen(fields: Fields) -> KeygenJob:
    job = KeygenJob(
        session=fields.hex("session", length=SESSION_BYTES),
        suite=fields.name("suite"),
        key_id=fields.name("key_id"),
        min_signers=fields.integer("min_signers"),
        participants=fields.names("participants", count_max=PARTIES_MAX),
        index=fields.integer("index", low=1, high=PARTIES_MAX),
        epoch=fields.integer("epoch"),
    )
    fields.done()
    return job


def _parse_presign(fields: Fields, context: SealContext, secrets: Sequence[bytes]) -> PresignJob:
    share, pairs = _sealed(_indices(fields, "pairs"), secrets)
    job = PresignJob(
        session=fields.hex("session", length=SESSION_BYTES),
        batch=fields.integer("batch", low=1, high=BATCH_MAX),
        index=fields.integer("index", low=1, high=PARTIES_MAX),
        signers=_indices(fields, "signers"),
        context=context,
        share=share,
        pairs=pairs,
    )
    fields.done()
    return job


def _sealed(peers: tuple[int, ...], parts: Sequence[bytes]) -> tuple[FileSealed, dict[int, FileSealed]]:
    if len(parts) != 2 * (1 + len(peers)) or any(len(key) != FILE_KEY_BYTES for key in parts[::2]):
        raise MalformedError(f"{len(parts)} parts are not a file key and a blob for 1 + {len(peers)} secrets")
    items = [FileSealed(key, blob) for key, blob in zip(parts[::2], parts[1::2], strict=True)]
    return items[0], dict(zip(peers, items[1:], strict=True))


def _indices(fields: Fields, name: str) -> tuple[int, ...]:
    values = fields.items(name, lambda value: value if isinstance(value, int) else 0, count_max=PARTIES_MAX)
    if any(not 1 <= value <= PARTIES_MAX for value in values) or len(set(values)) != len(values):
        raise MalformedError(f"{name} are distinct indices from 1 to {PARTIES_MAX}")
    return values


def _json(data: bytes) -> Json:
    return parse_canonical(data, bytes_max=DOCUMENT_BYTES_MAX)
