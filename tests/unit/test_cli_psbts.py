"""PSBTs and coins made one from the command line, against a coordinator whose door is open."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from embit.psbt import PSBT

from cli.connection import client_document
from cli.demo.chains.bitcoin.core import BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.files import write_document
from cli.identities import load_identity
from cli.main import invoke
from cli.results import DONE, Result
from custody.chains.bitcoin.transaction import script_of
from custody.client import CallRefused
from policy.encoding import Json
from tests.chains.bitcoin_house import CHAIN, COIN, PAYEE, BitcoinHouse, bitcoin_policy, fresh_core
from tests.unit.custody_cluster import KEY, WALLET, genesis_entry, roster_document
from tests.unit.custody_house import Running
from tests.unit.test_custody_api import opened
from tests.unit.test_custody_bitcoin import paid
from tests.unit.test_custody_psbts import FEE, psbt

OTHER = "other"


@dataclass
class Desk:
    """A backend at its command line, and the house that answers."""

    folder: Path
    house: BitcoinHouse
    running: Running

    @property
    def core(self) -> BitcoinCore:
        return self.house.core.core

    async def run(self, *arguments: str) -> Result:
        """One command, to its end."""
        who = ("--as", str(self.folder / "shop"), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, *arguments, *who)

    async def settled(self, request: str) -> None:
        """Mine until a request is settled."""
        await self.running.until(bytes.fromhex(request), "broadcast")
        self.core.mine()
        await self.running.until(bytes.fromhex(request), "settled")

    def coins(self, *paths: str) -> list[tuple[str, int]]:
        scripts = [self.house.script(self.running, path) for path in paths]
        return [place for place, one in self.core.unspent.items() if one.script in scripts]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    policy = bitcoin_policy()
    policy["wallets"] = {
        name: {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": list[Json](paths)}
        for name, paths in ((WALLET, ("m/0/0", "m/0/1")), (OTHER, ("m/1/0",)))
    }
    await asyncio.to_thread(invoke, "identity", "create", "backend", "shop", "--dir", str(tmp_path / "shop"))
    key = load_identity(tmp_path / "shop").card.key.hex()
    with CoreRpc(fresh_core()) as core:
        house = BitcoinHouse(tmp_path, core)
        initiators: list[Json] = [{"name": "shop", "key": key, "people": []}]
        house.genesis = genesis_entry(policy, roster=roster_document(initiators=initiators))
        async with opened(house) as door:
            deployment = {"origin": door.endpoint.origin, "address": door.endpoint.address}
            document = client_document(deployment, door.endpoint.certificate_pem, policy=policy)
            write_document(tmp_path / "client.json", document)
            yield Desk(tmp_path, house, door.running)


async def test_a_file_of_another_wallet_is_paid_by_and_exported_finished(desk: Desk) -> None:
    desk.house.fund(desk.running, "m/0/0", "m/0/1", amount=COIN)
    file, out = desk.folder / "theirs.psbt", desk.folder / "ours.psbt"
    chosen = desk.coins("m/0/1")
    file.write_bytes(base64.b64encode(psbt(chosen, (COIN - FEE, script_of(CHAIN, PAYEE)))))
    order = ("--wallet", WALLET, "--asset", "btc", "--to", PAYEE, "--idempotency-key", "one")
    with pytest.raises(CallRefused, match=r"psbt-refused.*pays 1 satoshi to the request's destination"):
        await desk.run("request", "send", *order[:-1], "wrong", "--amount", "1", "--psbt", str(file))
    sent = await desk.run("request", "send", *order, "--amount", str(COIN - FEE), "--psbt", str(file))
    await desk.settled(sent.document["request"])
    shown = await desk.run("request", "psbt", sent.document["request"], "--version", "2", "--out", str(out))

    theirs = PSBT.parse(out.read_bytes())
    assert [(one.txid.hex(), one.vout) for one in theirs.inputs] == chosen
    assert shown.document["signed"] and theirs.inputs[0].final_scriptwitness is not None
    assert paid(desk.core) == [COIN - FEE]


async def test_coins_become_one_by_one_command_and_once(desk: Desk) -> None:
    desk.house.fund(desk.running, "m/0/0", "m/0/1", "m/0/1", amount=COIN // 4)
    order = ("request", "consolidate", "--wallet", WALLET, "--idempotency-key", "tidy")
    first = await desk.run(*order)
    again = await desk.run(*order)
    await desk.settled(first.document["request"])

    assert first.document["request"] == again.document["request"]
    assert (first.document["coins"], first.document["left"]) == (3, 0)
    assert len(desk.coins("m/0/0", "m/0/1")) == 1


async def test_a_wallet_is_emptied_in_as_many_requests_as_it_takes(desk: Desk) -> None:
    desk.house.fund(desk.running, *["m/0/0"] * 3, *["m/0/1"] * 3, amount=COIN // 10)
    swept = await desk.run(
        "request", "sweep", "--wallet", WALLET, "--to-wallet", OTHER, "--idempotency-key", "all"
    )
    for one in swept.document["requests"]:
        await desk.settled(one["request"])

    assert swept.code == DONE and [one["coins"] for one in swept.document["requests"]] == [4, 2]
    assert not desk.coins("m/0/0", "m/0/1")
    fees = sum(int(one["fee"]) for one in swept.document["requests"])
    held = [
        one.amount
        for one in desk.core.unspent.values()
        if one.script == desk.house.script(desk.running, "m/1/0")
    ]
    assert sum(held) + fees == 6 * COIN // 10
