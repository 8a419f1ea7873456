"""What is swept and topped up: never more than there is, never twice, and not for ever what fails."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody.rebalancing.moves import IN_FLIGHT, Stage
from custody.rebalancing.records import DAY_MS, Account, Direction, Holdings, Move, Open, Price
from custody.sweeping.deciding import Decision, decide
from custody.sweeping.history import FAILED, Past, failures, route_of
from custody.sweeping.tasks import Asset, Pace, Sweep, Tasks
from tests.unit.sweeping_house import (
    DEPOSITS,
    ETH,
    FEE,
    GAS,
    HOT,
    START_MS,
    SWEEPS,
    TANK,
    TASKS,
    USD,
    account,
    address,
    move,
)

MINUTE_MS = 60_000
PATHS = [f"m/0/{number}" for number in range(6)]


def holdings(
    *accounts: Account, prices: dict[str, Price] | None = None, waiting: tuple[Open, ...] = ()
) -> Holdings:
    """Those accounts beside a hot wallet and a full tank."""
    others = (
        account(HOT, "m/0", asset=USD, balance=0),
        account(HOT, "m/0", asset=ETH, balance=10 * FEE),
        account(GAS, "m/0", asset=ETH, balance=100 * FEE),
    )
    known = {one.account: one for one in accounts if one.wallet == GAS}
    kept = tuple(one for one in others if one.account not in known)
    return Holdings(START_MS, bytes(32), (*accounts, *kept), waiting, prices or {})


def deposit(path: str, *, usd: int | None = 0, eth: int | None = 0) -> tuple[Account, Account]:
    return account(DEPOSITS, path, asset=USD, balance=usd), account(DEPOSITS, path, asset=ETH, balance=eth)


def decided(seen: Holdings, *moves: Move, tasks: Tasks = TASKS, now_ms: int = START_MS) -> Decision:
    return decide(tasks, seen, past=Past(tuple(sorted(moves, key=lambda one: one.created_ms))), now_ms=now_ms)


def asked(decision: Decision) -> list[tuple[str, str, int]]:
    return [(wish.asset.name, wish.account, wish.amount_base) for wish in decision.wishes]


def test_a_token_is_swept_whole_and_the_native_asset_less_its_fee() -> None:
    one, other = deposit("m/1", usd=70, eth=FEE), deposit("m/2", eth=30_000)

    decision = decided(holdings(*one, *other))

    assert asked(decision) == [
        (USD, address(DEPOSITS, "m/1"), 70),
        (ETH, address(DEPOSITS, "m/2"), 30_000 - FEE),
    ]
    assert {(wish.source, wish.to, wish.fee_base) for wish in decision.wishes} == {
        ("m/1", address(HOT, "m/0"), FEE),
        ("m/2", address(HOT, "m/0"), FEE),
    }


def test_less_than_the_minimum_and_what_is_not_known_is_left_alone() -> None:
    seen = holdings(
        *deposit("m/1", usd=49, eth=FEE), *deposit("m/2", eth=20_999), *deposit("m/3", usd=None, eth=None)
    )

    decision = decided(seen)

    assert (asked(decision), decision.unknown) == ([], 2)


@pytest.mark.parametrize(("price", "swept"), [(None, True), (7142, False), (7143, True)])
def test_what_is_not_worth_several_fees_is_left_alone_where_prices_are_known(
    price: int | None, swept: bool
) -> None:
    """70 millionths of a token against five fees of 1000 base units of ether."""
    prices = {ETH: Price("usd/2", 10**14, 0)} | ({USD: Price("usd/2", price, 0)} if price else {})

    decision = decided(holdings(*deposit("m/1", usd=70, eth=FEE), prices=prices))

    assert bool(decision.wishes) == swept


def test_the_gas_that_a_token_needs_is_not_swept_before_it() -> None:
    seen = holdings(*deposit("m/1", usd=70, eth=30_000))

    first = decided(seen)
    later = decided(seen, move("m/1", Stage.REFUSED, age_ms=MINUTE_MS))

    assert asked(first) == [(USD, address(DEPOSITS, "m/1"), 70)]
    assert asked(later) == [(ETH, address(DEPOSITS, "m/1"), 30_000 - 2 * FEE)]


def test_an_account_without_gas_is_topped_up_instead_of_swept() -> None:
    decision = decided(holdings(*deposit("m/1", usd=70, eth=10)))

    (wish,) = decision.wishes
    assert (wish.direction, wish.wallet, wish.to) == (Direction.TOP_UP, GAS, address(DEPOSITS, "m/1"))
    assert wish.amount_base == 2 * FEE - 10


def test_only_who_has_something_to_send_is_topped_up() -> None:
    hot = account(HOT, "m/1", asset=USD, balance=1), account(HOT, "m/1", asset=ETH, balance=0)
    seen = holdings(*deposit("m/1", usd=49), *deposit("m/2"), *hot)

    decision = decided(seen)

    assert [wish.to for wish in decision.wishes] == [address(HOT, "m/1")]


@pytest.mark.parametrize("stage", sorted(IN_FLIGHT))
@pytest.mark.parametrize("direction", list(Direction))
def test_an_account_with_a_move_under_way_gets_no_other(stage: Stage, direction: Direction) -> None:
    under_way = move("m/1", stage, asset=ETH, direction=direction)

    assert not decided(holdings(*deposit("m/1", usd=70, eth=30_000)), under_way).wishes
    assert not decided(holdings(*deposit("m/1", usd=70, eth=0)), under_way).wishes


def test_an_account_rests_until_its_balance_is_newer_than_what_moved() -> None:
    arrived = move("m/1", Stage.ARRIVED, amount=1000, age_ms=29_000)
    seen = holdings(*deposit("m/1", usd=70, eth=FEE))

    assert not decided(seen, arrived).wishes
    assert decided(seen, replace_age(arrived, 31_000)).wishes


def replace_age(one: Move, age_ms: int) -> Move:
    at_ms = START_MS - age_ms
    return replace(one, created_ms=at_ms, updated_ms=at_ms)


def test_what_fails_is_left_alone_for_twice_as_long_each_time_but_a_day_at_most() -> None:
    seen = holdings(*deposit("m/1", usd=70, eth=FEE))
    for count, pause_min in ((1, 10), (2, 20), (5, 160), (12, 24 * 60)):
        for age_min, free in ((pause_min - 1, False), (pause_min + 1, True)):
            ages = [age_min * MINUTE_MS + number for number in range(count)]
            failed = [move("m/1", Stage.LAPSED, age_ms=age) for age in ages]
            decision = decided(seen, *failed, tasks=replace_pace(at_once=1))

            assert (not decision.paused) == free, (count, age_min)


def replace_pace(**changed: int) -> Tasks:
    return Tasks(SWEEPS, (TANK,), Pace(**changed))


def test_a_token_that_says_it_moved_and_stays_is_not_swept_in_a_loop() -> None:
    stays = holdings(*deposit("m/1", usd=70, eth=FEE))
    arrived = [move("m/1", Stage.ARRIVED, amount=70, age_ms=age * MINUTE_MS) for age in (5, 30, 60)]

    assert failures([*reversed(arrived)], held_base=70) == 3
    assert decided(stays, *arrived).paused == (route_of(USD, address(DEPOSITS, "m/1")),)
    assert decided(stays, *arrived[1:], now_ms=START_MS + 30 * MINUTE_MS).wishes


def test_deposits_that_rise_wait_for_one_pause_at_most() -> None:
    arrived = [
        move("m/1", Stage.ARRIVED, amount=amount, age_ms=age * MINUTE_MS)
        for amount, age in ((69, 11), (68, 30), (67, 60))
    ]

    assert failures([*reversed(arrived)], held_base=70) == 1
    assert decided(holdings(*deposit("m/1", usd=70, eth=FEE)), *arrived).wishes


def test_a_new_deposit_after_a_sweep_is_swept() -> None:
    arrived = move("m/1", Stage.ARRIVED, amount=90, age_ms=5 * MINUTE_MS)

    assert decided(holdings(*deposit("m/1", usd=70, eth=FEE)), arrived).wishes


def test_where_several_accounts_were_refused_one_at_a_time_tries_again() -> None:
    seen = holdings(*(one for path in PATHS for one in deposit(path, usd=70, eth=FEE)))
    refused = [move(f"m/9/{age}", Stage.REFUSED, age_ms=age * MINUTE_MS) for age in (15, 16, 17)]

    assert len(decided(seen).wishes) == len(PATHS)
    assert len(decided(seen, *refused).wishes) == 1
    assert not decided(seen, *refused, now_ms=START_MS - 6 * MINUTE_MS).wishes


def test_accounts_that_nothing_can_leave_hold_up_no_others_however_rich_they_are() -> None:
    blocked = [f"m/8/{number}" for number in range(4)]
    rich = [one for path in blocked for one in deposit(path, usd=10**9, eth=FEE)]
    refused = [move(path, Stage.LAPSED, age_ms=age) for path in blocked for age in (DAY_MS - 1, DAY_MS // 2)]

    decision = decided(holdings(*rich, *deposit("m/1", usd=70, eth=FEE)), *refused)

    assert asked(decision) == [(USD, address(DEPOSITS, "m/1"), 70)]


def test_no_more_moves_are_under_way_than_asked_for() -> None:
    seen = holdings(*(one for path in PATHS for one in deposit(path, usd=70, eth=FEE)))

    decision = decided(seen, move("m/9", Stage.MOVING), tasks=replace_pace(at_once=3))

    assert len(decision.wishes) == 2


def test_an_account_is_topped_up_only_so_often_in_a_day() -> None:
    seen = holdings(*deposit("m/1", usd=70))
    before = [
        move("m/1", Stage.ARRIVED, asset=ETH, direction=Direction.TOP_UP, age_ms=hours * 60 * MINUTE_MS)
        for hours in (1, 5, 9, 23)
    ]

    assert not decided(seen, *before).wishes
    assert decided(seen, *before).paused == (route_of(ETH, address(DEPOSITS, "m/1")),)
    assert decided(seen, *before, now_ms=START_MS + 2 * 60 * MINUTE_MS).wishes


def test_top_ups_that_never_happened_do_not_count_as_such() -> None:
    failed = [
        move("m/1", Stage.LAPSED, asset=ETH, direction=Direction.TOP_UP, age_ms=(20 * 60 + count) * MINUTE_MS)
        for count in range(4)
    ]

    assert decided(holdings(*deposit("m/1", usd=70)), *failed).wishes


def test_a_tank_gives_no_more_than_it_has_and_says_when_it_is_low() -> None:
    tank = account(GAS, "m/0", asset=ETH, balance=7 * FEE)
    thirsty = [one for path in PATHS for one in deposit(path, usd=70)]

    decision = decided(holdings(tank, *thirsty))
    given = sum(wish.amount_base + wish.fee_base for wish in decision.wishes)
    under_way = decided(holdings(tank, *thirsty), *(given_before(path) for path in ("m/8", "m/9")))

    assert (len(decision.wishes), given) == (2, 6 * FEE)
    assert decision.tanks[0].low and decision.tanks[0].thirsty == len(PATHS)
    assert not under_way.wishes


def given_before(path: str) -> Move:
    return move(path, Stage.ASKED, asset=ETH, direction=Direction.TOP_UP, amount=2 * FEE)


def test_what_others_asked_of_the_tank_counts() -> None:
    waits = Open(GAS, ETH, "", "somebody", signed=False, amount_base=98 * FEE)

    assert not decided(holdings(*deposit("m/1", usd=70), waiting=(waits,))).wishes


def test_a_tank_that_nobody_knows_of_gives_nothing_and_is_not_called_low() -> None:
    decision = decided(holdings(account(GAS, "m/0", asset=ETH, balance=None), *deposit("m/1", usd=70)))

    assert not decision.wishes
    assert (decision.tanks[0].held_base, decision.tanks[0].low) == (None, False)


def test_where_an_account_has_to_keep_something_its_gas_comes_on_top(rent: int = 700) -> None:
    token, native = (replace(one, reserve_base=rent) for one in (SWEEPS[0].asset, TANK.asset))
    tasks = Tasks((replace(SWEEPS[0], asset=token),), (replace(TANK, asset=native),), Pace())
    poor, fine = deposit("m/1", usd=70, eth=FEE + rent - 1), deposit("m/2", usd=70, eth=FEE + rent)

    decision = decided(holdings(*poor, *fine), tasks=tasks)

    assert asked(decision) == [
        (USD, address(DEPOSITS, "m/2"), 70),
        (ETH, address(DEPOSITS, "m/1"), 2 * FEE + rent - (FEE + rent - 1)),
    ]


# Chains of coins.

BTC = Asset("btc", "bitcoin:regtest", 8, "btc", 8, by_coins=True)
COINS = Tasks((Sweep(BTC, "coins", "vault", minimum_base=10_000, fee_base=1600, coins_max=4),), (), Pace())


def coins(*balances: int) -> Holdings:
    held = [
        replace(account("coins", f"m/{number}", asset="btc", balance=balance), chain=BTC.chain)
        for number, balance in enumerate(balances)
    ]
    vault = replace(account("vault", "m", asset="btc", balance=0), chain=BTC.chain)
    return Holdings(START_MS, bytes(32), (*held, vault), (), {})


def coin_move(stage: Stage, age_ms: int = 60 * MINUTE_MS) -> Move:
    return replace(move("", stage, asset="btc", age_ms=age_ms), route=route_of("btc", "coins"))


def test_one_request_spends_what_many_addresses_have_the_largest_first() -> None:
    decision = decided(coins(9000, 100, 8000, 7000, 6000, 5000), tasks=COINS)

    assert asked(decision) == [("btc", "coins", 9000 + 8000 + 7000 + 6000 - 1600)]
    assert (decision.wishes[0].source, decision.wishes[0].to) == (None, address("vault", "m"))


def test_addresses_that_cost_more_than_they_have_are_not_spent() -> None:
    assert asked(decided(coins(15_000, 400, 300), tasks=COINS)) == [("btc", "coins", 15_000 - 1600)]


def test_after_a_failure_half_as_many_addresses_are_spent() -> None:
    seen = coins(30_000, 20_000, 10_000, 9000)

    assert asked(decided(seen, coin_move(Stage.LAPSED), tasks=COINS))[0][2] == 30_000 + 20_000 - 1600
    assert not decided(seen, coin_move(Stage.MOVING), tasks=COINS).wishes


# For any accounts and any history.

BALANCES = st.none() | st.integers(0, 200_000)
MOVES = st.lists(
    st.builds(
        move,
        st.sampled_from(PATHS),
        st.sampled_from(sorted(Stage)),
        asset=st.sampled_from([USD, ETH]),
        amount=st.integers(1, 200_000),
        age_ms=st.integers(0, 2 * DAY_MS),
        direction=st.sampled_from(list(Direction)),
    ),
    max_size=12,
    unique_by=lambda one: one.name,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(BALANCES, BALANCES), min_size=len(PATHS), max_size=len(PATHS)), BALANCES, MOVES)
def test_no_account_is_asked_for_more_than_it_has_nor_for_two_things_at_once(
    held: list[tuple[int | None, int | None]], tank: int | None, moves: list[Move]
) -> None:
    accounts = [
        one for path, (usd, eth) in zip(PATHS, held, strict=True) for one in deposit(path, usd=usd, eth=eth)
    ]
    seen = holdings(*accounts, account(GAS, "m/0", asset=ETH, balance=tank))
    balances = {(one.account, one.asset): one.balance_base or 0 for one in seen.accounts}

    decision = decided(seen, *moves)

    busy = {one.route.partition("@")[2] for one in moves if one.stage in IN_FLIGHT}
    touched = [wish.account for wish in decision.wishes]
    assert len(set(touched)) == len(touched) and not busy & set(touched)
    for wish in decision.wishes:
        if wish.direction is Direction.SWEEP:
            cost = wish.fee_base if wish.asset.name == ETH else 0
            assert 0 < wish.amount_base + cost <= balances[wish.account, wish.asset.name]
            assert balances[wish.account, ETH] >= wish.fee_base
    given = [wish.amount_base for wish in decision.wishes if wish.direction is Direction.TOP_UP]
    given += [
        one.amount_base
        for one in moves
        if one.stage in IN_FLIGHT and one.direction is Direction.TOP_UP and one.route.startswith(f"{ETH}@")
        if given
    ]
    spent = sum(amount + FEE for amount in given)
    assert not given or spent <= balances[address(GAS, "m/0"), ETH]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(sorted(FAILED)), max_size=20), st.integers(0, 10 * DAY_MS))
def test_nothing_is_left_alone_for_longer_than_a_day(stages: list[Stage], later_ms: int) -> None:
    failed = [move("m/1", stage, age_ms=1000 + number) for number, stage in enumerate(stages)]
    decision = decided(holdings(*deposit("m/1", usd=70, eth=FEE)), *failed, now_ms=START_MS + later_ms)

    assert bool(decision.wishes) or later_ms < DAY_MS
