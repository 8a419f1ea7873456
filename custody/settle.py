"""From a signature to a settled request: broadcast, watch, observe. Safe to repeat at any point.

Raw transactions are kept, so that one a reorganisation dropped is sent again; of all transactions
signed for a request at most one can confirm, and each of them is looked for. Where none is found the chain is
asked what used up their place: a node may have forgotten it, or a database that was lost had its signature,
which is put into the log then, for it verifies like any other.
"""

from collections.abc import Sequence

from custody.candidates import Candidate
from custody.duties import Errand, NotYet
from custody.parts import Parts
from custody.payments import DENIED_MS, DENIED_MS_MAX, chain_of
from custody.ports import PlaceChain, Receipt
from custody.projection import Mined, mined
from custody.records import Change, RequestRecord, SignedTransaction
from custody.replacing import is_stuck
from custody.requests import Event, State
from policy import signatures
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError
from policy.ids import transaction_name
from policy.roster import COORDINATOR
from policy.state import Job, JobStatus

SEND_AGAIN_EACH, SEND_MINED_AGAIN_EACH = 4, 20
"""Looks. A network that forgot a transaction, by a reorganization, lets later ones of the account wait."""
POLL_MS_MAX = 10_000


async def broadcast(parts: Parts, errand: Errand) -> None:
    """Send the newest signed transaction, unless one of the request is mined already."""
    record = errand.record
    transactions = await parts.database.transactions(record.request)
    try:
        await _send_newest(parts, record, transactions)
    except OperationalError:
        found = await _mined(parts, record, transactions) or await _landed(parts, errand, transactions)
        if found is None:
            raise
    await parts.duties.apply(Change(record.request, Event.SENT))


async def watch(parts: Parts, errand: Errand) -> None:
    """Look for a receipt deep enough, and log what it says; say so when it takes too long."""
    record, duty = errand.record, errand.duty
    transactions = await parts.database.transactions(record.request)
    mined = await _mined(parts, record, transactions)
    if mined is not None and mined[1].confirmations >= parts.confirmations[record.chain]:
        await _observe(parts, *mined)
        return
    if mined is None and record.state is State.BROADCAST and is_stuck(parts, record):
        await parts.duties.apply(Change(record.request, Event.STUCK))
        return
    each = SEND_AGAIN_EACH if mined is None else SEND_MINED_AGAIN_EACH
    if duty.attempts % each == each - 1:
        if mined is None:
            mined = await _landed(parts, errand, transactions)
            if mined is not None and mined[1].confirmations >= parts.confirmations[record.chain]:
                await _observe(parts, *mined)
                return
        await _send_newest(parts, record, transactions)
    poll_ms = parts.poll_ms[record.chain] * (1 + duty.attempts // 10)
    raise NotYet(parts.now_ms() + min(poll_ms, POLL_MS_MAX))


async def _mined(
    parts: Parts, record: RequestRecord, transactions: Sequence[SignedTransaction]
) -> tuple[SignedTransaction, Receipt] | None:
    """The transaction of a request that is in a block, if one is."""
    for transaction in transactions:
        receipt = await chain_of(parts, record.chain).receipt(transaction.tx_hash)
        if receipt is not None:
            return transaction, receipt
    return None


async def _landed(
    parts: Parts, errand: Errand, transactions: Sequence[SignedTransaction]
) -> tuple[SignedTransaction, Receipt] | None:
    """What used up the request's place; None while it is free, or once its signature is put into the log.

    Raises ``NotYet`` for one that nobody here knows: people have to look at it.
    """
    record, state = errand.record, parts.sequencer.state
    chain = chain_of(parts, record.chain)
    jobs = [state.jobs[one] for one in state.requests[record.request].jobs]
    if not isinstance(chain, PlaceChain) or _closed(parts, record.request):
        return None
    found = await chain.landed(jobs[-1].anchor, {one.tx_hash for one in transactions})
    if found is None:
        return None
    name = found.receipt.tx_hash
    if ours := next((one for one in transactions if one.tx_hash == name), None):
        return ours, found.receipt
    same = [job for job in jobs if job.tx == found.tx and _signs(job, found.signatures)]
    if job := next((job for job in same if job.signatures == found.signatures), None):
        return SignedTransaction(job.job_id, record.request, job.purpose, name, b""), found.receipt
    unsigned = [job for job in same if job.status is JobStatus.RESERVED]
    if not unsigned:
        wait_ms = min(DENIED_MS << min(errand.duty.attempts, 10), DENIED_MS_MAX)
        raise NotYet(parts.now_ms() + wait_ms, _foreign(record.chain, name))
    for index, signature in enumerate(found.signatures):
        body: Json = {"job": unsigned[-1].job_id.hex(), "index": index, "signature": signature.hex()}
        outcome = await parts.sequencer.log(Candidate("signature", body))
        if not outcome.accepted:
            raise OperationalError(f"the log refuses a signature that is on the chain: {outcome.reason}")
    return None


def _signs(job: Job, found: Sequence[bytes]) -> bool:
    """Whether signatures that an endpoint shows are what a job waits for."""
    if len(found) != len(job.signings):
        return False
    pairs = zip(job.signings, found, strict=True)
    return all(signatures.verify(job.suite, one, signing=signing) for signing, one in pairs)


def _foreign(chain: str, name: bytes) -> str:
    return (
        f"its place on {chain} was used up by {transaction_name(chain, name)}, which the log does not know: "
        "nothing of this request can confirm any more. Who else has the key? Stop paying from it, and look"
    )


async def _send_newest(
    parts: Parts, record: RequestRecord, transactions: Sequence[SignedTransaction]
) -> None:
    """The newest; of a request that was settled once, what had settled, and not a cancellation of it."""
    jobs = parts.sequencer.state.jobs
    settled = [one for one in transactions if one.tx_hash == record.tx_hash]
    if settled and _closed(parts, record.request):
        await chain_of(parts, record.chain).broadcast(settled[0].raw)
    elif transactions:
        newest = max(transactions, key=lambda one: jobs[one.job].index if one.job in jobs else -1)
        await chain_of(parts, record.chain).broadcast(newest.raw)


async def _observe(parts: Parts, transaction: SignedTransaction, receipt: Receipt) -> None:
    """Log what settled; what the log has closed already, a reorganisation undid, and it settles once more."""
    if not _closed(parts, transaction.request):
        body: Json = {
            "origin": parts.sequencer.state.origin,
            "fact": "settled",
            "request": transaction.request.hex(),
            "job": transaction.job.hex(),
            "tx_hash": transaction.tx_hash.hex(),
            "block": receipt.block,
            "success": receipt.success,
        }
        signature = parts.log_key.state("observation", body)
        proof: dict[str, Json] = {"signatures": signature_list({COORDINATOR: signature})}
        outcome = await parts.sequencer.log(Candidate("observation", body, proof))
        if outcome.accepted:
            return
        if not _closed(parts, transaction.request):
            raise OperationalError(f"the log refuses the observation: {outcome.reason}")
    what = (transaction.request, transaction.job, transaction.purpose, transaction.tx_hash)
    await parts.duties.apply(mined(Mined(*what, block=receipt.block, success=receipt.success)))


def _closed(parts: Parts, request: bytes) -> bool:
    known = parts.sequencer.state.requests.get(request)
    return known is not None and known.closed
