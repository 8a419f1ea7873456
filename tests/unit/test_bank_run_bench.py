"""What the bench of a run on the bank measures, on one made-up series."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from custody.rebalancer.backtest import Series
from tests.bench.bank_run import false_alarms, main, one_run

DAYS, SPLIT = 240, 120


def series() -> Series:
    chance = np.random.default_rng(4)
    days = tuple(str(date(2025, 1, 1) + timedelta(day)) for day in range(DAYS))
    wanted, deposited = np.exp(chance.normal(3, 0.25, (2, DAYS)))
    return Series("one", days, wanted, deposited, SPLIT)


def test_a_run_trips_the_breaker_within_a_day_and_hot_stays_below_ten_days() -> None:
    peak, tripped = one_run(series(), SPLIT + 40, 0.999)

    assert tripped in (0, 1)
    assert 0 < peak < 10


def test_calm_days_trip_nothing() -> None:
    alarms, days = false_alarms(series(), 0.999)

    assert alarms == 0
    assert days >= DAYS - SPLIT


def test_the_command_prints_one_json_object_and_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = series()
    lines = zip(made.days, made.wanted, made.deposited, strict=True)
    rows = "".join(f"one,{day},{wanted},{deposited}\n" for day, wanted, deposited in lines)
    file = tmp_path / "flows.csv"
    file.write_text("series,date,withdraw,deposit\n" + rows)

    printed = []
    for _ in range(2):
        main([str(file), "--runs", "2"])
        printed.append(capsys.readouterr().out)

    figures = json.loads(printed[0])
    assert printed[0] == printed[1]
    assert figures["runs"] == 2
    assert figures["median_peak"] > 0
    assert figures["within_a_day"] == 1.0
