"""The backtest: its till by hand, its perfect foresight against brute force, its report end to end."""

import itertools
import math

import numpy as np
import pytest

from custody.rebalancer.backtest import Against, Outcome, Series, Till, backtest, simulate, summary
from custody.rebalancer.daily import DailyPolicy, Evening
from custody.rebalancer.foresight import Task, cheapest, foresight


class Fixed:
    """Orders and sweeps what a test says, day by day."""

    def __init__(self, *moves: tuple[float, float]) -> None:
        self.moves = iter(moves)
        self.seen: list[Evening] = []

    def begin(self, days: object, flows: object, *, costs: tuple[float, float], mean: float) -> None:
        self.costs, self.mean, self.learnt = costs, mean, len(days)  # type: ignore[arg-type]

    def decide(self, day: str, evening: Evening) -> tuple[float, float]:
        self.seen.append(evening)
        return next(self.moves, (0.0, 0.0))


def series(wanted: list[float], deposited: list[float] | None = None, *, split: int = 8) -> Series:
    days = tuple(str(np.datetime64("2026-01-01") + day) for day in range(len(wanted)))
    return Series(
        "one", days, np.array(wanted, float), np.array(deposited or [0.0] * len(wanted), float), split
    )


def test_who_waits_is_paid_first_and_nobody_overtakes() -> None:
    till = Till(hot=5.0)

    assert till.day(8.0, 2.0) == (5.0, 3.0)  # five served; two of the three that wait are paid by the deposit
    assert (till.hot, till.backlog) == (0.0, 1.0)
    assert till.day(1.0, 10.0) == (8.0, 1.0)  # behind the backlog nothing is paid at once
    assert (till.hot, till.backlog) == (8.0, 0.0)


def test_a_topup_can_be_used_the_day_after_tomorrow() -> None:
    policy = Fixed((6.0, 0.0))

    outcome = simulate(series([1.0] * 7 + [0.0, 4.0, 2.0, 6.0], split=8), policy)

    # mean 0.875: 2.625 hot at first; day 7 orders 6, it arrives after day 8 and pays the 1.375 that waits
    assert policy.learnt == 7
    assert [round(one.hot, 3) for one in policy.seen] == [2.625, 4.625, 2.625, 0.0]
    assert outcome.delayed == pytest.approx(1.375 + 3.375)
    assert outcome.exposed == pytest.approx(2.625 + 4.625 + 2.625)
    assert (outcome.topups, outcome.sweeps) == (0, 0)  # the order was placed before the scored half


def test_an_unknown_day_is_not_scored() -> None:
    known = simulate(series([1.0] * 8 + [2.0, 2.0]), Fixed())
    unknown = simulate(series([1.0] * 8 + [2.0, math.nan, 2.0]), Fixed())

    assert (unknown.days, unknown.wanted, unknown.delayed) == (known.days, known.wanted, known.delayed)


def test_perfect_foresight_is_the_cheapest_of_all_plans() -> None:
    wanted, deposited = np.array([1.0, 3.0, 0.0, 4.0]), np.array([0.0, 2.0, 1.0, 0.0])
    task = Task(wanted, deposited, np.ones(4, bool), topup=1.5, sweep=0.2)
    delay = 2.5

    found = cheapest(task, delay)

    reached = found.cost(task) + delay * found.delayed
    assert reached == pytest.approx(min(_all_costs(task, delay)), abs=1e-9)


def _all_costs(task: Task, delay: float) -> list[float]:
    """The cost of every plan whose balances are whole units: what an optimum needs with whole flows."""
    costs = []
    for starts in itertools.product(range(-3, 7), repeat=4):
        cost = 0.0
        for day, balance in enumerate(starts):
            held, end = max(balance, 0), balance - task.wanted[day] + task.deposited[day]
            cost += max(held, end) + delay * max(task.wanted[day] - held, 0)
            if day < 3 and starts[day + 1] > end:
                cost += task.topup
            if day < 3 and starts[day + 1] < end:
                cost += task.sweep if end > 0 and starts[day + 1] >= 0 else math.inf
        costs.append(cost)
    return costs


def test_perfect_foresight_serves_what_is_asked_and_no_more_than_it_must() -> None:
    rng = np.random.default_rng(3)
    task = Task(rng.exponential(1.0, 60), rng.exponential(1.0, 60), np.ones(60, bool), topup=4.0, sweep=0.05)

    costs = [foresight(task, service) for service in (0.9, 0.99)]

    total = float(task.wanted.sum())
    assert [one.delayed <= (1 - asked) * total for one, asked in zip(costs, (0.9, 0.99), strict=True)] == [
        True,
        True,
    ]
    assert costs[0].cost(task) < costs[1].cost(task)


def test_ratios_are_geometric_means_and_the_interval_holds_them() -> None:
    outcomes = [
        Outcome(exposed=2.0, delayed=1.0, wanted=10.0, topups=1, sweeps=2, days=7),
        Outcome(exposed=8.0, delayed=0.0, wanted=10.0, topups=3, sweeps=0, days=7),
    ]

    report = summary(0.9, [Against(one, one.exposed, 1.0, 1.0) for one in outcomes])

    assert (report.cost_ratio, report.service, report.worst) == pytest.approx((4.0, 0.95, 0.9))
    assert (report.topups_per_week, report.sweeps_per_week) == (2.0, 1.0)
    assert report.interval90[0] == pytest.approx(2.0) and report.interval90[1] == pytest.approx(8.0)


def test_the_shipped_policy_beats_a_fixed_band_on_weekly_demand() -> None:
    rng = np.random.default_rng(7)
    week = np.array([0.6, 0.8, 1.0, 1.1, 1.6, 1.4, 0.5])
    wanted = np.tile(week, 30) * rng.lognormal(0, 0.2, 210)
    one = series(list(wanted), split=105)

    found = backtest((one,), 0.99, progress=lambda _: None)

    assert found is not None and found.service > 0.97
    assert found.cost_ratio < 1.5


@pytest.mark.parametrize("asked", [0.95, 0.98])
def test_a_low_service_is_served_as_asked(asked: float) -> None:
    rng = np.random.default_rng(7)
    week = np.array([1.0, 1.0, 1.0, 1.2, 1.6, 1.3, 0.6])
    wanted = np.resize(week, 400) * rng.lognormal(0, 0.25, 400)

    outcome = simulate(series(list(wanted), split=200), DailyPolicy(asked))

    assert outcome.service == pytest.approx(asked, abs=0.015)


def test_while_no_forecast_can_be_trusted_three_usual_days_are_held() -> None:
    days = tuple(str(np.datetime64("2025-01-01") + day) for day in range(40))
    policy = DailyPolicy(0.99)
    policy.begin(days, (np.full(40, 10.0), np.zeros(40)), costs=(40.0, 0.5), mean=10.0)
    policy.memory.hits = 0.5

    topup, _ = policy.decide("2025-02-10", Evening(10.0, 0.0, 5.0))

    assert topup == pytest.approx(45.0)
