"""Bitcoin on a real deployment: real nodes with tokens, the coordinator as its configuration starts it."""

import shutil
from collections.abc import Iterator

import pytest
from embit.psbt import PSBT

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chains.bitcoin.core import COINBASE_MATURITY, BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.supervisor import Supervisor
from custody.chains.bitcoin.transaction import script_of
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.bitcoin_house import CHAIN, COIN, MONEY, PATHS, PAYEE, fresh_core
from tests.e2e.bank import ChainBank, open_policy
from tests.e2e.cluster import scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SUITES = {"key-hash": DKLS23_SECP256K1, "taproot": FROST_TAPROOT}
CONFIG = """
[chains."{chain}"]
url = "{url}"
credentials = "../cookie"
confirmations = 2
poll_ms = 200
coins_max = 8
"""


class Bank(ChainBank):
    """The deployment and its chain."""

    def __init__(self, deployment: scenario.Deployment, core: BitcoinCore) -> None:
        super().__init__(deployment, MONEY)
        self.core = core

    def fund(self, wallet: str, amount: int) -> None:
        """A mature coin under each of a wallet's addresses."""
        for path in PATHS:
            found = self.deployment.ask(names.PAYMENTS, "address", wallet, "--path", path)
            self.core.mine(1, script_of(CHAIN, str(found["address"])), amount=amount)
        self.core.mine(COINBASE_MATURITY)

    def paid(self) -> list[int]:
        script = script_of(CHAIN, PAYEE)
        return sorted(one.amount for one in self.core.unspent.values() if one.script == script)


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    folder = scratch_folder()
    try:
        with CoreRpc(fresh_core(), credentials="__cookie__:word") as rpc, Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=lambda _: None)
            scenario.lay_out(deployment, lambda _: open_policy(MONEY, SUITES, tuple(PATHS)))
            (deployment.folder / "cookie").write_text("__cookie__:word")
            with (deployment.folder / "coordinator" / "config.toml").open("a") as config:
                config.write(CONFIG.format(chain=CHAIN, url=rpc.url))
            scenario.start_all(deployment)
            for key in SUITES:
                scenario.make_key(deployment, key)
            yield Bank(deployment, rpc.core)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("wallet", SUITES)
def test_a_payment_of_several_coins_settles_though_the_coordinator_is_killed(bank: Bank, wallet: str) -> None:
    before = bank.paid()
    bank.fund(wallet, COIN // 2)
    request = bank.send(wallet, "1.25")
    bank.until(lambda: len(bank.core.mempool) == 1)
    bank.deployment.supervisor.kill(scenario.COORDINATOR_NAME)
    bank.core.mine(1)
    bank.core.reorganise(1)
    bank.core.mine(1)
    bank.deployment.supervisor.revive(scenario.COORDINATOR_NAME)
    scenario.wait_live(bank.deployment, scenario.COSIGNERS)
    early = bank.show(request)["state"]
    bank.core.mine(1)

    bank.wait(request, "settled")

    assert early in ("signed", "broadcast")
    assert bank.paid() == sorted([*before, COIN * 5 // 4])


@pytest.mark.parametrize("wallet", SUITES)
def test_coins_become_one_and_the_transaction_is_there_for_other_wallets(bank: Bank, wallet: str) -> None:
    bank.fund(wallet, COIN // 10)
    tidy = bank.deployment.ask(
        names.PAYMENTS,
        *(
            "request",
            "consolidate",
            "--wallet",
            wallet,
            "--coins-max",
            "3",
            "--idempotency-key",
            f"tidy {wallet}",
        ),
    )
    bank.until(lambda: len(bank.core.mempool) == 1)
    bank.core.mine(2)
    settled = bank.wait(str(tidy["request"]), "settled")
    shown = bank.deployment.ask(names.OPERATORS[0], "request", "psbt", str(tidy["request"]), "--version", "2")

    theirs = PSBT.from_string(str(shown["psbt"]))
    assert theirs.tx.txid().hex() == settled["tx_hash"] and len(theirs.inputs) == 3
    assert [one.value for one in theirs.tx.vout] == [3 * COIN // 10 - int(tidy["fee"])]
