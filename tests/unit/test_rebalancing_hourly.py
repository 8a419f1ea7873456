"""A run is seen within its first hours where a route pays evenly; any other is left to days."""

import random
from pathlib import Path

import pytest

from custody.rebalancer.breaker import HOURLY, Breaker, Tripped
from custody.rebalancer.flows import HOUR_MS, Flows
from custody.rebalancing.hourly import HOURS_MIN, hourly_breaker, run_this_hour
from custody.rebalancing.observing import hours_until
from custody.rebalancing.records import DAY_MS, Alarm, Movement, replace
from tests.unit.rebalancing_house import COLD, ETHER, HOT, START_MS, FakeDesk, Mover, make_route

ROUTE = make_route()
NOW_MS = START_MS - START_MS % DAY_MS + 3 * HOUR_MS


def flows(*amounts: int | None) -> Flows:
    first = NOW_MS - len(amounts) * HOUR_MS
    return Flows(HOUR_MS, first, amounts, (None,) * len(amounts))


def busy(hours: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [int(100 * chance.lognormvariate(0, 0.5)) for _ in range(hours)]


def tripped(hours: Flows, withdrawn: int, calm_ms: int = 0) -> Tripped | None:
    watched = hourly_breaker(hours, unit_base=1, calm_ms=calm_ms)
    assert watched is not None
    breaker, expected = watched
    return run_this_hour(breaker, expected=expected, withdrawn_base=withdrawn, unit_base=1, now_ms=NOW_MS)


def test_an_hour_that_takes_half_a_day_is_a_run_and_one_of_twice_the_usual_is_not() -> None:
    calm = flows(*busy(40 * 24))
    found = tripped(calm, 1500)

    assert tripped(calm, 220) is None
    assert found is not None and found.rule == "1 h"
    assert 24 * 100 < found.quota < 3 * 24 * 130  # two usual days


def test_a_few_hours_of_five_times_the_usual_are_a_run_though_none_alone_is() -> None:
    assert tripped(flows(*busy(40 * 24 - 6), *[600] * 5, 100), 100) is not None
    assert tripped(flows(*busy(40 * 24)), 600) is None


def test_quiet_months_of_a_route_that_pays_evenly_never_trip() -> None:
    breaker, amounts = Breaker(HOURLY), busy(45 * 24, seed=2)
    states = []
    for hour, amount in enumerate(amounts):
        breaker, state = breaker.observe(hour * HOUR_MS, withdrawn=float(amount), expected=113.0)
        states.append(state)

    assert not any(isinstance(state, Tripped) for state in states)
    assert hourly_breaker(flows(*amounts), unit_base=1, calm_ms=0) is not None


@pytest.mark.parametrize(
    "amounts",
    [
        busy(HOURS_MIN - 1),
        [one if place % 5 else 0 for place, one in enumerate(busy(40 * 24))],
        [one * (1 if place % 5 else 9) for place, one in enumerate(busy(40 * 24))],
        [None] * 40 * 24,
    ],
    ids=["too young", "pays in four of five hours", "uneven", "unknown"],
)
def test_what_is_too_young_sparse_or_uneven_is_left_to_days(amounts: list[int | None]) -> None:
    assert hourly_breaker(flows(*amounts), unit_base=1, calm_ms=0) is None


def test_what_people_said_is_over_does_not_trip_again_in_its_hour() -> None:
    hours = flows(*busy(40 * 24 - 1), 3000)

    assert tripped(hours, 100) is not None
    assert tripped(hours, 100, calm_ms=NOW_MS - HOUR_MS // 2) is None


def test_hours_are_whole_and_days_of_a_run_unknown() -> None:
    paid = [
        Movement(number, bytes(32), NOW_MS - hours * HOUR_MS + 1, HOT, "eth", 10 + number, to)
        for number, (hours, to) in enumerate([(30, ""), (2, ""), (1, ""), (1, COLD), (0, "")])
    ]
    seen = hours_until(ROUTE, paid, alarms=(), now_ms=NOW_MS + HOUR_MS // 2)

    assert (seen.withdrawn_base[0], seen.withdrawn_base[-2:]) == (10, (11, 12))
    assert len(seen.withdrawn_base) == 30 and set(seen.deposited_base) == {None}


def test_a_run_in_the_night_freezes_the_band_before_a_day_would_show_it(tmp_path: Path) -> None:
    desk = FakeDesk(balances={HOT: 200 * ETHER, COLD: 1000 * ETHER})
    desk.now_ms = NOW_MS
    mover = Mover(tmp_path, desk, route=make_route(minimum=50, target=200, maximum=600))
    chance = random.Random(3)
    past = [
        Movement(
            1_000_000 + hour,
            (1000 + hour).to_bytes(32, "big"),
            NOW_MS - hour * HOUR_MS - 1,
            HOT,
            "eth",
            int(chance.lognormvariate(0, 0.3) * 1000) * ETHER // 1000,
            "",
        )
        for hour in range(40 * 24)
    ]
    mover.book.add_movements(past, cursor=0)
    mover.look()
    calm = mover.book.alarms("eth")
    desk.pass_time(HOUR_MS // 2)
    desk.pay(18 * ETHER)
    mover.look()

    (alarm,) = mover.book.alarms("eth")
    assert calm == ()
    assert alarm.rule == "1 h"
    assert isinstance(alarm, Alarm) and 30 * ETHER < alarm.quota_base < 70 * ETHER
    desk.pass_time(60_000)
    mover.book.put_alarm(replace(alarm, ended_ms=desk.now_ms, ended_why="it was us"))
    mover.look()
    assert [one.ended_ms > 0 for one in mover.book.alarms("eth")] == [True]
