"""Replacing a transaction that is stuck: the same anchor, dearer, judged anew by every node.

While the request lasts its payment is made again, within the ceilings of the request, the chain and the
approvals it has, so that nobody has to approve again. Once it has expired its anchor is cancelled. What
a cold key has signed people replace in a ceremony: they, and no count, decide how often.
"""

from custody.duties import Errand
from custody.parts import Parts
from custody.payments import chain_of, check_online, not_reserved, reserve_job
from custody.planning import fee_ceiling, is_cold, wanted_of
from custody.records import RequestRecord, request_body
from policy.conflicts import apart, cancellations_beside
from policy.errors import OperationalError
from policy.intent import parse_request
from policy.state import CANCEL, PAYMENT, Job, JobStatus, State


def is_stuck(parts: Parts, record: RequestRecord) -> bool:
    """Whether a request's transaction has waited too long and may be replaced."""
    patience, state = parts.patience.get(record.chain), parts.sequencer.state
    jobs = [state.jobs[job] for job in state.requests[record.request].jobs]
    signed = [job for job in jobs if job.status is JobStatus.SIGNED]
    if patience is None or not patience.after_ms or not signed or state.requests[record.request].closed:
        return False
    cold = is_cold(state, state.keys[signed[-1].key])
    since_ms = signed[-1].signed_ms if cold else jobs[-1].time_ms  # a ceremony takes hours
    if parts.now_ms() - since_ms < patience.after_ms:
        return False
    purpose = purpose_now(parts, record)
    tried = [job for job in jobs if job.index > signed[0].index and job.purpose == purpose]
    ceiling = _ceiling(state, record, purpose)
    within = bool(_unsigned(state, record)) or chain_of(parts, record.chain).can_be_dearer(
        signed[-1].tx, purpose=purpose, ceiling=ceiling
    )
    return (cold or len(tried) < patience.replacements_max) and within


async def replace(parts: Parts, errand: Errand) -> None:
    """Reserve a dearer transaction in place of the newest signed one."""
    record = errand.record
    check_online(parts, record)
    tx, purpose = await replacement(parts, record), purpose_now(parts, record)
    outcome = await reserve_job(parts, record, tx=tx, purpose=purpose)
    if not outcome.accepted:
        not_reserved(parts, errand, outcome=outcome, what="it cannot be replaced yet")


async def replacement(parts: Parts, record: RequestRecord) -> bytes:
    """A dearer transaction in place of the newest signed one. Raises ``OperationalError``."""
    state = parts.sequencer.state
    job, purpose = _newest_signed(state, record), purpose_now(parts, record)
    ceiling = _ceiling(state, record, purpose)
    if again := _unsigned(state, record):
        return again
    wanted = None
    if purpose == PAYMENT:
        request = parse_request(request_body(record))
        wanted = wanted_of(state, request, identifier=record.request, ceiling=ceiling)
    tx = await chain_of(parts, record.chain).dearer(job, wanted, ceiling=ceiling)
    if tx is None:
        raise OperationalError(f"the fee ceiling {ceiling} leaves no room to replace it: it is watched on")
    return tx


def _unsigned(state: State, record: RequestRecord) -> bytes:
    """A cancellation that was reserved last and not signed, where other bytes would count beside it."""
    job = state.live_jobs(record.request)[-1]
    again = job.purpose == CANCEL and job.status is JobStatus.RESERVED and apart(job, b"")
    return job.tx if again else b""


def _ceiling(state: State, record: RequestRecord, purpose: str) -> int:
    """What the next transaction may cost: on Solana all cancellations of a request share what one may."""
    if purpose == CANCEL:
        before = cancellations_beside(state.live_jobs(record.request), b"")
        return state.policy.cancel_ceiling(record.chain) - sum(before.values())
    request = state.requests[record.request]
    given = [approval.fee_ceiling for approval in request.approvals if approval.slot == request.anchor]
    return min([fee_ceiling(state.policy, request.request), *given])


def purpose_now(parts: Parts, record: RequestRecord) -> str:
    """Pay while the request lasts; what was once cancelled is not paid any more."""
    state = parts.sequencer.state
    jobs = (state.jobs[job] for job in state.requests[record.request].jobs)
    over = record.expires_ms <= parts.now_ms() or any(job.purpose == CANCEL for job in jobs)
    return CANCEL if over else PAYMENT


def _newest_signed(state: State, record: RequestRecord) -> Job:
    jobs = [state.jobs[job] for job in state.requests[record.request].jobs]
    signed = [job for job in jobs if job.status is JobStatus.SIGNED]
    if not signed:
        raise OperationalError(f"request {record.request.hex()} has no signed transaction to replace")
    return signed[-1]
