"""How uncertain the next step is: by its place in the week, after a surprise, on a day of the calendar."""

import math

import numpy as np
import pytest

from custody.rebalancer.learning import STEADY, Smoother

WEEK = 7


def learnt(logs: list[float]) -> Smoother:
    smoother = Smoother(STEADY, WEEK, None)
    for day, log in enumerate(logs):
        smoother.observe(day % WEEK, 0.0, log=log)
    return smoother


def test_a_weekday_that_varies_more_is_more_uncertain() -> None:
    spreads = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4])
    logs = np.random.default_rng(1).normal(0, 1, 700) * np.resize(spreads, 700)

    smoother = learnt(list(logs))

    widths = [smoother.width(place, 0.0, steps=5) for place in range(WEEK)]
    assert widths[6] > 1.5 * max(widths[:6])


def test_a_surprise_makes_the_next_step_less_certain_and_the_week_after_hardly() -> None:
    smoother = learnt(list(np.random.default_rng(2).normal(0, 0.2, 300)))
    smoother.observe(300 % WEEK, 0.0, log=2.0)

    ratio = [smoother.width(0, 0.0, steps=steps) / smoother.width(0, 0.0, steps=50) for steps in (0, 7)]

    assert ratio[0] > 1.2 and ratio[1] == pytest.approx(1.0, abs=0.01)


def test_a_day_of_the_calendar_is_less_certain() -> None:
    smoother = learnt(list(np.random.default_rng(3).normal(0, 0.2, 100)))

    assert smoother.width(0, -0.7, steps=3) > 1.1 * smoother.width(0, 0.0, steps=3)


@pytest.mark.parametrize(("kept", "low", "high"), [(0.0, 0.0, 0.1), (0.6, 0.3, 0.6)])
def test_how_long_a_deviation_lasts_is_learnt_from_the_series(kept: float, low: float, high: float) -> None:
    rng, log = np.random.default_rng(4), 0.0
    logs = [log := kept * log + rng.normal(0, 0.2) for _ in range(600)]

    smoother = learnt(logs)

    assert low <= smoother.echo <= high


def test_the_spread_never_falls_to_nothing() -> None:
    smoother = learnt([math.log(5.0)] * 400)

    assert min(smoother.width(place, 0.0, steps=0) for place in range(WEEK)) > 0.02
