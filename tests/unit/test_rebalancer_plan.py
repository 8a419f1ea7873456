"""Bands, moves and the caps that no forecast can lift."""

from dataclasses import replace

import numpy as np
import pytest

from custody.rebalancer.bands import Terms, optimal_levels
from custody.rebalancer.flows import DAY_MS, Flows, History
from custody.rebalancer.forecast import Flow, Forecast, Settings, forecast
from custody.rebalancer.plan import (
    Band,
    Bounds,
    Costs,
    Nothing,
    Position,
    Sweep,
    TopUp,
    follow,
    plan,
    plan_in_run,
)
from policy.errors import CallerError

ETHER = 10**18
COSTS = Costs(price=3000.0, topup=40.0, sweep=1.0, exposure_year=0.5, delay=0.02)
WIDE = Bounds(0, 0, 10**30)


def ahead(days: int = 60, *, last: int | None = 10) -> Forecast:
    flows = tuple([10 * ETHER + (day % 7) * ETHER for day in range(days - 1)] + [last and last * ETHER])
    history = History(ETHER, 10 * ETHER, Flows(DAY_MS, 0, flows, (0,) * days))
    return forecast(history, days * DAY_MS, horizon=10)


def test_one_certain_day_needs_exactly_what_it_will_pay() -> None:
    withdrawn = np.array([[2.0], [2.0]])

    s, _, upper, sweep_to = optimal_levels(
        withdrawn, np.zeros((2, 1)), terms=Terms(topup=1.0, sweep=0.1, delay=50.0, lead_steps=0)
    )

    # two certain days of 2: holding 4 for both costs 4 + 2, a second top-up of 1 only 2 + 1 + 2
    assert sweep_to == pytest.approx(2.0)
    assert s == pytest.approx(2.0, abs=0.1)
    assert upper == pytest.approx(2.1, abs=0.3)


def test_a_topup_that_comes_later_is_ordered_earlier() -> None:
    withdrawn = np.full((6, 1), 1.0)

    now = optimal_levels(withdrawn, withdrawn * 0, terms=Terms(1.0, 0.1, 50.0, lead_steps=0))
    later = optimal_levels(withdrawn, withdrawn * 0, terms=Terms(1.0, 0.1, 50.0, lead_steps=1))

    assert later[0] >= now[0] + 0.9


def test_a_dearer_delay_never_lowers_what_is_held() -> None:
    made = [
        plan(ahead(), Position(0), costs=replace(COSTS, delay=delay), bounds=WIDE).band
        for delay in (0.005, 0.05, 0.5)
    ]

    assert made[0].s_base <= made[1].s_base <= made[2].s_base
    assert made[0].s_base < made[2].s_base


def test_no_forecast_moves_anything_above_the_policys_maximum() -> None:
    bounds = Bounds(0, ETHER, 12 * ETHER)
    for hot in range(15):
        made = plan(ahead(), Position(hot * ETHER), costs=COSTS, bounds=bounds)
        moved = {TopUp: 1, Sweep: -1, Nothing: 0}[type(made.action)] * made.amount_base

        assert 0 <= hot * ETHER + moved <= max(12 * ETHER, 0)


def test_what_is_owed_lifts_nothing_above_the_policys_maximum() -> None:
    made = follow(Band(10, 20, 40, 30), Position(5, owed_base=50, incoming_base=1), bounds=Bounds(0, 20, 40))
    full = follow(Band(10, 20, 40, 30), Position(40, owed_base=50), bounds=Bounds(0, 20, 40))

    assert isinstance(made.action, Nothing)  # one top-up is on its way
    assert (full.action, full.reasons) == (Nothing(), ("the maximum leaves room for 0 of 30",))
    for hot in range(41):
        made = follow(Band(10, 20, 40, 30), Position(hot, owed_base=hot + 3), bounds=Bounds(0, 20, 40))
        assert hot + made.amount_base <= 40


def test_the_policys_minimum_is_kept_whatever_the_forecast_says() -> None:
    made = plan(ahead(), Position(30 * ETHER), costs=COSTS, bounds=Bounds(50 * ETHER, 60 * ETHER, 70 * ETHER))

    assert isinstance(made.action, TopUp)
    assert made.band.s_base >= 50 * ETHER


def test_what_is_on_its_way_is_not_ordered_again() -> None:
    band = Band(10, 20, 30, 25)

    assert isinstance(follow(band, Position(5, incoming_base=1), bounds=WIDE).action, Nothing)
    assert isinstance(follow(band, Position(40, outgoing_base=1), bounds=WIDE).action, Nothing)


def test_what_is_owed_counts_as_gone() -> None:
    made = follow(Band(10, 20, 30, 25), Position(25, owed_base=18), bounds=WIDE)

    assert (made.action, made.amount_base) == (TopUp(), 13)


