"""The unspent outputs of our addresses: one scan of the node's, then block by block.

A reorganisation, or addresses that were not looked for before, take another scan. Only what a block has
counts; of a coinbase only what is mature.
"""

import asyncio
from dataclasses import dataclass

from custody.chains.bitcoin.rpc import BitcoinRpc, made_in
from custody.chains.bitcoin.transaction import Coin

WALKED_MAX = 144
COINBASE_MATURITY = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """The coins as of one block."""

    block: str
    height: int
    coins: dict[bytes, Coin]


class Coins:
    """Follows the active chain for a set of scripts."""

    def __init__(self, rpc: BitcoinRpc) -> None:
        self._rpc = rpc
        self._scripts: frozenset[bytes] = frozenset()
        self._seen: Seen | None = None
        self._turn = asyncio.Lock()

    async def of(self, scripts: frozenset[bytes], *, watched: frozenset[bytes] = frozenset()) -> Seen:
        """The coins under ``scripts`` that can be spent in the next block; ``watched`` are found along."""
        async with self._turn:
            wanted = scripts | watched
            if not wanted <= self._scripts:
                self._seen, self._scripts = None, self._scripts | wanted
            best = await self._rpc.best()
            if self._seen is None or not await self._walk(self._seen, best):
                self._seen = await self._scan()
            seen = self._seen
        usable = {
            place: coin
            for place, coin in seen.coins.items()
            if coin.output.script in scripts
            if not coin.coinbase or seen.height + 1 - coin.height >= COINBASE_MATURITY
        }
        return Seen(seen.block, seen.height, usable)

    async def _walk(self, seen: Seen, best: str) -> bool:
        """Follow the blocks from where we stood to ``best``; no when that is on another branch, or far."""
        ahead: list[tuple[list[Coin], set[bytes]]] = []  # blocks themselves would fill the memory
        block_hash, height = best, seen.height
        while block_hash != seen.block:
            if len(ahead) == WALKED_MAX:
                return False
            block = await self._rpc.block(block_hash)
            if block.height <= seen.height:
                return False
            ahead.append(await asyncio.to_thread(made_in, block, self._scripts))
            block_hash, height = block.previous, max(height, block.height)
        coins = dict(seen.coins)
        for made, spent in reversed(ahead):
            coins |= {coin.outpoint: coin for coin in made}
            coins = {place: coin for place, coin in coins.items() if place not in spent}
        self._seen = Seen(best, height, coins)
        return True

    async def _scan(self) -> Seen:
        block_hash, found = await self._rpc.scan(sorted(self._scripts))
        height = (await self._rpc.block(block_hash)).height
        return Seen(
            block_hash, height, {coin.outpoint: coin for coin in found if coin.output.script in self._scripts}
        )
