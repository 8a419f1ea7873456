"""A sweeper on a real deployment: real nodes and chain, and the sweeper is killed again and again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import CHAIN, ETHER
from cli.demo.supervisor import Supervisor
from policy.encoding import Json
from tests.e2e.cluster import scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROGRAM = Path(sys.executable).parent / "quorumkeep"
HOT, DEPOSITS, GAS = "hot", "deposits", "gas"
ME = names.REBALANCER
COUNT, EACH = 5, 100 * 10**names.TOKEN_DECIMALS
ASSIGNMENT = """
every_s = 1
settle_s = 1
pause_s = 1

[sweeps.exd]
wallet = "deposits"
to = "hot"
minimum = "20 exd"
fee = "0.001 eth"

[gas.eth]
wallet = "gas"
accounts = ["deposits"]
fee = "0.001 eth"
"""


def policy(token: str) -> dict[str, Json]:
    """The demo's policy with three wallets of one key, of which the sweeper may move between."""
    demo = names.demo_policy(token)
    key: Json = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(names.NODES)}
    allow: Json = {"outcome": "allow"}

    def wallet(name: str, first: int, count: int) -> Json:
        return {
            "tier": name,
            "key": HOT,
            "chain": CHAIN,
            "paths": [f"m/{first}/{one}" for one in range(count)],
        }

    def when(name: str, *tiers: str) -> Json:
        return {"initiators": [ME], "kinds": ["tier_move"], "wallets": [name], "destination_tiers": [*tiers]}

    return {
        **{name: one for name, one in demo.items() if name not in ("tiers", "holdings")},
        "keys": {HOT: key},
        "wallets": {HOT: wallet(HOT, 0, 1), DEPOSITS: wallet(DEPOSITS, 1, COUNT), GAS: wallet(GAS, 2, 1)},
        "forbids": [{"name": "pays-nobody", "when": {"initiators": [ME], "kinds": ["transfer"]}}],
        "lists": {},
        "rules": [
            {"name": "collect", "when": when(DEPOSITS, HOT), "then": allow},
            {"name": "gas", "when": when(GAS, DEPOSITS), "then": allow},
        ],
        "limits": [],
    }


@dataclass
class Shop:
    """A deployment with deposit accounts."""

    deployment: scenario.Deployment
    token: str

    def address(self, wallet: str, path: str = "") -> str:
        where = ("--path", path) if path else ()
        return str(self.deployment.ask(names.PAYMENTS, "address", wallet, *where)["address"])

    def tokens(self, *accounts: str) -> int:
        return sum(self.deployment.chain.token_balance(self.token, one) for one in accounts)

    def command(self, *arguments: str) -> list[str]:
        client = str(self.deployment.folder / "client.json")
        me = str(self.deployment.person_folder(ME))
        return [str(PROGRAM), "sweep", *arguments, "--as", me, "--client", client]

    def sweep(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = subprocess.run(
            self.command(*arguments, "--json"), capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == code, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found


@pytest.fixture
def shop() -> Iterator[Shop]:
    folder, tokens = scratch_folder(), list[str]()

    def remembered(token: str) -> dict[str, Json]:
        tokens.append(token)
        return policy(token)

    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=lambda _: None)
            scenario.set_up(deployment, remembered)
            deployment.ask(names.ADMINISTRATORS[0], "key", "create", HOT)
            (deployment.person_folder(ME) / "sweep.toml").write_text(ASSIGNMENT)
            yield Shop(deployment, tokens[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_deposits_reach_the_hot_wallet_once_though_the_sweeper_is_killed_again_and_again(shop: Shop) -> None:
    chain, hot = shop.deployment.chain, shop.address(HOT)
    accounts = [shop.address(DEPOSITS, f"m/1/{number}") for number in range(COUNT)]
    chain.pay(shop.address(GAS), ETHER)
    for account in accounts:
        chain.pay_token(shop.token, account, amount=EACH)
    planned = shop.sweep("run", "--plan")

    deadline = time.monotonic() + 120
    for pause_s in (1.2, 1.6, 2.0, 2.6, 3.2):
        running = subprocess.Popen(shop.command("run"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(pause_s)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    while shop.tokens(hot) < COUNT * EACH and time.monotonic() < deadline:
        shop.sweep("run", "--once")
        time.sleep(1)
    shop.sweep("run", "--once")
    moves = shop.sweep("list", "--limit", "100")["moves"]

    assert len(planned["moves"]) == COUNT and not planned["tanks"][0]["low"]
    assert (shop.tokens(hot), shop.tokens(*accounts)) == (COUNT * EACH, 0)
    assert sorted((one["kind"], one["stage"]) for one in moves) == sorted(
        [("top-up", "arrived")] * COUNT + [("sweep", "arrived")] * COUNT
    )
    assert [chain.sent_by(account) for account in accounts] == [1] * COUNT
