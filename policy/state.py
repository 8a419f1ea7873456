"""What the log says so far: the state that ``policy.ledger`` folds entries into.

Every container is persistent, so a state is a value: an old one stays valid while a new branch of
the log is tried.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from immutables import Map

from policy.approval import Slot
from policy.document import Policy
from policy.encoding import Json
from policy.errors import InvariantError
from policy.evaluate import LimitScope, Verdict, limit_scopes
from policy.intent import Request
from policy.roster import Roster
from policy.rules import Facts, Usage
from policy.windows import Counted, Window

CANCEL, PAYMENT = "cancel", "payment"


class JobStatus(Enum):
    """A reserved job may be signed at any moment; a burned one can never be."""

    RESERVED = "reserved"
    SIGNED = "signed"
    BURNED = "burned"


@dataclass(frozen=True, slots=True)
class KeyRecord:
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


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """A verified approval: it counts under ``policy``, for ``slot``, until ``expires_ms``."""

    operator: str
    slot: Slot
    policy: bytes
    fee_ceiling: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Signing:
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


@dataclass(frozen=True, slots=True)
class Job:
    """An admitted reservation: these signers may sign these bytes with these presignatures.

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
    policy: bytes
    time_ms: int
    status: JobStatus
    signed_ms: int = 0


