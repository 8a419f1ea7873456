"""A console of a deployment with tiers, and what its rebalancer says: made up, the same in every run."""

import contextlib
import math
import random
from collections.abc import AsyncIterator
from typing import Any

from custody.rebalance_report import (
    TAG,
    Day,
    Moment,
    RebalanceReport,
    ReportedAlarm,
    ReportedChoice,
    ReportedMove,
    ReportedNote,
    RouteReport,
)
from custody.reports import take_report
from policy.encoding import Json, canonical, statement
from tests.console.console_house import Console, opened
from tests.unit.custody_cluster import ETHER, KEY, ORIGIN, WALLET, identity, policy_document, public
from tests.unit.custody_house import FakeChain
from tests.unit.test_custody_statements import OBSERVERS, PRICES, signed

MOVER, COLD, VAULT = "mover", "cold", "vault"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
WATCHERS: Json = [{"name": name, "key": public(name).hex()} for name in OBSERVERS]
INITIATORS: Json = [
    {"name": "shop", "key": public("shop").hex(), "people": []},
    {"name": MOVER, "key": public(MOVER).hex(), "people": [], "groups": ["rebalancer"]},
]
REASONS = (
    "41 known days, level 5.8 eth a day, steady; nine in ten came within what was forecast",
    "Thursday: 1.3 times the mean day; the month's last business day: 1.2 times",
    "4.1 eth of 6.4 eth is free: below 5.5 eth it is topped up to 24.1 eth",
)


def tiered_policy() -> dict[str, Json]:
    """Hot within a band, and the vault where the rest is."""
    document: dict[str, Any] = policy_document()
    wallet = document["wallets"][WALLET]
    bounds = {
        "minimum": {"amounts": {"eth": str(2 * ETHER)}},
        "target_min": {"amounts": {"eth": str(10 * ETHER)}},
        "target_max": {"amounts": {"eth": str(30 * ETHER)}},
        "maximum": {"amounts": {"eth": str(60 * ETHER)}},
        "share_max_bp": 500,
    }
    approved = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}], "delay_ms": HOUR_MS}
    return {
        **document,
        "keys": {KEY: document["keys"][KEY], VAULT: document["keys"][KEY]},
        "wallets": {
            WALLET: wallet,
            COLD: {**wallet, "tier": COLD, "key": VAULT, "paths": ["m/1/0"]},
        },
        "tiers": [
            {"name": "hot", "role": "hot", **bounds},
            {"name": COLD, "role": "cold", "share_min_bp": 9500},
        ],
        "holdings": {"max_age_ms": HOUR_MS},
        "prices": PRICES,
        "rules": [
            {"name": "up", "when": {"exposure": ["raises"]}, "then": approved},
            {"name": "down", "when": {"exposure": ["lowers"]}, "then": {"outcome": "allow"}},
            {"name": "pay", "when": {"tiers": ["hot"], "kinds": ["transfer"]}, "then": {"outcome": "allow"}},
        ],
    }


@contextlib.asynccontextmanager
async def reported() -> AsyncIterator[Console]:
    """A console whose rebalancer has reported, with a top-up that waits for approval."""
    async with opened(tiered_policy(), initiators=INITIATORS, observers=WATCHERS) as console:
        service = console.running.service
        dealer = console.house.dealer
        dealer.secret += 1  # another key has another point; nobody signs by it here
        await service.change_key("admin", VAULT, change="generate")
        dealer.secret -= 1
        price: dict[str, Json] = {"origin": ORIGIN, "asset": "eth", "unit": "usd/2", "price": "250000"}
        price["observed_ms"] = console.running.parts.sequencer.state.time_ms
        await service.enact(OBSERVERS[0], signed("price", price, *OBSERVERS))
        chain = console.house.chain
        assert isinstance(chain, FakeChain)
        for wallet, thousandths in ((WALLET, 18_400), (COLD, 512_000)):
            account, _, _ = service.address(wallet, "")
            chain.balances[account.address] = thousandths * ETHER // 1000
        await hand_in(console, made_up(console.house.now_ms()))
        yield console


async def hand_in(console: Console, report: RebalanceReport) -> None:
    body = report.body()
    signature = identity(MOVER).sign(statement(TAG, body))
    await take_report(console.running.parts, MOVER, body=canonical(body), signature=signature)


