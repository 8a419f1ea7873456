"""The jobs that a node gives its worker, and what comes of them. The frames are ``worker_frames``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from policy.encoding import Json, canonical
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import KEY_CHANGES
from signer_nodes.backup_wire import BackupJob, BackupOutcome, parse_backup_job, parse_backup_outcome
from signer_nodes.hsm.context import SealContext
from signer_nodes.schnorr_wire import (
    FinishJob,
    FinishOutcome,
    NonceJob,
    NonceOutcome,
    parse_finish_job,
    parse_finish_outcome,
    parse_nonce_job,
)
from signer_nodes.worker_frames import (
    PARTIES_MAX,
    POINT_BYTES,
    SESSION_BYTES,
    FileSealed,
    Holding,
    parse_context,
    parse_document,
    parse_holding,
    parse_indices,
    parse_sealed,
)

BATCH_MAX: Final = 128


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
class DealtEnvelope:
    """What an importing dealer sent this node, and the one-time key that opens it. SECRET."""

    one_time_key: bytes = field(repr=False)
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyJob:
    """Begin an epoch of key ``key_id``: ``change`` is one of ``policy.ids.KEY_CHANGES``.

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
            parts += self.holding.to_parts()
        if self.dealt is not None:
            parts += [self.dealt.one_time_key, self.dealt.envelope]
        return parts


@dataclass(frozen=True, slots=True)
class PresignJob:
    """A batch of presignatures with ``signers`` (indices, ``index`` among them) of one key.

    ``pairs`` (by peer index) were sealed under the same context as the share in ``holding``.
    """

    session: bytes
    batch: int
    index: int
    signers: tuple[int, ...]
    holding: Holding
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
        sealed = (self.pairs[peer] for peer in sorted(self.pairs))
        secrets = [part for item in sealed for part in (item.file_key, item.blob)]
        return [b"presign", canonical(document), *self.holding.to_parts(), *secrets]


Job: TypeAlias = KeyJob | PresignJob | NonceJob | FinishJob | BackupJob


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


Outcome: TypeAlias = KeyOutcome | PresignOutcome | NonceOutcome | FinishOutcome | BackupOutcome


def parse_job(parts: Sequence[bytes]) -> Job:
    """Read what ``to_parts`` of a job wrote."""
    match list(parts):
        case [b"key", document, *rest]:
            return _parse_key_job(Fields(parse_document(document), "key job"), rest)
        case [b"presign", document, *secrets]:
            return _parse_presign(Fields(parse_document(document), "presign job"), secrets)
        case [b"nonces", *rest]:
            return parse_nonce_job(rest)
        case [b"finish", *rest]:
            return parse_finish_job(rest)
        case [b"backup", *rest]:
            return parse_backup_job(rest)
        case _:
            raise MalformedError("a job of an unknown kind")


def parse_outcome(job: Job, parts: Sequence[bytes]) -> Outcome:
    """Read what the outcome of ``job`` wrote. Raises ``MalformedError``."""
    match job:
        case KeyJob():
            return _parse_key_outcome(parts)
        case PresignJob():
            return PresignOutcome(tuple(parts))
        case NonceJob():
            return NonceOutcome(tuple(parts))
        case FinishJob():
            return parse_finish_outcome(parts)
        case BackupJob():
            return parse_backup_outcome(parts)
        case _:
            assert_never(job)


def _parse_key_outcome(parts: Sequence[bytes]) -> KeyOutcome:
    """Read what ``KeyOutcome.to_parts`` wrote."""
    if len(parts) < 2:
        raise MalformedError("the outcome of a key's run has a context and a document")
    context = parse_context(parts[0])
    fields = Fields(parse_document(parts[1]), "key outcome")
    length = len(context.group_key)
    joined = fields.hex("public_shares", length_max=PARTIES_MAX * length)
    shares = tuple(joined[at : at + length] for at in range(0, len(joined), length))
    chain_code, transcript = fields.hex("chain_code", length=32), fields.hex("transcript", length=32)
    holds, peers = fields.boolean("holds"), parse_indices(fields, "pairs")
    fields.done()
    sealed = parse_sealed(int(holds) + len(peers), parts[2:])
    share = sealed.pop(0) if holds else None
    return KeyOutcome(context, shares, chain_code, transcript, share, dict(zip(peers, sealed, strict=True)))


def parse_fault(data: bytes) -> Fault:
    """Read the fault of a participant."""
    fields = Fields(parse_document(data), "fault")
    fault = Fault(fields.integer("participant"), fields.text("reason", length_max=500), fields.boolean("ban"))
    fields.done()
    return fault


def _parse_key_job(fields: Fields, rest: Sequence[bytes]) -> KeyJob:
    holds, has_dealt = fields.boolean("holds"), fields.boolean("dealt")
    if len(rest) != 3 * holds + 2 * has_dealt:
        raise MalformedError(f"a key job has {len(rest)} parts beyond its document")
    holding = parse_holding(rest[:3]) if holds else None
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


def _parse_presign(fields: Fields, secrets: Sequence[bytes]) -> PresignJob:
    peers = parse_indices(fields, "pairs")
    pairs = parse_sealed(len(peers), secrets[3:])
    job = PresignJob(
        session=fields.hex("session", length=SESSION_BYTES),
        batch=fields.integer("batch", low=1, high=BATCH_MAX),
        index=fields.integer("index", low=1, high=PARTIES_MAX),
        signers=parse_indices(fields, "signers"),
        holding=parse_holding(secrets[:3]),
        pairs=dict(zip(peers, pairs, strict=True)),
    )
    fields.done()
    return job
