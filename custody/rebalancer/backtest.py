"""A policy on daily series, day by day and without a look ahead, against the plan that knew the future.

A day: what waits is paid; withdrawals are served first come first served, the rest waits; deposits come; a
top-up ordered yesterday arrives; the policy decides. So a top-up can be used the day after tomorrow and a
sweep is done overnight. Scored is the second half; a day of which nothing is known is lived through and not
scored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from custody.rebalancer.daily import DailyPolicy, Evening
from custody.rebalancer.forecast import Mean
from custody.rebalancer.foresight import Task, foresight

Floats = NDArray[np.float64]

TOPUP_DAYS, SWEEP_DAYS = 4.0, 0.05  # costs of moves, in mean days of withdrawals exposed for a day
START_DAYS = 3.0
WARM_DAYS = 28
DAYS_MIN = 16
ODDS_LOW, ODDS_HIGH, MATCH_TRIES = 5.0, 20_000.0, 12
RESAMPLES, SEED = 2000, 5


@dataclass(frozen=True, slots=True)
class Series:
    """One series by days without a gap; NaN is an unknown amount. ``split`` days are for learning."""

    name: str
    days: tuple[str, ...]
    wanted: Floats
    deposited: Floats
    split: int

    @property
    def first(self) -> int:
        """The first day that is simulated: four weeks before the scored half."""
        return max(7, self.split - WARM_DAYS)

    @property
    def mean(self) -> float:
        """The mean of the withdrawals of the half for learning: the unit of costs."""
        return float(np.nanmean(self.wanted[: self.split]))

    @property
    def known(self) -> NDArray[np.bool_]:
        """The days of which both flows are known."""
        return np.isfinite(self.wanted) & np.isfinite(self.deposited)


class Policy(Protocol):
    """What a backtest drives; see ``DailyPolicy``."""

    def begin(
        self, days: tuple[str, ...], flows: tuple[Floats, Floats], *, costs: tuple[float, float], mean: float
    ) -> None: ...

    def decide(self, day: str, evening: Evening) -> tuple[float, float]: ...


@dataclass(slots=True)
class Outcome:
    """What the scored days came to. Units."""

    exposed: float = 0.0
    delayed: float = 0.0
    wanted: float = 0.0
    topups: int = 0
    sweeps: int = 0
    days: int = 0

    @property
    def service(self) -> float:
        """The share of withdrawals paid at once; 1 when none was asked for."""
        return 1 - self.delayed / self.wanted if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class Against:
    """One series: what the policy came to and what foresight did; ``cost`` and ``perfect_cost`` in units."""

    outcome: Outcome
    cost: float
    perfect_cost: float
    perfect_exposed: float


@dataclass(frozen=True, slots=True)
class Report:
    """Means over series; the ratios are geometric, ``interval90`` of the cost ratio by resampling series."""

    asked: float
    service: float
    worst: float
    cost_ratio: float
    exposure_ratio: float
    topups_per_week: float
    sweeps_per_week: float
    series: int
    interval90: tuple[float, float]


@dataclass(slots=True)
class Till:
    """The hot balance, who waits and what is on its way."""

    hot: float
    backlog: float = 0.0
    on_order: float = 0.0

    def day(self, wanted: float, deposited: float) -> tuple[float, float]:
        """One day up to the arrival of what was ordered; the day's peak and what was not paid at once."""
        self._pay()
        start = self.hot
        served = 0.0 if self.backlog > 0 else min(wanted, self.hot)
        self.hot, self.backlog = self.hot - served + deposited, self.backlog + wanted - served
        self._pay()
        peak = max(start, self.hot)
        self.hot, self.on_order = self.hot + self.on_order, 0.0
        self._pay()
        return peak, wanted - served

    def _pay(self) -> None:
        paid = min(self.hot, self.backlog)
        self.hot, self.backlog = self.hot - paid, self.backlog - paid


