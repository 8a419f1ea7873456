"""From a received request to its signature: what the effects log, plan, reserve, sign and cancel do.

Every handler may run again after a crash: it looks at the log's state first, and sends the same bytes.
Settling is in ``settle.py``.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from custody.candidates import Candidate
from custody.duties import Errand, NotYet
from custody.parts import Parts
from custody.planning import (
    RETRIED_RULES,
    fee_ceiling,
    is_cold,
    key_of,
    needs_approval,
    only_time_is_missing,
    reserve_body,
    signing_paths,
    typed_data_place,
    verdict_on_plan,
    wanted_of,
)
from custody.ports import Chain
from custody.records import Change, RequestRecord, request_body
from custody.requests import Event, State
from custody.signing import SigningFailed
from custody.signing_sets import SigningSet
from policy.admission import denied
from policy.approval import Slot
from policy.encoding import Json
from policy.errors import InvalidSignatureError, OperationalError
from policy.evaluate import Outcome as Answer
from policy.evaluate import Verdict
from policy.intent import Intent, Request, parse_request, verify_request
from policy.state import CANCEL, PAYMENT, JobStatus, Outcome
from policy.state import State as LogState

POLL_SLOT_MS = POLL_CEREMONY_MS = 1_000
POLL_PEOPLE_MS = 10_000
RETRY_MS = 500
SUSPECT_MS = 3_000
POSTPONED_MS_MAX = 60_000
DENIED_MS, DENIED_MS_MAX = 1_000, 600_000
QUORUM_S = 2.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is to be reserved: a transaction, and who signs it with which presignatures."""

    tx: bytes
    purpose: str
    signers: SigningSet
    presignatures: tuple[bytes, ...]


async def log_request(parts: Parts, errand: Errand) -> None:
    """Put a received request into the log; its event comes with the entry."""
    record = errand.record
    known = parts.sequencer.state.requests.get(record.request)
    if known is not None:  # a database was lost and the backend asked again
        change = Change(record.request, Event.ENTRY_ACCEPTED, {"rule": known.rule, "chain": _chain(record)})
        await parts.duties.apply(change)
        return
    if record.expires_ms <= parts.now_ms():  # not worth a line of the log
        await parts.duties.apply(Change(record.request, Event.TIME_OVER, {"error": "expired: ask anew"}))
        return
    reason = _unsigned(parts.sequencer.state, record)
    if not reason:
        proof = {"signature": record.signature.hex()}
        outcome = await parts.sequencer.log(Candidate("request", request_body(record), proof))
        reason = "" if outcome.accepted else outcome.reason
    if reason:
        await parts.duties.apply(Change(record.request, Event.REFUSED, {"error": reason[:1000]}))


async def plan(parts: Parts, errand: Errand) -> None:
    """Choose the account and build the transaction; take a slot for what approvals must sign, or a gap.

    What nothing else is missing of is reserved at once: a plan need not be durable, it can be made again.
    """
    record = errand.record
    request, state = _request(record), parts.sequencer.state
    if request.intent.typed_data is not None:
        await _plan_typed_data(parts, record, request.intent)
        return
    waits = needs_approval(state.policy, record.rule)
    chain = chain_of(parts, request.intent.chain)
    waiting = await parts.database.waiting_by_account(chain.name) if waits else {}
    ceiling = fee_ceiling(state.policy, request)
    wanted = wanted_of(state, request, identifier=record.request, ceiling=ceiling, psbt=record.psbt)
    wanted = replace(wanted, waits=waits, waiting=waiting)
    planned = await chain.plan(wanted, lambda: parts.sequencer.state)
    fields: dict[str, Any] = {
        "account": planned.account,
        "path": planned.path,
        "chain": chain.name,
        "tx": planned.tx,
    }
    if planned.slot is not None:
        fields["nonce"] = planned.slot.nonce
    elif not waits and await _reserved_at_once(parts, replace(record, **fields)):
        return
    event = Event.PLANNED_WAITING if waits else Event.PLANNED
    if await parts.duties.apply(Change(record.request, event, fields, slot=planned.slot)) is None:
        await _let_go(parts, record.request, chain)


