"""The border between base units and floats."""

import pytest

from custody.rebalancer.flows import DAY_MS, Flows, History, base_units
from custody.rebalancer.forecast import forecast
from policy.errors import CallerError

ETHER = 10**18


def test_a_float_becomes_money_rounded_down_to_whole_base_units() -> None:
    assert base_units(1.5, ETHER) == 15 * 10**17
    assert base_units(0.1, 10) == 1
    assert base_units(1.999, 1) == 1


def test_eighteen_decimals_and_huge_amounts_stay_whole() -> None:
    assert base_units(123456789.0, ETHER) == 123456789 * ETHER


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -0.1])
def test_what_is_no_amount_never_becomes_money(amount: float) -> None:
    with pytest.raises(CallerError, match="finite"):
        base_units(amount, ETHER)


def test_a_flow_below_zero_is_refused() -> None:
    with pytest.raises(CallerError, match="below zero"):
        Flows(DAY_MS, 0, (1, -1), (0, 0))


def test_a_forecast_sees_no_future() -> None:
    history = History(ETHER, ETHER, Flows(DAY_MS, 0, (1, 1), (0, 0)))

    with pytest.raises(CallerError, match="sees no future"):
        forecast(history, DAY_MS, horizon=2)
