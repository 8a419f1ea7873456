"""Deposits of tokens on a real chain: gas from the tank, then sweeps, to the unit; by the docs' policy."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.connection import Connection
from cli.demo.chain import DemoChain
from cli.policies.reading import read_policy
from cli.sweeps.assignment import FILE, load_assignment
from custody.chains.evm.rpc import EvmRpc
from custody.rebalancing.main import Backend
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Move
from custody.sweeping.main import plan, run
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.intent import Intent, Request
from tests.fixtures_anvil import Anvil
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, ORIGIN, identity, public, roster_document
from tests.unit.custody_house import House
from tests.unit.test_custody_api import Door, opened

pytest_plugins = ("tests.fixtures_anvil",)

EXAMPLE = Path(__file__).parents[2] / "docs/examples/sweeping.yaml"
TOKEN = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
"""Where anvil's first account puts its first contract."""
FEE, GIVEN = ETHER // 1000, 2 * ETHER // 1000
TASKS = """
settle_s = 0
pause_s = 1
[sweeps.usdc]
wallet = "deposits"
to = "hot"
minimum = "20 usdc"
fee = "0.001 eth"
[sweeps.eth]
wallet = "deposits"
to = "hot"
minimum = "0.05 eth"
fee = "0.001 eth"
[gas.eth]
wallet = "gas"
accounts = ["deposits", "hot"]
fee = "0.001 eth"
low = "0.05 eth"
"""


def policy() -> dict[str, Any]:
    """The example's policy on the test's chain, whose dealer makes one key: wallets differ by their paths."""
    text = canonical(read_policy(EXAMPLE).body).decode()
    text = text.replace('"treasury"', '"desk"').replace("evm:1", ANVIL_CHAIN)
    text = text.replace("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", TOKEN)
    found: dict[str, Any] = json.loads(text)
    for number, wallet in enumerate(found["wallets"].values()):
        wallet["key"] = "hot"
        wallet["paths"] = [f"m/{number}/{index}" for index in range(len(wallet["paths"]))]
    shared = {"keys": {"hot": found["keys"]["hot"]}}
    return {name: one for name, one in found.items() if name not in ("tiers", "holdings")} | shared


@dataclass
class Scene:
    """A deployment with its chain, and the sweeper's folder."""

    door: Door
    chain: DemoChain
    folder: Path

    @property
    def backend(self) -> Backend:
        return Backend(self.folder, "sweeper", self.door.endpoint, identity("sweeper"))

    def address(self, wallet: str, path: str = "") -> str:
        account, _, _ = self.door.running.service.address(wallet, path)
        return str(account.address)

    def token(self, wallet: str, path: str = "") -> int:
        return self.chain.token_balance(TOKEN, self.address(wallet, path))

    async def look(self, *, wait: bool = True) -> list[Move]:
        """One run of the program; what it asked for is over then, unless nobody is to wait."""
        found: list[Move] = []
        document: Any = policy()
        connection = Connection(ORIGIN, "", b"", parse_policy(document), b"")
        assignment = load_assignment(self.folder, connection)
        await asyncio.to_thread(lambda: run(self.backend, assignment, once=True, told=found.extend))
        for move in found if wait else []:
            if move.stage in (Stage.ASKED, Stage.MOVING):
                await self.door.running.until(move.request, "settled", "denied", "expired")
        return found

    async def looks(self, count: int) -> None:
        for _ in range(count):
            await self.look()


@pytest.fixture
async def house(tmp_path: Path, anvil: Anvil) -> AsyncIterator[House]:
    initiators: Json = [
        {"name": name, "key": public(name).hex(), "people": [], "groups": [name]}
        for name in ("shop", "sweeper")
    ]
    roster = roster_document(initiators=initiators)
    found = House(tmp_path, policy=policy(), roster=roster)
    found.chain = chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    yield found
    await chain.close()


@pytest.fixture
async def scene(house: House, anvil: Anvil) -> AsyncIterator[Scene]:
    async with deposited(house, anvil) as found:
        yield found


@contextlib.asynccontextmanager
async def deposited(house: House, anvil: Anvil) -> AsyncIterator[Scene]:
    """Five deposits of 100 tokens, a funded tank, and no ether anywhere else."""
    async with opened(house) as door:
        folder = house.folder / "sweeper"
        folder.mkdir()
        (folder / FILE).write_text(TASKS)
        chain = DemoChain(int(anvil.url.rpartition(":")[2]))
        assert await asyncio.to_thread(chain.deploy_token) == TOKEN
        found = Scene(door, chain, folder)
        await asyncio.to_thread(_fund, found)
        yield found


