"""An EVM chain as ``custody.chains.watching.Watching``, over one JSON-RPC endpoint.

A payment's index is 0 for what the transaction itself carries, and one more than the place of its log among
those of the transaction for tokens, which stays the same in whatever block the transaction is mined. What a
contract pays out in the chain's native asset is in no block and no log, so it is not seen.
"""

from collections.abc import Iterator
from typing import Any, Final

from custody.chains.evm.rpc import HEX, QUANTITY, EvmRpc
from custody.chains.showing import shown
from custody.chains.watching import OTHER_BLOCK, Block, Incoming, Wanted
from policy.addresses import is_address
from policy.approval import NONCE_MAX, Slot
from policy.errors import OperationalError
from policy.ids import EVM

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_WORD_HEX, _ADDRESS_HEX = 64, 40


class EvmWatching:
    """Reads blocks; the ``rpc`` is not shared with whoever sends."""

    def __init__(self, rpc: EvmRpc) -> None:
        self._rpc = rpc
        self.check, self.close, self.receipt = rpc.check, rpc.close, rpc.receipt

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._rpc.name

    async def head(self) -> int:
        """The height of the newest block that counts."""
        return await self._rpc.head()

    async def block_hash(self, height: int) -> str:
        """The hash of the chain's block at a height; empty while there is none."""
        found = await self._object("block", "eth_getBlockByNumber", hex(height), False)
        return _hash(found.get("hash")) if found else ""

    async def block(self, height: int, wanted: Wanted) -> Block:
        """The block at a height and what it pays."""
        found = await self._object("block", "eth_getBlockByNumber", hex(height), True)
        if not found:
            raise OperationalError(f"{self.name} has no block {height} any more: it is asked again")
        if _number(found.get("number")) != height:
            raise _nonsense("number of a block", found.get("number"))
        block_hash, payments = _hash(found.get("hash")), list[Incoming]()
        for tx in self._sent(found, wanted):
            payments += await self._paid(tx, block_hash, wanted)
        for tx in await self._logged(block_hash, wanted):
            payments += await self._paid(tx, block_hash, wanted)
        unique = sorted(set(payments), key=lambda one: (one.tx, one.index))
        return Block(height, block_hash, _hash(found.get("parentHash")), tuple(unique))

    def _sent(self, block: dict[str, Any], wanted: Wanted) -> Iterator[str]:
        """Transactions that pay in the native asset."""
        for tx in _list(block.get("transactions")):
            if (
                tx.get("to") is not None
                and _address(tx["to"]) in wanted.addresses
                and _number(tx.get("value"))
            ):
                yield _hash(tx.get("hash"))

    async def _logged(self, block_hash: str, wanted: Wanted) -> list[str]:
        """Transactions whose logs have a transfer of one of the tokens to one of the addresses."""
        if not wanted.contracts:
            return []
        asked = {"blockHash": block_hash, "address": sorted(wanted.contracts), "topics": [TRANSFER]}
        logs = _list(await self._rpc.ask("logs", "eth_getLogs", asked))
        return sorted({_hash(one.get("transactionHash")) for one in logs if _transfer(one, wanted)})

    async def _paid(self, tx_hash: str, block_hash: str, wanted: Wanted) -> list[Incoming]:
        """What a transaction of the block pays, by its receipt; nothing if it failed."""
        receipt = await self._object("receipt", "eth_getTransactionReceipt", tx_hash)
        tx = await self._object("transaction", "eth_getTransactionByHash", tx_hash)
        if receipt.get("blockHash") != block_hash or tx.get("blockHash") != block_hash:
            raise OperationalError(f"{self.name} {OTHER_BLOCK}")
        if _number(receipt.get("status")) != 1:
            return []
        name, sender = bytes.fromhex(tx_hash[2:]), _address(tx.get("from"))
        nonce = _number(tx.get("nonce"))
        if nonce > NONCE_MAX[EVM]:  # no statement with it could ever be handed in
            raise _nonsense("nonce", tx.get("nonce"))
        places = (Slot(self.name, sender, nonce),)
        found, to, value = [], tx.get("to"), _number(tx.get("value"))
        if to is not None and _address(to) in wanted.addresses and value:
            found.append(Incoming(name, 0, _address(to), None, value, places))
        for place, log in enumerate(_list(receipt.get("logs")), 1):
            if (moved := _transfer(log, wanted)) is not None:
                contract, address, amount = moved
                found.append(Incoming(name, place, address, contract, amount, places))
        return found

    async def _object(self, what: str, method: str, *parameters: Any) -> dict[str, Any]:
        """An object of the chain; an empty one for what it does not have."""
        found = await self._rpc.ask(what, method, *parameters)
        if not isinstance(found, dict | None):
            raise _nonsense(what, found)
        return found or {}


def _transfer(log: dict[str, Any], wanted: Wanted) -> tuple[str, str, int] | None:
    """Contract, payee and amount of an ERC-20 transfer that is looked for."""
    topics, data = log.get("topics"), log.get("data")
    if (
        not isinstance(topics, list)
        or len(topics) != 3
        or topics[0] != TRANSFER
        or log.get("removed") is True
    ):
        return None
    contract, to = _address(log.get("address")), topics[2]
    if not isinstance(to, str) or not HEX.fullmatch(to) or len(to) != _WORD_HEX + 2:
        raise _nonsense("topic", to)
    if not isinstance(data, str) or not HEX.fullmatch(data) or len(data) != _WORD_HEX + 2:
        return None  # a token of another kind
    address, amount = f"0x{to[-_ADDRESS_HEX:].lower()}", int(data, 16)
    if contract not in wanted.contracts or address not in wanted.addresses or not amount:
        return None
    return contract, address, amount


def _hash(found: Any) -> str:
    if not isinstance(found, str) or not HEX.fullmatch(found) or len(found) != _WORD_HEX + 2:
        raise _nonsense("hash", found)
    return found.lower()


def _address(found: Any) -> str:
    if not isinstance(found, str) or not is_address("evm:1", found.lower()):
        raise _nonsense("address", found)
    return found.lower()


def _number(found: Any) -> int:
    if not isinstance(found, str) or not QUANTITY.fullmatch(found):
        raise _nonsense("number", found)
    return int(found, 16)


def _list(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _nonsense("list", found)
    return found


def _nonsense(what: str, found: Any) -> OperationalError:
    return OperationalError(f"the endpoint gives no {what}: not {shown(found, 66)}; ask its provider")
