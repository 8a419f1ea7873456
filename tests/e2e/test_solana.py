"""Solana on a real deployment: real nodes with tokens, the coordinator as its configuration starts it."""

import json
import shutil
from collections.abc import Iterator

import pytest
from solders.keypair import Keypair

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from cli.demo.supervisor import Supervisor
from cli.main import invoke
from policy.base58 import decode
from policy.suites import FROST_ED25519
from tests.chains.solana_house import CHAIN, MONEY, PAYEE_KEY, SOL
from tests.e2e.bank import ChainBank, open_policy
from tests.e2e.cluster import scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WALLET = "sol-key"
PAYER = Keypair.from_seed(b"\x07" * 32)
CONFIG = """
[chains."{chain}"]
url = "{url}"
nonce_accounts = {accounts}
poll_ms = 200
"""


class Bank(ChainBank):
    """The deployment and its cluster."""

    def __init__(self, deployment: scenario.Deployment, rpc: ClusterRpc) -> None:
        super().__init__(deployment, MONEY)
        self.rpc = rpc
        self.cluster = rpc.cluster

    def mine(self, count: int) -> bool:
        """Slots with all that waits; always true."""
        with self.rpc.turn:
            self.cluster.mine(count)
        return True

    def make_nonces(self) -> list[str]:
        """Nonce accounts of the wallet, by the command line and somebody else's key."""
        file = self.deployment.folder / "payer.json"
        file.write_text(json.dumps(list(bytes(PAYER))))
        address = str(self.deployment.ask(names.PAYMENTS, "address", WALLET)["address"])
        self.cluster.give(bytes(PAYER.pubkey()), SOL)
        self.cluster.give(decode(address), 10 * SOL)
        self.rpc.lies["sendTransaction"] = lambda found: self.mine(2) and found
        options = ("--chain", CHAIN, "--rpc", self.rpc.url, "--payer", str(file), "--count", "2")
        made = invoke("solana-nonce", address, *options).document
        self.rpc.lies.clear()
        self.mine(3)
        return list(made["nonce_accounts"])


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    folder = scratch_folder()
    try:
        with ClusterRpc(SolanaCluster()) as rpc, Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=lambda _: None)
            scenario.lay_out(deployment, lambda _: open_policy(MONEY, {WALLET: FROST_ED25519}, ("m",)))
            scenario.start_all(deployment)
            scenario.make_key(deployment, WALLET)
            bank = Bank(deployment, rpc)
            accounts = json.dumps(bank.make_nonces())
            with (deployment.folder / "coordinator" / "config.toml").open("a") as config:
                config.write(CONFIG.format(chain=CHAIN, url=rpc.url, accounts=accounts))
            restart(bank)
            yield bank
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def restart(bank: Bank) -> None:
    supervisor = bank.deployment.supervisor
    supervisor.kill(scenario.COORDINATOR_NAME)
    supervisor.revive(scenario.COORDINATOR_NAME)
    scenario.wait_live(bank.deployment, scenario.COSIGNERS)


def test_a_payment_settles_once_though_the_coordinator_is_killed_and_its_slot_goes_away(
    bank: Bank,
) -> None:
    request = bank.send(WALLET, "1.25")
    bank.until(lambda: len(bank.cluster.waiting) == 1)
    bank.deployment.supervisor.kill(scenario.COORDINATOR_NAME)
    bank.mine(200)  # no blockhash lasts as long
    with bank.rpc.turn:
        bank.cluster.reorganise(200, forget=True)
    bank.deployment.supervisor.revive(scenario.COORDINATOR_NAME)
    scenario.wait_live(bank.deployment, scenario.COSIGNERS)
    bank.until(lambda: len(bank.cluster.waiting) == 1)
    bank.mine(1)
    early = bank.show(request)["state"]
    bank.mine(2)
    bank.wait(request, "settled")

    assert early in ("signed", "broadcast")
    assert bank.cluster.transfers(PAYEE_KEY) == [SOL * 5 // 4]


def test_each_request_has_a_nonce_of_its_own(bank: Bank) -> None:
    before = bank.cluster.transfers(PAYEE_KEY)
    requests = [bank.send(WALLET, amount) for amount in ("0.25", "0.5", "0.75")]
    paid = len(before) + len(requests)
    bank.until(lambda: bank.mine(1) and len(bank.cluster.transfers(PAYEE_KEY)) == paid)
    bank.mine(3)
    for request in requests:
        bank.wait(request, "settled")

    assert sorted(bank.cluster.transfers(PAYEE_KEY)[len(before) :]) == [SOL // 4, SOL // 2, SOL * 3 // 4]
