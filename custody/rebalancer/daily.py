"""The forecaster, planner and steering run day by day, as a backtest and the benchmark drive them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from custody.rebalancer.breaker import Breaker, Calm, State, Tripped
from custody.rebalancer.flows import DAY_MS, base_units, units
from custody.rebalancer.forecast import EPOCH, Mean, forecast_from, month_day, new_memory, when
from custody.rebalancer.plan import Band, Bounds, Costs, Plan, Position, Sweep, TopUp, plan, plan_in_run
from custody.rebalancer.steering import Steering

Floats = NDArray[np.float64]

HORIZON = 12
PEOPLE_DAYS = 5
RESOLUTION = 10**9  # base units in a mean day of the benchmark's floats


UNBOUNDED = Bounds(0, 0, 10**30)
PLAIN_DAYS = (3, 5)  # minimum and target in usual days, while no forecast can be trusted


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

    def __init__(self, asked: float, *, lead_steps: int = 1, mean: Mean = Mean.SMOOTHING) -> None:
        self.asked = asked
        self.lead_steps = lead_steps
        self.mean = mean

    def begin(
        self, days: Sequence[str], flows: tuple[Floats, Floats], *, costs: tuple[float, float], mean: float
    ) -> None:
        """Learn the days before the first decision; NaN is an unknown amount.

        ``costs`` are of a top-up and of a sweep, in units exposed for a day; ``mean`` is a usual day's
        withdrawals.
        """
        self.unit_base = max(1, round(RESOLUTION / mean)) if mean > 0 else 1
        self.memory = new_memory(mean, DAY_MS, mean=self.mean)
        self.topup, self.sweep = costs
        self.steering = Steering(self.asked, mean)
        minimum, target = (self._base(days * mean) for days in PLAIN_DAYS)
        self.plain = Bounds(minimum, target, UNBOUNDED.maximum_base)
        self.free, self.moves = 3 * mean, 0.0
        self.breaker, self.tripped_days = Breaker(), 0
        self.unlearnt: list[tuple[int, float, float]] = []
        self.band = Band(0, 0, 0, 0)
        for day, withdrawn, deposited in zip(days, *flows, strict=True):
            start_ms = (date.fromisoformat(day).toordinal() - EPOCH) * DAY_MS
            if isinstance(self._watch(start_ms, Evening(float(withdrawn), float(deposited), 0.0)), Tripped):
                self.breaker = self.breaker.reset(new_normal=True)
            self._learn(start_ms, float(withdrawn), float(deposited))

    def decide(self, day: str, evening: Evening) -> tuple[float, float]:
        """Top-up and sweep at the end of a day."""
        start_ms = (date.fromisoformat(day).toordinal() - EPOCH) * DAY_MS
        was_calm = isinstance(self.breaker.state, Calm)
        state = self._watch(start_ms, evening)
        self._account(evening)
        position = Position(*(self._base(part) for part in (evening.hot, evening.backlog, evening.on_order)))
        if isinstance(state, Tripped):
            self.tripped_days = 1 if was_calm else self.tripped_days + 1
            self.unlearnt.append((start_ms, evening.withdrawn, evening.deposited))
            made = plan_in_run(self.band, position, bounds=UNBOUNDED, quota_base=self._base(state.quota))
        else:
            self._learn(start_ms, evening.withdrawn, evening.deposited)
            made = self._plan(start_ms + DAY_MS, position)
            self.band = made.band
        return self._moves(made, evening)

    def _plan(self, now_ms: int, position: Position) -> Plan:
        ahead = forecast_from(self.memory, now_ms, horizon=HORIZON, step_ms=DAY_MS, unit_base=self.unit_base)
        delay = self.steering.delay(self.memory.profile)
        costs = Costs(
            1.0, self.topup, self.sweep, exposure_year=365.0, delay=delay, lead_steps=self.lead_steps
        )
        bounds = UNBOUNDED if ahead.basis.calibrated else self.plain
        return plan(ahead, position, costs=costs, bounds=bounds)

    def _moves(self, made: Plan, evening: Evening) -> tuple[float, float]:
        moved = units(made.amount_base, self.unit_base)
        topup, sweep = (moved if isinstance(made.action, kind) else 0.0 for kind in (TopUp, Sweep))
        arrived = 0.0 if self.lead_steps else topup
        self.free = evening.hot - min(evening.hot, sweep) - evening.backlog + arrived
        self.moves = self.topup * (topup > 0) + self.sweep * (sweep > 0)
        return topup, sweep

    def _watch(self, start_ms: int, evening: Evening) -> State:
        """The breaker's word on the day; after ``PEOPLE_DAYS`` people call it over or normal."""
        if isinstance(self.breaker.state, Tripped) and self.tripped_days >= PEOPLE_DAYS:
            lasts = evening.withdrawn > self.breaker.state.quota
            self.breaker = self.breaker.reset(new_normal=lasts)
            for unlearnt in self.unlearnt if lasts else ():
                self._learn(*unlearnt)
            self.unlearnt = []
        place, calendar, _ = when(start_ms, DAY_MS)
        expected = math.exp(self.memory.smoother(self.memory.withdrawn).ahead(place, calendar, steps=0))
        asked = None if math.isnan(evening.withdrawn) else evening.withdrawn
        self.breaker, state = self.breaker.observe(start_ms + DAY_MS, withdrawn=asked, expected=expected)
        return state

    def _base(self, amount: float) -> int:
        return base_units(amount, self.unit_base)

    def _learn(self, start_ms: int, withdrawn: float, deposited: float) -> None:
        place, calendar, _ = when(start_ms, DAY_MS)
        known = [None if math.isnan(amount) else amount for amount in (withdrawn, deposited)]
        self.memory.observe(
            place, calendar, withdrawn=known[0], deposited=known[1], month_day=month_day(start_ms)
        )

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