def simulate(series: Series, policy: Policy, *, overnight: bool = False) -> Outcome:
    """Drive a policy through a series; ``overnight``: a top-up is there the next morning."""
    mean, first, known = series.mean, series.first, series.known
    policy.begin(
        series.days[:first],
        (series.wanted[:first], series.deposited[:first]),
        costs=(TOPUP_DAYS * mean, SWEEP_DAYS * mean),
        mean=mean,
    )
    till, total = Till(START_DAYS * mean), Outcome()
    for day in range(first, len(series.days)):
        wanted, deposited = float(series.wanted[day]), float(series.deposited[day])
        peak, delayed = till.day(wanted, deposited) if known[day] else till.day(0.0, 0.0)
        evening = Evening(wanted, deposited, till.hot, till.backlog, till.on_order)
        topup, sweep = policy.decide(series.days[day], evening)
        topup, sweep = max(0.0, topup), min(max(0.0, sweep), till.hot)
        till.hot, till.on_order = till.hot - sweep + topup * overnight, topup * (not overnight)
        if day >= series.split and known[day]:
            _score(total, wanted, peak=peak, delayed=delayed, moves=(topup > 0, sweep > 0))
    return total


def _score(total: Outcome, wanted: float, *, peak: float, delayed: float, moves: tuple[bool, bool]) -> None:
    total.exposed += peak
    total.delayed += delayed
    total.wanted += wanted
    total.topups += moves[0]
    total.sweeps += moves[1]
    total.days += 1


def perfect(series: Series, service: float) -> tuple[float, float]:
    """Cost and exposure of the plan that knew the scored half."""
    known = series.known[series.split :]
    task = Task(
        np.where(known, series.wanted[series.split :], 0.0),
        np.where(known, series.deposited[series.split :], 0.0),
        known,
        TOPUP_DAYS * series.mean,
        SWEEP_DAYS * series.mean,
    )
    found = foresight(task, service)
    return found.cost(task), found.exposed


Progress = Callable[[str], None]


def backtest(
    series: tuple[Series, ...],
    asked: float,
    *,
    match: bool = False,
    overnight: bool = False,
    mean: Mean = Mean.SMOOTHING,
    progress: Progress,
) -> Report | None:
    """The shipped policy on all series; with ``match`` set to just reach the service on these very data.

    None when no setting reaches it. ``progress`` is called with a line now and then.
    """
    oracles = {}
    for number, one in enumerate(series, 1):
        oracles[one.name] = perfect(one, asked)
        progress(f"perfect foresight: {number} of {len(series)} series")
    run = partial(_report, series, asked, oracles=oracles, setup=Setup(overnight, mean))
    if not match:
        return run(setting=asked)
    low, high, best = ODDS_LOW, ODDS_HIGH, None
    for attempt in range(1, MATCH_TRIES + 1):
        odds = float(np.sqrt(low * high))
        found = run(setting=1 - 1 / odds)
        progress(f"match {attempt} of {MATCH_TRIES}: set to {1 - 1 / odds:.5f}, served {found.service:.5f}")
        if found.service >= asked:
            best, high = found, odds
        else:
            low = odds
    return best


Oracles = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is asked of the shipped policy besides the service."""

    overnight: bool
    mean: Mean


def _report(
    series: tuple[Series, ...], asked: float, *, setting: float, oracles: Oracles, setup: Setup
) -> Report:
    found = [_against(one, setting, oracles[one.name], setup=setup) for one in series]
    return summary(asked, found)


def _against(series: Series, setting: float, oracle: tuple[float, float], *, setup: Setup) -> Against:
    policy = DailyPolicy(setting, lead_steps=0 if setup.overnight else 1, mean=setup.mean)
    outcome = simulate(series, policy, overnight=setup.overnight)
    moves = series.mean * (TOPUP_DAYS * outcome.topups + SWEEP_DAYS * outcome.sweeps)
    return Against(outcome, outcome.exposed + moves, *oracle)


def summary(asked: float, found: Iterable[Against]) -> Report:
    """Means over series."""
    all_found = list(found)
    outcomes = [one.outcome for one in all_found]
    costs = np.log([one.cost / one.perfect_cost for one in all_found])
    exposures = np.log([one.outcome.exposed / one.perfect_exposed for one in all_found])
    picks = np.random.default_rng(SEED).integers(0, len(costs), (RESAMPLES, len(costs)))
    low, high = np.exp(np.quantile(costs[picks].mean(axis=1), (0.05, 0.95)))
    return Report(
        asked=asked,
        service=float(np.mean([one.service for one in outcomes])),
        worst=min(one.service for one in outcomes),
        cost_ratio=float(np.exp(costs.mean())),
        exposure_ratio=float(np.exp(exposures.mean())),
        topups_per_week=float(np.mean([7 * one.topups / one.days for one in outcomes])),
        sweeps_per_week=float(np.mean([7 * one.sweeps / one.days for one in outcomes])),
        series=len(all_found),
        interval90=(float(low), float(high)),
    )
