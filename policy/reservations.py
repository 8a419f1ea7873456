"""Which transaction may be signed: reservations, their signatures, and how they are released.

``judge_reservation`` is the decision every node, the coordinator and every auditor make alike, on
the transaction's bytes. A reservation that it does not allow is inert.
"""

from dataclasses import dataclass, replace

from policy import bip32, ecdsa
from policy import entries as e
from policy.admission import Inert, check_origin, denied
from policy.approval import Slot
from policy.decode.evm import EvmCancel, EvmTransfer, Undecodable, decode, decode_cancel
from policy.errors import CallerError, MalformedError
from policy.evaluate import Outcome as Answer
from policy.evaluate import Verdict, evaluate, limit_scopes
from policy.intent import Request
from policy.roster import verified_signers
from policy.rules import Facts
from policy.state import (
    CANCEL,
    Job,
    JobStatus,
    KeyRecord,
    RequestState,
    State,
    expire_windows,
    job_facts,
    recount,
    usage_without,
)
from policy.suites import DKLS23_SECP256K1

SIGNATURES_PER_EVM_JOB = 1


class Denied(Exception):
    """Carries a verdict out of the checks of one reservation; never leaves this module."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = denied(rule, reason)


@dataclass(frozen=True, slots=True)
class Draft:
    """A reservation that passed every check but the policy's: what the job would be."""

    request: RequestState
    key: KeyRecord
    derived: bip32.Derived
    anchor: Slot
    fee_max: int
    signing_hash: bytes


def judge_reservation(state: State, entry: e.ReserveEntry, *, time_ms: int) -> tuple[Verdict, Draft | None]:
    """The verdict on a reservation at ``time_ms``, and the draft of its job when it is allowed."""
    try:
        draft = _draft(state, entry, time_ms=time_ms)
        verdict = _judge(state, entry, draft, time_ms=time_ms)
    except Denied as denial:
        return denial.verdict, None
    return verdict, draft if verdict.outcome is Answer.ALLOW else None


def reserve(state: State, entry: e.ReserveEntry, *, draft: Draft, job_id: bytes) -> State:
    """Make the job: it takes its presignatures and its anchor, and counts into the limits."""
    job = Job(
        job_id=job_id,
        index=state.size,
        request_id=entry.request,
        purpose=entry.purpose,
        tx=entry.tx,
        signing_hash=draft.signing_hash,
        key=entry.key,
        epoch=entry.epoch,
        path=entry.path,
        signers=entry.signers,
        presignatures=entry.presignatures,
        derived_key=draft.derived.public_key,
        tweak=draft.derived.tweak,
        anchor=draft.anchor,
        fee_max=draft.fee_max,
        policy=state.policy_hash,
        time_ms=state.time_ms,
        status=JobStatus.RESERVED,
    )
    request = replace(draft.request, anchor=draft.anchor, jobs=(*draft.request.jobs, job_id))
    presignatures = state.presignatures
    for presignature in entry.presignatures:
        presignatures = presignatures.set(presignature, job_id)
    state = replace(
        state,
        jobs=state.jobs.set(job_id, job),
        requests=state.requests.set(entry.request, request),
        presignatures=presignatures,
        anchors=state.anchors.set(draft.anchor, entry.request),
    )
    state = recount(state, entry.request, signed_ms=state.time_ms)
    return expire_windows(state, state.requests[entry.request].scopes)


def admit_signature(state: State, entry: e.SignatureEntry) -> tuple[State, bytes]:
    """Take in the finished signature of a job; from now on its limits count by the window."""
    job = state.jobs.get(entry.job)
    if job is None or job.status is not JobStatus.RESERVED or entry.index != 0:
        raise Inert("no reserved job waits for this signature")
    signature = _read_signature(entry.signature)
    if not ecdsa.verify(signature, job.signing_hash, public_key=job.derived_key):
        raise Inert("the signature does not verify under the job's derived key")
    nonce = entry.signature[:32]
    if nonce in state.nonces:
        raise Inert("the signature repeats a nonce: keep it as evidence and retire the key")
    signed = replace(job, status=JobStatus.SIGNED, signature=entry.signature, signed_ms=state.time_ms)
    state = replace(state, jobs=state.jobs.set(entry.job, signed), nonces=state.nonces.set(nonce, entry.job))
    return recount(state, job.request_id, signed_ms=state.time_ms), entry.job


