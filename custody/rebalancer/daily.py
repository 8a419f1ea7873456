"""The forecaster, planner and steering run day by day, as a backtest and the benchmark drive them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from custody.rebalancer.flows import DAY_MS, base_units, units
from custody.rebalancer.forecast import EPOCH, forecast_from, new_memory, when
from custody.rebalancer.plan import Bounds, Costs, Position, Sweep, TopUp, plan
from custody.rebalancer.steering import Steering

Floats = NDArray[np.float64]

HORIZON = 10
RESOLUTION = 10**9  # base units in a mean day of the benchmark's floats


UNBOUNDED = Bounds(0, 0, 10**30)


@dataclass(frozen=True, slots=True)
class Evening:
    """What a day brought and what there is at its end, in units; NaN is an unknown flow."""

    withdrawn: float
    deposited: float
    hot: float
    backlog: float = 0.0
    on_order: float = 0.0


class DailyPolicy:
    """The rebalancer on one series, asked to pay this share of withdrawals at once."""

    def __init__(self, asked: float) -> None:
        self.asked = asked

    def begin(
        self, days: Sequence[str], flows: tuple[Floats, Floats], *, costs: tuple[float, float], mean: float
    ) -> None:
        """Learn the days before the first decision; NaN is an unknown amount.

        ``costs`` are of a top-up and of a sweep, in units exposed for a day; ``mean`` is a usual day's
        withdrawals.
        """
        self.unit_base = max(1, round(RESOLUTION / mean)) if mean > 0 else 1
        self.memory = new_memory(mean, DAY_MS)
        self.topup, self.sweep = costs
        self.steering = Steering(self.asked, mean)
        self.free, self.moves = 3 * mean, 0.0
        for day, withdrawn, deposited in zip(days, *flows, strict=True):
            self._learn(day, float(withdrawn), float(deposited))

    def decide(self, day: str, evening: Evening) -> tuple[float, float]:
        """Top-up and sweep at the end of a day."""
        self._learn(day, evening.withdrawn, evening.deposited)
        self._account(evening)
        now_ms = (date.fromisoformat(day).toordinal() - EPOCH + 1) * DAY_MS
        ahead = forecast_from(self.memory, now_ms, horizon=HORIZON, step_ms=DAY_MS, unit_base=self.unit_base)
        costs = Costs(
            1.0, self.topup, self.sweep, exposure_year=365.0, delay=self.steering.delay(self.memory.profile)
        )
        position = Position(
            self._base(evening.hot), self._base(evening.backlog), self._base(evening.on_order)
        )
        made = plan(ahead, position, costs=costs, bounds=UNBOUNDED)
        moved = units(made.amount_base, self.unit_base)
        topup, sweep = (moved if isinstance(made.action, kind) else 0.0 for kind in (TopUp, Sweep))
        self.free = evening.hot - min(evening.hot, sweep) - evening.backlog
        self.moves = self.topup * (topup > 0) + self.sweep * (sweep > 0)
        return topup, sweep

    def _base(self, amount: float) -> int:
        return base_units(amount, self.unit_base)

    def _learn(self, day: str, withdrawn: float, deposited: float) -> None:
        place, calendar, _ = when((date.fromisoformat(day).toordinal() - EPOCH) * DAY_MS, DAY_MS)
        known = [None if math.isnan(amount) else amount for amount in (withdrawn, deposited)]
        self.memory.observe(place, calendar, withdrawn=known[0], deposited=known[1])

    def _account(self, evening: Evening) -> None:
        """What the day cost and how much of it waited, from what was held when it began."""
        if math.isnan(evening.withdrawn) or math.isnan(evening.deposited):
            return
        free = max(0.0, self.free)
        peak = max(free, self.free - evening.withdrawn + evening.deposited)
        delayed = max(0.0, evening.withdrawn - free)
        self.steering = self.steering.observe(
            wanted=evening.withdrawn, delayed=delayed, spent=peak + self.moves
        )