async def _reserved_at_once(parts: Parts, record: RequestRecord) -> bool:
    """Whether a request that was just planned is reserved; if not, its duty to be is to find out why."""
    if is_cold(parts.sequencer.state, key_of(parts.sequencer.state, _request(record).intent.wallet)):
        return False
    try:
        await chain_of(parts, record.chain).prepare(record.account)
        return (await reserve_job(parts, record, tx=record.tx, purpose=PAYMENT)).accepted
    except OperationalError:
        return False


async def _let_go(parts: Parts, request: bytes, chain: Chain) -> None:
    """Give back the place of a request that ended while it was planned: it never heard of that place."""
    record, known = await parts.database.get(request), parts.sequencer.state.requests.get(request)
    named = known is not None and (known.anchor is not None or known.approvals)
    if record is not None and record.state in (State.EXPIRED, State.DENIED) and not named:
        await _release(parts, request, chain)


async def _release(parts: Parts, request: bytes, chain: Chain) -> None:
    await parts.database.release_slot(request)
    chain.release(request)


async def _plan_typed_data(parts: Parts, record: RequestRecord, intent: Intent) -> None:
    """Choose the account that signs; the place is the digest's own, so none of the account's is taken."""
    state = parts.sequencer.state
    account, slot = typed_data_place(state, intent)
    event = Event.PLANNED_WAITING if needs_approval(state.policy, record.rule) else Event.PLANNED
    fields: dict[str, object] = {
        "account": account.address,
        "path": account.path,
        "chain": intent.chain,
        "tx": intent.typed_data,
        "nonce": slot.nonce,
    }
    await parts.duties.apply(Change(record.request, event, fields))


async def reserve(parts: Parts, errand: Errand) -> None:
    """Reserve the planned transaction with a presignature of live nodes."""
    record = errand.record
    wallet = _request(record).intent.wallet
    if wallet not in parts.sequencer.state.policy.wallets:
        gone = denied("source-foreign", f"the policy in force has no wallet {wallet} any more: ask anew")
        await _not_reserved(parts, record, gone)
        return
    if is_cold(parts.sequencer.state, key_of(parts.sequencer.state, wallet)):
        await _await_ceremony(parts, record, wallet)
        return
    if until_ms := parts.signing.postponed_until(record.request, parts.now_ms()):
        raise NotYet(until_ms, record.error)
    if record.job:  # a retry: without w cosigners it could only fail like the job before
        await parts.replication.wait_quorum(parts.replication.newest.size, QUORUM_S)
    if _on_chain(record):
        await chain_of(parts, record.chain).prepare(record.account)
    outcome = await reserve_job(parts, record, tx=record.tx, purpose=PAYMENT)
    if outcome.accepted:
        return
    if outcome.verdict is None:
        raise OperationalError(f"it cannot be reserved yet: {outcome.reason}")
    await _not_reserved(parts, record, outcome.verdict)


async def cancel(parts: Parts, errand: Errand) -> None:
    """Use up the slot of a request that is over, once later ones wait behind it."""
    record, duty = errand.record, errand.duty
    if record.nonce is None or not _on_chain(record):
        await parts.database.drop_duty(record.request, duty.effect, now_ms=parts.now_ms())
        return
    state, now = parts.sequencer.state, parts.now_ms()
    known = state.requests.get(record.request)
    slot = Slot(record.chain, record.account, record.nonce)
    chain = chain_of(parts, record.chain)
    waited_for = chain.places_hold_money or await parts.database.slot_is_waited_for(record.request)
    anchored = known is not None and known.anchor is not None
    approvals = known.approvals if known is not None and not chain.places_hold_money else ()
    approved = any(approval.slot == slot for approval in approvals)
    if not anchored and not (approved and waited_for):  # the next request of the wallet takes the slot
        await _release(parts, record.request, chain)
        await parts.database.drop_duty(record.request, duty.effect, now_ms=parts.now_ms())
        return
    from_ms = 0 if known is not None and known.rejected_by else record.expires_ms
    if not waited_for or now < from_ms:
        raise NotYet(max(now + POLL_SLOT_MS, from_ms if waited_for else 0), record.error)
    check_online(parts, record)
    tx = await cancellation_of(parts, record)
    outcome = await reserve_job(parts, record, tx=tx, purpose=CANCEL)
    if not outcome.accepted:
        not_reserved(parts, errand, outcome=outcome, what="the slot cannot be cancelled yet")


