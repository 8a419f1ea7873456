"""Which transaction may be signed: reservations, their signatures, and how they are released.

``weigh_reservation`` is the decision every node, the coordinator and every auditor make alike, on
the transaction's bytes. A reservation that it does not allow is inert.
"""

import dataclasses
from collections.abc import Mapping

from msgspec import Struct

from policy import entries as e
from policy import signatures
from policy.accounts import Account, account_at
from policy.admission import Inert, check_origin, denied, without_approved
from policy.approval import Slot
from policy.conflicts import cancellations_beside
from policy.counting import count_signed, counted, recount, usage_beside
from policy.decode import bitcoin, evm, solana
from policy.decode.decoded import Call, Cancel, Decoded, Decoder, Source, Transfer, Typed, Undecodable
from policy.errors import MalformedError
from policy.evaluate import Given, Verdict, evaluate
from policy.evaluate import Outcome as Answer
from policy.facts import job_facts, request_facts, scale, with_approvals
from policy.holdings import after_burn, with_flows
from policy.ids import BITCOIN, EVM, SOLANA, family
from policy.intent import Request
from policy.limits import first_excess
from policy.roster import verified_signers
from policy.rules import Facts
from policy.state import (
    CANCEL,
    PAYMENT,
    Job,
    JobStatus,
    KeyRecord,
    RequestState,
    Signing,
    State,
)
from policy.suites import CHAIN_SUITES
from policy.values import replace

DECODERS: Mapping[str, Decoder] = {EVM: evm, SOLANA: solana, BITCOIN: bitcoin}


class Denied(Exception):
    """Carries a verdict out of the checks of one reservation; never leaves this module."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = denied(rule, reason)


class Draft(Struct, frozen=True, gc=False):
    """A reservation that passed every check but the policy's: what the job would be."""

    request: RequestState
    key: KeyRecord
    signings: tuple[Signing, ...]
    anchor: Slot
    fee_max: int


def weigh_reservation(
    state: State, entry: e.ReserveEntry, *, time_ms: int
) -> tuple[Verdict, Draft | None, Facts | None]:
    """The verdict at ``time_ms``, the draft of the job when it is allowed, and the facts it was judged by.

    There are no facts where one of the log's own rules denied.
    """
    try:
        draft = _draft(state, entry, time_ms=time_ms)
        verdict, facts = _judge(state, entry, draft, time_ms=time_ms)
    except Denied as denial:
        return denial.verdict, None, None
    return verdict, draft if verdict.outcome is Answer.ALLOW else None, facts


def decoded(state: State, entry: e.ReserveEntry) -> Decoded:
    """What the bytes of a reservation do, or why they cannot be read; whatever the policy says of them."""
    record = state.requests.get(entry.request)
    if record is None:
        return Undecodable("no admitted request has this id")
    try:
        _, source = _source(state, entry, record.request)
        return _decoded(entry, source, record.request)
    except Denied as denial:
        return Undecodable(denial.verdict.reason)


def delay_over_ms(state: State, job: Job, *, floor_ms: int) -> int | None:
    """From when on a payment's job may be signed, had nothing of its request been known before ``floor_ms``.

    None when it may not, for another reason than time. Limits and tiers are not asked again: the fold has
    counted them.
    """
    verdict = payment_verdict(state, job, floor_ms=floor_ms)
    return floor_ms if verdict.outcome is Answer.ALLOW else verdict.not_before_ms or None


def payment_verdict(state: State, job: Job, *, floor_ms: int = 0) -> Verdict:
    """What the policy says of a payment's job but for limits and tiers, had it come at ``floor_ms``."""
    record = state.requests[job.request_id]
    facts = request_facts(
        state,
        record.request,
        identifier=job.request_id,
        fee_max=job.fee_max,
        time_ms=job.time_ms,
        usage={},
    )
    if job.unit == scale(state.policy):
        facts = replace(facts, value=job.value)
    given = _approvals(state, record, anchor=job.anchor, fee_max=job.fee_max, time_ms=job.time_ms)
    facts = replace(facts, since_ms=max(facts.since_ms, floor_ms))
    facts = with_approvals(facts, (one._replace(given_ms=max(one.given_ms, floor_ms)) for one in given))
    return evaluate(dataclasses.replace(state.policy, tiers=()), facts)


