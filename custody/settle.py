"""From a signature to a settled request: broadcast, watch, observe. Safe to repeat at any point.

Raw transactions are kept, so that one a reorganisation dropped is sent again; of all transactions
signed for a request at most one can confirm, and each of them is looked for.
"""

from custody.candidates import Candidate
from custody.duties import Errand, NotYet
from custody.parts import Parts
from custody.payments import chain_of
from custody.ports import Receipt
from custody.records import Change, RequestRecord, SignedTransaction
from custody.requests import Event
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError
from policy.roster import COORDINATOR

SEND_AGAIN_EACH = 20
POLL_MS_MAX = 10_000


async def broadcast(parts: Parts, errand: Errand) -> None:
    """Send the newest signed transaction."""
    record = errand.record
    for transaction in await parts.database.transactions(record.request):
        if transaction.job == record.job:
            await _send(parts, record, transaction)
    await parts.duties.apply(Change(record.request, Event.SENT))


async def watch(parts: Parts, errand: Errand) -> None:
    """Look for a receipt deep enough, and log what it says."""
    record, duty = errand.record, errand.duty
    transactions = await parts.database.transactions(record.request)
    for transaction in transactions:
        receipt = await chain_of(parts, record.chain).receipt(transaction.tx_hash)
        if receipt is not None and receipt.confirmations >= parts.confirmations[record.chain]:
            await _observe(parts, transaction, receipt)
            return
    if duty.attempts % SEND_AGAIN_EACH == SEND_AGAIN_EACH - 1:
        for transaction in transactions:
            if transaction.job == record.job:
                await _send(parts, record, transaction)
    poll_ms = parts.poll_ms[record.chain] * (1 + duty.attempts // 10)
    raise NotYet(parts.now_ms() + min(poll_ms, POLL_MS_MAX))


async def _observe(parts: Parts, transaction: SignedTransaction, receipt: Receipt) -> None:
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
    if not outcome.accepted and not parts.sequencer.state.requests[transaction.request].closed:
        raise OperationalError(f"the log refuses the observation: {outcome.reason}")


async def _send(parts: Parts, record: RequestRecord, transaction: SignedTransaction) -> None:
    await chain_of(parts, record.chain).broadcast(transaction.raw)
