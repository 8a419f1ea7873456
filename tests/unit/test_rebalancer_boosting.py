"""The optional correction of the mean by LightGBM."""

import sys
from pathlib import Path

import pytest

from cli.main import invoke
from cli.results import Misuse
from custody.rebalancer.explain import explain
from custody.rebalancer.flows import DAY_MS, Flows, History
from custody.rebalancer.forecast import Flow, Forecast, Mean, Settings, forecast
from policy.errors import CallerError

UNIT = 10**18
DAYS = 402
FIRST = 19_800  # 2024-03-18


def ahead(mean: Mean, *, days: int = DAYS) -> Forecast:
    """Every third day is three times the others: no place in the week says so, a lag of days does."""
    amounts = tuple((30 if day % 3 == 0 else 10) * UNIT + day * 7919 % 13 * UNIT // 10 for day in range(days))
    history = History(UNIT, 15 * UNIT, Flows(DAY_MS, FIRST * DAY_MS, amounts, (0,) * days))
    return forecast(history, history.days.end_ms, horizon=3, settings=Settings(mean=mean))


def test_the_corrected_mean_sees_what_smoothing_cannot_and_says_so() -> None:
    pytest.importorskip("lightgbm")
    plain, corrected = ahead(Mean.SMOOTHING), ahead(Mean.LIGHTGBM)
    (low,), (high,) = (found.quantiles(Flow.WITHDRAWN, 0, levels=(0.5,)) for found in (plain, corrected))

    assert low < 20 < high < 35
    assert any("LightGBM" in sentence for sentence in explain(corrected))
    assert corrected.basis == ahead(Mean.LIGHTGBM).basis


def test_with_too_little_history_smoothing_speaks_alone() -> None:
    pytest.importorskip("lightgbm")
    found = ahead(Mean.LIGHTGBM, days=160)

    assert found.basis == ahead(Mean.SMOOTHING, days=160).basis and not found.basis.corrected


def test_hours_are_refused_a_corrected_mean() -> None:
    pytest.importorskip("lightgbm")
    hours = Flows(DAY_MS // 24, 0, (UNIT,) * 48, (0,) * 48)
    history = History(UNIT, UNIT, Flows(DAY_MS, 0, (UNIT,) * 2, (0,) * 2), hours)

    with pytest.raises(CallerError, match="of days"):
        forecast(history, 2 * DAY_MS, horizon=1, settings=Settings(DAY_MS // 24, mean=Mean.LIGHTGBM))


@pytest.mark.parametrize("command", [["backtest"], ["forecast", "--series", "eth"]])
def test_asking_for_the_library_where_it_is_missing_names_the_extra(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    file = tmp_path / "flows.csv"
    rows = "".join(f"eth,2026-01-{day:02d},1,1\n" for day in range(1, 31))
    file.write_text("series,date,withdraw,deposit\n" + rows, encoding="utf-8")

    with pytest.raises(Misuse, match=r"pip install quorumkeep\[lightgbm\]"):
        invoke("rebalance", command[0], str(file), *command[1:], "--mean", "lightgbm")


def test_smoothing_never_imports_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)

    assert not ahead(Mean.SMOOTHING, days=60).basis.corrected
