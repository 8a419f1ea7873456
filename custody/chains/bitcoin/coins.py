"""The unspent outputs of our addresses: one scan of the node's, then block by block.

A reorganisation, or addresses that were not looked for before, take another scan. Only what a block has
counts; of a coinbase only what is mature.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from custody.chains.bitcoin.rpc import BitcoinRpc, made_in
from custody.chains.bitcoin.transaction import Coin
from policy.errors import OperationalError

WALKED_MAX, COINS_MAX = 144, 2**18
COINBASE_MATURITY = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """The coins as of one block; ``block`` is empty where several nodes have said so."""

    block: str
    height: int
    coins: dict[bytes, Coin]


class Coins:
    """Follows the active chain for a set of scripts.

    Catching up may take minutes: what nobody waits for any more goes on, and is there for who asks next.
    """

    def __init__(self, rpc: BitcoinRpc, *, coins_max: int = COINS_MAX) -> None:
        self._rpc, self._coins_max = rpc, coins_max
        self._scripts: frozenset[bytes] = frozenset()
        self._seen: Seen | None = None
        self._turn = asyncio.Lock()
        self._left: asyncio.Task[Seen] | None = None

    async def of(self, scripts: frozenset[bytes], *, watched: frozenset[bytes] = frozenset()) -> Seen:
        """The coins under ``scripts`` that can be spent in the next block; ``watched`` are found along."""
        async with self._turn:
            if self._left is not None:
                with contextlib.suppress(OperationalError):
                    await self._joined(self._left)
            wanted = scripts | watched
            if not wanted <= self._scripts:
                self._seen, self._scripts = None, self._scripts | wanted
            self._left = asyncio.create_task(self._newest())
            self._left.add_done_callback(_heard)
            seen = await self._joined(self._left)
        usable = {
            place: coin
            for place, coin in seen.coins.items()
            if coin.output.script in scripts
            if not coin.coinbase or seen.height + 1 - coin.height >= COINBASE_MATURITY
        }
        return Seen(seen.block, seen.height, usable)

    async def _joined(self, task: "asyncio.Task[Seen]") -> Seen:
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._left = None

    async def _newest(self) -> Seen:
        """As of the newest block: by the blocks since, or by a scan, which took a while, and those since."""
        seen = self._seen or await self._scanned()
        found = await self._followed(seen) or await self._followed(await self._scanned())
        if found is None:
            raise OperationalError(
                f"the chain of {self._rpc.name} moved while it was scanned: it is done again"
            )
        return found

    async def _followed(self, seen: Seen) -> Seen | None:
        """After the blocks up to the newest one; None when that is on another branch, or far."""
        ahead: list[str] = []
        block_hash = await self._rpc.best()
        while block_hash != seen.block:
            previous, height = await self._rpc.header(block_hash)
            if len(ahead) == WALKED_MAX or height <= seen.height:
                return None
            ahead.append(block_hash)
            block_hash = previous
        for block_hash in reversed(ahead):  # one after the other: all of them would fill the memory
            seen = await self._after(seen, block_hash)
        return seen

    async def _after(self, seen: Seen, block_hash: str) -> Seen:
        block = await self._rpc.block(block_hash)
        made, spent = await asyncio.to_thread(made_in, block, self._scripts)
        coins = seen.coins | {coin.outpoint: coin for coin in made}
        for place in spent & coins.keys():
            del coins[place]
        if len(coins) > self._coins_max:
            raise OperationalError(f"the node of {self._rpc.name} has {len(coins)} coins, too many to follow")
        self._seen = Seen(block_hash, block.height, coins)
        return self._seen

    async def _scanned(self) -> Seen:
        block_hash, found = await self._rpc.scan(sorted(self._scripts))
        _, height = await self._rpc.header(block_hash)
        coins = {coin.outpoint: coin for coin in found if coin.output.script in self._scripts}
        self._seen = Seen(block_hash, height, coins)
        return self._seen


def _heard(task: "asyncio.Task[Seen]") -> None:
    if not task.cancelled():
        task.exception()  # whoever waits for it hears of it
