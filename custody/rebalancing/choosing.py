"""What another service would have cost: the shipped rebalancer on a route's own past."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from custody.rebalancer.backtest import Series, simulate
from custody.rebalancer.daily import DailyPolicy
from custody.rebalancer.flows import DAY_MS, History, units

SERVICES = (0.95, 0.98, 0.99, 0.995, 0.999)
DAYS_MIN = 56


@dataclass(frozen=True, slots=True)
class Choice:
    """What one service came to: ``exposed`` are units held in an average day."""

    asked: float
    served: float
    exposed: float
    topups_per_week: float
    sweeps_per_week: float


def what_if(history: History, services: Sequence[float] = SERVICES) -> tuple[Choice, ...]:
    """The second half of the past days, learnt from the first; nothing while there are too few of them."""
    days = history.days
    both = zip(days.withdrawn_base, days.deposited_base, strict=True)
    known = [left for left, came in both if left is not None and came is not None]
    if len(known) < DAYS_MIN or not any(known):
        return ()
    names = [_day(days.first_ms + place * DAY_MS) for place in range(len(days.withdrawn_base))]
    wanted, deposited = (
        np.array([np.nan if amount is None else units(amount, history.unit_base) for amount in amounts])
        for amounts in (days.withdrawn_base, days.deposited_base)
    )
    series = Series("route", tuple(names), wanted, deposited, len(names) // 2)
    return tuple(_choice(series, asked) for asked in services)


def _choice(series: Series, asked: float) -> Choice:
    found = simulate(series, DailyPolicy(asked))
    weeks = max(found.days, 1) / 7
    return Choice(
        asked, found.service, found.exposed / max(found.days, 1), found.topups / weeks, found.sweeps / weeks
    )


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
