"""What passes between a node and its worker: frames of byte strings, and nothing that is unpickled.

A frame is a length and parts, each with its length; the first part is a word. Both ends are ours, but
the worker reads what peers sent: what comes out of it is read as strictly as what comes from outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from policy.encoding import Json, canonical, parse_canonical
from policy.entries import KEY_CHANGES
from policy.errors import MalformedError
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
class OldKey:
    """The public record of a key's epoch that a resharing starts from."""

    epoch: int
    min_signers: int
    participants: tuple[str, ...]
    group_key: bytes
    chain_code: bytes
    public_shares: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """This node's sealed share of an epoch, under its ``context``."""

    context: SealContext
    share: "FileSealed"


@dataclass(frozen=True, slots=True)
class DealtEnvelope:
    """What an importing dealer sent this node, and the one-time key that opens it. SECRET."""

    one_time_key: bytes = field(repr=False)
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyJob:
    """Begin an epoch of key ``key_id``: ``change`` is one of ``policy.entries.KEY_CHANGES``.

    ``parties[party - 1]`` is this node; ``participants`` hold a share afterwards, ``dealers`` deal.
    ``session`` is 32 bytes that no run has used. ``holding`` is there where this node deals from a share,
    ``old`` in a refresh or resharing, ``dealt`` in an import.
    """

    session: bytes
    change: str
    suite: str
    key_id: str
    epoch: int
    min_signers: int
    participants: tuple[str, ...]
    parties: tuple[str, ...]
    party: int
    dealers: tuple[str, ...]
    old: OldKey | None = None
    holding: Holding | None = None
    dealt: DealtEnvelope | None = None

    @property
    def name(self) -> str:
        """This node."""
        return self.parties[self.party - 1]

    @property
    def peers(self) -> tuple[int, ...]:
        """The party numbers that messages go to and come from."""
        return tuple(number for number in range(1, len(self.parties) + 1) if number != self.party)

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run. SECRET."""
        document: dict[str, Json] = {
            "session": self.session.hex(),
            "change": self.change,
            "suite": self.suite,
            "key_id": self.key_id,
            "epoch": self.epoch,
            "min_signers": self.min_signers,
            "participants": list(self.participants),
            "parties": list(self.parties),
            "party": self.party,
            "dealers": list(self.dealers),
            "holds": self.holding is not None,
            "dealt": self.dealt is not None,
        }
        if self.old is not None:
            document["old"] = _old_document(self.old)
        parts = [b"key", canonical(document)]
        if self.holding is not None:
            share = self.holding.share
            parts += [self.holding.context.canonical_bytes(), share.file_key, share.blob]
        if self.dealt is not None:
            parts += [self.dealt.one_time_key, self.dealt.envelope]
        return parts


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


Job: TypeAlias = KeyJob | PresignJob


@dataclass(frozen=True, slots=True)
class Fault:
    """A participant's fault, as a ``FaultyParticipant`` carries it."""

    participant: int
    reason: str
    ban: bool


@dataclass(frozen=True, slots=True)
class KeyOutcome:
    """A key's new epoch: what is public of it, and this node's state, sealed under file keys.

    Wrap every file key with the HSM under ``context`` and forget it. The epoch counts only with the
    signatures of all parties over ``transcript``. ``share`` is None at a dealer that is left out.
    """

    context: SealContext
    public_shares: tuple[bytes, ...]
    chain_code: bytes
    transcript: bytes
    share: FileSealed | None
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
            "holds": self.share is not None,
            "pairs": [*sorted(self.pairs)],
        }
        sealed = [] if self.share is None else [self.share]
        sealed += [self.pairs[peer] for peer in sorted(self.pairs)]
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
        case [b"key", document, *rest]:
            return _parse_key_job(Fields(_json(document), "key job"), rest)
        case [b"presign", document, context, *secrets]:
            return _parse_presign(Fields(_json(document), "presign job"), parse_context(context), secrets)
        case _:
            raise MalformedError("a job of an unknown kind")


def parse_key_outcome(parts: Sequence[bytes]) -> KeyOutcome:
    """Read what ``KeyOutcome.to_parts`` wrote."""
    if len(parts) < 2:
        raise MalformedError("the outcome of a key's run has a context and a document")
    context = parse_context(parts[0])
    fields = Fields(_json(parts[1]), "key outcome")
    length = len(context.group_key)
    joined = fields.hex("public_shares", length_max=PARTIES_MAX * length)
    shares = tuple(joined[at : at + length] for at in range(0, len(joined), length))
    chain_code, transcript = fields.hex("chain_code", length=32), fields.hex("transcript", length=32)
    holds, peers = fields.boolean("holds"), _indices(fields, "pairs")
    fields.done()
    sealed = _sealed(int(holds) + len(peers), parts[2:])
    share = sealed.pop(0) if holds else None
    return KeyOutcome(context, shares, chain_code, transcript, share, dict(zip(peers, sealed, strict=True)))


