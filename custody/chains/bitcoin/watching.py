"""Bitcoin as ``custody.chains.watching.Watching``, over a node of Bitcoin Core.

A payment's index is its output's. What a miner's own transaction pays is left out: it cannot be spent for 100
blocks, and the balance shows it then.
"""

from collections.abc import Iterator
from typing import Any

from custody.chains.bitcoin.rpc import BitcoinRpc, made_in
from custody.chains.bitcoin.transaction import script_of
from custody.chains.rpc import Refused
from custody.chains.watching import OTHER_BLOCK, Block, Incoming, Wanted
from custody.ports import Receipt
from policy.approval import Slot
from policy.errors import OperationalError

NO_SUCH_HEIGHT = -8


class BitcoinWatching:
    """Reads blocks."""

    def __init__(self, rpc: BitcoinRpc) -> None:
        self._rpc = rpc
        self.check = rpc.check

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._rpc.name

    async def close(self) -> None:
        """Nothing is kept open."""

    async def head(self) -> int:
        """The height of the newest block."""
        height = await self._rpc.ask("getblockcount")
        if type(height) is not int or not 0 <= height < 2**32:
            raise OperationalError(f"the node of {self.name} gives no height: ask its provider")
        return height

    async def block_hash(self, height: int) -> str:
        """The hash of the chain's block at a height; empty while there is none."""
        try:
            found = await self._rpc.ask("getblockhash", height)
        except Refused as error:
            if error.code == NO_SUCH_HEIGHT:
                return ""
            raise
        if not isinstance(found, str):
            raise OperationalError(f"the node of {self.name} gives no hash: ask its provider")
        return found

    async def block(self, height: int, wanted: Wanted) -> Block:
        """The block at a height and what it pays."""
        found = await self._rpc.block(await self.block_hash(height))
        if found.height != height:
            raise OperationalError(f"{self.name} {OTHER_BLOCK}")
        addresses = {script_of(self.name, address): address for address in wanted.addresses}
        made, _ = made_in(found, frozenset(addresses))
        spent = {str(tx.get("txid")): tx for tx in found.transactions} if made else {}
        payments = tuple(
            Incoming(
                bytes.fromhex(coin.txid),
                int.from_bytes(coin.outpoint[32:], "little"),
                addresses[coin.output.script],
                None,
                coin.amount,
                tuple(self._places(spent[coin.txid])),
            )
            for coin in made
            if not coin.coinbase and coin.amount
        )
        return Block(height, found.hash, found.previous, payments)

    async def receipt(self, tx: bytes) -> Receipt | None:
        """The block of a transaction; None while it is not mined."""
        found = await self._rpc.mined(tx.hex())
        return None if found is None else Receipt(tx, found[0], True, found[1])

    def _places(self, tx: dict[str, Any]) -> Iterator[Slot]:
        """The outputs that a transaction spends; ``made_in`` has looked at their form."""
        for one in tx["vin"]:
            yield Slot(self.name, f"{one['txid']}:{one['vout']}", 0)
