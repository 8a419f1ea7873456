"""The coins that a node of Bitcoin says there are: as of its newest block, whoever waited for a scan."""

import asyncio
import contextlib
from typing import Any, cast

import pytest

from custody.chains.bitcoin.coins import WALKED_MAX, Coins
from custody.chains.bitcoin.rpc import Block
from custody.chains.bitcoin.transaction import Coin, outpoint
from policy.decode.psbt import Output
from policy.errors import OperationalError

SCRIPT = b"\x00\x14" + b"\x11" * 20
TXID = "ab" * 32
FIRST = Coin(outpoint(TXID, 0), Output(5, SCRIPT), 0, coinbase=False)
SPENDING = {"txid": "cd" * 32, "vout": [], "vin": [{"txid": TXID, "vout": 0}]}
COINBASE: dict[str, Any] = {"txid": "ee" * 32, "vout": [], "vin": []}


class Node:
    """A chain of blocks; a scan waits until it may answer, and says what was there when it began."""

    name, slow_s = "bitcoin:regtest", 0.0

    def __init__(self) -> None:
        self.blocks = [Block("0", "", 0, [])]
        self.may_answer, self.scans, self.spent = asyncio.Event(), 0, False

    def mine(self, *transactions: dict[str, Any]) -> None:
        last = self.blocks[-1]
        self.blocks.append(Block(str(last.height + 1), last.hash, last.height + 1, [COINBASE, *transactions]))
        self.spent = self.spent or bool(transactions)

    async def best(self) -> str:
        return self.blocks[-1].hash

    async def block(self, name: str) -> Block:
        await asyncio.sleep(self.slow_s)
        return self.blocks[int(name)]

    async def header(self, name: str) -> tuple[str, int]:
        return self.blocks[int(name)].previous, self.blocks[int(name)].height

    async def scan(self, scripts: list[bytes]) -> tuple[str, list[Coin]]:
        self.scans += 1
        found = self.blocks[-1].hash, [] if self.spent else [FIRST]
        await self.may_answer.wait()
        return found


async def left_behind(node: Node) -> Coins:
    """Coins whose scan ended when nobody waited for it any more."""
    coins = Coins(cast("Any", node))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(coins.of(frozenset({SCRIPT})), 0.05)
    node.may_answer.set()
    await asyncio.sleep(0)
    return coins


async def test_what_was_spent_since_a_scan_that_nobody_waited_for_is_no_coin() -> None:
    node = Node()
    coins = await left_behind(node)
    node.mine(SPENDING)

    seen = await coins.of(frozenset({SCRIPT}))

    assert (seen.coins, seen.height, node.scans) == ({}, 1, 1)


async def test_one_that_is_too_far_behind_is_made_anew() -> None:
    node = Node()
    coins = await left_behind(node)
    node.mine(SPENDING)
    for _ in range(WALKED_MAX):
        node.mine()

    seen = await coins.of(frozenset({SCRIPT}))

    assert (seen.coins, seen.height, node.scans) == ({}, WALKED_MAX + 1, 2)


async def test_a_scan_that_was_waited_for_is_enough() -> None:
    node = Node()
    node.may_answer.set()

    seen = await Coins(cast("Any", node)).of(frozenset({SCRIPT}))

    assert ([*seen.coins], node.scans) == ([FIRST.outpoint], 1)


async def test_who_is_slow_to_read_blocks_gets_to_the_newest_though_nobody_waits_so_long() -> None:
    node = Node()
    node.may_answer.set()
    coins = Coins(cast("Any", node))
    await coins.of(frozenset({SCRIPT}))
    node.mine(SPENDING)
    for _ in range(9):
        node.mine()
    node.slow_s = 0.02

    for _ in range(10):
        with contextlib.suppress(TimeoutError):
            seen = await asyncio.wait_for(coins.of(frozenset({SCRIPT})), 0.05)
            break

    assert (seen.coins, seen.height, node.scans) == ({}, 10, 1)


async def test_a_scan_of_more_addresses_waits_for_the_one_that_goes_on() -> None:
    at_once = 0

    class OneAtATime(Node):
        async def scan(self, scripts: list[bytes]) -> tuple[str, list[Coin]]:
            nonlocal at_once
            at_once += 1
            assert at_once == 1, "a node refuses a second scan"
            try:
                return await super().scan(scripts)
            finally:
                at_once -= 1

    node = OneAtATime()
    coins = Coins(cast("Any", node))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(coins.of(frozenset({SCRIPT})), 0.02)
    more = asyncio.create_task(coins.of(frozenset({SCRIPT, SCRIPT[:-1] + b"0"})))
    await asyncio.sleep(0.01)
    node.may_answer.set()

    assert ([*(await more).coins], node.scans) == ([FIRST.outpoint], 2)


async def test_a_node_cannot_fill_the_memory_with_coins() -> None:
    made = [{"n": number, "value": 1, "scriptPubKey": {"hex": SCRIPT.hex()}} for number in range(1000)]
    node = Node()
    node.may_answer.set()
    coins = Coins(cast("Any", node), coins_max=2_500)
    await coins.of(frozenset({SCRIPT}))
    for number in range(3):
        node.mine({"txid": f"{number:064x}", "vout": made, "vin": []})

    with pytest.raises(OperationalError, match="too many to follow"):
        await coins.of(frozenset({SCRIPT}))
