"""A rebalancer on a real deployment: real nodes and chain, the rebalancer and its commands as processes.

Deposits fill the hot wallet and are swept; payments drain it, a top-up is proposed and arrives once people
approve it; a run trips the breaker, which holds what is above its quota until a person lets it go.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import CHAIN, ETHER
from cli.demo.supervisor import Supervisor
from custody.rebalancer.flows import DAY_MS, HOUR_MS
from custody.rebalancing.main import open_records
from custody.rebalancing.records import Movement
from policy.encoding import Json
from tests.e2e.cluster import scratch_folder
from tests.waiting import seen

pytestmark = pytest.mark.timeout(300)
PROGRAM = Path(sys.executable).parent / "quorumkeep"
HOT, VAULT = "hot", "vault"
MOVER = names.REBALANCER
CUSTOMERS: dict[str, Json] = {"kinds": ["transfer"], "destinations": ["customers"]}
DESK_PAYS: dict[str, Json] = {"tiers": [HOT], "kinds": ["transfer"], "initiators": [names.DESK]}
POISONED = names.CUSTOMER[:8] + "0" * 28 + names.CUSTOMER[-6:]
"""Begins and ends as the customer's, and is somebody else's."""
WATCHING = """
exchange = "../exchange"

[screening]
file = "sanctions.json"
"""
ASSIGNMENT = """
every_s = 0.2
refused_pause_s = 0

[routes.eth]
wallet = "hot"
source = "vault"
price = 2500.0
"""


def two_tiers(token: str) -> dict[str, Json]:
    """Hot pays by itself; the vault's funds go to hot with two approvals; sweeps go by themselves."""
    demo = names.demo_policy(token)
    wallet: dict[str, Json] = {"chain": CHAIN, "paths": ["m/0/0"]}
    key: Json = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(names.NODES)}
    band: dict[str, Json] = {
        "target_min": {"amounts": {"eth": str(2 * ETHER)}},
        "target_max": {"amounts": {"eth": str(10 * ETHER)}},
    }
    return {
        **demo,
        "keys": {HOT: key, VAULT: key},
        "wallets": {
            HOT: {"tier": HOT, "key": HOT, **wallet},
            VAULT: {"tier": VAULT, "key": VAULT, **wallet},
        },
        "tiers": [{"name": HOT, "role": "hot", **band}, {"name": VAULT, "role": "warm"}],
        "holdings": {"max_age_ms": HOUR_MS},
        "forbids": [{"name": "mover-moves", "when": {"initiators": [MOVER], "kinds": ["transfer"]}}],
        "rules": [
            _rule("to-safety", {"kinds": ["tier_move"], "exposure": ["lowers"]}, {"outcome": "allow"}),
            _rule("refill", {"kinds": ["tier_move"], "exposure": ["raises"]}, _approvals(2)),
            _rule("desk", {**DESK_PAYS, "risk_max": 49}, {"outcome": "allow"}),
            _rule("desk-odd", DESK_PAYS, _approvals(1)),
            _rule("pay", {"tiers": [HOT], "assets": ["eth"], **CUSTOMERS}, {"outcome": "allow"}),
        ],
        "limits": [],
    }


def _rule(name: str, when: Json, then: Json) -> Json:
    return {"name": name, "when": when, "then": then}


def _approvals(count: int) -> Json:
    return {"outcome": "approve", "approvals": [{"group": names.GROUP, "count": count}]}


