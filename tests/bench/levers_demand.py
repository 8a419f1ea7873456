"""Generated demand of one asset, withdrawal by withdrawal: the same money by hours and by days.

Customers come at random (Poisson), fewer at night and at weekends; how many there are wanders from day to
day, and a day has a surprise of its own. An amount is lognormal with a spread of 1.5: of a hundred
withdrawals the largest takes a fifth of the money.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_HOURS = 24
FIRST_DAY = date(2024, 1, 1)  # a Monday
CUSTOMERS_A_DAY, AMOUNT_SPREAD = 200.0, 1.5
WEEK = (1.1, 1.15, 1.1, 1.1, 1.15, 0.75, 0.65)
NIGHT, BUSIEST_HOUR = 0.6, 15
WANDER, WANDER_KEPT, SURPRISE = 0.25, 0.9, 0.15  # of the logarithm, by day
DEPOSITED = 0.98  # of what is withdrawn, in the long run


@dataclass(frozen=True, slots=True)
class Demand:
    """``amounts`` are single withdrawals, in the hours ``hours``; ``deposited`` is by hour."""

    days: int
    amounts: Floats
    hours: NDArray[np.int64]
    deposited: Floats

    @property
    def dates(self) -> tuple[str, ...]:
        """The days, as the rebalancer names them."""
        return tuple(str(FIRST_DAY + timedelta(day)) for day in range(self.days))

    @property
    def mean_day(self) -> float:
        """What is withdrawn in a usual day."""
        return float(self.amounts.sum()) / self.days

    def withdrawn(self, limit: float = np.inf) -> Floats:
        """By hour, of the withdrawals up to a limit."""
        small = self.amounts <= limit
        return _by_hour(self.hours[small], self.amounts[small], self.days)


def generate(seed: int, number: int, *, days: int, deposited: float = DEPOSITED) -> Demand:
    """Series ``number`` of a seed."""
    rng = np.random.default_rng((seed, number))
    busy = _busy(rng, days)
    counts = rng.poisson(CUSTOMERS_A_DAY / DAY_HOURS * busy)
    hours = np.repeat(np.arange(days * DAY_HOURS), counts)
    amounts = _amounts(rng, len(hours))
    arrivals = rng.poisson(deposited * CUSTOMERS_A_DAY / DAY_HOURS * busy)
    places = np.repeat(np.arange(days * DAY_HOURS), arrivals)
    came = _by_hour(places, _amounts(rng, len(places)), days)
    return Demand(days, amounts, hours, came)


def _busy(rng: np.random.Generator, days: int) -> Floats:
    """How busy each hour is, 1 in the mean."""
    level, logs = 0.0, np.empty(days)
    for day in range(days):
        level = WANDER_KEPT * level + rng.normal(0, WANDER * (1 - WANDER_KEPT**2) ** 0.5)
        logs[day] = level + rng.normal(0, SURPRISE)
    by_day = np.exp(logs) * np.resize(WEEK, days)
    by_hour = 1 + NIGHT * np.cos(2 * np.pi * (np.arange(DAY_HOURS) - BUSIEST_HOUR) / DAY_HOURS)
    return np.outer(by_day, by_hour).ravel()


def _amounts(rng: np.random.Generator, count: int) -> Floats:
    return rng.lognormal(0.0, AMOUNT_SPREAD, count)


def _by_hour(hours: NDArray[np.int64], amounts: Floats, days: int) -> Floats:
    return np.asarray(np.bincount(hours, amounts, days * DAY_HOURS), np.float64)