@dataclass(frozen=True, slots=True)
class RequestState:
    """An admitted request. ``anchor`` is fixed by its first job; ``scopes`` are where it counts."""

    request_id: bytes
    request: Request
    rule: str
    logged_ms: int
    closed: bool = False
    anchor: Slot | None = None
    jobs: tuple[bytes, ...] = ()
    approvals: tuple[ApprovalRecord, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A signed policy or roster that takes effect at ``effective_ms`` unless one administrator vetoes it.

    It replaces the document whose hash is ``previous`` and no other. ``index`` is its place in the log.
    """

    kind: str
    document: Json
    document_hash: bytes
    previous: bytes
    effective_ms: int
    index: int


@dataclass(frozen=True, slots=True)
class State:
    """The fold of the log's first ``size`` entries. ``digest`` is what checkpoints call ``state``.

    ``changes`` are the bodies of all policies and rosters ever taken in: none is taken in twice.
    ``identities`` are the keys of all cosigners there ever were, by name. ``freeze`` is the id of the
    latest freeze, which an unfreeze must name.
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
    pending: tuple[PendingChange, ...] = ()
    changes: frozenset[bytes] = frozenset()
    identities: Map[str, bytes] = field(default_factory=Map)
    frozen: bool = False
    freeze: bytes = bytes(32)
    keys: Map[str, KeyRecord] = field(default_factory=Map)
    bans: frozenset[tuple[str, int, str, str]] = frozenset()
    shreds: frozenset[tuple[str, int, str]] = frozenset()
    requests: Map[bytes, RequestState] = field(default_factory=Map)
    idempotency: Map[tuple[str, str], bytes] = field(default_factory=Map)
    approval_ids: Map[bytes, bytes] = field(default_factory=Map)
    anchors: Map[Slot, bytes] = field(default_factory=Map)
    jobs: Map[bytes, Job] = field(default_factory=Map)
    presignatures: Map[bytes, bytes] = field(default_factory=Map)
    nonces: Map[bytes, bytes] = field(default_factory=Map)
    windows: Map[tuple[str, str], Window] = field(default_factory=Map)

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

    def newest_job(self, request_id: bytes) -> Job | None:
        """The latest job of a request, burned or not; only this one may still be signed."""
        request = self.requests.get(request_id)
        return self.jobs[request.jobs[-1]] if request and request.jobs else None

    def live_jobs(self, request_id: bytes) -> tuple[Job, ...]:
        """The jobs of a request that are not burned, oldest first."""
        jobs = (self.jobs[job] for job in self.requests[request_id].jobs)
        return tuple(job for job in jobs if job.status is not JobStatus.BURNED)

    def mutual_ban(self, key: str, epoch: int, *, signers: tuple[str, ...]) -> tuple[str, str] | None:
        """Two of ``signers`` who may not run a session with one another, if there are any."""
        for a in signers:
            for b in signers:
                if (key, epoch, a, b) in self.bans:
                    return a, b
        return None


def usage_without(state: State, request_id: bytes, *, time_ms: int) -> Usage:
    """How much of each limit others use at ``time_ms``."""
    windows_ms = {limit.name: limit.window_ms for limit in state.policy.limits}

    def used(limit: str, scope_key: str) -> int:
        window = state.windows.get((limit, scope_key))
        if window is None:
            return 0
        return window.expired(time_ms, window_ms=windows_ms[limit]).used_by_others(request_id)

    return used


def job_facts(state: State, request: Request, *, purpose: str, fee_max: int, usage: Usage) -> Facts:
    """The facts by which a job counts into limits: a cancellation moves nothing but its fee."""
    wallet = state.policy.wallets.get(request.intent.wallet)
    facts = Facts.of(
        request,
        tier=wallet.tier if wallet else "",
        fee_max=fee_max,
        approvals=(),
        initiator_people=frozenset(),
        usage=usage,
    )
    if purpose == PAYMENT:
        return facts
    return replace(facts, asset=state.policy.chains[request.intent.chain].native, amount=0)


def recount(state: State, request_id: bytes, *, signed_ms: int) -> State:
    """``state`` with the request counted anew in every limit it touches, from its jobs as they stand.

    Held while the newest live job is unsigned; otherwise counted from ``signed_ms``, which must not
    be before that of any call earlier.
    """
    request = state.requests[request_id]
    live = state.live_jobs(request_id)
    amounts: dict[tuple[str, str], int] = {}
    for job in live:
        for scope in _scopes(state, request.request, job):
            place = (scope.limit.name, scope.scope_key)
            amounts[place] = max(amounts.get(place, 0), scope.amount)
    held = bool(live) and live[-1].status is JobStatus.RESERVED
    windows = state.windows
    for place in {*request.scopes, *amounts}:
        window = windows.get(place, Window()).without(request_id)
        if place in amounts:
            window = window.with_request(request_id, Counted(amounts[place], None if held else signed_ms))
        windows = windows.set(place, window)
    counted = replace(request, scopes=tuple(sorted(amounts)))
    return replace(state, windows=windows, requests=state.requests.set(request_id, counted))


def recount_all(state: State) -> State:
    """``state`` with every window rebuilt: what a change of policy calls for. Cost: all requests."""
    state = replace(state, windows=Map())
    last_signed = {
        request_id: max(state.jobs[job].signed_ms for job in request.jobs)
        for request_id, request in state.requests.items()
        if request.jobs
    }
    for request_id in sorted(last_signed, key=lambda key: (last_signed[key], key)):
        state = recount(state, request_id, signed_ms=last_signed[request_id])
    return state


def expire_windows(state: State, places: tuple[tuple[str, str], ...]) -> State:
    """``state`` with what has left the windows at ``places`` dropped for good."""
    windows_ms = {limit.name: limit.window_ms for limit in state.policy.limits}
    windows = state.windows
    for place in places:
        window = windows.get(place)
        if window is not None:
            windows = windows.set(place, window.expired(state.time_ms, window_ms=windows_ms[place[0]]))
    return replace(state, windows=windows)


def _scopes(state: State, request: Request, job: Job) -> tuple[LimitScope, ...]:
    if request.intent.chain not in state.policy.chains:
        return ()
    return limit_scopes(
        state.policy, job_facts(state, request, purpose=job.purpose, fee_max=job.fee_max, usage={})
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What folding one entry came to. An entry that is not accepted changed nothing but the digest."""

    kind: str
    accepted: bool
    reason: str
    subject: bytes = b""
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Json]:
        """The part every cosigner must agree on."""
        verdict: dict[str, Json] = self.verdict.to_json() if self.verdict else {}
        return {
            "kind": self.kind,
            "accepted": self.accepted,
            "subject": self.subject.hex(),
            "verdict": verdict,
        }
