"""Months of a bank: customers pay in and out, people approve in the morning, and there may be a run."""

import math
import random
from pathlib import Path

from custody.rebalancer.flows import DAY_MS, HOUR_MS
from tests.unit.rebalancing_house import ETHER, FakeDesk, Mover, make_route

APPROVING_HOUR = 8


def months(
    folder: Path,
    *,
    days: int,
    run_day: int = 10**6,
    seed: int = 1,
    looks_a_day: int = 6,
    price: float = 2500.0,
) -> Mover:
    """A rebalancer after so many days; from ``run_day`` on customers take ten times what is normal."""
    chance = random.Random(seed)
    desk = FakeDesk(balances={"hot": 30 * ETHER, "cold": 5000 * ETHER})
    desk.now_ms -= desk.now_ms % DAY_MS
    mover = Mover(folder, desk, route=make_route(minimum=5, target=40, maximum=120, price=price))
    for day in range(days):
        for look in range(looks_a_day):
            _customers(desk, chance, day=day, share=1 / looks_a_day, run=day >= run_day)
            if look * 24 // looks_a_day <= APPROVING_HOUR < (look + 1) * 24 // looks_a_day:
                desk.approve_all()
            mover.look()
            desk.pass_time(DAY_MS // looks_a_day - HOUR_MS // 60)
            mover.look()
            desk.pass_time(HOUR_MS // 60)
    return mover


def _customers(desk: FakeDesk, chance: random.Random, *, day: int, share: float, run: bool) -> None:
    weekday = 1.0 + 0.5 * math.sin(2 * math.pi * (day % 7) / 7)
    for sign, mean in ((-1, 6.0), (1, 5.8)):
        amount = int(
            chance.lognormvariate(0, 0.35) * mean * weekday * share * (10 if run and sign < 0 else 1) * 1000
        )
        amount = amount * ETHER // 1000
        if sign > 0:
            desk.balances["hot"] += amount
        else:
            desk.ask(amount)