def made_up(now_ms: int, *, request: bytes = b"", alarm: bool = False, **changed: Any) -> RebalanceReport:
    """A week of hours, four weeks of days and the days ahead, as a rebalancer would report them."""
    chance = random.Random(7)
    hour, day = now_ms - now_ms % HOUR_MS, now_ms - now_ms % DAY_MS
    stage = "asked" if request else "announced"
    run = ReportedAlarm(now_ms - 2 * HOUR_MS, "three days", 31 * ETHER, 26 * ETHER, 12 * ETHER)
    over = ReportedAlarm(
        now_ms - 9 * DAY_MS, "one day", 24 * ETHER, 20 * ETHER, 12 * ETHER, now_ms - 8 * DAY_MS, "an airdrop"
    )
    route = RouteReport(
        route="eth",
        asset="eth",
        wallet=WALLET,
        source=COLD,
        decimals=18,
        mode="run" if alarm else "forecast",
        owed=23 * ETHER // 10,
        refill_to=241 * ETHER // 10,
        sweep_to=246 * ETHER // 10,
        reasons=REASONS,
        moments=_hours(chance, hour),
        days=(*_days(chance, day, "withdrawn"), *_days(chance, day, "deposited")),
        moves=(
            _move("top-up", stage, 17_700, now_ms + 5 * HOUR_MS, request),
            _move("sweep", "arrived", 8_250, now_ms - 20 * HOUR_MS, b""),
            _move("top-up", "withdrawn", 14_100, now_ms - 50 * HOUR_MS, b""),
        ),
        alarms=(over, run) if alarm else (over,),
        choices=tuple(_choice(*one) for one in CHOICES),
    )
    notes = (ReportedNote(now_ms - HOUR_MS, "eth", "announced", "about 17.7 eth from cold to hot"),)
    return RebalanceReport(ORIGIN, MOVER, now_ms - 40_000, (route,), notes, **changed)


CHOICES = (
    (900_000, 871_000, 9_300, 2_900, 1_100),
    (950_000, 944_200, 11_800, 2_400, 900),
    (980_000, 978_100, 14_900, 2_000, 800),
    (990_000, 990_600, 17_400, 1_700, 700),
    (995_000, 995_300, 20_100, 1_500, 600),
    (999_000, 998_800, 26_700, 1_200, 500),
)


def _choice(asked: int, served: int, held: int, topups: int, sweeps: int) -> ReportedChoice:
    return ReportedChoice(asked, served, held * ETHER // 1000, topups, sweeps)


def _move(direction: str, stage: str, thousandths: int, due_ms: int, request: bytes) -> ReportedMove:
    name = f"{direction}.eth.20261126.{thousandths}"
    amount = thousandths * ETHER // 1000
    return ReportedMove(name, direction, stage, amount, due_ms, due_ms - HOUR_MS, request, "", REASONS)


def _hours(chance: random.Random, last: int) -> tuple[Moment, ...]:
    held, found = 21.0, []
    for back in range(167, -1, -1):
        held += chance.uniform(-0.75, 0.55) + (17.7 if held < 5.5 else 0.0) - (9.0 if held > 34 else 0.0)
        low = 5.5 + math.sin(back / 24)
        amounts = (int(one * 1000) * ETHER // 1000 for one in (max(held, 0.4), low, 34.0 + low / 4, 20, 60))
        found.append(Moment(last - back * HOUR_MS, *amounts))
    return tuple(found)


def _days(chance: random.Random, today: int, flow: str) -> tuple[Day, ...]:
    found = []
    for ahead in range(-28, 8):
        median = 5.8 + 1.8 * math.sin(2 * math.pi * ahead / 7)
        width = 0.55 + 0.02 * max(0, ahead)
        levels = (median * math.exp(width * one) for one in (-1.64, -0.67, 0, 0.67, 1.64))
        came = median * math.exp(chance.gauss(0, 0.5))
        found.append(
            Day(
                today + ahead * DAY_MS,
                flow,
                tuple(int(one * 1000) * ETHER // 1000 for one in levels),
                int(came * 1000) * ETHER // 1000 if ahead < 0 else None,
            )
        )
    return tuple(found)
