"""From holdings and movements to flows: what came and went is counted once, whenever it is looked at."""

from hypothesis import given
from hypothesis import strategies as st

from custody.rebalancer.flows import DAY_MS, HOUR_MS
from custody.rebalancer.plan import Band
from custody.rebalancing import observing
from custody.rebalancing.records import Account, Alarm, Holdings, Movement, Observed, Open
from tests.unit.rebalancing_house import COLD, ETHER, HOT, START_MS, make_route

ROUTE = make_route()
DAY = START_MS - START_MS % DAY_MS


def movement(number: int, amount: int, *, wallet: str = HOT, to: str = "", at_ms: int = START_MS) -> Movement:
    return Movement(number, number.to_bytes(32, "big"), at_ms, wallet, "eth", amount, to)


def holdings(hot: int | None, *opened: Open) -> Holdings:
    accounts = (
        Account(HOT, HOT, "evm:31337", "eth", "m/0/0", "", hot, ""),
        Account(HOT, HOT, "evm:31337", "eth", "m/0/1", "", 7, ""),
        Account(COLD, COLD, "evm:31337", "eth", "m/0/0", "", 1000, ""),
    )
    return Holdings(START_MS, bytes(32), accounts, opened, {})


def opened(amount: int, *, wallet: str = HOT, to: str = "", who: str = "shop", signed: bool = True) -> Open:
    return Open(wallet, "eth", to, who, signed, amount)


def test_all_accounts_of_a_wallet_count_and_an_unknown_one_makes_the_whole_unknown() -> None:
    assert observing.balance_of(holdings(5), HOT, asset="eth") == 12
    assert observing.balance_of(holdings(None), HOT, asset="eth") is None
    assert observing.position_of(holdings(None), ROUTE, moves=[], me="mover") is None
    assert observing.balance_of(holdings(5), "other", asset="eth") is None


def test_what_is_signed_counts_as_gone_or_there_and_what_waits_does_not() -> None:
    seen = holdings(
        100,
        opened(10),
        opened(20, wallet=COLD, to=HOT),
        opened(40, signed=False),
        opened(80, wallet=HOT, to=HOT),
    )

    assert observing.held_of(seen, ROUTE) == 107 - 10 + 20


def test_what_is_swept_in_from_deposit_accounts_is_a_deposit_and_a_top_up_is_none() -> None:
    before = Observed(START_MS, 100, 0, 0)
    moved = [movement(0, 30, wallet="deposits", to=HOT), movement(1, 50, wallet=COLD, to=HOT)]

    found = observing.look(ROUTE, before, movements=moved, now=Observed(START_MS + 1, 180, 0, 2))

    assert [amount for _, amount, _ in found.hours] == [30]


def test_what_customers_asked_for_is_owed_and_own_moves_are_not() -> None:
    seen = holdings(100, opened(10), opened(40, signed=False), opened(30, who="mover", to=COLD))
    position = observing.position_of(seen, ROUTE, moves=[], me="mover")

    assert position is not None
    assert (position.hot_base, position.owed_base) == (107, 50)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pay", "deposit", "sweep", "top-up", "fee"]), st.integers(1, 100), st.booleans()
        ),
        max_size=30,
    )
)
def test_what_is_not_a_movement_is_a_deposit_however_often_it_is_looked_at(
    events: list[tuple[str, int, bool]],
) -> None:
    held, seen, deposits, new = 10_000, Observed(START_MS, 10_000, 0, 0), 0, list[Movement]()
    came = fees = number = 0
    for what, amount, look in [*events, ("pay", 1, True)]:
        held += amount if what in ("deposit", "top-up") else -amount
        came += amount if what == "deposit" else 0
        fees += amount if what == "fee" else 0
        if what in ("pay", "sweep", "top-up"):
            ends = {"pay": (HOT, ""), "sweep": (HOT, COLD), "top-up": (COLD, HOT)}[what]
            new.append(movement(number, amount, wallet=ends[0], to=ends[1]))
            number += 1
        if look:
            found = observing.look(ROUTE, seen, movements=new, now=Observed(START_MS, held, 0, number))
            seen, new = found.seen, []
            deposits += sum(amount for _, amount, _ in found.hours)

    assert deposits + seen.carry_base == came - fees


def test_a_payment_seen_on_chain_before_it_is_settled_is_no_deposit_afterwards() -> None:
    before = Observed(START_MS, 100, 0, 0)
    paid = movement(0, 30)

    early = observing.look(ROUTE, before, movements=[paid], now=Observed(START_MS + 1, 40, 0, 1))
    late = observing.look(ROUTE, early.seen, movements=[], now=Observed(START_MS + 2, 70, 0, 1))

    assert early.seen.carry_base == -30
    assert late.seen.carry_base == 0
    assert [amount for look in (early, late) for _, amount, _ in look.hours] == [0, 0]


def test_without_a_look_over_midnight_nobody_knows_when_a_deposit_came() -> None:
    before = Observed(DAY - 3 * HOUR_MS, 100, 0, 0)
    found = observing.look(ROUTE, before, movements=[], now=Observed(DAY + HOUR_MS, 150, 0, 0))
    deposits = {hour: amount if known else None for hour, amount, known in found.hours}

    history = observing.history_of(
        ROUTE, [movement(0, 5, at_ms=DAY - DAY_MS)], deposits=deposits, alarms=(), now_ms=DAY + 2 * DAY_MS
    )

    assert history.days.deposited_base == (None, None, 0)
    assert history.days.withdrawn_base == (5, 0, 0)


def test_only_what_leaves_for_good_is_demand() -> None:
    movements = [
        movement(0, 5),
        movement(1, 70, to=COLD),
        movement(2, 9, to="warm"),
        movement(3, 3, wallet=COLD),
    ]

    assert [observing.demand(ROUTE, one) for one in movements] == [5, 0, 9, 0]
    assert observing.withdrawn_since(ROUTE, movements, since_ms=START_MS) == 14
    assert observing.withdrawn_since(ROUTE, movements, since_ms=START_MS + 1) == 0


def test_days_of_a_run_are_unknown_to_whoever_learns_from_them() -> None:
    movements = [movement(day, ETHER, at_ms=DAY - day * DAY_MS) for day in range(1, 5)]
    run = Alarm("eth", DAY - 2 * DAY_MS, "1 step", 1, 1, 1, Band(0, 0, 0, 0), ended_ms=DAY - 2 * DAY_MS + 5)

    history = observing.history_of(ROUTE, movements, deposits={}, alarms=[run], now_ms=DAY + 5)

    assert history.days.withdrawn_base == (ETHER, ETHER, None, ETHER)


def test_today_is_no_history_yet() -> None:
    history = observing.history_of(ROUTE, [movement(0, 5)], deposits={}, alarms=(), now_ms=START_MS + 5)

    assert history.days.withdrawn_base == ()
    assert history.days.end_ms == DAY


def test_looks_that_carry_nothing_over_would_take_a_payment_for_a_deposit() -> None:
    early = observing.look(
        ROUTE, Observed(START_MS, 100, 0, 0), movements=[movement(0, 30)], now=Observed(START_MS, 40, 0, 1)
    )
    forgot = Observed(START_MS, early.seen.held_base, 0, 1)

    late = observing.look(ROUTE, forgot, movements=[], now=Observed(START_MS, 70, 0, 1))

    assert sum(amount for _, amount, _ in late.hours) == 30
