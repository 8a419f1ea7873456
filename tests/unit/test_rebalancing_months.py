"""A rebalancer over months: what it keeps of them, and what a run does to it."""

import pytest

from custody.rebalancer.flows import DAY_MS
from custody.rebalancing.judging import judged_days
from custody.rebalancing.moves import IN_FLIGHT, OVER, Stage
from custody.rebalancing.observing import history_of
from custody.rebalancing.records import Direction, replace
from tests.unit.rebalancing_house import ETHER, Mover
from tests.unit.rebalancing_months import months

DAYS, RUN_DAY = 32, 30


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Mover:
    return months(tmp_path_factory.mktemp("quiet"), days=RUN_DAY, looks_a_day=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Mover:
    return months(tmp_path_factory.mktemp("run"), days=DAYS, run_day=RUN_DAY, looks_a_day=6)


def test_in_quiet_months_the_wallet_stays_within_the_policy_and_no_alarm_is_raised(quiet: Mover) -> None:
    seen = quiet.book.exposures("eth")

    assert all(one.hot_base <= one.bounds.maximum_base for one in seen)
    assert quiet.book.alarms("eth") == ()
    assert {one.mode for one in seen if one.hour_ms > seen[0].hour_ms + 7 * DAY_MS} == {"forecast"}


def test_what_came_is_set_against_what_was_forecast(quiet: Mover) -> None:
    days = judged_days(quiet.book, quiet.route, flow="withdrawn", now_ms=quiet.desk.now_ms)
    came = [day.actual_base for day in days if day.actual_base is not None]
    paid = sum(one.amount_base for one in quiet.desk.paid if not one.to and one.wallet == "hot")

    assert sum(came) == paid
    assert len(came) == RUN_DAY
    assert all(day.foreseen.day_ms - day.foreseen.made_ms <= DAY_MS for day in days)


def test_deposits_are_found_though_nobody_tells_of_them(quiet: Mover) -> None:
    deposits = quiet.book.deposits("eth").values()
    known = sum(amount for amount in deposits if amount is not None)

    assert None not in deposits
    assert known > 100 * ETHER


def test_a_run_trips_the_breaker_within_its_first_day_and_freezes_the_band(run: Mover) -> None:
    (alarm,) = run.book.alarms("eth")
    after = [one for one in run.book.exposures("eth") if one.hour_ms >= alarm.since_ms]
    first_day = run.book.exposures("eth")[0].hour_ms + RUN_DAY * DAY_MS

    assert first_day <= alarm.since_ms < first_day + DAY_MS
    assert {one.mode for one in after} == {"run"}
    assert {one.band for one in after} == {alarm.band}
    assert "run" in run.desk.notes


def test_in_a_run_no_more_than_the_quota_a_day_is_asked_for_and_nothing_is_announced(run: Mover) -> None:
    (alarm,) = run.book.alarms("eth")
    raised: dict[int, int] = {}
    for move in run.book.moves(limit=1000):
        paid = move.direction is Direction.TOP_UP and move.stage in (*IN_FLIGHT, Stage.ARRIVED)
        if paid and move.created_ms >= alarm.since_ms:
            raised[move.period_ms] = raised.get(move.period_ms, 0) + move.amount_base

    assert all(amount <= alarm.quota_base for amount in raised.values())
    assert not [move for move in run.book.moves_in([Stage.ANNOUNCED]) if move.created_ms >= alarm.since_ms]
    assert max(one.hot_base for one in run.book.exposures("eth")) <= run.route.bounds.maximum_base


def test_after_people_end_an_alarm_the_forecast_holds_again_and_knows_nothing_of_the_run(run: Mover) -> None:
    (alarm,) = run.book.alarms("eth")
    calm = run.book.exposures("eth")[0].band
    run.book.put_alarm(replace(alarm, ended_ms=run.desk.now_ms, ended_why="an airdrop"))
    run.desk.now_ms += DAY_MS

    run.look()
    now = run.book.exposures("eth")[-1]

    assert now.mode == "forecast"
    assert now.band.U_base < 3 * max(calm.U_base, alarm.band.U_base)
    assert [one.ended_why for one in run.book.alarms("eth")] == ["an airdrop"]
    assert run.desk.notes[-1] == "forecast"


def test_at_the_end_of_quiet_months_at_most_one_move_is_not_over(quiet: Mover) -> None:
    moves = quiet.book.moves(limit=1000)

    assert sum(move.stage not in OVER for move in moves) <= 1


def test_what_people_call_the_new_normal_is_learnt_from(run: Mover) -> None:
    (alarm,) = run.book.alarms("eth")
    now_ms = run.desk.now_ms

    def learnt(*, new_normal: bool) -> list[int | None]:
        ended = replace(alarm, ended_ms=now_ms, new_normal=new_normal)
        movements = run.book.movements("eth")
        days = history_of(run.route, movements, deposits={}, alarms=[ended], now_ms=now_ms).days
        return list(days.withdrawn_base[RUN_DAY:DAYS])

    assert learnt(new_normal=False)[:2] == [None, None]
    assert None not in learnt(new_normal=True)[:2]
