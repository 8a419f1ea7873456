"""What may enter the log's state: requests, approvals, observations.

Each function takes the state and one entry and returns the new state or raises ``Inert`` with the
reason: an inert entry stands in the log and changes nothing.
"""

from collections.abc import Mapping
from typing import Protocol

from policy import entries as e
from policy import fact_entries as f
from policy.approval import approval_digest, verify_assertion
from policy.counting import usage_without
from policy.encoding import Json
from policy.errors import ProtocolError
from policy.evaluate import Outcome as Answer
from policy.evaluate import Verdict, evaluate
from policy.facts import request_facts
from policy.intent import Request, verify_request
from policy.roster import COORDINATOR, verified_signers
from policy.rules import Facts
from policy.state import ApprovalRecord, JobStatus, RequestState, State
from policy.transaction_names import transaction_name
from policy.values import replace


class Inert(ProtocolError):
    """The entry has no effect; the message says why."""


def check_origin(state: State, origin: str) -> None:
    """Refuse what was signed for another deployment."""
    if origin != state.origin:
        raise Inert(f"signed for {origin}, but this is {state.origin}")


def denied(rule: str, reason: str) -> Verdict:
    """A denial by one of the log's own rules."""
    return Verdict(Answer.DENY, rule, reason)


class Signed(Protocol):
    """An entry with a body that others than the coordinator signed."""

    @property
    def body(self) -> Json:
        """What is signed."""

    @property
    def signatures(self) -> Mapping[str, bytes]:
        """The signatures by the names of who gave them."""


def signers_of(state: State, tag: str, *, entry: Signed, keys: Mapping[str, bytes]) -> frozenset[str]:
    """Who signed the entry, by ``verified_signers``; a state that does not verify believes the names."""
    if not state.verifies:
        return frozenset(entry.signatures)
    return verified_signers(tag, entry.body, signatures=entry.signatures, keys=keys)


def judge_request(state: State, request: Request, *, identifier: bytes, time_ms: int) -> Verdict:
    """What the policy says of a request before any approval, at the request's own fee ceiling."""
    return weigh_request(state, request, identifier=identifier, time_ms=time_ms)[0]


def weigh_request(
    state: State, request: Request, *, identifier: bytes, time_ms: int
) -> tuple[Verdict, Facts | None]:
    """``judge_request`` with the facts it judged by; None where one of the log's own rules denied."""
    if own := _own_denial(state, request, identifier=identifier, time_ms=time_ms):
        return own, None
    facts = request_facts(
        state,
        request,
        identifier=identifier,
        fee_max=request.fee_ceiling,
        time_ms=time_ms,
        usage=usage_without(state, identifier, time_ms=time_ms),
    )
    return evaluate(state.policy, facts), facts


def _own_denial(state: State, request: Request, *, identifier: bytes, time_ms: int) -> Verdict | None:
    if request.initiator not in state.roster.initiators:
        return denied("initiator-unknown", f"the roster has no initiator {request.initiator}")
    if request.origin != state.origin:
        return denied("origin-foreign", f"the request is for {request.origin}, this is {state.origin}")
    if request.expires_ms <= time_ms:
        return denied("request-expired", f"the request expired at {request.expires_ms}")
    known = state.idempotency.get((request.initiator, request.idempotency_key))
    if known is None:
        return None
    rule = "request-known" if known == identifier else "idempotency-key-taken"
    return denied(rule, f"idempotency key {request.idempotency_key!r} belongs to request {known.hex()}")


def admit_request(
    state: State, entry: e.RequestEntry, *, identifier: bytes, verdict: Verdict
) -> tuple[State, bytes]:
    """Take in a request that the policy does not deny. A denied one is inert and takes no key."""
    request = entry.request
    initiator = state.roster.initiators.get(request.initiator)
    if initiator is None:
        raise Inert(verdict.reason)
    if state.verifies:
        verify_request(entry.body, entry.signature, key=initiator.key)
    if verdict.outcome not in (Answer.ALLOW, Answer.WAIT):
        raise Inert(verdict.reason)
    record = RequestState(identifier, request, verdict.rule, state.time_ms)
    key = (request.initiator, request.idempotency_key)
    return (
        replace(
            state,
            requests=state.requests.set(identifier, record),
            idempotency=state.idempotency.set(key, identifier),
        ),
        identifier,
    )