def reserve(state: State, entry: e.ReserveEntry, *, draft: Draft, facts: Facts, job_id: bytes) -> State:
    """Make the job: it takes its presignatures and its anchor, and counts into the limits."""
    job = Job(
        job_id=job_id,
        index=state.size,
        request_id=entry.request,
        purpose=entry.purpose,
        tx=entry.tx,
        suite=draft.key.suite,
        key=entry.key,
        epoch=entry.epoch,
        signers=entry.signers,
        presignatures=entry.presignatures,
        signings=draft.signings,
        signatures=(b"",) * len(draft.signings),
        anchor=draft.anchor,
        fee_max=draft.fee_max,
        value=facts.value,
        unit=scale(state.policy),
        policy=state.policy_hash,
        book=state.book_hash,
        time_ms=state.time_ms,
        status=JobStatus.RESERVED,
    )
    live = (*state.live_jobs(entry.request), job)
    request = replace(draft.request, anchor=draft.anchor, jobs=(*draft.request.jobs, job_id))
    windows, request = counted(state, request, live=live, signed_ms=state.time_ms, newest=facts)
    if state.policy.tiers:
        windows = with_flows(state, request, windows=windows, live=live)
    presignatures = state.presignatures
    for presignature in entry.presignatures:
        presignatures = presignatures.set(presignature, job_id)
    return replace(
        state,
        jobs=state.jobs.set(job_id, job),
        requests=state.requests.set(entry.request, request),
        presignatures=presignatures,
        anchors=state.anchors.set(draft.anchor, entry.request),
        windows=windows,
        reserved=state.reserved.set(job_id, entry.request),
    )


def admit_signature(state: State, entry: e.SignatureEntry) -> tuple[State, bytes]:
    """Take in a finished signature of a job; from the last one on its limits count by the window."""
    job, index = state.jobs.get(entry.job), entry.index
    if job is None or job.status is not JobStatus.RESERVED or index >= len(job.signings):
        raise Inert("no reserved job waits for this signature")
    if job.signatures[index]:
        raise Inert(f"signature {index} of the job is there already")
    if state.verifies and not signatures.verify(job.suite, entry.signature, signing=job.signings[index]):
        raise Inert("the signature does not verify under the job's key, or is not in its canonical form")
    nonce = signatures.nonce(job.suite, entry.signature)
    if nonce in state.nonces:
        raise Inert("the signature repeats a nonce: keep it as evidence and retire the key")
    given = (*job.signatures[:index], entry.signature, *job.signatures[index + 1 :])
    whole = all(given)
    if whole:
        job = replace(job, signatures=given, status=JobStatus.SIGNED, signed_ms=state.time_ms)
    else:
        job = replace(job, signatures=given)
    state = replace(state, jobs=state.jobs.set(entry.job, job), nonces=state.nonces.set(nonce, entry.job))
    if not whole:
        return state, entry.job
    return count_signed(_paid(state, job) if job.anchor.on_chain else _done(state, job), job), entry.job


def _paid(state: State, job: Job) -> State:
    """``state`` in which the destination of a signed payment is no new one any more."""
    intent = state.requests[job.request_id].request.intent
    place = (intent.chain, intent.destination)
    if job.purpose != PAYMENT or place in state.paid:
        return state
    return replace(state, paid=state.paid.set(place, job.request_id))


