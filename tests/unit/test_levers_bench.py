"""What the bench of the levers measures, on one short series: docs/benchmarks.md has the whole of it."""

from functools import cache

import numpy as np

from tests.bench.levers import LEVERS, ODDS, WARM_TOPUP_DAYS, Figures, World, at_service, demands_of
from tests.bench.levers_demand import DAY_HOURS


@cache
def found() -> dict[str, Figures]:
    """Of each lever at one setting that serves enough: to match a service takes longer series."""
    demand = demands_of(1, 1, scored_days=42, deposited=0.5)[0]
    levers = [lever for lever in LEVERS if lever.instant in (0.99, 1.0)]
    asked = {lever.name: 0.998 if lever.warm else 0.98 for lever in levers}
    return {lever.name: World(demand, lever, asked[lever.name], WARM_TOPUP_DAYS).live() for lever in levers}


def test_a_seed_gives_the_same_demand_and_figures() -> None:
    first, again, other = (demands_of(seed, 1, scored_days=14)[0] for seed in (7, 7, 8))
    lever = LEVERS[0]

    assert np.array_equal(first.amounts, again.amounts)
    assert not np.array_equal(first.withdrawn(), other.withdrawn())
    assert World(first, lever, 0.99, 0.05).live() == World(again, lever, 0.99, 0.05).live()
    assert World(first, lever, 0.99, 0.05).live() != World(other, lever, 0.99, 0.05).live()


def test_hours_and_single_amounts_are_the_same_money() -> None:
    demand = demands_of(3, 1, scored_days=14)[0]

    assert len(demand.withdrawn()) == DAY_HOURS * demand.days
    assert np.isclose(demand.withdrawn().sum(), demand.amounts.sum())
    assert demand.withdrawn(limit=float(demand.amounts.max()) / 2).sum() < demand.amounts.sum()


def test_each_lever_cuts_what_is_hot() -> None:
    usual, *levers = found().values()

    assert [one.hot < usual.hot for one in levers] == [True, True, True]
    assert all(one.service > 0.98 for one in (usual, *levers))


def test_a_warm_tier_an_hour_away_cuts_hot_by_more_than_half() -> None:
    assert found()["warm an hour away"].hot < 0.5 * found()["cold by days"].hot


def test_a_warm_tier_holds_what_is_no_longer_hot() -> None:
    warm = found()["warm an hour away"]

    assert warm.warm > warm.hot > 0
    assert found()["cold by days"].warm == 0


def test_payments_straight_from_cold_need_their_ceremonies() -> None:
    usual, instant = found()["cold by days"], found()["instant up to 99.0%"]

    assert 0 < instant.customers_wait < instant.money_waits < 1
    assert instant.ceremonies_per_week > usual.ceremonies_per_week


def test_a_lever_is_read_where_it_just_serves_what_is_wanted() -> None:
    tried = []

    def run(asked: float) -> Figures:
        tried.append(asked)
        return Figures(asked, 1 / (1 - asked), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    read = at_service(run, 0.985)

    assert tried == [0.98, 0.99]
    assert read.service == 0.985
    assert 50 < read.hot < 100
    assert at_service(run, 0.1).service == 1 - 1 / ODDS[0]  # the ladder's end says what it came to
