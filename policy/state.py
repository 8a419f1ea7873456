"""What the log says so far: the state that ``policy.ledger`` folds entries into.

Every container is persistent, so a state is a value: an old one stays valid while a new branch of
the log is tried.
"""

import functools
from enum import Enum
from typing import NamedTuple

from immutables import Map
from msgspec import Struct, field

from policy.approval import Slot
from policy.encoding import Json, canonical
from policy.errors import InvariantError
from policy.evaluate import Verdict
from policy.intent import Request
from policy.model import Policy
from policy.roster import Roster
from policy.stored.layered import Table, latest
from policy.windows import Window

CANCEL, PAYMENT = "cancel", "payment"
OUTCOMES_CACHED = 1024


class JobStatus(Enum):
    """A reserved job may be signed at any moment; a burned one can never be."""

    RESERVED = "reserved"
    SIGNED = "signed"
    BURNED = "burned"


class KeyRecord(Struct, frozen=True, gc=False):
    """A key that its n nodes have agreed on, in one epoch.

    ``imported`` keys were known to a dealer once, for ever; ``index`` is the log position of the entry that
    began the epoch, and ``transcript`` names the run of nodes that made it.
    """

    key: str
    epoch: int
    suite: str
    imported: bool
    min_signers: int
    participants: tuple[str, ...]
    group_key: bytes
    chain_code: bytes
    public_shares: tuple[bytes, ...]
    transcript: bytes
    index: int

    def index_of(self, name: str) -> int:
        """The party number, from 1, of a participant."""
        return self.participants.index(name) + 1


class ApprovalRecord(Struct, frozen=True, gc=False):
    """A verified approval: it counts under ``policy``, for ``slot``, until ``expires_ms``."""

    operator: str
    slot: Slot
    policy: bytes
    fee_ceiling: int
    expires_ms: int
    logged_ms: int


class Screening(Struct, frozen=True, gc=False):
    """What observers stated about a request: a provider's ``result``, and a ``risk`` from 0 to 100."""

    result: str
    risk: int
    observed_ms: int


class PricePoint(NamedTuple):
    """What observers stated one whole unit of an asset is worth, in the policy's unit, and when."""

    observed_ms: int
    price: int


class Deposit(NamedTuple):
    """How often observers have stated a deposit, or that it is gone, and a hash of what came to whom."""

    turns: int
    paid: bytes


class Holding(NamedTuple):
    """What a wallet holds of an asset, as observers stated it who saw what came of ``size`` entries."""

    amount: int
    observed_ms: int
    size: int


class Signing(Struct, frozen=True, gc=False):
    """One signature that a job needs.

    ``message`` is a hash of 32 bytes for ECDSA and taproot, and the whole message for Ed25519. The
    signature stands under ``public_key``, encoded as the suite's verification takes it; ``tweak`` and
    ``merkle_root`` lead there from the group key.
    """

    path: str
    message: bytes
    tweak: int
    public_key: bytes
    merkle_root: bytes | None


class Job(Struct, frozen=True, gc=False):
    """An admitted reservation: these signers may sign these bytes with these presignatures.

    ``value`` is what the amount and the fee were worth in ``unit`` when it was reserved, None if that could
    not be told.
    ``policy`` and ``book`` are the hashes of what was in force when it was reserved.
    ``signings``, ``presignatures`` and ``signatures`` are in one order, that of the signatures' indices; a
    signature that is not there yet is empty. The job is signed when all are there.
    """

    job_id: bytes
    index: int
    request_id: bytes
    purpose: str
    tx: bytes
    suite: str
    key: str
    epoch: int
    signers: tuple[str, ...]
    presignatures: tuple[bytes, ...]
    signings: tuple[Signing, ...]
    signatures: tuple[bytes, ...]
    anchor: Slot
    fee_max: int
    value: int | None
    unit: str
    policy: bytes
    book: bytes
    time_ms: int
    status: JobStatus
    signed_ms: int = 0