def _done(state: State, job: Job) -> State:
    """``state`` in which a request of typed data is closed: its signature is all it asked for.

    Nobody is paid by it, so its contract does not become a destination that was paid before.
    """
    closed = replace(state.requests[job.request_id], closed=True)
    state = replace(state, requests=state.requests.set(job.request_id, closed))
    return without_approved(state, job.request_id)


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
    state = replace(state, jobs=state.jobs.set(entry.job, burned), reserved=state.reserved.delete(entry.job))
    state = recount(state, job.request_id, signed_ms=state.time_ms)
    return after_burn(state, state.requests[job.request_id]), entry.job


def _draft(state: State, entry: e.ReserveEntry, *, time_ms: int) -> Draft:
    if state.frozen:
        raise Denied("frozen", "signing is frozen until the administrators' quorum unfreezes it")
    request = _open_request(state, entry, time_ms=time_ms)
    key, source = _source(state, entry, request.request)
    _check_signers(state, entry, key)
    _check_presignatures(state, entry)
    tx = _decoded(entry, source, request.request)
    _check_anchor(state, request, tx.anchor)
    _check_message(state, request, entry)
    if isinstance(tx, Cancel):
        _check_cancelled_slot(request, tx.anchor)
    elif isinstance(tx, Call):
        _check_call(request.request, tx)
    elif isinstance(tx, Typed):
        _check_typed_data(request.request, tx)
    else:
        _check_intent(state, request.request, tx)
    signings = tuple(map(_signing, source.accounts, tx.messages))
    return Draft(request, key, signings, tx.anchor, tx.fee_max)


def _open_request(state: State, entry: e.ReserveEntry, *, time_ms: int) -> RequestState:
    request = state.requests.get(entry.request)
    if request is None:
        raise Denied("request-unknown", "no admitted request has this id")
    if request.closed:
        raise Denied("request-closed", "the request is settled")
    if entry.purpose == CANCEL and request.request.intent.typed_data is not None:
        raise Denied("cancel-impossible", "no transaction takes back the signature of typed data")
    expired = request.request.expires_ms <= time_ms
    if entry.purpose != CANCEL and request.rejected_by:
        raise Denied("request-rejected", f"{request.rejected_by} has rejected the request")
    if entry.purpose == CANCEL and not (expired or request.rejected_by):
        raise Denied("cancel-too-early", f"the request can be paid until {request.request.expires_ms}")
    if entry.purpose != CANCEL and expired:
        raise Denied("request-expired", f"the request expired at {request.request.expires_ms}")
    if entry.purpose != CANCEL and any(state.jobs[job].purpose == CANCEL for job in request.jobs):
        raise Denied("request-cancelled", "a cancellation of this request is under way")
    return request


def _source(state: State, entry: e.ReserveEntry, request: Request) -> tuple[KeyRecord, Source]:
    wallet, chain = state.policy.wallets.get(request.intent.wallet), request.intent.chain
    foreign = [path for path in entry.paths if wallet is None or path not in wallet.paths]
    if wallet is None or (wallet.key, wallet.chain) != (entry.key, chain) or foreign:
        paths = ", ".join(entry.paths)
        raise Denied("source-foreign", f"{entry.key} {paths} is no account of {request.intent.wallet}")
    asked = request.intent.source
    if asked is not None and set(entry.paths) != {asked}:
        raise Denied("source-foreign", f"{', '.join(entry.paths)} pays, the request asks for {asked} to pay")
    key = state.keys.get(entry.key)
    if key is None or key.epoch != entry.epoch:
        raise Denied("key-unknown", f"the log has no key {entry.key} in epoch {entry.epoch}")
    if key.suite not in CHAIN_SUITES[family(chain)]:
        raise Denied("source-foreign", f"key {entry.key} is for {key.suite}, not for {chain}")
    try:
        accounts = tuple(account_at(key, path, chain=chain) for path in entry.paths)
    except MalformedError as error:
        raise Denied("path-invalid", str(error)) from error
    return key, Source(chain, accounts, lambda address: state.owned.get((chain, address)) == wallet.name)


def _signing(account: Account, message: bytes) -> Signing:
    return Signing(account.path, message, account.tweak, account.public_key, account.merkle_root)


