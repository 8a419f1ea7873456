"""What an entry of the log changes in the coordinator's table of requests. Pure."""

from dataclasses import dataclass
from typing import assert_never

from custody.candidates import Folded
from custody.chains.families import transactions
from custody.records import Change, DepositRecord, Payment, RequestRecord, SignedTransaction, new_request
from custody.requests import Event
from custody.requests import State as RequestStates
from policy import entries as e
from policy import fact_entries as f
from policy.ceremony import CeremonyEntry
from policy.encoding import canonical
from policy.errors import MalformedError
from policy.evaluate import Outcome as Answer
from policy.evaluate import Verdict
from policy.intent import Request, request_id
from policy.state import CANCEL, Job, JobStatus, State

V_BASE = 27


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction of a request in a block, whether it did what it says."""

    request: bytes
    job: bytes
    purpose: str
    tx_hash: bytes
    block: int
    success: bool


def changes(folded: Folded) -> tuple[Change, ...]:
    """The changes of one folded entry; the same when the log is replayed into an empty database."""
    try:
        entry = e.parse_entry(folded.entry).entry
    except MalformedError:
        return ()
    if isinstance(entry, e.RequestEntry):
        return (_request(entry, folded),)
    if not folded.outcome.accepted:
        return ()
    match entry:
        case e.ApprovalEntry():
            approvals = len(folded.state.requests[entry.approval.request].approvals)
            return (Change(entry.approval.request, None, {"approvals": approvals}),)
        case e.ReserveEntry():
            return (_reserve(folded.state.jobs[folded.outcome.subject], folded.outcome.verdict),)
        case e.SignatureEntry():
            job = folded.state.jobs[entry.job]
            return _signature(folded.state, job) if job.status is JobStatus.SIGNED else ()
        case f.ObservationEntry():
            return (_observation(entry, folded.state),)
        case f.DepositEntry():
            return (_deposit(entry, folded),)
        case f.RejectEntry():
            fields = {"error": f"rejected by {entry.by}: {entry.reason}"}
            return (Change(entry.request, Event.REJECTED, fields),)
        case (
            e.GenesisEntry()
            | e.KeyEntry()
            | e.BurnEntry()
            | f.PriceEntry()
            | f.HoldingsEntry()
            | f.NoteEntry()
            | f.ScreeningEntry()
            | e.BanEntry()
            | e.ShredEntry()
            | e.ChangeEntry()
            | e.AddressEntry()
            | e.OrderEntry()
            | e.VersionEntry()
            | e.ForkEntry()
            | CeremonyEntry()
        ):
            return ()
        case _:
            assert_never(entry)


def signed_transaction(job: Job) -> SignedTransaction:
    """The transaction of a signed job, ready to be sent."""
    raw, tx_hash = transactions(job.anchor.chain).finished(job)
    return SignedTransaction(job.job_id, job.request_id, job.purpose, tx_hash, raw)


def typed_data_signature(state: State, record: RequestRecord) -> bytes:
    """The signature of delivered typed data as contracts take it: r, s, and v of 27 or 28; else nothing."""
    job = state.jobs.get(record.job)
    if record.state is not RequestStates.DELIVERED or job is None or job.status is not JobStatus.SIGNED:
        return b""
    return job.signatures[0][:64] + bytes([V_BASE + job.signatures[0][64]])


def _request(entry: e.RequestEntry, folded: Folded) -> Change:
    identifier = request_id(entry.body)
    outcome = folded.outcome
    rule = outcome.verdict.rule if outcome.verdict else ""
    if outcome.accepted:
        new = new_request(entry.body, entry.signature)
        fields = {"rule": rule, "chain": entry.request.intent.chain}
        return Change(identifier, Event.ENTRY_ACCEPTED, fields, new=new)
    if outcome.verdict is not None and outcome.verdict.outcome is Answer.DENY:
        return Change(identifier, Event.ENTRY_DENIED, {"rule": rule, "error": outcome.reason[:1000]})
    return Change(identifier, Event.REFUSED, {"error": outcome.reason[:1000]})


def _reserve(job: Job, verdict: Verdict | None) -> Change:
    """What a reservation changes; the rule that a payment is settled by is the last verdict's."""
    event = Event.CANCEL_LOGGED if job.purpose == CANCEL else Event.RESERVATION_LOGGED
    rule = {} if verdict is None or job.purpose == CANCEL else {"rule": verdict.rule}
    fields = {
        **rule,
        "job": job.job_id,
        "tx": job.tx,
        "path": job.signings[0].path,
        "chain": job.anchor.chain,
        "account": job.anchor.account,
        "nonce": job.anchor.nonce,
    }
    slot = job.anchor if job.anchor.on_chain else None
    return Change(job.request_id, event, fields, slot=slot, presignatures=job.presignatures)


def _signature(state: State, job: Job) -> tuple[Change, ...]:
    """What a signed job changes; typed data is never sent from here."""
    if not job.anchor.on_chain:
        return (Change(job.request_id, Event.TYPED_DATA_SIGNED, {"job": job.job_id}),)
    event = Event.CANCEL_SIGNED if job.purpose == CANCEL else Event.SIGNATURE_LOGGED
    transaction = signed_transaction(job)
    fields = {"job": job.job_id, "tx_hash": transaction.tx_hash}
    if job.purpose == CANCEL:
        return (Change(job.request_id, event, fields, transaction=transaction),)
    request = state.requests[job.request_id].request
    return (
        Change(
            job.request_id,
            event,
            fields,
            transaction=transaction,
            payment=payment_of(request, signed_ms=job.signed_ms),
        ),
    )


def payment_of(request: Request, *, signed_ms: int) -> Payment:
    """What a request's payment adds to its destination's history."""
    intent = request.intent
    return Payment(
        intent.chain, intent.destination, intent.asset, request.initiator, intent.amount, signed_ms
    )


def _deposit(entry: f.DepositEntry, folded: Folded) -> Change:
    record = DepositRecord(
        deposit=entry.deposit,
        chain=entry.chain,
        tx=entry.tx,
        place=entry.index,
        wallet=entry.wallet,
        address=entry.address,
        asset=entry.asset,
        amount=entry.amount,
        block=entry.block,
        gone=entry.gone,
        time_ms=folded.state.time_ms,
        statement=canonical({"body": entry.body, "signatures": e.signature_list(entry.signatures)}),
    )
    return Change(entry.deposit, None, deposit=record)


def mined(transaction: Mined) -> Change:
    """What it changes that a transaction of a request is mined deep enough."""
    if transaction.purpose == CANCEL:
        event = Event.CANCEL_MINED
    else:
        event = Event.MINED if transaction.success else Event.REVERTED
    error = "" if transaction.success else "the transaction was mined and failed: look up its hash, ask anew"
    fields = {"tx_hash": transaction.tx_hash, "block": transaction.block, "job": transaction.job}
    return Change(transaction.request, event, {**fields, "error": error})


def _observation(entry: f.ObservationEntry, state: State) -> Change:
    purpose = state.jobs[entry.job].purpose
    return mined(
        Mined(entry.request, entry.job, purpose, entry.tx_hash, block=entry.block, success=entry.success)
    )
