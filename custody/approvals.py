"""Approvals on their way into the log, and the drafts operators complete.

An approval is checked here first as a courtesy: what the log would not take in is answered with a code
and not logged. One that passes is durable before it is answered.
"""

import asyncio
import contextlib
import logging

from custody.api.errors import CallRefused, Code
from custody.candidates import Candidate
from custody.parts import Parts
from custody.payments import approve
from custody.planning import approval_draft, groups_wanted
from custody.records import PendingApproval, RequestRecord, request_body
from custody.requests import State
from policy.admission import check_approval
from policy.approval import parse_approval, parse_assertion
from policy.encoding import Json, canonical, parse_canonical
from policy.entries import ApprovalEntry
from policy.errors import InvalidSignatureError, MalformedError, OperationalError, ProtocolError
from policy.intent import parse_request

BODY_BYTES_MAX = 16 * 1024
SWEEP_S = 2.0
_LOG = logging.getLogger(__name__)


async def take_approval(parts: Parts, body: bytes, *, assertion: bytes) -> RequestRecord:
    """Check an approval and put it into the log; its request as it is then. Raises ``CallRefused``."""
    entry = _read(body, assertion)
    record = await _open_request(parts, entry)
    _check(parts, entry)
    approval = entry.approval
    pending = PendingApproval(approval.approval_id, approval.request, body, assertion)
    await parts.database.add_approval(pending)
    reason = await _log(parts, pending)
    if reason:
        raise CallRefused(Code.APPROVAL_REFUSED, f"{reason}: fetch a new draft and approve again")
    return await parts.database.get(approval.request) or record


async def run(parts: Parts) -> None:
    """Log what a crash or a failure kept from it, and look at every request that waits, until cancelled.

    They are looked at when this starts, and again when another policy or roster, the end of a freeze, or what
    observers stated lets the approvals they have do.
    """
    looked_at: tuple[bytes, bytes, bytes, bool, int] | None = None
    while True:
        try:
            await _log_pending(parts)
            state = parts.sequencer.state
            in_force = (state.policy_hash, state.roster_hash, state.freeze, state.frozen, state.statements)
            if in_force != looked_at:
                await _look_at_waiting(parts)
                looked_at = in_force
        except OperationalError as error:
            _LOG.warning("approvals wait: %s", error)
        await asyncio.sleep(SWEEP_S)


async def drafts(parts: Parts, operator: str) -> list[bytes]:
    """The approvals an operator could give, as canonical bodies without id and operator.

    Those are of requests that wait for a group the operator is in, for initiators the operator does not
    stand behind.
    """
    waiting = await parts.database.requests(state=State.WAITING, limit=500)
    found = (draft(parts, record, operator=operator) for record in waiting)
    return [canonical(one) for one in found if one is not None]


def draft(parts: Parts, record: RequestRecord, *, operator: str) -> dict[str, Json] | None:
    """The approval of one request that an operator could give, or None."""
    state, now = parts.sequencer.state, parts.now_ms()
    request, known = parse_request(request_body(record)), state.requests.get(record.request)
    initiator = state.roster.initiators.get(request.initiator)
    if record.state is not State.WAITING or known is None or record.nonce is None:
        return None
    if initiator is None or operator in initiator.people:
        return None
    if not groups_wanted(state.policy, record.rule) & state.roster.operators[operator].groups:
        return None
    if any(
        a.operator == operator and a.policy == state.policy_hash and a.expires_ms > now
        for a in known.approvals
    ):
        return None
    with contextlib.suppress(OperationalError):  # its asset has left the policy
        return approval_draft(state, record, request=request, now_ms=now)
    return None


async def _log_pending(parts: Parts) -> None:
    for pending in await parts.database.pending_approvals():
        reason = await _log(parts, pending)
        if reason:
            _LOG.info("approval %s: %s", pending.approval_id.hex(), reason)


async def _look_at_waiting(parts: Parts) -> None:
    before = b""
    while waiting := await parts.database.requests(state=State.WAITING, before=before):
        for record in waiting:
            await approve(parts, record.request)
        before = waiting[-1].request


async def _log(parts: Parts, pending: PendingApproval) -> str:
    """Put a durable approval into the log; why it is not in, or nothing."""
    body = parse_canonical(pending.body, bytes_max=BODY_BYTES_MAX)
    assertion = parse_canonical(pending.assertion, bytes_max=BODY_BYTES_MAX)
    outcome = await parts.sequencer.log(Candidate("approval", body, {"assertion": assertion}))
    known = parts.sequencer.state.approval_ids.get(pending.approval_id) == pending.request
    if outcome.accepted or known:
        await approve(parts, pending.request)
    await parts.database.drop_approval(pending.approval_id)  # last: until then it is looked at again
    return "" if outcome.accepted or known else outcome.reason


async def _open_request(parts: Parts, entry: ApprovalEntry) -> RequestRecord:
    record = await parts.database.get(entry.approval.request)
    if record is None:
        raise CallRefused(Code.UNKNOWN_REQUEST, f"there is no request {entry.approval.request.hex()}")
    if record.state is not State.WAITING:
        raise CallRefused(Code.REQUEST_OVER, f"the request is {record.state}: it waits for no approval")
    return record


def _check(parts: Parts, entry: ApprovalEntry) -> None:
    try:
        check_approval(parts.sequencer.state, entry, time_ms=parts.now_ms())
    except InvalidSignatureError as error:
        raise CallRefused(Code.BAD_SIGNATURE, f"{error}: approve with the passkey in the roster") from error
    except ProtocolError as error:
        reason = str(error)
        own = reason.startswith(Code.INITIATOR_CANNOT_APPROVE)
        code = Code.INITIATOR_CANNOT_APPROVE if own else Code.APPROVAL_REFUSED
        raise CallRefused(code, reason.removeprefix(f"{code}: ")) from error


def _read(body: bytes, assertion: bytes) -> ApprovalEntry:
    try:
        document: Json = parse_canonical(body, bytes_max=BODY_BYTES_MAX)
        proof = parse_canonical(assertion, bytes_max=BODY_BYTES_MAX)
        return ApprovalEntry(document, parse_approval(document), parse_assertion(proof))
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