def _check_signers(state: State, entry: e.ReserveEntry, key: KeyRecord) -> None:
    signers = entry.signers
    if tuple(sorted(signers)) != signers or not set(signers) <= set(key.participants):
        raise Denied("signers-invalid", "signers must be participants of the key, in order of name")
    if not set(signers) <= set(state.roster.share_keys()):
        raise Denied("signers-invalid", "a signer is not in the roster any more")
    if len(signers) != key.min_signers:
        raise Denied("signers-invalid", f"need {key.min_signers} signers, got {len(signers)}")
    if banned := state.mutual_ban(entry.key, entry.epoch, signers=signers):
        raise Denied("signers-banned", f"{banned[0]} runs no session with {banned[1]}")


def _check_presignatures(state: State, entry: e.ReserveEntry) -> None:
    """One for each signature, and each for one signature only."""
    if len(entry.presignatures) != len(entry.paths):
        raise Denied(
            "presignatures-invalid",
            f"need {len(entry.paths)} presignatures, one for each path, got {len(entry.presignatures)}",
        )
    if len(set(entry.presignatures)) != len(entry.presignatures):
        raise Denied("presignatures-invalid", "a presignature is there twice")
    if any(presignature in state.presignatures for presignature in entry.presignatures):
        raise Denied("presignature-used", "a presignature serves one job only")


def _decoded(entry: e.ReserveEntry, source: Source, request: Request) -> Transfer | Call | Typed | Cancel:
    decoder = DECODERS[family(source.chain)]
    tx: Transfer | Call | Typed | Cancel | Undecodable
    if entry.purpose == CANCEL:
        tx = decoder.decode_cancel(entry.tx, source)
    elif request.intent.typed_data is not None:
        tx = evm.decode_typed_data(entry.tx, source)
    elif request.intent.calldata is not None:
        tx = evm.decode_call(entry.tx, source)
    else:
        tx = decoder.decode(entry.tx, source)
    if isinstance(tx, Undecodable):
        raise Denied("undecodable", tx.reason)
    if len(tx.messages) != len(source.accounts):
        raise Denied("undecodable", f"{len(tx.messages)} signatures for {len(source.accounts)} paths")
    return tx


def _check_anchor(state: State, request: RequestState, anchor: Slot) -> None:
    if request.anchor not in (None, anchor):
        raise Denied("anchor-changed", "every transaction of a request uses the same anchor")
    owner = state.anchors.get(anchor)
    if owner not in (None, request.request_id):
        what = f"nonce {anchor.nonce} of" if anchor.on_chain else "this typed data under"
        raise Denied("anchor-taken", f"{what} {anchor.account} belongs to request {owner.hex()}")


def _check_message(state: State, request: RequestState, entry: e.ReserveEntry) -> None:
    """A Solana request is paid by one message: another one would be paid, too, if its anchor were no nonce.

    Nodes cannot tell a durable nonce from a recent blockhash, with which the chain takes each message once.
    A cancellation pays nobody; once there is one, no payment comes as far as this.
    """
    if family(request.request.intent.chain) != SOLANA or entry.purpose == CANCEL:
        return
    jobs = (state.jobs[job] for job in request.jobs)
    if any(job.tx != entry.tx and job.status is not JobStatus.BURNED for job in jobs):
        raise Denied(
            "message-fixed",
            "another message of this request was reserved and is not burned: reserve that one again, cancel "
            "it once it has expired, or have its signers burn it",
        )


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


