"""The gate: what this node signs, decided here and nowhere else.

Read this first. A signature needs this node twice, and each time the gate decides on the node's own
fold of the log, never on what anyone says about it:

1. ``admit``: after the node has folded new entries, for each reservation that the policy allowed and
   that names this node as a signer: open the presignature's commitment, or decline.
2. ``may_sign``: when w cosigners have cosigned a checkpoint that includes the reservation, look again
   at the latest head: compute the partial signature, or decline.

The policy, the limits, the approvals, the transaction's bytes and the anchor were judged by
``policy.reservations.weigh_reservation`` while the entries were folded: a job exists in the state
only if that allowed it. What is added here are this node's own reasons not to sign; none of them is
an input of the fold. There is no way to have anything else signed: the messages are those of the job's
``signings``, computed from its bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from policy.delays import LAG_MS_MAX
from policy.reservations import delay_over_ms
from policy.roster import Roster
from policy.state import CANCEL, Job, JobStatus, State
from signer_nodes.late import Late, late_ms
from signer_nodes.presignatures import PresignaturePool

RESERVATION_AGE_MS_MAX = 60 * 1000  # also bounds how long a log kept behind the clock can stretch an expiry


@dataclass(frozen=True, slots=True)
class Node:
    """What the gate knows of the node itself: its name, its clock, whether it is frozen, what came late.

    ``reservation_age_ms_max`` is how old a reservation may be: a cold node's comes by foot.
    """

    name: str
    now_ms: int
    frozen: bool
    late: Late = field(default_factory=dict)
    reservation_age_ms_max: int = RESERVATION_AGE_MS_MAX


@dataclass(frozen=True, slots=True)
class Admitted:
    """The node opens these presignatures for this job, in the order of its signatures."""

    job: Job
    presignatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Declined:
    """The node will not sign this job now, and why; ``not_before_ms`` is from when on it would, if known."""

    job_id: bytes
    reason: str
    not_before_ms: int = 0


def admit(
    state: State, jobs: Iterable[bytes], *, node: Node, pool: PresignaturePool
) -> tuple[Admitted | Declined, ...]:
    """Decide on newly admitted jobs that name this node. Changes nothing: the caller binds and stores."""
    decisions: list[Admitted | Declined] = []
    taken: set[bytes] = set()
    for job_id in jobs:
        job = state.jobs[job_id]
        if node.name not in job.signers:
            continue
        declined = _declined(state, job, node)
        if declined is None and (reason := _unusable(job, pool, taken)):
            declined = Declined(job_id, reason)
        if declined is not None:
            decisions.append(declined)
        else:
            taken.update(job.presignatures)
            decisions.append(Admitted(job, job.presignatures))
    return tuple(decisions)


def may_sign(state: State, job_id: bytes, *, node: Node, quorum_size: int) -> Job | Declined:
    """Decide on giving a partial signature for a job, on the latest state this node has folded.

    ``quorum_size`` is the size of a prefix of this node's log that w cosigners have cosigned.
    """
    job = state.jobs.get(job_id)
    if job is None:
        return Declined(job_id, "no admitted reservation has this id")
    if job.index >= quorum_size:
        return Declined(job_id, "the checkpoint does not include the reservation")
    if node.name not in job.signers:
        return Declined(job_id, "this node is not among the job's signers")
    return _declined(state, job, node) or job


def may_burn(state: State, job_id: bytes, *, node: Node) -> Declined | None:
    """Decide on stating that this node never signs a job. Whether it has signed, the session knows.

    A job that is not in this node's log may be burned too: it stands on a branch that this node is
    not on, and is never signed here if it ever comes.
    """
    job = state.jobs.get(job_id)
    if job is None:
        return None
    if node.name not in job.signers:
        return Declined(job_id, "this node is not among the job's signers")
    if job.status is JobStatus.SIGNED:
        return Declined(job_id, "the job is signed")
    return None


def _declined(state: State, job: Job, node: Node) -> Declined | None:
    if reason := _objection(state, job, node):
        return Declined(job.job_id, reason)
    return _too_early(state, job, node)


def _objection(state: State, job: Job, node: Node) -> str:
    """Why a job that the policy allowed is not signed now; empty if there is no reason."""
    request = state.requests[job.request_id]
    if not state.verifies:
        return "the log was folded without checking who signed its entries"
    if node.frozen:
        return "this node is frozen: it holds evidence of two logs"
    if state.frozen:
        return "signing is frozen until the administrators' quorum unfreezes it"
    if job.status is not JobStatus.RESERVED:
        return f"the job is {job.status.value}"
    if request.jobs[-1] != job.job_id:
        return "a later job of the same request has replaced this one"
    if request.closed:
        return "the request is settled"
    if request.rejected_by and job.purpose != CANCEL:
        return f"{request.rejected_by} has rejected the request"
    if job.purpose != CANCEL and request.request.expires_ms <= node.now_ms:
        return f"the request expired at {request.request.expires_ms} by this node's clock"
    if node.now_ms - job.time_ms > node.reservation_age_ms_max:
        return f"the reservation is {node.now_ms - job.time_ms} ms old: reserve again"
    if job.epoch != state.keys[job.key].epoch:
        return f"key {job.key} is in another epoch since the reservation: reserve again"
    if job.policy != state.policy_hash:
        return "the policy has changed since the reservation: reserve again under the one in force"
    if job.book != state.book_hash:
        return "an address list has changed since the reservation: reserve again, to be judged by it as it is"
    if banned := state.mutual_ban(job.key, job.epoch, signers=job.signers):
        return f"{banned[0]} runs no session with {banned[1]}"
    return "" if _known(state.roster, job) else "a signer is not in the roster any more"


def _too_early(state: State, job: Job, node: Node) -> Declined | None:
    """Why the delay of a payment that came late to this node is not over by its clock; None if it is."""
    had_ms = late_ms(node.late, job.request_id)
    if had_ms is None or job.purpose == CANCEL:
        return None
    over_ms = delay_over_ms(state, job, floor_ms=had_ms - LAG_MS_MAX)
    if over_ms is None:
        reason = "whether the payment's delay is over by this node's clock cannot be told: reserve again"
        return Declined(job.job_id, reason)
    if over_ms <= node.now_ms:
        return None
    reason = (
        f"the request, or an approval of it, came to this node at {had_ms}, long after its date in the log: "
        f"by its clock the delay is over at {over_ms}, reserve again then"
    )
    return Declined(job.job_id, reason, over_ms)


def _known(roster: Roster, job: Job) -> bool:
    return set(job.signers) <= set(roster.share_keys())


def _unusable(job: Job, pool: PresignaturePool, taken: set[bytes]) -> str:
    """Why the job's presignatures cannot be bound; empty if they can."""
    for index, presignature in enumerate(job.presignatures):
        held = pool.find(presignature)
        if held is None:
            return "this node does not hold the presignature: it restarted or never made it"
        mine = pool.bound_to(presignature, job.job_id, index=index)  # bound, but storing it failed: again
        if not (mine or pool.free(presignature)) or presignature in taken:
            return "the presignature is bound already"
        if (held.key, held.epoch, held.signers) != (job.key, job.epoch, job.signers):
            return "the presignature was made for another key or signing set"
    return ""
