"""Slots and transactions of ``SolanaCluster`` as an RPC tells of them."""

from collections.abc import Sequence
from typing import Any

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.token import ID as TOKEN
from solders.transaction import Transaction

from cli.demo.chains.solana.cluster import Slot
from policy.base58 import encode

TOKEN_ACCOUNT_BYTES = 165


def block(slot: Slot, previous: Hash, *, details: str) -> dict[str, Any]:
    """A slot's block, with the accounts of its transactions unless they are not wanted."""
    found: dict[str, Any] = {"blockhash": str(slot.blockhash), "previousBlockhash": str(previous)}
    if details == "none":
        return found
    ran = zip(slot.ran, slot.accounts, strict=True)
    return {**found, "transactions": [_ran(raw, error, *accounts) for (_, raw, error), accounts in ran]}


def transaction(raw: bytes) -> dict[str, Any]:
    """A transaction with its message."""
    tx = Transaction.from_bytes(raw)
    instructions = [
        {
            "programIdIndex": one.program_id_index,
            "accounts": list(one.accounts),
            "data": encode(bytes(one.data)),
        }
        for one in tx.message.instructions
    ]
    message = {
        "accountKeys": [str(key) for key in tx.message.account_keys],
        "recentBlockhash": str(tx.message.recent_blockhash),
        "instructions": instructions,
    }
    return {"transaction": {"signatures": [str(one) for one in tx.signatures], "message": message}}


def _ran(
    raw: bytes, error: str, before: Sequence[Account | None], after: Sequence[Account | None]
) -> dict[str, Any]:
    tx = Transaction.from_bytes(raw)
    return {
        "transaction": {
            "signatures": [str(one) for one in tx.signatures],
            "accountKeys": [{"pubkey": str(key)} for key in tx.message.account_keys],
        },
        "meta": {
            "err": error or None,
            "preBalances": [one.lamports if one else 0 for one in before],
            "postBalances": [one.lamports if one else 0 for one in after],
            "preTokenBalances": _tokens(before),
            "postTokenBalances": _tokens(after),
        },
    }


def _tokens(accounts: Sequence[Account | None]) -> list[dict[str, Any]]:
    return [
        {
            "accountIndex": index,
            "mint": str(Pubkey(one.data[:32])),
            "owner": str(Pubkey(one.data[32:64])),
            "programId": str(TOKEN),
            "uiTokenAmount": {"amount": str(int.from_bytes(one.data[64:72], "little"))},
        }
        for index, one in enumerate(accounts)
        if one is not None and one.owner == TOKEN and len(one.data) == TOKEN_ACCOUNT_BYTES
    ]