def not_reserved(parts: Parts, errand: Errand, *, outcome: Outcome, what: str) -> NoReturn:
    """Say why, and try again: seldom what the policy denies, for that lasts until a window has passed."""
    error, verdict = f"{what}: {outcome.reason}", outcome.verdict
    if verdict is None or verdict.rule in RETRIED_RULES:
        raise OperationalError(error)
    wait_ms = min(DENIED_MS << min(errand.duty.attempts, 10), DENIED_MS_MAX)
    raise NotYet(parts.now_ms() + wait_ms, error)


async def cancellation_of(parts: Parts, record: RequestRecord) -> bytes:
    """An empty transaction at the slot of a request. Raises ``OperationalError``."""
    if record.nonce is None:
        raise OperationalError(f"request {record.request.hex()} holds no slot: nothing is to be cancelled")
    ceiling = parts.sequencer.state.policy.cancel_ceiling(record.chain)
    slot = Slot(record.chain, record.account, record.nonce)
    return await chain_of(parts, record.chain).cancellation(slot, record.tx, ceiling=ceiling)


def check_online(parts: Parts, record: RequestRecord) -> None:
    """Nodes without a network sign in a ceremony: say so, and wait for people. Raises ``NotYet``."""
    state = parts.sequencer.state
    if is_cold(state, key_of(state, _request(record).intent.wallet)):
        raise NotYet(parts.now_ms() + POLL_PEOPLE_MS, waits_for_ceremony(record.request))


def waits_for_ceremony(request: bytes) -> str:
    """What people are told who look at a request of a cold key."""
    return f"waits for a ceremony: quorumkeep cold export --request {request.hex()}"


async def sign(parts: Parts, errand: Errand) -> None:
    """Bring the newest job of a request to its signature, or give it up for a new one."""
    record = errand.record
    job = parts.sequencer.state.jobs.get(record.job)
    if job is None or job.status is JobStatus.SIGNED:
        raise OperationalError(f"job {record.job.hex()} is not waiting for a signature: look at the log")
    if job.status is JobStatus.BURNED:
        await _give_up(parts, record, "its signers burned it", frozenset())
        return
    if parts.ceremonies.serves(record.request, parts.now_ms()):
        raise NotYet(parts.now_ms() + POLL_CEREMONY_MS, "a ceremony is under way")
    started = time.monotonic()
    try:
        if not parts.signing.knows(record.job):
            raise SigningFailed("its openings were lost with the process that gathered them", frozenset())
        signatures = await parts.signing.sign(record.job, parts.replication)
    except (SigningFailed, OperationalError) as error:
        silent = error.silent if isinstance(error, SigningFailed) else frozenset()
        if isinstance(error, SigningFailed) and error.not_before_ms:
            latest_ms = parts.now_ms() + POSTPONED_MS_MAX  # it is a node's word, and others may sign at once
            parts.signing.postpone(record.request, min(error.not_before_ms, latest_ms))
        await _give_up(parts, record, str(error), silent)
        return
    parts.metrics.signing_seconds.observe(time.monotonic() - started)
    entries = (
        Candidate("signature", {"job": record.job.hex(), "index": index, "signature": signature.hex()})
        for index, signature in enumerate(signatures)
    )
    for outcome in await asyncio.gather(*(parts.sequencer.log(entry) for entry in entries)):
        if not outcome.accepted:
            await _give_up(parts, record, f"the log refuses a signature: {outcome.reason}", frozenset())
            return


async def approve(parts: Parts, request: bytes) -> None:
    """An approval is in the log: reserve the request if nothing is missing any more."""
    record = await parts.database.get(request)
    if record is None or record.state is not State.WAITING or record.nonce is None:
        return
    state, wallet = parts.sequencer.state, _request(record).intent.wallet
    try:
        verdict = verdict_on_plan(state, record, wallet=wallet, now_ms=parts.now_ms())
        allowed = verdict.outcome is Answer.ALLOW or only_time_is_missing(verdict)
        reason = verdict.reason
    except OperationalError as error:
        allowed, reason = False, str(error)
    if allowed:
        await parts.duties.apply(Change(request, Event.APPROVED))
        return
    approvals = len(state.requests[request].approvals) if request in state.requests else 0
    await parts.duties.apply(Change(request, None, {"error": reason[:1000], "approvals": approvals}))