def parse_fault(data: bytes) -> Fault:
    """Read the fault of a participant."""
    fields = Fields(_json(data), "fault")
    fault = Fault(fields.integer("participant"), fields.text("reason", length_max=500), fields.boolean("ban"))
    fields.done()
    return fault


def parse_context(data: bytes) -> SealContext:
    """Read ``SealContext.canonical_bytes``."""
    fields = Fields(_json(data), "seal context")
    context = SealContext(
        suite=fields.name("suite"),
        key_id=fields.name("key_id"),
        group_key=fields.hex("group_key", length_max=33),
        node=fields.name("node"),
        min_signers=fields.integer("min_signers"),
        participants=fields.integer("participants"),
        epoch=fields.integer("epoch"),
    )
    fields.done()
    return context


def _parse_key_job(fields: Fields, rest: Sequence[bytes]) -> KeyJob:
    holds, has_dealt = fields.boolean("holds"), fields.boolean("dealt")
    if len(rest) != 3 * holds + 2 * has_dealt:
        raise MalformedError(f"a key job has {len(rest)} parts beyond its document")
    holding = Holding(parse_context(rest[0]), _sealed(1, rest[1:3])[0]) if holds else None
    job = KeyJob(
        session=fields.hex("session", length=SESSION_BYTES),
        change=fields.choice("change", *KEY_CHANGES),
        suite=fields.name("suite"),
        key_id=fields.name("key_id"),
        epoch=fields.integer("epoch"),
        min_signers=fields.integer("min_signers"),
        participants=fields.names("participants", count_max=PARTIES_MAX),
        parties=fields.names("parties", count_max=2 * PARTIES_MAX),
        party=fields.integer("party", low=1, high=2 * PARTIES_MAX),
        dealers=fields.names("dealers", count_max=PARTIES_MAX),
        old=_parse_old(fields.nested("old")) if fields.has("old") else None,
        holding=holding,
        dealt=DealtEnvelope(rest[-2], rest[-1]) if has_dealt else None,
    )
    fields.done()
    if job.party > len(job.parties):
        raise MalformedError(f"party {job.party} of {len(job.parties)} cannot be")
    return job


def _old_document(old: OldKey) -> Json:
    return {
        "epoch": old.epoch,
        "min_signers": old.min_signers,
        "participants": list(old.participants),
        "group_key": old.group_key.hex(),
        "chain_code": old.chain_code.hex(),
        "public_shares": [share.hex() for share in old.public_shares],
    }


def _parse_old(fields: Fields) -> OldKey:
    old = OldKey(
        epoch=fields.integer("epoch"),
        min_signers=fields.integer("min_signers"),
        participants=fields.names("participants", count_max=PARTIES_MAX),
        group_key=fields.hex("group_key", length_max=POINT_BYTES),
        chain_code=fields.hex("chain_code", length=32),
        public_shares=fields.items("public_shares", _read_point, count_max=PARTIES_MAX),
    )
    fields.done()
    return old


def _read_point(value: Json) -> bytes:
    return Fields({"point": value}, "public_shares").hex("point", length_max=POINT_BYTES)


def _parse_presign(fields: Fields, context: SealContext, secrets: Sequence[bytes]) -> PresignJob:
    peers = _indices(fields, "pairs")
    share, *pairs = _sealed(1 + len(peers), secrets)
    job = PresignJob(
        session=fields.hex("session", length=SESSION_BYTES),
        batch=fields.integer("batch", low=1, high=BATCH_MAX),
        index=fields.integer("index", low=1, high=PARTIES_MAX),
        signers=_indices(fields, "signers"),
        context=context,
        share=share,
        pairs=dict(zip(peers, pairs, strict=True)),
    )
    fields.done()
    return job


def _sealed(count: int, parts: Sequence[bytes]) -> list[FileSealed]:
    if len(parts) != 2 * count or any(len(key) != FILE_KEY_BYTES for key in parts[::2]):
        raise MalformedError(f"{len(parts)} parts are not a file key and a blob for each of {count} secrets")
    return [FileSealed(key, blob) for key, blob in zip(parts[::2], parts[1::2], strict=True)]


def _indices(fields: Fields, name: str) -> tuple[int, ...]:
    values = fields.items(name, lambda value: value if isinstance(value, int) else 0, count_max=PARTIES_MAX)
    if any(not 1 <= value <= PARTIES_MAX for value in values) or len(set(values)) != len(values):
        raise MalformedError(f"{name} are distinct indices from 1 to {PARTIES_MAX}")
    return values


def _json(data: bytes) -> Json:
    return parse_canonical(data, bytes_max=DOCUMENT_BYTES_MAX)
