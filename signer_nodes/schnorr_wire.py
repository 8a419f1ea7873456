"""A worker's jobs for threshold Schnorr: a batch of nonce pairs, and a batch of partial signatures.

Neither takes a message of a peer: the worker opens the share, computes, and is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from policy.encoding import Json, canonical
from policy.errors import CallerError, MalformedError
from policy.fields import Fields
from policy.schnorr import SchnorrTask
from signer_nodes.worker_frames import (
    PARTIES_MAX,
    POINT_BYTES,
    SESSION_BYTES,
    Holding,
    parse_document,
    parse_holding,
    parse_indices,
)

NONCE_BATCH_MAX: Final = 256
ITEMS_MAX: Final = 1024
_GIVEN: Final = b"given"
_REFUSED: Final = b"refused"


@dataclass(frozen=True, slots=True)
class NonceJob:
    """A batch of this node's nonce pairs for ``signers`` (indices, ``index`` among them) of one key."""

    session: bytes
    batch: int
    index: int
    signers: tuple[int, ...]
    holding: Holding

    @property
    def peers(self) -> tuple[int, ...]:
        """Nobody: a signer makes its nonces alone."""
        return ()

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run. SECRET."""
        document: dict[str, Json] = {
            "session": self.session.hex(),
            "batch": self.batch,
            "index": self.index,
            "signers": list(self.signers),
        }
        return [b"nonces", canonical(document), *self.holding.to_parts()]


@dataclass(frozen=True, slots=True)
class NonceOutcome:
    """The encoded nonce pairs of a batch, in order. SECRET: for this process's memory only."""

    nonces: tuple[bytes, ...] = field(repr=False)

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that ends the run. SECRET."""
        return list(self.nonces)


@dataclass(frozen=True, slots=True)
class FinishItem:
    """One partial signature to compute: the encoded nonce pair, every signer's opening, the task. SECRET."""

    nonces: bytes = field(repr=False)
    openings: Mapping[int, bytes]
    task: SchnorrTask


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Partial signatures under one key, in a worker of their own. ``session`` only names the run."""

    session: bytes
    holding: Holding
    items: tuple[FinishItem, ...]

    @property
    def peers(self) -> tuple[int, ...]:
        """Nobody: the openings came through the coordinator."""
        return ()

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run. SECRET."""
        items = [
            part for item in self.items for part in (_item_document(item), item.task.message, item.nonces)
        ]
        return [b"finish", self.session, *self.holding.to_parts(), *items]


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Why there is no partial signature; ``participant`` is the faulty signer's index, 0 for nobody known."""

    participant: int
    reason: str


@dataclass(frozen=True, slots=True)
class FinishOutcome:
    """What came of each item, in order: 32 bytes, or why not."""

    answers: tuple[bytes | Unsigned, ...]

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that ends the run."""
        parts: list[bytes] = []
        for answer in self.answers:
            if isinstance(answer, Unsigned):
                fault: Json = {"participant": answer.participant, "reason": answer.reason[:500]}
                parts += [_REFUSED, canonical(fault)]
            else:
                parts += [_GIVEN, answer]
        return parts


def parse_nonce_job(parts: Sequence[bytes]) -> NonceJob:
    """Read what ``NonceJob.to_parts`` wrote after its word."""
    if len(parts) != 4:
        raise MalformedError(f"a job for nonces has 4 parts, got {len(parts)}")
    fields = Fields(parse_document(parts[0]), "nonce job")
    job = NonceJob(
        session=fields.hex("session", length=SESSION_BYTES),
        batch=fields.integer("batch", low=1, high=NONCE_BATCH_MAX),
        index=fields.integer("index", low=1, high=PARTIES_MAX),
        signers=parse_indices(fields, "signers"),
        holding=parse_holding(parts[1:]),
    )
    fields.done()
    return job


def parse_finish_job(parts: Sequence[bytes]) -> FinishJob:
    """Read what ``FinishJob.to_parts`` wrote after its word."""
    if len(parts) < 4 or (len(parts) - 4) % 3 or len(parts) > 4 + 3 * ITEMS_MAX:
        raise MalformedError(f"a job for partial signatures has 4 parts and 3 an item, got {len(parts)}")
    items = tuple(_parse_item(parts[at : at + 3]) for at in range(4, len(parts), 3))
    return FinishJob(parts[0], parse_holding(parts[1:4]), items)


def parse_finish_outcome(parts: Sequence[bytes]) -> FinishOutcome:
    """Read what ``FinishOutcome.to_parts`` wrote."""
    answers: list[bytes | Unsigned] = []
    for word, data in zip(parts[::2], parts[1::2], strict=False):
        if word == _GIVEN:
            answers.append(data)
        else:
            fields = Fields(parse_document(data), "unsigned")
            answers.append(Unsigned(fields.integer("participant"), fields.text("reason", length_max=500)))
            fields.done()
    if len(parts) != 2 * len(answers):
        raise MalformedError(f"{len(parts)} parts are no list of answers")
    return FinishOutcome(tuple(answers))


def _item_document(item: FinishItem) -> bytes:
    task = item.task
    root: Json = {} if task.merkle_root is None else {"hash": task.merkle_root.hex()}
    document: dict[str, Json] = {
        "suite": task.suite,
        "group_key": task.group_key.hex(),
        "tweak": str(task.tweak),
        "merkle_root": root,
        "job": task.job_id.hex(),
        "index": task.index,
        "openings": [
            {"party": party, "opening": data.hex()} for party, data in sorted(item.openings.items())
        ],
    }
    return canonical(document)


def _parse_item(parts: Sequence[bytes]) -> FinishItem:
    fields = Fields(parse_document(parts[0]), "finish item")
    root = fields.nested("merkle_root")
    try:
        task = SchnorrTask(
            suite=fields.name("suite"),
            message=parts[1],
            group_key=fields.hex("group_key", length_max=POINT_BYTES),
            tweak=fields.amount("tweak"),
            merkle_root=root.hex("hash", length_max=32) if root.has("hash") else None,
            job_id=fields.hex("job", length=32),
            index=fields.integer("index"),
        )
    except CallerError as error:
        raise MalformedError(f"finish item: {error}") from error
    openings = fields.objects("openings", _read_opening, count_max=PARTIES_MAX)
    root.done()
    fields.done()
    return FinishItem(parts[2], dict(openings), task)


def _read_opening(fields: Fields) -> tuple[int, bytes]:
    return fields.integer("party", low=1, high=PARTIES_MAX), fields.hex("opening", length_max=2 * POINT_BYTES)
