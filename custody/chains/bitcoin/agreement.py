"""What counts of the nodes of a Bitcoin network:

coins
    those that ``agree`` nodes have; each node's are followed by themselves, so that no two have to stand at
    one block, or read their set of coins at one time
transaction
    a block that ``agree`` nodes give alike, at the least depth that they confirm; a contradiction is an error
    until it has passed
fee rate
    the dearest that nodes which may lie cannot have raised
spent or not, and a transaction's bytes
    what ``agree`` nodes say alike

A signed transaction is handed to all of them: one that takes it is enough.
"""

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter

from custody.chains.agreement import GRACE_S, Agreement, Doubted, unheard
from custody.chains.bitcoin.coins import Coins, Seen
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import Coin


class Told:
    """A node's coins as they are compared: kept, for there may be very many."""

    def __init__(self, coins: Coins) -> None:
        self._coins = coins
        self._kept: tuple[str, frozenset[bytes], frozenset[Coin]] = "", frozenset(), frozenset()

    async def of(self, scripts: frozenset[bytes], watched: frozenset[bytes]) -> tuple[int, frozenset[Coin]]:
        """The height, and the coins that can be spent in the next block.

        What can be spent is mature, and not every Core says of a scanned coin whether it was a coinbase.
        """
        seen = await self._coins.of(scripts, watched=watched)
        block, asked, coins = self._kept
        if (seen.block, scripts) != (block, asked):
            coins = frozenset(replace(coin, coinbase=False) for coin in seen.coins.values())
            self._kept = seen.block, scripts, coins
        return seen.height, coins


class BitcoinNodes:
    """One node, or several that agree, by what they are called."""

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, BitcoinRpc],
        *,
        agree: int = 1,
        grace_s: float = GRACE_S,
        doubted: Doubted = unheard,
    ) -> None:
        self._ends = Agreement(name, nodes, agree=agree, grace_s=grace_s, doubted=doubted)
        self._coins = {id(rpc): Told(Coins(rpc)) for rpc in nodes.values()}

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._ends.name

    async def check(self) -> None:
        """Enough nodes are on the network, have caught up, and find any transaction."""
        await self._ends.ask("network", lambda one: one.check())

    async def coins(self, scripts: frozenset[bytes], *, watched: frozenset[bytes]) -> Seen:
        """The coins under ``scripts`` that can be spent in the next block, by enough nodes, oldest first."""
        told = await self._ends.ask(
            "list of coins", lambda one: self._coins[id(one)].of(scripts, watched), alike=itemgetter(1)
        )
        height = self._ends.confirmed(at for at, _ in told.values())
        known = self._ends.known("coins", {name: coins for name, (_, coins) in told.items()})
        oldest = sorted(known, key=_age)
        return Seen("", height, {coin.outpoint: coin for coin in oldest})

    async def mined(self, txid: str) -> tuple[int, int] | None:
        """The height of a transaction's block, and its confirmations; None while no block has it."""
        height, alike = await self._ends.agreed_by("block", lambda one: one.mined(txid), key=_height)
        return None if height is None else (height, self._ends.confirmed(one[1] for one in alike if one))

    async def is_gone(self, txid: str, *, block: int) -> bool:
        """Whether enough nodes that have come to the height ``block`` have no block with a transaction."""
        return await self._ends.agreed("transaction", lambda one: one.is_gone(txid, block=block))

    async def raw(self, txid: str) -> bytes:
        """A transaction's bytes."""
        return await self._ends.agreed("transaction", lambda one: one.raw(txid))

    async def is_unspent(self, text: str) -> bool:
        """Whether neither a block nor the mempool spends an outpoint."""
        return await self._ends.agreed("coin", lambda one: one.is_unspent(text))

    async def rate(self, blocks: int) -> int:
        """What gets a transaction into so many blocks; satoshi a 1000 virtual bytes."""
        found = await self._ends.ask("fee rate", lambda one: one.rate(blocks))
        return self._ends.enough(found.values())

    async def send(self, raw: bytes) -> None:
        """Hand a transaction to the network. Raises ``Refused``."""
        await self._ends.hand(lambda one: one.send(raw))


def _height(mined: tuple[int, int] | None) -> int | None:
    return None if mined is None else mined[0]


def _age(coin: Coin) -> tuple[int, bytes]:
    return coin.height, coin.outpoint
