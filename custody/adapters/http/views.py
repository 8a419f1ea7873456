"""What the HTTP door shows of the coordinator's records: JSON in which what there is not yet is null."""

from typing import Any

from custody.deposits import in_policy
from custody.feeds import Backlog, DepositAddress
from custody.projection import typed_data_signature
from custody.records import request_body
from custody.requests import is_over
from custody.service import Shown
from custody.webhooks import Webhook
from policy.approval import DIGEST_SLOT_MIN
from policy.ids import transaction_name
from policy.state import State


def resource(shown: Shown, log: State) -> dict[str, Any]:
    """A request; the signature of typed data is what the log has."""
    record, event = shown.record, shown.event
    signature = typed_data_signature(log, record)
    on_chain = record.account and record.nonce is not None and record.nonce < DIGEST_SLOT_MIN
    return {
        "id": record.request.hex(),
        "event": event.id,
        "state": record.state,
        "substate": event.substate,
        "over": is_over(record.state),
        "rule": record.rule or None,
        "error": record.error or None,
        "approvals": record.approvals,
        "account": record.account or None,
        "nonce": str(record.nonce) if on_chain else None,
        "job": record.job.hex() or None,
        "tx_hash": transaction_name(record.chain, record.tx_hash) if record.tx_hash else None,
        "block": record.block or None,
        "signature": f"0x{signature.hex()}" if signature else None,
        "updated_ms": record.updated_ms,
        "request": request_body(record),
    }


def address(given: DepositAddress, log: State) -> dict[str, Any]:
    """An address that was given out, and whether it is the wallet's still."""
    return {
        "address": given.address,
        "chain": given.chain,
        "wallet": given.wallet,
        "path": given.path,
        "label": given.label,
        "in_policy": in_policy(log, given),
        "created_ms": given.created_ms,
    }


def webhook(one: Webhook, backlog: Backlog, *, key: bytes) -> dict[str, Any]:
    """A webhook, what it is still to be told, and the key that signs it."""
    return {
        "name": one.name,
        "url": one.url,
        "key": key.hex(),
        "waiting": backlog.waiting,
        "error": backlog.error or None,
    }
