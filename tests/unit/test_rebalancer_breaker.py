"""The breaker on generated demand."""

import numpy as np
import pytest

from custody.rebalancer.breaker import Breaker, Calm, Tripped
from custody.rebalancer.flows import DAY_MS


def after(days: list[float]) -> Breaker:
    breaker = Breaker()
    for day, withdrawn in enumerate(days):
        breaker, _ = breaker.observe((day + 1) * DAY_MS, withdrawn=withdrawn)
    return breaker


def demand(spread: float, days: int = 250) -> list[float]:
    return list(np.random.default_rng(11).lognormal(0, spread, days))


@pytest.mark.parametrize("spread", [0.2, 0.45])
def test_ten_times_the_usual_trips_within_a_day(spread: float) -> None:
    calm = after(demand(spread))

    tripped = after([*demand(spread), 10.0, 10.0])

    assert calm.state == Calm()
    assert isinstance(tripped.state, Tripped)


def test_restless_demand_trips_at_most_once_a_year() -> None:
    trips = 0
    for seed in range(6):
        breaker = Breaker()
        for day, withdrawn in enumerate(np.random.default_rng(seed).lognormal(0, 0.5, 365)):
            breaker, state = breaker.observe((day + 1) * DAY_MS, withdrawn=float(withdrawn))
            if isinstance(state, Tripped):
                trips, breaker = trips + 1, breaker.reset(new_normal=True)

    assert trips <= 6


def test_a_slow_run_is_found_by_its_sum() -> None:
    found = after([*demand(0.15), *([3.5] * 6)]).state

    assert isinstance(found, Tripped) and found.rule == "cumulative sum"


def test_tripped_it_stays_until_people_say_otherwise() -> None:
    breaker = after([*demand(0.2), 12.0, 1.0, 1.0, 0.0])

    assert isinstance(breaker.state, Tripped)
    assert breaker.reset(new_normal=False).state == Calm()


def test_a_run_teaches_the_breaker_nothing() -> None:
    before, run = after(demand(0.2)), after([*demand(0.2), 12.0, 30.0, 50.0])

    assert run.thresholds() == before.thresholds()


def test_what_people_call_normal_does_not_trip_again() -> None:
    breaker = after([*demand(0.2), 12.0])

    _, state = breaker.reset(new_normal=True).observe(0, withdrawn=11.0)
    _, other = breaker.reset(new_normal=False).observe(0, withdrawn=11.0)

    assert isinstance(state, Calm) and isinstance(other, Tripped)


def test_an_unknown_day_changes_nothing() -> None:
    breaker = after(demand(0.2))

    assert breaker.observe(0, withdrawn=None) == (breaker, Calm())


def test_what_is_expected_is_no_run() -> None:
    breaker = after(demand(0.2))

    _, payday = breaker.observe(0, withdrawn=8.0, expected=7.0)
    _, run = breaker.observe(0, withdrawn=8.0, expected=1.0)

    assert isinstance(payday, Calm) and isinstance(run, Tripped)