class RequestState(Struct, frozen=True, gc=False):
    """An admitted request. ``anchor`` is fixed by its first job; ``scopes`` are where it counts.

    ``observed`` is the job that f + 1 observers have seen settled. ``rejected_by`` is who stopped it before
    it was signed: it can then be cancelled, and never be paid.
    """

    request_id: bytes
    request: Request
    rule: str
    logged_ms: int
    closed: bool = False
    observed: bytes = b""
    rejected_by: str = ""
    screening: Screening | None = None
    anchor: Slot | None = None
    jobs: tuple[bytes, ...] = ()
    approvals: tuple[ApprovalRecord, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()


class PendingChange(Struct, frozen=True, gc=False):
    """A signed change that takes effect at ``effective_ms`` unless one administrator vetoes it.

    A policy or roster replaces the document whose hash is ``previous`` and no other; the change of a list
    is for the policy whose hash that is. ``document_hash`` is what a veto names, ``index`` its place in the
    log.
    """

    kind: str
    document: Json
    document_hash: bytes
    previous: bytes
    effective_ms: int
    index: int


class State(Struct, frozen=True):
    """The fold of the log's first ``size`` entries. ``digest`` is what checkpoints call ``state``.

    ``changes`` are the bodies of all changes ever taken in: none is taken in twice. ``book`` is what was put
    on the policy's lists, with its label, and what was taken off them, with an empty one; ``policy_or_none``
    has it applied, and ``book_hash`` stands for it.
    ``identities`` are the keys of all cosigners there ever were, by name; ``key_owners`` the names of all
    whose keys ever stood in a roster, observers' apart. ``owned`` are the accounts of the
    policy's wallets, each with its wallet; ``paid`` the destinations of signed payments, by their first
    request; ``prices`` what observers stated, by asset, oldest first, and ``lows`` the same for the lowest;
    ``holdings`` what they stated of wallets and assets under this policy, which began at entry
    ``holdings_since``; ``deposits`` what came from outside, by its id; ``statements`` how many of prices,
    holdings and screenings there were. ``freeze`` is the id of the latest freeze, which an unfreeze must
    name.

    No entry looks through all of a kind. What is looked for among all of them has an index of its own:
    ``approved`` the open requests with approvals, ``reserved`` the jobs neither signed nor burned, with their
    requests, ``signed`` when jobs were signed, of which request, in that order. What grows with the log is a
    ``Table``, which may be stored as of ``stored_size``.
    """

    size: int = 0
    time_ms: int = 0
    digest: bytes = bytes(32)
    rules: int = 0
    origin: str = ""
    roster_document: Json = ""
    roster_hash: bytes = bytes(32)
    roster_or_none: Roster | None = None
    policy_document: Json = ""
    policy_or_none: Policy | None = None
    policy_hash: bytes = bytes(32)
    book: Map[tuple[str, str], str] = field(default_factory=Map)
    book_hash: bytes = b""
    pending: tuple[PendingChange, ...] = ()
    changes: Table[bytes, bool] = field(default_factory=Map)
    identities: Map[str, bytes] = field(default_factory=Map)
    key_owners: Map[tuple[str, bytes], str] = field(default_factory=Map)
    frozen: bool = False
    freeze: bytes = bytes(32)
    keys: Map[str, KeyRecord] = field(default_factory=Map)
    bans: frozenset[tuple[str, int, str, str]] = frozenset()
    shreds: frozenset[tuple[str, int, str]] = frozenset()
    owned: Map[tuple[str, str], str] = field(default_factory=Map)
    paid: Table[tuple[str, str], bytes] = field(default_factory=Map)
    prices: Map[str, tuple[PricePoint, ...]] = field(default_factory=Map)
    lows: Map[str, tuple[PricePoint, ...]] = field(default_factory=Map)
    holdings: Map[tuple[str, str], Holding] = field(default_factory=Map)
    holdings_since: int = 0
    deposits: Table[bytes, Deposit] = field(default_factory=Map)
    statements: int = 0
    requests: Table[bytes, RequestState] = field(default_factory=Map)
    idempotency: Table[tuple[str, str], bytes] = field(default_factory=Map)
    approval_ids: Table[bytes, bytes] = field(default_factory=Map)
    anchors: Table[Slot, bytes] = field(default_factory=Map)
    jobs: Table[bytes, Job] = field(default_factory=Map)
    presignatures: Table[bytes, bytes] = field(default_factory=Map)
    nonces: Table[bytes, bytes] = field(default_factory=Map)
    windows: Table[tuple[str, str], Window] = field(default_factory=Map)
    approved: Table[bytes, bool] = field(default_factory=Map)
    reserved: Table[bytes, bytes] = field(default_factory=Map)
    signed: Table[int, tuple[int, bytes]] = field(default_factory=Map)
    signed_count: int = 0
    stored_size: int = 0

    @property
    def roster(self) -> Roster:
        """The roster in force. Raises ``InvariantError`` before the genesis entry."""
        if self.roster_or_none is None:
            raise InvariantError("the log has no genesis entry yet")
        return self.roster_or_none

    @property
    def policy(self) -> Policy:
        """The policy in force. Raises ``InvariantError`` before the genesis entry."""
        if self.policy_or_none is None:
            raise InvariantError("the log has no genesis entry yet")
        return self.policy_or_none

    @property
    def verifies(self) -> bool:
        """Whether signatures are checked before an entry is taken in."""
        return True

    def newest_job(self, request_id: bytes) -> Job | None:
        """The latest job of a request, burned or not; only this one may still be signed."""
        request = self.requests.get(request_id)
        return self.jobs[request.jobs[-1]] if request and request.jobs else None

    def live_jobs(self, request_id: bytes) -> tuple[Job, ...]:
        """The jobs of a request that are not burned, oldest first."""
        jobs = (self.jobs[job] for job in self.requests[request_id].jobs)
        return tuple(job for job in jobs if job.status is not JobStatus.BURNED)

    def jobs_since(self, size: int) -> tuple[Job, ...]:
        """The jobs that entries from ``size`` on have reserved. ``size`` is no less than ``stored_size``."""
        if size < self.stored_size:
            raise InvariantError(f"jobs since {size} entries are asked for, {self.stored_size} are stored")
        found = (job for job in latest(self.jobs) if job.index >= size)
        return tuple(sorted(found, key=lambda job: job.index))

    def mutual_ban(self, key: str, epoch: int, *, signers: tuple[str, ...]) -> tuple[str, str] | None:
        """Two of ``signers`` who may not run a session with one another, if there are any."""
        for a in signers if self.bans else ():
            for b in signers:
                if (key, epoch, a, b) in self.bans:
                    return a, b
        return None


class UnverifiedState(State, frozen=True):
    """A state that takes in requests, approvals, statements and signatures without checking who signed.

    For what was checked here before, and to measure with: nothing is signed by it.
    """

    @property
    def verifies(self) -> bool:
        """Whether signatures are checked."""
        return False


class Outcome(Struct, frozen=True, gc=False):
    """What folding one entry came to. An entry that is not accepted changed nothing but the digest."""

    kind: str
    accepted: bool
    reason: str
    subject: bytes = b""
    verdict: Verdict | None = None

    def agreed(self) -> bytes:
        """The canonical encoding of ``to_json``. But for the subject it is the same for many entries."""
        verdict = (self.verdict.outcome.word, self.verdict.rule) if self.verdict else None
        before, after = _around_subject(self.kind, self.accepted, verdict)
        return before + self.subject.hex().encode() + after

    def to_json(self) -> dict[str, Json]:
        """The part every cosigner must agree on."""
        verdict: dict[str, Json] = self.verdict.to_json() if self.verdict else {}
        return {
            "kind": self.kind,
            "accepted": self.accepted,
            "subject": self.subject.hex(),
            "verdict": verdict,
        }


@functools.lru_cache(maxsize=OUTCOMES_CACHED)
def _around_subject(kind: str, accepted: bool, verdict: tuple[str, str] | None) -> tuple[bytes, bytes]:
    """What stands before and after the subject in the encoding of an outcome."""
    said: dict[str, Json] = {"outcome": verdict[0], "rule": verdict[1]} if verdict else {}
    encoded = canonical({"kind": kind, "accepted": accepted, "subject": "", "verdict": said})
    before, name, after = encoded.partition(b'"subject":"')
    return before + name, after