def _check_intent(state: State, request: Request, tx: Transfer) -> None:
    intent = request.intent
    asset = state.policy.asset_at(tx.anchor.chain, tx.contract)
    amount = tx.amount
    if (
        family(tx.anchor.chain) == BITCOIN
        and state.owned.get((tx.anchor.chain, tx.recipient)) == intent.wallet
    ):
        amount = max(amount, intent.amount)  # what is missing is a higher fee: nothing else leaves the wallet
    moved = (asset.name if asset else "an unknown asset", amount, tx.recipient)
    if asset and tx.decimals not in (None, asset.decimals):
        raise Denied(
            "intent-mismatch", f"the bytes say {tx.decimals} decimals, and {asset.name} has {asset.decimals}"
        )
    if moved != (intent.asset, intent.amount, intent.destination):
        raise Denied(
            "intent-mismatch",
            f"the bytes send {tx.amount} of {moved[0]} to {tx.recipient}, the request asks for "
            f"{intent.amount} of {intent.asset} to {intent.destination}",
        )


def _check_call(request: Request, tx: Call) -> None:
    """That the asset is the native one, the policy checks: it decides on no other call."""
    intent = request.intent
    if (tx.contract, tx.value, tx.data) != (intent.destination, intent.amount, intent.calldata):
        raise Denied(
            "intent-mismatch",
            f"the bytes call {tx.contract} with {tx.value} and 0x{tx.data[:4].hex()}, or with other "
            f"arguments than the request's call of {intent.destination}",
        )


def _check_typed_data(request: Request, tx: Typed) -> None:
    if tx.document != request.intent.typed_data:
        raise Denied("intent-mismatch", "the bytes are another document than the request's typed data")


def _judge(
    state: State, entry: e.ReserveEntry, draft: Draft, *, time_ms: int
) -> tuple[Verdict, Facts | None]:
    if entry.purpose == CANCEL:
        return _judge_cancel(state, draft, tx=entry.tx, time_ms=time_ms)
    request = draft.request.request
    initiator = state.roster.initiators.get(request.initiator)
    if initiator is None:
        raise Denied("initiator-unknown", f"the roster has no initiator {request.initiator} any more")
    facts = request_facts(
        state,
        request,
        identifier=entry.request,
        fee_max=draft.fee_max,
        time_ms=time_ms,
        usage=usage_beside(state, draft.request, tx=entry.tx, time_ms=time_ms),
    )
    given = _approvals(state, draft.request, anchor=draft.anchor, fee_max=draft.fee_max, time_ms=time_ms)
    facts = with_approvals(facts, given)
    return evaluate(state.policy, facts), facts


def _approvals(
    state: State, request: RequestState, *, anchor: Slot, fee_max: int, time_ms: int
) -> tuple[Given, ...]:
    """The approvals that hold for exactly this transaction, with the groups their operators are in now."""
    return tuple(
        Given(record.operator, state.roster.operators[record.operator].groups, record.logged_ms)
        for record in request.approvals
        if record.operator in state.roster.operators
        and record.policy == state.policy_hash
        and record.slot == anchor
        and record.expires_ms > time_ms
        and record.fee_ceiling >= fee_max
    )


def _judge_cancel(state: State, draft: Draft, *, tx: bytes, time_ms: int) -> tuple[Verdict, Facts]:
    """A cancellation needs no approval, but its fee is bounded and counts like any other.

    With it the fees of all cancellations that it does not keep off the chain.
    """
    facts = job_facts(
        state,
        draft.request,
        purpose=CANCEL,
        fee_max=draft.fee_max,
        time_ms=time_ms,
        usage=usage_beside(state, draft.request, tx=tx, time_ms=time_ms),
    )
    ceiling = state.policy.cancel_ceiling(draft.anchor.chain)
    before = cancellations_beside(state.live_jobs(draft.request.request_id), tx)
    if draft.fee_max + sum(before.values()) > ceiling:
        and_before = f" and those before it {sum(before.values())}" if before else ""
        reason = f"a cancellation may cost {ceiling}, this one up to {draft.fee_max}{and_before}"
        return denied("fee-ceiling", reason), facts
    if excess := first_excess(state.policy, facts):
        # Also one that cannot be told: a fee is small, and can wait.
        return denied(excess.limit, excess.reason), facts
    return Verdict(Answer.ALLOW, "cancel", "an expired request's anchor may be closed"), facts