def admit_burn(state: State, entry: e.BurnEntry) -> tuple[State, bytes]:
    """Release a job by the word of all its signers that none of them ever signs it."""
    check_origin(state, entry.origin)
    job = state.jobs.get(entry.job)
    if job is None or job.status is not JobStatus.RESERVED:
        raise Inert("no reserved job is released by this burn")
    signers = verified_signers("burn", entry.body, signatures=entry.signatures, keys=state.identities)
    if signers != frozenset(job.signers):
        raise Inert(f"need burn statements of {', '.join(job.signers)}, got {', '.join(sorted(signers))}")
    burned = replace(job, status=JobStatus.BURNED)
    state = replace(state, jobs=state.jobs.set(entry.job, burned))
    return recount(state, job.request_id, signed_ms=state.time_ms), entry.job


def _draft(state: State, entry: e.ReserveEntry, *, time_ms: int) -> Draft:
    if state.frozen:
        raise Denied("frozen", "signing is frozen until the administrators' quorum unfreezes it")
    request = _open_request(state, entry, time_ms=time_ms)
    key, derived = _source(state, entry, request.request)
    _check_signers(state, entry, key)
    account = bip32.ethereum_address(derived.public_key)
    tx = _decoded(state, entry, account)
    anchor = Slot(tx.chain, account, tx.nonce)
    _check_anchor(state, request, anchor)
    if entry.purpose == CANCEL:
        _check_cancelled_slot(request, anchor)
    if isinstance(tx, EvmTransfer):
        _check_intent(state, request.request, tx)
    return Draft(request, key, derived, anchor, tx.max_fee_total, tx.signing_hash)


def _open_request(state: State, entry: e.ReserveEntry, *, time_ms: int) -> RequestState:
    request = state.requests.get(entry.request)
    if request is None:
        raise Denied("request-unknown", "no admitted request has this id")
    if request.closed:
        raise Denied("request-closed", "the request is settled")
    expired = request.request.expires_ms <= time_ms
    if entry.purpose == CANCEL and not expired:
        raise Denied("cancel-too-early", f"the request can be paid until {request.request.expires_ms}")
    if entry.purpose != CANCEL and expired:
        raise Denied("request-expired", f"the request expired at {request.request.expires_ms}")
    if entry.purpose != CANCEL and any(state.jobs[job].purpose == CANCEL for job in request.jobs):
        raise Denied("request-cancelled", "a cancellation of this request is under way")
    return request


def _source(state: State, entry: e.ReserveEntry, request: Request) -> tuple[KeyRecord, bip32.Derived]:
    wallet = state.policy.wallets.get(request.intent.wallet)
    key = state.keys.get(entry.key)
    if wallet is None or wallet.key != entry.key or entry.path not in wallet.paths:
        raise Denied("source-foreign", f"{entry.key} {entry.path} is no account of {request.intent.wallet}")
    if key is None or key.epoch != entry.epoch:
        raise Denied("key-unknown", f"the log has no key {entry.key} in epoch {entry.epoch}")
    if key.suite != DKLS23_SECP256K1:
        raise Denied("source-foreign", f"key {entry.key} is for {key.suite}, not for EVM accounts")
    try:
        return key, bip32.derive(key.group_key, key.chain_code, path=bip32.parse_path(entry.path))
    except MalformedError as error:
        raise Denied("path-invalid", str(error)) from error


def _check_signers(state: State, entry: e.ReserveEntry, key: KeyRecord) -> None:
    signers = entry.signers
    if tuple(sorted(signers)) != signers or not set(signers) <= set(key.participants):
        raise Denied("signers-invalid", "signers must be participants of the key, in order of name")
    if not set(signers) <= set(state.roster.cosigners):
        raise Denied("signers-invalid", "a signer is not in the roster any more")
    if len(signers) != key.min_signers:
        raise Denied("signers-invalid", f"need {key.min_signers} signers, got {len(signers)}")
    if banned := state.mutual_ban(entry.key, entry.epoch, signers=signers):
        raise Denied("signers-banned", f"{banned[0]} runs no session with {banned[1]}")
    if len(entry.presignatures) != SIGNATURES_PER_EVM_JOB:
        raise Denied("presignatures-invalid", f"need 1 presignature, got {len(entry.presignatures)}")
    if any(presignature in state.presignatures for presignature in entry.presignatures):
        raise Denied("presignature-used", "a presignature serves one job only")