async def reserve_job(parts: Parts, record: RequestRecord, *, tx: bytes, purpose: str) -> Outcome:
    """Reserve ``tx`` with presignatures of live nodes, at the request's slot or the first free one.

    Of a cold key no node is live, and there is no pool of presignatures.
    """
    state = parts.sequencer.state
    key = key_of(state, _request(record).intent.wallet)
    refilled = parts.pools.refilled
    try:
        signers, items = parts.pools.take(state, key, count=len(signing_paths(state, record, tx=tx)))
    except OperationalError:
        await _wait(refilled, RETRY_MS / 1000)
        raise
    for item in items:
        parts.signing.promise(item.presignature, item.nonce_point)
    names = tuple(item.presignature for item in items)
    outcome = await log_reservation(parts, record, wanted=Reservation(tx, purpose, signers, names))
    if not outcome.accepted:
        parts.pools.give_back(signers, items)
    return outcome


async def log_reservation(parts: Parts, record: RequestRecord, *, wanted: Reservation) -> Outcome:
    """Reserve a transaction with presignatures, at the request's slot or the first free one."""
    chain = chain_of(parts, record.chain) if _on_chain(record) else None

    def body(before: LogState) -> Json:
        """The reservation at the place that is free when its turn comes, unless the request has one."""
        tx = wanted.tx
        if chain is not None:
            tx = chain.placed(before, tx, account=record.account, nonce=record.nonce)
        return reserve_body(
            before,
            record,
            tx=tx,
            purpose=wanted.purpose,
            signers=wanted.signers,
            presignatures=wanted.presignatures,
        )

    return await parts.sequencer.log(Candidate("reserve", body))


async def _await_ceremony(parts: Parts, record: RequestRecord, wallet: str) -> None:
    """Once nothing but a ceremony is missing, say so; a delay is waited for here."""
    if record.nonce is not None:
        verdict = verdict_on_plan(parts.sequencer.state, record, wallet=wallet, now_ms=parts.now_ms())
        if verdict.outcome is not Answer.ALLOW:
            await _not_reserved(parts, record, verdict)
            return
    fields = {"error": waits_for_ceremony(record.request)}
    await parts.duties.apply(Change(record.request, Event.CEREMONY_NEEDED, fields))


async def _not_reserved(parts: Parts, record: RequestRecord, verdict: Verdict) -> None:
    if only_time_is_missing(verdict):
        raise NotYet(verdict.not_before_ms, verdict.reason)
    if verdict.rule in RETRIED_RULES:
        raise OperationalError(f"{verdict.rule}: {verdict.reason}")
    event = Event.APPROVAL_MISSING if verdict.outcome is Answer.WAIT else Event.REFUSED
    if verdict.rule == "request-expired":
        event = Event.TIME_OVER
    fields = {"rule": verdict.rule, "error": verdict.reason[:1000]}
    await parts.duties.apply(Change(record.request, event, fields))


async def _give_up(parts: Parts, record: RequestRecord, reason: str, silent: frozenset[str]) -> None:
    parts.metrics.failed_jobs.inc()
    parts.pools.suspect(silent, SUSPECT_MS)
    over = record.state in (State.EXPIRED, State.DENIED)
    event = Event.CANCEL_FAILED if over else Event.SIGNERS_FAILED
    await parts.duties.apply(Change(record.request, event, {"error": f"retrying: {reason}"[:1000]}))


def chain_of(parts: Parts, name: str) -> Chain:
    """The adapter of a chain. Raises ``OperationalError`` when none is configured."""
    chain = parts.chains.get(name)
    if chain is None:
        raise OperationalError(f"no endpoint of chain {name} is configured: add one under [chains]")
    return chain


def _on_chain(record: RequestRecord) -> bool:
    """Whether a transaction comes of the request; none does of typed data."""
    return record.nonce is None or Slot(record.chain, record.account, record.nonce).on_chain


def _unsigned(state: LogState, record: RequestRecord) -> str:
    """Why a request is not its initiator's, or nothing: the roster may have changed since the door."""
    initiator = state.roster.initiators.get(record.initiator)
    if initiator is None:
        return f"the roster has no initiator {record.initiator} any more"
    try:
        verify_request(request_body(record), record.signature, key=initiator.key)
    except InvalidSignatureError as error:
        return f"{error}: the initiator's key changed, ask anew"
    return ""


def _request(record: RequestRecord) -> Request:
    return parse_request(request_body(record))


def _chain(record: RequestRecord) -> str:
    return _request(record).intent.chain


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
