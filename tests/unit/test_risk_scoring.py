"""The score of a request: integers alone, shares that add up, and each feature by what it is for."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.risk.gathering import AGAIN_MAX, Gathering
from custody.risk.habits import DAY_MS, HOUR_MS, Ask, Habits, Hours, House
from custody.risk.lookalikes import Lookalike, Lookalikes
from custody.risk.numbers import ONE, between, deviation, log2, median
from custody.risk.scoring import FEATURES, Score, score

MONDAY_MS = 1_767_571_200_000
TEN_MS = 10 * HOUR_MS
START_MS = MONDAY_MS + TEN_MS
KNOWN = "0x" + "ab12" + "3" * 32 + "cd34"
FRESH = "0x" + "9" * 40
ETHER = 10**18


def ask(amount: int = ETHER, *, to: str = KNOWN, time_ms: int = START_MS, named: bool = False) -> Ask:
    return Ask(bytes(32), "shop", "evm:1", "eth", amount, to, named, time_ms)


def house(days: int = 60) -> House:
    """The shop has paid one ether to a known address at ten each day but at weekends."""
    found = House()
    for day in range(days):
        time_ms = START_MS + day * DAY_MS
        if day % 7 < 5:
            for step in range(3):
                one = ask(ETHER + step * ETHER // 10, time_ms=time_ms + step * 600_000)
                found.asked(one)
                found.signed(one, one.time_ms + 1000)
    return found


LATER_MS = START_MS + 63 * DAY_MS  # a Monday again


def shares(one: Ask, of: House) -> dict[str, int]:
    return dict(score(one, of).points)


@given(st.integers(1, 2**256))
def test_a_logarithm_is_that_of_floats_but_by_integers(number: int) -> None:
    assert abs(log2(number) - math.log2(number) * ONE) <= 1.001


@given(st.integers(1, 2**200))
def test_a_logarithm_never_falls(number: int) -> None:
    assert log2(number) <= log2(number + 1)
    assert log2(2 * number) == log2(number) + ONE


def test_one_wild_amount_moves_neither_median_nor_deviation() -> None:
    usual = [10, 11, 12, 13, 14, 15, 16]

    assert median([*usual, 10**9]) == median(usual) == 13
    assert deviation([*usual, 10**9]) <= 2 * deviation(usual)


@given(st.integers(-100, 200))
def test_points_rise_between_their_bounds_and_not_beyond(value: int) -> None:
    assert 0 <= between(value, (0, 50), points=30) <= 30
    assert between(value, (0, 50), points=30) <= between(value + 1, (0, 50), points=30)


def test_a_usual_payment_has_no_score() -> None:
    assert score(ask(time_ms=LATER_MS), house()) == Score(())


def test_an_address_that_nobody_paid_is_new_and_one_of_the_policy_less_so() -> None:
    of = house()

    assert shares(ask(to=FRESH, time_ms=LATER_MS), of) == {"first-use": 25}
    assert shares(ask(to=FRESH, time_ms=LATER_MS, named=True), of) == {"first-use": 10}


def test_whoever_has_a_stolen_key_cannot_make_an_address_known_within_a_day() -> None:
    of = house()
    first = ask(to=FRESH, time_ms=LATER_MS)
    of.signed(first, LATER_MS)

    assert "first-use" in shares(replace(first, time_ms=LATER_MS + DAY_MS - 1), of)
    assert "first-use" not in shares(replace(first, time_ms=LATER_MS + DAY_MS), of)


def test_an_address_that_others_paid_is_new_to_this_initiator_alone() -> None:
    of = house()
    desk = replace(ask(to=FRESH), initiator="desk")
    of.signed(desk, START_MS)

    assert shares(ask(to=FRESH, time_ms=LATER_MS), of) == {"first-use": 10}


@pytest.mark.parametrize(
    ("ends", "points"), [((3, 3), 30), ((4, 3), 45), ((4, 4), 60), ((6, 2), 0), ((2, 6), 0)]
)
def test_a_poisoned_address_has_the_points_of_its_likeness(ends: tuple[int, int], points: int) -> None:
    first, last = ends
    body = KNOWN[2:]
    like = "0x" + body[:first] + "7" * (40 - first - last) + body[40 - last :]

    assert shares(ask(to=like, time_ms=LATER_MS), house()).get("lookalike", 0) == points


def test_what_the_policy_names_or_was_paid_before_is_no_lookalike() -> None:
    of, like = house(), KNOWN[:6] + "7" * 32 + KNOWN[38:]
    of.signed(ask(to=like), START_MS)

    assert "lookalike" not in shares(ask(to=like, time_ms=LATER_MS), of)
    assert "lookalike" not in shares(ask(to=like, time_ms=LATER_MS, named=True), house())


def test_an_address_like_one_that_only_the_policy_names_is_found() -> None:
    of = House()
    of.name([KNOWN])

    assert of.lookalike(KNOWN[:6] + "7" * 32 + KNOWN[38:]) == Lookalike(KNOWN, 4, 4)
    of.name([])
    assert of.lookalike(KNOWN[:6] + "7" * 32 + KNOWN[38:]) is None


@pytest.mark.parametrize("prefix", ["bc1q", "bc1p", "tb1q", "bcrt1q"])
def test_what_all_addresses_of_a_network_begin_with_is_no_likeness(prefix: str) -> None:
    found = Lookalikes()
    found.add(prefix + "zzz" + "0" * 30 + "zzz")

    assert found.find(prefix + "qqq" + "0" * 30 + "zzz") is None
    assert found.find(prefix + "zzz" + "9" * 30 + "zzz") is not None


def test_an_amount_counts_by_robust_deviations_from_the_usual() -> None:
    points = [
        shares(ask(times * ETHER // 10, time_ms=LATER_MS), house()).get("amount", 0) for times in range(1, 80)
    ]

    assert points == sorted(points)
    assert points[:16] == [0] * 16
    assert 0 < points[34] < points[-1] == 35


def test_who_has_no_history_has_some_points_for_it() -> None:
    assert shares(ask(time_ms=LATER_MS, named=True), House()) == {"first-use": 10, "amount": 10}


def test_a_call_that_sends_nothing_has_no_amount() -> None:
    assert "amount" not in shares(ask(0, time_ms=LATER_MS), House())


def test_the_night_and_the_weekend_count_for_who_works_by_day() -> None:
    of = house()

    assert shares(ask(time_ms=LATER_MS + 13 * HOUR_MS), of) == {"hour": 25}
    assert shares(ask(time_ms=LATER_MS + 5 * DAY_MS), of) == {"hour": 25}
    assert shares(ask(time_ms=LATER_MS + HOUR_MS), of) == {}


def test_many_requests_at_once_count_by_the_most_there_ever_were() -> None:
    of = house()
    found = []
    for step in range(8):
        one = ask(time_ms=LATER_MS + step * 10_000)
        found.append(shares(one, of).get("velocity", 0))
        of.asked(one)

    assert found[:2] == [0, 0]
    assert found == sorted(found)
    assert found[-1] == 30


def test_a_large_sum_within_a_day_counts_even_in_few_requests() -> None:
    of = house()
    of.asked(ask(4 * ETHER, time_ms=LATER_MS - 5 * HOUR_MS))

    assert shares(ask(4 * ETHER, time_ms=LATER_MS), of)["velocity"] > 0


def test_a_burst_that_was_stopped_teaches_no_pace() -> None:
    of = house()
    for step in range(50):
        of.asked(ask(time_ms=LATER_MS + step * 1000))
    calm = score(ask(time_ms=LATER_MS + 3 * DAY_MS), of)

    assert of.of("shop").quarterly.usual(LATER_MS + 3 * DAY_MS)[1] <= 2
    assert calm.risk == 0


def test_refused_requests_count_for_some_hours() -> None:
    of = house()
    for _ in range(2):
        of.failed("shop", LATER_MS - HOUR_MS)

    assert shares(ask(time_ms=LATER_MS), of) == {"failed": 20}
    assert shares(ask(time_ms=LATER_MS + 3 * HOUR_MS), of) == {"hour": 25}


def test_shares_add_up_to_a_risk_that_is_cut_at_a_hundred() -> None:
    of, like = house(), KNOWN[:6] + "7" * 32 + KNOWN[38:]
    for _ in range(5):
        of.failed("shop", LATER_MS)
    found = score(ask(50 * ETHER, to=like, time_ms=LATER_MS + 13 * HOUR_MS), of)

    assert sum(one.points for one in found.shares) > 100
    assert found.risk == 100
    assert all(one.points and one.why for one in found.shares)
    assert [one.feature for one in found.shares] == [
        name for name in FEATURES if name in {share.feature for share in found.shares}
    ]


def test_memory_of_an_initiator_is_bounded() -> None:
    of = Habits()
    for step in range(20_000):
        time_ms = START_MS + step * HOUR_MS
        of.hours.add(time_ms)
        of.quarterly.signed(time_ms, 1)
        of.failures.append(time_ms)

    assert of.hours.total <= 4096
    assert of.quarterly.usual(START_MS + 20_000 * HOUR_MS)[0] <= 120
    assert len(of.failures) == 16


def test_an_hour_is_compared_across_midnight() -> None:
    hours = Hours()
    hours.add(MONDAY_MS + 23 * HOUR_MS)

    assert hours.around(MONDAY_MS + DAY_MS) == 1
    assert hours.around(MONDAY_MS + 2 * HOUR_MS) == 0


def with_new_customers(days: int = 60) -> House:
    """Each day pays an address that is new, and again the one of the day before."""
    found = house(days)
    for day in range(days):
        for step, number in enumerate((day, max(0, day - 1))):
            one = ask(to=f"0x{number:040x}", time_ms=START_MS + day * DAY_MS + (5 + step) * 600_000)
            found.signed(one, one.time_ms)
    return found


def leaked(of: House, payments: int, *, named: bool = False) -> int:
    """The points of the last of so many daily payments to a new address, the others of which were signed."""
    for day in range(payments):
        one = ask(to=FRESH, time_ms=LATER_MS + day * DAY_MS, named=named)
        found = shares(one, of).get("gathering", 0)
        of.signed(one, one.time_ms)
    return found


def test_a_new_address_that_is_paid_as_no_other_new_one_was_has_points_for_it() -> None:
    points = [leaked(with_new_customers(), count) for count in (1, 4, 5, 7, 9, 12)]

    assert points[:2] == [0, 0] and points == sorted(points)
    assert points[3] < 50 <= points[4] and points[-1] == 60


def test_an_address_that_the_policy_names_gathers_nothing() -> None:
    assert leaked(with_new_customers(), 20, named=True) == 0


def test_an_address_is_new_for_thirty_days() -> None:
    of = with_new_customers()
    old = ask(to=FRESH, time_ms=LATER_MS)
    for step in range(20):
        of.signed(replace(old, time_ms=LATER_MS + step), LATER_MS + step)

    assert "gathering" in shares(replace(old, time_ms=LATER_MS + 29 * DAY_MS), of)
    assert "gathering" not in shares(replace(old, time_ms=LATER_MS + 30 * DAY_MS), of)


def test_a_leak_raises_nobodys_bar_but_that_of_others() -> None:
    gathering = Gathering()
    for day in range(10):
        for step in range(3):
            gathering.signed(("evm:1", "leak"), 0 if day + step else None, time_ms=day * DAY_MS + step)
        gathering.signed(("evm:1", f"c{day}"), None, time_ms=day * DAY_MS + 9)

    assert gathering.most(("evm:1", "leak"), 10 * DAY_MS) == (10, 1)
    assert gathering.most(("evm:1", "c3"), 10 * DAY_MS) == (10, 30)
    assert gathering.most(("evm:1", "c3"), 90 * DAY_MS) == (0, 0)


def test_what_is_known_of_new_addresses_is_bounded_and_forgotten() -> None:
    gathering = Gathering()
    for number in range(AGAIN_MAX + 50):
        for first_ms in (None, 0):
            gathering.signed(("evm:1", str(number)), first_ms, time_ms=number)
    gathering.signed(("evm:1", "next"), None, time_ms=DAY_MS)
    kept = len(gathering.again)
    gathering.signed(("evm:1", "later"), None, time_ms=31 * DAY_MS)

    assert (kept, len(gathering.again)) == (AGAIN_MAX, 0)