def _decoded(state: State, entry: e.ReserveEntry, account: str) -> EvmTransfer | EvmCancel:
    chains = state.policy.evm_chain_ids
    if entry.purpose == CANCEL:
        tx: EvmTransfer | EvmCancel | Undecodable = decode_cancel(entry.tx, chain_ids=chains)
    else:
        tx = decode(entry.tx, chain_ids=chains)
    if isinstance(tx, Undecodable):
        raise Denied("undecodable", tx.reason)
    if isinstance(tx, EvmCancel) and tx.account != account:
        raise Denied("intent-mismatch", f"a cancellation goes to the account itself, not to {tx.account}")
    return tx


def _check_anchor(state: State, request: RequestState, anchor: Slot) -> None:
    if request.request.intent.chain != anchor.chain:
        raise Denied("intent-mismatch", f"the transaction is on {anchor.chain}")
    if request.anchor not in (None, anchor):
        raise Denied("anchor-changed", "every transaction of a request uses the same account and nonce")
    owner = state.anchors.get(anchor)
    if owner not in (None, request.request_id):
        raise Denied("anchor-taken", f"nonce {anchor.nonce} belongs to request {owner.hex()}")


def _check_cancelled_slot(request: RequestState, anchor: Slot) -> None:
    """A cancellation uses up the request's anchor, or else a slot that an operator approved for it.

    Without either the coordinator alone would say which nonces are used up.
    """
    named = request.anchor == anchor or any(approval.slot == anchor for approval in request.approvals)
    if not named:
        raise Denied(
            "cancel-without-anchor",
            f"neither a transaction nor an approval of the request names nonce {anchor.nonce}",
        )


def _check_intent(state: State, request: Request, tx: EvmTransfer) -> None:
    intent = request.intent
    asset = state.policy.asset_at(tx.chain, tx.contract)
    moved = (asset.name if asset else "an unknown asset", tx.amount, tx.recipient)
    if moved != (intent.asset, intent.amount, intent.destination):
        raise Denied(
            "intent-mismatch",
            f"the bytes send {tx.amount} of {moved[0]} to {tx.recipient}, the request asks for "
            f"{intent.amount} of {intent.asset} to {intent.destination}",
        )


def _judge(state: State, entry: e.ReserveEntry, draft: Draft, *, time_ms: int) -> Verdict:
    if entry.purpose == CANCEL:
        return _judge_cancel(state, draft, time_ms=time_ms)
    request = draft.request.request
    initiator = state.roster.initiators.get(request.initiator)
    if initiator is None:
        return denied("initiator-unknown", f"the roster has no initiator {request.initiator} any more")
    facts = Facts.of(
        request,
        tier=state.policy.wallets[request.intent.wallet].tier,
        fee_max=draft.fee_max,
        approvals=_approvals(state, draft, time_ms=time_ms),
        initiator_people=initiator.people,
        usage=usage_without(state, entry.request, time_ms=time_ms),
    )
    return evaluate(state.policy, facts)


def _approvals(state: State, draft: Draft, *, time_ms: int) -> tuple[tuple[str, frozenset[str]], ...]:
    """The approvals that hold for exactly this transaction, with the groups their operators are in now."""
    return tuple(
        (record.operator, state.roster.operators[record.operator].groups)
        for record in draft.request.approvals
        if record.operator in state.roster.operators
        and record.policy == state.policy_hash
        and record.slot == draft.anchor
        and record.expires_ms > time_ms
        and record.fee_ceiling >= draft.fee_max
    )


def _judge_cancel(state: State, draft: Draft, *, time_ms: int) -> Verdict:
    """A cancellation needs no approval, but its fee is bounded and counts like any other."""
    ceiling = state.policy.cancel_fee_ceiling
    if draft.fee_max > ceiling:
        return denied("fee-ceiling", f"a cancellation may cost {ceiling}, this one up to {draft.fee_max}")
    request_id = draft.request.request_id
    usage = usage_without(state, request_id, time_ms=time_ms)
    facts = job_facts(state, draft.request.request, purpose=CANCEL, fee_max=draft.fee_max, usage=usage)
    for limit, scope, amount in limit_scopes(state.policy, facts):
        used = usage(limit.name, scope) if callable(usage) else usage.get((limit.name, scope), 0)
        if used + amount > limit.amount_max:
            return denied(limit.name, f"{used} used and a fee of {amount} is above {limit.amount_max}")
    return Verdict(Answer.ALLOW, "cancel", "an expired request's anchor may be closed")


def _read_signature(data: bytes) -> ecdsa.Signature:
    r, s = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big")
    try:
        return ecdsa.Signature(r, s, data[64])
    except CallerError as error:
        raise Inert(f"the signature is not canonical: {error}") from error
