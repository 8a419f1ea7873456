"""Cold Bitcoin on real machines with tokens: one ceremony spends several coins, by either kind of key."""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cli.demo.chains.bitcoin.core import COINBASE_MATURITY
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.ceremonies import Stage
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.chain import BitcoinChain, Rates
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import script_of
from custody.ports import Chain
from custody.requests import State
from policy.accounts import account_at
from policy.encoding import Json, canonical, statement
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.bitcoin_house import CHAIN, COIN, FEE_CEILING, PATHS, PAYEE, fresh_core
from tests.e2e.cluster import now_ms, scratch_folder
from tests.e2e.cold_room import COLD, cold_policy
from tests.e2e.deployment import ORIGIN
from tests.e2e.test_cold_custody import TWO, ColdHouse, held
from tests.unit.custody_house import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SUITES = {"cold-taproot": FROST_TAPROOT, "cold-hash": DKLS23_SECP256K1}


def policy() -> dict[str, Any]:
    """The tests' policy with a cold wallet of each kind of output."""
    made = cold_policy()
    made["chains"][CHAIN] = {"native": "btc", "fee_ceiling": str(FEE_CEILING)}
    made["assets"]["btc"] = {"kind": "native", "chain": CHAIN, "decimals": 8}
    made["rules"].append({"name": "btc", "when": {"assets": ["btc"]}, "then": {"outcome": "allow"}})
    for name, suite in SUITES.items():
        made["keys"][name] = {"suite": suite, "min_signers": 2, "participants": list(COLD)}
        made["wallets"][name] = {"tier": "cold", "key": name, "chain": CHAIN, "paths": [*PATHS]}
    return made


class ColdBitcoin(ColdHouse):
    """The cluster with a chain that Core's own code validates."""

    core: CoreRpc

    def chains(self) -> Mapping[str, Chain]:
        nodes = BitcoinNodes(CHAIN, {"core": BitcoinRpc(CHAIN, self.core.url)})
        return {CHAIN: BitcoinChain(nodes, Rates())}


@pytest.fixture
def house() -> Iterator[ColdBitcoin]:
    folder = scratch_folder()
    made = ColdBitcoin(folder, policy())
    try:
        with CoreRpc(fresh_core()) as made.core:
            yield made
    finally:
        made.room.kill_all()
        made.cluster.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


async def asked(house: ColdBitcoin, running: Running, wallet: str, amount: int) -> bytes:
    """A request that awaits its ceremony."""
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "initiator": "payments",
        "chain": CHAIN,
        "wallet": wallet,
        "asset": "btc",
        "amount": str(amount),
        "destination": PAYEE,
        "fee_ceiling": str(FEE_CEILING),
        "idempotency_key": secrets.token_hex(8),
        "created_ms": now_ms(),
        "expires_ms": now_ms() + 3_600_000,
    }
    signature = house.cluster.backend.sign(statement("request", body))
    record = await running.service.submit(canonical(body), signature)
    await running.until(record.request, State.AWAITING_CEREMONY)
    return record.request


async def test_several_coins_are_spent_in_one_ceremony_by_either_kind_of_key(house: ColdBitcoin) -> None:
    house.connect()
    async with house.running() as running:
        for wallet in SUITES:
            house.room.start(*COLD)
            assert (await held(house, running, COLD, key=wallet))["stage"] == Stage.DONE
            house.room.kill_all()
            key = running.parts.sequencer.state.keys[wallet]
            for path in PATHS:
                script = script_of(CHAIN, account_at(key, path, chain=CHAIN).address)
                house.core.core.mine(1, script, amount=COIN // 5)
            house.core.core.mine(COINBASE_MATURITY)
            request = await asked(house, running, wallet, COIN // 2)
            house.room.start(*TWO)
            report = await held(house, running, TWO, request=request)
            house.room.kill_all()
            assert report["stage"] == Stage.DONE, report
            await running.until(request, State.BROADCAST)
            house.core.core.mine()
            settled = await running.until(request, State.SETTLED)

            mined = house.core.core.transaction(settled.tx_hash.hex())
            assert len(mined.vin) == len(PATHS) and COIN // 2 in [one.value for one in mined.vout]
    await house.close()
