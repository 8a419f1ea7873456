"""Deposits in bitcoin: one request spends coins of many addresses; Bitcoin Core's own code validates it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.connection import Connection
from cli.demo.chains.bitcoin.core import COINBASE_MATURITY
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.sweeps.assignment import FILE, load_assignment
from custody.chains.bitcoin.chain import Rates
from custody.rebalancing.main import Backend
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Move
from custody.sweeping.main import Assignment, run
from policy.document import parse_policy
from policy.encoding import Json
from tests.chains.bitcoin_house import CHAIN, COIN, FEE_CEILING, BitcoinHouse, bitcoin_policy, fresh_core
from tests.unit.custody_cluster import (
    KEY,
    ORIGIN,
    WALLET,
    genesis_entry,
    identity,
    public,
    roster_document,
)
from tests.unit.test_custody_api import Door, opened

VAULT = "vault"
PATHS = [f"m/0/{number}" for number in range(6)]
TASKS = f"""
settle_s = 0
pause_s = 1
[sweeps.btc]
wallet = "{WALLET}"
to = "{VAULT}"
minimum = "0.05 btc"
fee = "{FEE_CEILING}"
coins_max = 4
"""


def policy() -> dict[str, Any]:
    """A wallet of six addresses that the sweeper may empty into another one, and into nothing else."""
    document: Any = bitcoin_policy()
    document["wallets"][WALLET]["paths"] = PATHS
    document["wallets"][VAULT] = {"tier": "cold", "key": KEY, "chain": CHAIN, "paths": ["m/1/0"]}
    own = {"initiators": ["sweeper"], "kinds": ["tier_move"], "destination_tiers": ["cold"]}
    document["rules"] = [{"name": "collect", "when": own, "then": {"outcome": "allow"}}]
    found: dict[str, Any] = document
    return found


@pytest.fixture
def core() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        yield core


@pytest.fixture
def house(tmp_path: Path, core: CoreRpc) -> BitcoinHouse:
    initiators: Json = [
        {"name": "sweeper", "key": public("sweeper").hex(), "people": [], "groups": ["sweeper"]}
    ]
    found = BitcoinHouse(tmp_path, core)
    found.genesis = genesis_entry(policy(), roster=roster_document(initiators=initiators))
    found.rates = Rates(coins_max=4)
    return found


@dataclass
class Sweeping:
    """The sweeper's folder at a door."""

    door: Door
    folder: Path
    assignment: Assignment

    async def look(self) -> list[Move]:
        found: list[Move] = []
        backend = Backend(self.folder, "sweeper", self.door.endpoint, identity("sweeper"))
        await asyncio.to_thread(lambda: run(backend, self.assignment, once=True, told=found.extend))
        return found

    async def swept(self, house: BitcoinHouse) -> None:
        """A look, and a block for what it asked for."""
        for move in await self.look():
            if move.stage is Stage.ASKED:
                await self.door.running.until(move.request, "broadcast")
                house.core.core.mine()
                await self.door.running.until(move.request, "settled")


def sweeping(door: Door, folder: Path) -> Sweeping:
    (folder / FILE).write_text(TASKS)
    connection = Connection(ORIGIN, "", b"", parse_policy(policy()), b"")
    return Sweeping(door, folder, load_assignment(folder, connection))


def held(house: BitcoinHouse, door: Door, *paths: str) -> int:
    """What blocks have left under accounts."""
    scripts = {house.script(door.running, path) for path in paths}
    return sum(one.amount for one in house.core.core.unspent.values() if one.script in scripts)


async def test_coins_of_many_addresses_go_in_one_transaction_the_largest_first(
    house: BitcoinHouse, tmp_path: Path
) -> None:
    async with opened(house) as door:
        for number, path in enumerate(PATHS):
            house.core.core.mine(1, house.script(door.running, path), amount=COIN // 10 * (number + 1))
        house.core.core.mine(COINBASE_MATURITY)
        sweeper = sweeping(door, tmp_path)
        await sweeper.swept(house)
        first = held(house, door, "m/1/0")
        jobs = [len(job.signings) for job in door.running.parts.sequencer.state.jobs.values()]
        await sweeper.swept(house)
        await sweeper.swept(house)

        total, left = 21 * COIN // 10, held(house, door, *PATHS)
        assert (first, jobs) == (18 * COIN // 10 - FEE_CEILING, [4])
        assert total - 2 * FEE_CEILING < held(house, door, "m/1/0") + left < total
        assert 0 < left < FEE_CEILING  # the change of the last one: what its fee did not take
        assert await sweeper.look() == []