@dataclass
class Bank:
    """A deployment with two tiers."""

    deployment: scenario.Deployment

    def address(self, wallet: str) -> str:
        return str(self.deployment.ask(names.PAYMENTS, "address", wallet)["address"])

    def holds(self, wallet: str) -> float:
        return self.deployment.chain.balance(self.address(wallet)) / ETHER

    def rebalance(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = subprocess.run(
            self.command(*arguments, "--json"), capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == code, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    def command(self, *arguments: str) -> list[str]:
        client = str(self.deployment.folder / "client.json")
        me = str(self.deployment.person_folder(MOVER))
        return [str(PROGRAM), "rebalance", *arguments, "--as", me, "--client", client]

    def look(self) -> dict[str, str]:
        """One look; the stage of each move that changed, by its direction."""
        moves = self.rebalance("run", "--once")["moves"]
        return {move["direction"]: move["stage"] for move in moves}

    def reported(self) -> dict[str, Any]:
        """What the coordinator keeps of what the rebalancer says."""
        database = self.deployment.folder / "coordinator" / "data" / "custody.db"
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            (body,) = db.execute("SELECT body FROM reports WHERE initiator = ?", (MOVER,)).fetchone()
        found: dict[str, Any] = json.loads(body)
        return found

    def look_until(self, direction: str, stage: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while self.look().get(direction) != stage:
            shown = self.rebalance("proposals")["proposals"][0]
            if (shown["direction"], shown["stage"]) == (direction, stage):
                return
            assert time.monotonic() < deadline, shown
            time.sleep(0.3)

    def pay(self, ether: float, key: str) -> None:
        sent = self.deployment.ask(
            names.PAYMENTS,
            *("request", "send", "--wallet", HOT, "--asset", "eth", "--to", names.CUSTOMER),
            *("--amount", f"{ether} eth", "--idempotency-key", key, "--wait", "60"),
        )
        assert sent["state"] == "settled", sent

    def ask_for(self, to: str, key: str) -> str:
        """A small payment that the desk asks for."""
        sent = self.deployment.ask(
            names.DESK,
            *("request", "send", "--wallet", HOT, "--asset", "eth", "--amount", "0.01 eth", "--to", to),
            *("--idempotency-key", key),
        )
        return str(sent["request"])

    def shown(self, request: str, *states: str) -> dict[str, Any]:
        """A request, once it is in one of the states."""
        ask = partial(self.deployment.ask, "bob", "request", "show", request)
        return seen(ask, lambda shown: shown["state"] in states, every_s=0.2)

    def watch(self) -> list[dict[str, Any]]:
        """Each observer looks once; what the last one, who finds the others' word, handed in."""
        trust = str(self.deployment.folder / "trust.json")
        made: list[dict[str, Any]] = []
        for name in names.OBSERVERS:
            folder = self.deployment.person_folder(name)
            (folder / "../exchange").mkdir(exist_ok=True)
            (folder / "risk.toml").write_text(WATCHING)
            day = time.strftime("%Y-%m-%d", time.gmtime())
            screened = {"source": "a list", "as_of": day, "addresses": [names.STRANGER]}
            (folder / "sanctions.json").write_text(json.dumps(screened))
            made = self.deployment.ask(name, "risk", "run", "--once", "--trust", trust)["statements"]
        return made

    def approve(self, request: str) -> None:
        for person in ("bob", "carol"):
            self.deployment.ask(person, "approve", request, "--yes")


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    folder = scratch_folder()
    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=lambda _: None)
            scenario.set_up(deployment, two_tiers)
            for key in (HOT, VAULT):
                deployment.ask(names.ADMINISTRATORS[0], "key", "create", key)
            (deployment.person_folder(MOVER) / "rebalance.toml").write_text(ASSIGNMENT)
            made = Bank(deployment)
            deployment.chain.pay(made.address(VAULT), 100 * ETHER)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_deposits_are_swept_by_themselves(bank: Bank) -> None:
    bank.deployment.chain.pay(bank.address(HOT), 14 * ETHER)

    bank.look()
    bank.look_until("sweep", "arrived")

    assert bank.holds(VAULT) > 103
    assert bank.holds(HOT) < 10
    assert bank.look() == {}
    (route,) = bank.reported()["routes"]
    assert (route["moves"][0]["direction"], route["moves"][0]["stage"]) == ("sweep", "arrived")
    assert int(route["moments"][-1]["held"]) == pytest.approx(bank.holds(HOT) * ETHER, abs=ETHER // 1000)


def test_payments_lead_to_a_top_up_that_people_approve(bank: Bank) -> None:
    left = bank.holds(HOT) - 0.5
    bank.pay(round(left, 3), "drain")
    before = bank.holds(VAULT)

    assert bank.look()["top-up"] == "asked"
    (proposed,) = [one for one in bank.rebalance("proposals")["proposals"] if one["stage"] == "asked"]
    time.sleep(1)
    assert bank.look() == {}  # it waits for people, and is asked for once
    bank.approve(proposed["request"])
    bank.look_until("top-up", "arrived")

    assert bank.holds(HOT) > 2
    assert before - bank.holds(VAULT) == pytest.approx(int(proposed["amount"]) / ETHER, abs=0.01)
    assert bank.rebalance("show", proposed["proposal"])["reasons"]


def test_a_rebalancer_that_is_killed_while_it_runs_moves_once(bank: Bank) -> None:
    bank.deployment.chain.pay(bank.address(HOT), 20 * ETHER)
    sweeps = [one for one in bank.rebalance("proposals")["proposals"] if one["direction"] == "sweep"]
    deadline = time.monotonic() + 60

    for pause_s in (1.2, 1.6, 2.0, 2.6):
        running = subprocess.Popen(bank.command("run"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(pause_s)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    while bank.look() and time.monotonic() < deadline:
        time.sleep(0.3)
    bank.look_until("sweep", "arrived")

    after = [one for one in bank.rebalance("proposals")["proposals"] if one["direction"] == "sweep"]
    assert len(after) == len(sweeps) + 1
    assert bank.holds(HOT) < 10


def test_a_rebalancer_can_pay_nobody(bank: Bank) -> None:
    sent = bank.deployment.ask(
        MOVER,
        *("request", "send", "--wallet", HOT, "--asset", "eth", "--to", names.CUSTOMER),
        *("--amount", "0.1 eth", "--idempotency-key", "theft", "--wait", "30"),
    )

    assert (sent["state"], sent["rule"]) == ("denied", "mover-moves")


def test_a_poisoned_address_is_scored_by_observers_and_sent_to_people(bank: Bank) -> None:
    bank.deployment.chain.pay(bank.address(HOT), ETHER)
    usual, poisoned = bank.ask_for(names.CUSTOMER, "usual"), bank.ask_for(POISONED, "poisoned")
    waiting = bank.shown(usual, "waiting"), bank.shown(poisoned, "waiting")

    stated = {one["request"]: one for one in bank.watch()}

    assert {one["rule"] for one in waiting} == {"desk-odd"}  # nobody had stated a risk yet
    assert bank.shown(usual, "settled")["rule"] == "desk"
    assert bank.shown(poisoned, "waiting", "settled")["state"] == "waiting"
    assert stated[usual]["risk"] < 50 <= stated[poisoned]["risk"]
    explained = bank.deployment.ask(
        "bob", "risk", "explain", poisoned, "--trust", str(bank.deployment.folder / "trust.json")
    )
    assert "lookalike" in json.dumps(explained)
    bank.deployment.ask("bob", "approve", poisoned, "--yes")
    assert bank.shown(poisoned, "settled")["rule"] == "desk-odd"


def test_a_run_trips_the_breaker_and_a_top_up_above_its_quota_waits_for_a_person(bank: Bank) -> None:
    now_ms = time.time_ns() // 1_000_000
    quiet = [
        Movement(1_000_000 + day, day.to_bytes(32, "big"), now_ms - day * DAY_MS, HOT, "eth", ETHER // 5, "")
        for day in range(1, 40)
    ]
    with open_records(bank.deployment.person_folder(MOVER)) as book:
        book.add_movements(quiet, cursor=book.cursor())

    bank.pay(round(bank.holds(HOT) - 0.3, 3), "run")
    bank.look()
    status = bank.rebalance("status")
    (route,) = status["routes"]
    held = [one for one in bank.rebalance("proposals")["proposals"] if one["stage"] == "held"]
    asked = [one for one in bank.rebalance("proposals")["proposals"] if one["stage"] == "asked"]

    assert route["mode"] == "run" and route["alarm"] is not None
    assert "run" in [note["kind"] for note in status["notes"]]
    noted = bank.deployment.ask("bob", "rebalance", "notes")["notes"]
    assert any(one["by"] == MOVER and one["text"].startswith("run: ") for one in noted)
    assert all(int(one["amount"]) <= int(route["alarm"]["quota"]) for one in asked)
    assert held or asked
    if held:
        bank.rebalance("release", held[0]["proposal"])
        assert bank.look()["top-up"] == "asked"
    assert bank.rebalance("calm", "eth", "--reason", "it was us")["ended_ms"]
    bank.look()
    assert bank.rebalance("status")["routes"][0]["mode"] != "run"