def check_approval(state: State, entry: e.ApprovalEntry, *, time_ms: int) -> ApprovalRecord:
    """Check everything about an approval except that it is new; the record it would leave.

    Also what the coordinator runs before it logs one. Raises ``ProtocolError``.
    """
    approval = entry.approval
    check_origin(state, approval.origin)
    request = state.requests.get(approval.request)
    operator = state.roster.operators.get(approval.operator)
    if request is None or request.closed or request.rejected_by:
        raise Inert("the approved request is not open")
    if operator is None:
        raise Inert(f"the roster has no operator {approval.operator}")
    initiator = state.roster.initiators.get(request.request.initiator)
    if initiator is None or operator.name in initiator.people:
        raise Inert(f"initiator-cannot-approve: {operator.name} stands behind {request.request.initiator}")
    asset = state.policy.assets.get(request.request.intent.asset)
    if asset is None or approval.intent != request.request.intent:
        raise Inert("the approval is for another intent than the request's")
    if approval.calldata_hash != approval.intent.calldata_hash(native=asset.native):
        raise Inert("the approval's calldata hash is not what the intent encodes to")
    if approval.policy != state.policy_hash:
        raise Inert("the approval was given under another policy: approve again under the one in force")
    if approval.expires_ms <= time_ms:
        raise Inert(f"the approval expired at {approval.expires_ms}")
    if approval.fee_ceiling > request.request.fee_ceiling:
        raise Inert(f"the approval's fee ceiling {approval.fee_ceiling} is above the request's")
    if state.verifies:
        challenge = approval_digest(entry.body)
        verify_assertion(entry.assertion, credential=operator.credential, challenge=challenge)
    return ApprovalRecord(
        operator.name, approval.slot, approval.policy, approval.fee_ceiling, approval.expires_ms, time_ms
    )


def admit_approval(state: State, entry: e.ApprovalEntry) -> tuple[State, bytes]:
    """Take in a verified approval, once."""
    approval = entry.approval
    if approval.approval_id in state.approval_ids:
        raise Inert("this approval id has been used")
    record = check_approval(state, entry, time_ms=state.time_ms)
    request = state.requests[approval.request]
    approvals = (*(a for a in request.approvals if a.operator != record.operator), record)
    return (
        replace(
            state,
            requests=state.requests.set(approval.request, replace(request, approvals=approvals)),
            approval_ids=state.approval_ids.set(approval.approval_id, approval.request),
            approved=state.approved.set(approval.request, True),
        ),
        approval.request,
    )


def admit_observation(state: State, entry: f.ObservationEntry) -> tuple[State, bytes]:
    """Close a request whose transaction settled. It gives back no limit and reopens nothing.

    The coordinator or one observer may close it, since that only makes later verdicts stricter. f + 1
    observers may say it once more, so that it is on record by those who do not send transactions.
    """
    check_origin(state, entry.origin)
    keys = {**state.roster.observers, COORDINATOR: state.roster.log_key}
    signers = signers_of(state, "observation", entry=entry, keys=keys)
    if not signers:
        raise Inert("nobody signed the observation")
    job = state.jobs.get(entry.job)
    if job is None or job.request_id != entry.request or job.status is not JobStatus.SIGNED:
        raise Inert("the observed job is not a signed job of that request")
    if entry.tx_hash != (name := transaction_name(job)):
        raise Inert(f"the job's transaction is {name.hex()}, not {entry.tx_hash.hex()}")
    request, observed = state.requests[entry.request], len(signers - {COORDINATOR}) > state.roster.f
    if request.closed and (request.observed or not observed):
        raise Inert("the request is closed already")
    closed = replace(request, closed=True, observed=entry.job if observed else b"")
    state = replace(state, requests=state.requests.set(entry.request, closed))
    return without_approved(state, entry.request), entry.request


def without_approved(state: State, request: bytes) -> State:
    """``state`` in which approvals of a request that is closed or rejected are not looked for any more."""
    if request not in state.approved:
        return state
    return replace(state, approved=state.approved.delete(request))
