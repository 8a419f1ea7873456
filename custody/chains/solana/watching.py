"""Solana as ``custody.chains.watching.Watching``, over a node of a cluster: heights are slots.

A payment is what an account has more of after a transaction than before it, whichever instruction gave it;
tokens count in the account that is derived for their owner, out of which the wallet pays. Its index is that
of the account in the transaction. A slot that was skipped has no block; one that is wrongly said to be
skipped shows by the next block, which names the one before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from custody.chains.rpc import Refused
from custody.chains.showing import shown
from custody.chains.solana.rpc import SolanaRpc, key_of, list_of, object_of, signature_of, u64_of
from custody.chains.watching import Block, Incoming, Wanted
from custody.ports import Receipt
from policy import base58
from policy.addresses import solana_address
from policy.approval import Slot
from policy.decode.solana import SYSTEM_PROGRAM
from policy.errors import OperationalError
from policy.token_accounts import TOKEN_PROGRAM, token_account

SKIPPED = (-32007, -32009)
NOT_THERE_YET = -32004
AMOUNT = re.compile(r"[0-9]{1,20}")
_ADVANCE_NONCE = base58.encode((4).to_bytes(4, "little"))


@dataclass(frozen=True, slots=True)
class _Gain:
    """What an account of a transaction has more of."""

    index: int
    address: str
    contract: str | None
    amount: int


class SolanaWatching:
    """Reads blocks."""

    def __init__(self, rpc: SolanaRpc) -> None:
        self._rpc = rpc
        self.check = rpc.check
        self.head = rpc.slot

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._rpc.name

    async def close(self) -> None:
        """Nothing is kept open."""

    async def block_hash(self, height: int) -> str:
        """The hash of a slot's block; empty where there is none."""
        try:
            found = await self._rpc.block(height, details="none")
        except Refused as error:
            if error.code in (*SKIPPED, NOT_THERE_YET):
                return ""
            raise
        return "" if found is None else str(found["blockhash"])

    async def block(self, height: int, wanted: Wanted) -> Block:
        """The block of a slot and what it pays; without a hash if the slot was skipped."""
        try:
            found = await self._rpc.block(height, details="accounts")
        except Refused as error:
            if error.code in SKIPPED:
                return Block(height, "", "", ())
            raise
        if found is None:
            raise OperationalError(f"{self.name} has no block of slot {height} yet: it is asked again")
        payments: list[Incoming] = []
        for one in list_of(found.get("transactions")):
            if gains := list(_gains(object_of(one), wanted)):
                payments += await self._incoming(object_of(one), gains)
        return Block(height, str(found["blockhash"]), str(found["previousBlockhash"]), tuple(payments))

    async def receipt(self, tx: bytes) -> Receipt | None:
        """The slot of a transaction, with how sure it is; None while no slot has it."""
        status = await self._rpc.status(tx)
        return None if status is None else Receipt(tx, status.slot, status.success, status.sure + 1)

    async def _incoming(self, told: dict[str, Any], gains: list[_Gain]) -> list[Incoming]:
        signature = list_of(object_of(told.get("transaction")).get("signatures"))[:1]
        name = signature_of(signature[0] if signature else None)
        places = self._places(await self._rpc.transaction(base58.encode(name)))
        return [Incoming(name, one.index, one.address, one.contract, one.amount, places) for one in gains]

    def _places(self, told: dict[str, Any]) -> tuple[Slot, ...]:
        """The durable nonce that a transaction uses; of a blockhash there is none."""
        message = object_of(object_of(told.get("transaction")).get("message"))
        keys = [key_of(one) for one in list_of(message.get("accountKeys"))]
        first, *_ = [object_of(one) for one in list_of(message.get("instructions"))] or [{}]
        named = [*list_of(first.get("accounts", [])), first.get("programIdIndex")]
        known = len(named) > 1 and all(type(at) is int and 0 <= at < len(keys) for at in named)
        if not known or first.get("data") != _ADVANCE_NONCE or keys[named[-1]] != SYSTEM_PROGRAM:
            return ()
        value = int.from_bytes(key_of(message.get("recentBlockhash")), "big")
        return (Slot(self.name, solana_address(keys[named[0]]), value),)


def _gains(told: dict[str, Any], wanted: Wanted) -> Iterator[_Gain]:
    """What a transaction that did not fail gives to the addresses that are asked for."""
    meta = object_of(told.get("meta"))
    if meta.get("err", True) is not None:
        return
    named = list_of(object_of(told.get("transaction")).get("accountKeys"))
    keys = [solana_address(key_of(object_of(one).get("pubkey"))) for one in named]
    before, after = (
        [u64_of(one) for one in list_of(meta.get(when))] for when in ("preBalances", "postBalances")
    )
    if not len(keys) == len(before) == len(after):
        raise OperationalError("the node's answer has not one balance for each account: ask its provider")
    for index, key in enumerate(keys):
        if key in wanted.addresses and after[index] > before[index]:
            yield _Gain(index, key, None, after[index] - before[index])
    had = dict(_tokens(meta.get("preTokenBalances"), keys, wanted=wanted))
    for (index, owner, mint), amount in _tokens(meta.get("postTokenBalances"), keys, wanted=wanted):
        if amount > had.get((index, owner, mint), 0):
            yield _Gain(index, owner, mint, amount - had.get((index, owner, mint), 0))


def _tokens(told: Any, keys: list[str], *, wanted: Wanted) -> Iterator[tuple[tuple[int, str, str], int]]:
    """What our derived accounts have of the tokens that are asked for, by index, owner and mint."""
    for one in map(object_of, list_of(told)):
        owner, mint, index = one.get("owner"), one.get("mint"), one.get("accountIndex")
        named = isinstance(owner, str) and isinstance(mint, str)
        if not named or owner not in wanted.addresses or mint not in wanted.contracts:
            continue
        if type(index) is not int or not 0 <= index < len(keys):
            raise OperationalError("the node's answer has a token account that is none: ask its provider")
        place = solana_address(token_account(base58.decode(owner), base58.decode(mint)))
        if keys[index] == place and key_of(one.get("programId")) == TOKEN_PROGRAM:
            yield (index, owner, mint), _amount(object_of(one.get("uiTokenAmount")).get("amount"))


def _amount(told: Any) -> int:
    if not isinstance(told, str) or not AMOUNT.fullmatch(told):
        raise OperationalError(f"{shown(told, 40)} is no amount of a token: ask the node's provider")
    return u64_of(int(told))
