"""What scripts had some blocks deep, by a node of one's own: for whoever states what a wallet holds."""

from dataclasses import dataclass
from typing import Final

from custody.chains.bitcoin.rpc import BitcoinRpc, made_in, spent_in
from custody.chains.bitcoin.transaction import Coin, outpoint
from policy.errors import OperationalError

DEPTHS: Final = {"latest": 1, "safe": 3, "finalized": 6}
"""How many blocks have what counts, by the names of Ethereum's blocks."""


@dataclass(frozen=True, slots=True)
class Deep:
    """The coins under some scripts as of the block at ``height``."""

    height: int
    coins: dict[bytes, Coin]


async def coins_at(rpc: BitcoinRpc, scripts: frozenset[bytes], *, depth: int) -> Deep:
    """The coins under ``scripts``, as of the block that has ``depth`` confirmations.

    From the node's newest set of coins the blocks above that one are taken back. Raises ``OperationalError``.
    """
    block_hash, found = await rpc.scan(sorted(scripts))
    coins = {coin.outpoint: coin for coin in found if coin.output.script in scripts}
    block = await rpc.block(block_hash, prevouts=True)
    for _ in range(depth - 1):
        coins |= {coin.outpoint: coin for coin in spent_in(block, scripts)}
        for coin in made_in(block, scripts)[0]:  # also what the same block spends
            coins.pop(coin.outpoint, None)
        block = await rpc.block(block.previous, prevouts=True)
    if await rpc.confirmations(block.hash) < depth:
        raise OperationalError("the chain was reorganised meanwhile: look again")
    return Deep(block.height, coins)


async def is_spent(rpc: BitcoinRpc, text: str, *, at: Deep) -> bool:
    """Whether an outpoint of one of the scripts, ``txid:vout``, was there and is spent as of a block."""
    txid, _, place = text.partition(":")
    mined = await rpc.mined(txid)
    return mined is not None and mined[0] <= at.height and outpoint(txid, int(place)) not in at.coins
