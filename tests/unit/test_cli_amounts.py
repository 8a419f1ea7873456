"""Amounts on the command line are exact, and what is unclear is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.amounts import parse_amount
from cli.results import Misuse
from policy.ids import AMOUNT_MAX
from policy.words.units import amount_text


@given(amount=st.integers(min_value=1, max_value=AMOUNT_MAX), decimals=st.integers(min_value=0, max_value=77))
def test_every_amount_survives_its_own_text(amount: int, decimals: int) -> None:
    text = amount_text(amount, asset="eth", decimals=decimals)

    assert parse_amount(text, asset="eth", decimals=decimals) == amount


def test_a_fraction_that_no_float_holds_is_exact() -> None:
    assert parse_amount("0.100000000000000001 eth", asset="eth", decimals=18) == 100000000000000001


def test_a_number_without_a_unit_is_base_units() -> None:
    assert parse_amount("1500", asset="eth", decimals=18) == 1500


@pytest.mark.parametrize(
    "text",
    [
        "1.5",  # of what?
        "1.5 btc",
        "0.0000000000000000001 eth",  # 19 decimals
        "0 eth",
        "-1 eth",
        "1e18",
        "1,5 eth",
        ".5 eth",
        "5. eth",
        "",
        "١ eth",  # a digit, but not one of ours
        f"{AMOUNT_MAX + 1}",
        "1" * 200,
    ],
)
def test_what_is_unclear_or_impossible_is_refused(text: str) -> None:
    with pytest.raises(Misuse):
        parse_amount(text, asset="eth", decimals=18)