def _fund(scene: Scene) -> None:
    scene.chain.pay(scene.address("gas"), ETHER)
    for number in range(5):
        scene.chain.pay_token(TOKEN, scene.address("deposits", f"m/0/{number}"), amount=100_000_000)


async def test_tokens_without_gas_end_in_the_hot_wallet_to_the_last_unit(scene: Scene) -> None:
    first = await scene.look()
    second = await scene.look()
    third = await scene.look()

    assert {move.direction.value for move in first} == {"top-up"} and len(first) == 5
    assert scene.token("hot") == 500_000_000
    assert [scene.token("deposits", f"m/0/{number}") for number in range(5)] == [0] * 5
    assert len(await _requests(scene)) == 10 + 1, (second, third)  # the hot wallet has tokens now: its gas
    spent = ETHER - scene.chain.balance(scene.address("gas"))
    assert 6 * GIVEN < spent < 6 * (GIVEN + FEE)


async def test_a_native_deposit_is_swept_less_what_it_may_cost(scene: Scene) -> None:
    account = scene.address("deposits", "m/0/5")
    await asyncio.to_thread(scene.chain.pay, account, ETHER)
    await scene.look()

    assert scene.chain.balance(account) < FEE
    assert scene.chain.balance(scene.address("hot")) >= ETHER - FEE


async def test_stuck_transactions_lost_records_and_a_new_coordinator_pay_nothing_twice(
    house: House, anvil: Anvil
) -> None:
    async with deposited(house, anvil) as scene:
        await asyncio.to_thread(scene.chain.call, "evm_setAutomine", False)
        await scene.look(wait=False)
        (scene.folder / "sweeper.db").unlink()
        await scene.look(wait=False)
        stuck = await _requests(scene)
    async with opened(house) as door:
        scene.door = door
        await scene.look(wait=False)
        assert await _requests(scene) == stuck
        await asyncio.to_thread(scene.chain.call, "evm_setAutomine", True)
        await asyncio.to_thread(scene.chain.call, "evm_mine")
        await scene.look()
        await scene.looks(3)

        assert (len(stuck), scene.token("hot")) == (5, 500_000_000)
        assert len(await _requests(scene)) == 11


async def test_what_is_planned_is_not_asked_for(scene: Scene) -> None:
    document: Any = policy()
    assignment = load_assignment(scene.folder, Connection(ORIGIN, "", b"", parse_policy(document), b""))
    decision = await asyncio.to_thread(plan, scene.backend, assignment)

    assert len(decision.wishes) == 5
    assert not await _requests(scene)


async def test_nodes_give_no_more_gas_than_the_policy_says_whatever_the_program_asks(scene: Scene) -> None:
    """The sweeper's key in other hands: bigger amounts, the same address again, strangers, other accounts."""
    account, other = (scene.address("deposits", f"m/0/{number}") for number in (0, 1))
    asked = {
        "stranger": intent_of("gas", "eth", 10**15, "0x" + "99" * 20),
        "greedy": intent_of("gas", "eth", 5 * 10**15, account),
        "to-shop": intent_of("deposits", "usdc", 100_000_000, "0x" + "99" * 20, source="m/0/0"),
        **{f"again-{number}": intent_of("gas", "eth", 4 * 10**15, account) for number in range(6)},
        "other": intent_of("gas", "eth", 4 * 10**15, other),
    }
    states = {name: await _asked(scene, name, intent) for name, intent in asked.items()}

    assert states.pop("other") == "settled"
    assert [states[name] for name in ("stranger", "greedy", "to-shop")] == ["denied"] * 3
    given = [states[f"again-{number}"] for number in range(6)]
    assert given == ["settled"] * 4 + ["denied"] * 2
    assert scene.chain.balance(account) == 4 * 4 * 10**15


def intent_of(wallet: str, asset: str, amount: int, to: str, *, source: str | None = None) -> Intent:
    return Intent(ANVIL_CHAIN, wallet, asset, amount, to, source=source)


async def _asked(scene: Scene, name: str, intent: Intent) -> str:
    now_ms = scene.door.house.now_ms()
    request = Request(ORIGIN, "sweeper", intent, FEE, name, now_ms, now_ms + 600_000)
    view = await scene.door.ask("sweeper", lambda client: client.submit(request))
    return (await scene.door.running.until(view.request, "settled", "denied")).state.value


async def _requests(scene: Scene) -> list[bytes]:
    found = await scene.door.ask("sweeper", lambda client: client.requests(limit=100))
    return [one.request for one in found]
