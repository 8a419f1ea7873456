"""Which coins pay: nothing is lost on the way, and nothing is sent that a node of the network drops."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.demo.chains.bitcoin.core import dust as their_dust
from custody.chains.bitcoin.spending import Need, Spending, least_more, spend
from custody.chains.bitcoin.transaction import Coin, dust, read, unsigned, virtual_size
from policy.decode.psbt import Output, bare
from policy.errors import OperationalError

TAPROOT, KEY_HASH, SCRIPT_HASH = b"\x51\x20" + b"\1" * 32, b"\0\x14" + b"\1" * 20, b"\0\x20" + b"\1" * 32
SCRIPTS = (TAPROOT, KEY_HASH, SCRIPT_HASH)
AMOUNTS = st.one_of(st.integers(1, 2_000), st.integers(1, 10**7))


def coins(amounts: list[int], script: bytes = TAPROOT) -> list[Coin]:
    return [
        Coin(index.to_bytes(32, "big") + bytes(4), Output(amount, script), 1, coinbase=False)
        for index, amount in enumerate(amounts)
    ]


def need(amount: int = 10_000, **changed: object) -> Need:
    made = Need(Output(amount, TAPROOT), KEY_HASH, rate=2_000, ceiling=100_000, coins_max=8)
    return replace(made, **changed)  # type: ignore[arg-type]


def size_of(found: Spending) -> int:
    return virtual_size((one.output.script for one in found.coins), (one.script for one in found.outputs))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(AMOUNTS, min_size=1, max_size=12),
    st.sampled_from((TAPROOT, KEY_HASH)),
    st.sampled_from(SCRIPTS),
    st.integers(1, 10**7),
    st.integers(0, 100_000),
    st.integers(0, 60_000),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 3)),
)
def test_whatever_is_chosen_pays_what_was_asked_within_the_ceiling(
    amounts: list[int],
    mine: bytes,
    payee: bytes,
    amount: int,
    rate: int,
    ceiling: int,
    kept: int,
    left_min: int | None,
) -> None:
    free = coins(amounts, mine)
    wanted = need(rate=rate, ceiling=ceiling, paid=Output(amount, payee), change=mine, left_min=left_min)
    try:
        found = spend(wanted, free, kept=free[:kept])
    except OperationalError:
        return

    assert found.coins[: min(kept, len(free))] == tuple(free[:kept])
    assert len(set(found.coins)) == len(found.coins) <= wanted.coins_max
    assert found.outputs[0] == wanted.paid and len(found.outputs) <= 2
    assert all(one.amount >= dust(one.script) for one in found.outputs)
    assert least_more(size_of(found)) <= found.fee <= ceiling


def test_one_coin_that_is_enough_is_taken_alone_and_the_smallest_of_those() -> None:
    found = spend(need(), coins([900_000, 50_000, 9_000, 70_000]))

    assert [coin.amount for coin in found.coins] == [50_000]


def test_change_that_would_be_dust_is_left_to_the_miners() -> None:
    found = spend(need(9_700), coins([10_000]))

    assert len(found.outputs) == 1 and found.fee == 300


def test_small_coins_go_into_the_change_while_enough_are_left() -> None:
    free = coins([50_000, 900, 800, 700, 600, 20])

    found = spend(need(left_min=2), free)
    untidy = spend(need(), free)

    assert [coin.amount for coin in untidy.coins] == [50_000]
    assert [coin.amount for coin in found.coins] == [50_000, 600, 700]
    assert found.outputs[1].amount > untidy.outputs[1].amount


def test_a_replacement_offers_more_than_it_replaces_by_what_relaying_costs() -> None:
    first = spend(need(), coins([50_000]))
    second = spend(need(fee_min=first.fee), coins([50_000]), kept=first.coins)

    assert second.fee >= first.fee + least_more(size_of(second))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_dust_limit_is_that_of_bitcoin_core(script: bytes) -> None:
    assert dust(script) == their_dust(script)


def test_no_more_coins_are_taken_than_a_transaction_may_have() -> None:
    with pytest.raises(OperationalError, match="8000 satoshi in at most 8 coins"):
        spend(need(), coins([1_000] * 20))


def test_a_psbt_is_read_as_it_was_written() -> None:
    free = coins([50_000, 60_000])
    found = spend(need(100_000), free)

    tx = read(unsigned(found.coins, found.outputs, proofs={}))

    assert tx.outputs == found.outputs and tx.fee == found.fee
    assert [one.outpoint for one in tx.inputs] == [coin.outpoint for coin in found.coins]
    assert len(bare(tx)) < virtual_size((one.spent.script for one in tx.inputs), (TAPROOT, KEY_HASH))