def test_without_a_price_the_plan_is_the_policys_minimum_and_target_and_says_so() -> None:
    made = plan(ahead(), Position(3), costs=None, bounds=Bounds(5, 8, 12))

    assert made.fallback
    assert (made.action, made.amount_base) == (TopUp(), 5)
    assert any("plain minimum and target" in reason for reason in made.reasons)


def test_a_forecast_that_lost_its_calibration_is_not_followed() -> None:
    good = ahead()
    bad = replace(good, basis=replace(good.basis, coverage=0.5))

    assert plan(bad, Position(3), costs=COSTS, bounds=Bounds(5, 8, 12)).fallback
    assert not plan(good, Position(3), costs=COSTS, bounds=Bounds(5, 8, 12)).fallback


def test_in_a_run_hot_is_not_filled_to_pay_whatever_is_asked() -> None:
    band = Band(10, 20, 30, 25)

    calm = follow(band, Position(0, owed_base=500), bounds=WIDE)
    run = plan_in_run(band, Position(0, owed_base=500), bounds=WIDE, quota_base=15)

    assert calm.amount_base == 520
    assert run.amount_base == 35
    assert "485 waits for people" in run.reasons[-1]


def test_the_first_day_has_a_forecast_from_the_prior_alone() -> None:
    empty = History(ETHER, 4 * ETHER, Flows(DAY_MS, 0, (), ()))
    found = forecast(empty, 0, horizon=3)

    low, middle, high = found.quantiles(Flow.WITHDRAWN, 0, levels=(0.05, 0.5, 0.95))

    assert low < 4 < high and middle == pytest.approx(4, rel=0.2)
    assert found.basis.prior_share == 1.0


@pytest.mark.parametrize("days", range(60))
def test_before_the_first_deposit_both_flows_have_the_same_scenarios(days: int) -> None:
    flows = tuple((3 if day % 2 else 30) * ETHER for day in range(days))  # restless
    found = forecast(History(ETHER, ETHER, Flows(DAY_MS, 0, flows, (0,) * days)), days * DAY_MS, horizon=7)

    assert found.withdrawn.shape == found.deposited.shape
    assert len(found.quantiles(Flow.NET, 0)) == 6


def test_a_weekly_rhythm_is_learnt() -> None:
    week = (1, 1, 1, 1, 5, 5, 1)
    flows = tuple(week[day % 7] * ETHER for day in range(280))
    found = forecast(History(ETHER, ETHER, Flows(DAY_MS, 0, flows, (0,) * 280)), 280 * DAY_MS, horizon=7)

    medians = [found.quantiles(Flow.WITHDRAWN, step, levels=(0.5,))[0] for step in range(7)]

    assert medians == pytest.approx(week, rel=0.25)


def test_a_series_that_never_varied_has_the_tail_of_others_up_to_a_tenth_above_what_it_saw() -> None:
    flows = (10 * ETHER,) * 140
    found = forecast(History(ETHER, 10 * ETHER, Flows(DAY_MS, 0, flows, (0,) * 140)), 140 * DAY_MS, horizon=1)

    middle, high, top = found.quantiles(Flow.WITHDRAWN, 0, levels=(0.5, 0.95, 1.0))

    assert middle == pytest.approx(10, rel=0.01)
    assert 10.5 < high <= top <= 11.001


def test_unknown_days_teach_nothing() -> None:
    flows = tuple(2 * ETHER for _ in range(50))
    known = forecast(History(ETHER, ETHER, Flows(DAY_MS, 0, flows, (0,) * 50)), 50 * DAY_MS, horizon=1)
    holes = (*flows, *(None for _ in range(7)))
    gap = forecast(History(ETHER, ETHER, Flows(DAY_MS, 0, holes, (0,) * 57)), 57 * DAY_MS, horizon=1)

    assert gap.basis.level == pytest.approx(known.basis.level)
    assert (gap.basis.known_steps, gap.basis.unknown_steps) == (50, 7)


def test_one_outlier_does_not_move_the_level_far() -> None:
    calm, shaken = ahead(last=10), ahead(last=10_000)

    assert shaken.basis.level < 2 * calm.basis.level


def test_hours_have_their_own_week() -> None:
    hour = DAY_MS // 24
    amounts = tuple((9 if step % 24 == 12 else 1) * ETHER for step in range(24 * 28))
    days = Flows(DAY_MS, 0, (32 * ETHER,) * 28, (0,) * 28)
    history = History(ETHER, 32 * ETHER, days, Flows(hour, 0, amounts, (0,) * len(amounts)))
    found = forecast(history, 28 * DAY_MS, horizon=24, settings=Settings(hour))

    medians = [found.quantiles(Flow.WITHDRAWN, step, levels=(0.5,))[0] for step in range(24)]
    assert int(np.argmax(medians)) == 12


def test_a_position_below_zero_is_refused() -> None:
    with pytest.raises(CallerError, match="below zero"):
        Position(-1)
