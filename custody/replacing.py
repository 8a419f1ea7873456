"""Replacing a transaction that is stuck: the same anchor, dearer, judged anew by every node.

While the request lasts its payment is made again, within the ceilings of the request, the chain and the
approvals it has, so that nobody has to approve again. Once it has expired its anchor is cancelled. What
a cold key has signed people replace in a ceremony: they, and no count, decide how often.
"""

from dataclasses import replace as changed

from custody.chains.evm_transaction import cancellation, fees_of, with_fees
from custody.duties import Errand
from custody.parts import Parts
from custody.payments import chain_of, check_online, reserve_job
from custody.planning import contract_of, fee_ceiling, is_cold
from custody.ports import Fees
from custody.records import RequestRecord, request_body
from policy.errors import OperationalError
from policy.intent import parse_request
from policy.state import CANCEL, PAYMENT, Job, JobStatus, State

GAS_CANCEL = 21_000


def is_stuck(parts: Parts, record: RequestRecord) -> bool:
    """Whether a request's transaction has waited too long and may be replaced."""
    patience, state = parts.patience.get(record.chain), parts.sequencer.state
    jobs = [state.jobs[job] for job in state.requests[record.request].jobs]
    signed = [job for job in jobs if job.status is JobStatus.SIGNED]
    if patience is None or not patience.after_ms or not signed:
        return False
    cold = is_cold(state, state.keys[signed[-1].key])
    since_ms = signed[-1].signed_ms if cold else jobs[-1].time_ms  # a ceremony takes hours
    if parts.now_ms() - since_ms < patience.after_ms:
        return False
    purpose = purpose_now(parts, record)
    tried = [job for job in jobs if job.index > signed[0].index and job.purpose == purpose]
    old = fees_of(signed[-1].tx)
    if purpose == CANCEL:
        old = changed(old, gas=GAS_CANCEL)
    within = raised(old, ceiling=_ceiling(state, record, purpose))
    return (cold or len(tried) < patience.replacements_max) and within is not None


async def replace(parts: Parts, errand: Errand) -> None:
    """Reserve a dearer transaction in place of the newest signed one."""
    record = errand.record
    check_online(parts, record)
    tx, purpose = await replacement(parts, record), purpose_now(parts, record)
    outcome = await reserve_job(parts, record, tx=tx, purpose=purpose)
    if not outcome.accepted:
        raise OperationalError(f"it cannot be replaced yet: {outcome.reason}")


async def replacement(parts: Parts, record: RequestRecord) -> bytes:
    """A dearer transaction in place of the newest signed one. Raises ``OperationalError``."""
    state = parts.sequencer.state
    job, purpose = _newest_signed(state, record), purpose_now(parts, record)
    ceiling = _ceiling(state, record, purpose)
    market = await _market(parts, record, purpose, ceiling)
    fees = raised(fees_of(job.tx), market=market, ceiling=ceiling)
    if fees is None:
        raise OperationalError(f"the fee ceiling {ceiling} leaves no room to replace it: it is watched on")
    if purpose == CANCEL:
        return cancellation(record.chain, account=record.account, nonce=job.anchor.nonce, fees=fees)
    return with_fees(job.tx, fees)


def raised(old: Fees, *, ceiling: int, market: Fees | None = None) -> Fees | None:
    """Fees at least 12.5 % above ``old`` a gas and not below the market's; None above the ceiling.

    Nodes of the chain drop a replacement that offers less. ``market`` also says how much gas.
    """
    gas = market.gas if market else old.gas
    affordable = ceiling // gas
    fee, priority = _eighth_more(old.fee_per_gas), _eighth_more(old.priority_per_gas)
    if fee > affordable:
        return None
    if market:
        fee = min(max(fee, market.fee_per_gas), affordable)
        priority = min(max(priority, market.priority_per_gas), fee)
    return Fees(fee_per_gas=fee, priority_per_gas=priority, gas=gas)


def _eighth_more(amount: int) -> int:
    return amount + max(1, -(-amount // 8))


async def _market(parts: Parts, record: RequestRecord, purpose: str, ceiling: int) -> Fees:
    chain, old = chain_of(parts, record.chain), fees_of(_newest_signed(parts.sequencer.state, record).tx)
    if purpose == CANCEL:
        return await chain.cancel_fees(ceiling)
    intent = parse_request(request_body(record)).intent
    contract = contract_of(parts.sequencer.state.policy, intent.asset)
    fees = await chain.fees(intent, account=record.account, contract=contract, ceiling=ceiling)
    return Fees(fee_per_gas=fees.fee_per_gas, priority_per_gas=fees.priority_per_gas, gas=old.gas)


def _ceiling(state: State, record: RequestRecord, purpose: str) -> int:
    if purpose == CANCEL:
        return state.policy.cancel_ceiling(record.chain)
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
