"""Routes of one tier share its bounds in value: together they plan for no more than the policy allows."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.rebalancer.flows import DAY_MS
from custody.rebalancer.plan import plain_band
from custody.rebalancing import deciding
from custody.rebalancing.granting import Settings
from custody.rebalancing.metrics import RebalancerMetrics
from custody.rebalancing.moves import Stage
from custody.rebalancing.observing import withdrawn_lately
from custody.rebalancing.rebalancer import Rebalancer
from custody.rebalancing.records import (
    Account,
    Alarm,
    Corridor,
    CostSettings,
    Direction,
    Edge,
    Holdings,
    Move,
    Movement,
    Open,
    Price,
    Route,
    replace,
)
from custody.rebalancing.sharing import Part, narrowed, parts_of, room_base
from tests.unit.rebalancing_house import (
    ADDRESSES,
    CHAIN,
    COLD,
    ETHER,
    HOT,
    ME,
    START_MS,
    FakeDesk,
    Mover,
    make_route,
)

VALUE = 10_000_00
WORTH = Corridor(Edge(value=VALUE // 10), Edge(value=VALUE // 2), Edge(value=VALUE))
PRICES = {"eth": Price("usd/2", 2_000_00, START_MS), "usdc": Price("usd/2", 1_00, START_MS)}
UNITS = (("eth", ETHER), ("usdc", 10**6), ("dust", 1))
ETH = replace(
    make_route(), corridor=WORTH, tier="hot", units=UNITS, bounds=make_route().bounds, costs=CostSettings()
)
USDC = replace(ETH, name="usdc", asset="usdc", decimals=6, native=False)
BOTH = [ETH, USDC]


def holdings(eth: int | None = 0, usdc: int | None = 0, **more: int) -> Holdings:
    amounts = {"eth": eth, "usdc": usdc, **more}
    accounts = [
        Account(wallet, wallet, CHAIN, asset, "m/0", ADDRESSES[wallet], amount, "")
        for asset, amount in amounts.items()
        for wallet, amount in ((HOT, amount), (COLD, 10**24))
    ]
    return Holdings(START_MS, bytes(32), tuple(accounts), (), dict(PRICES))


def most(route: Route, parts: dict[str, Part]) -> int:
    """What a route plans with at most, in value."""
    bounds = deciding.bounds_of(narrowed(route, parts[route.name]), PRICES[route.asset])
    assert bounds is not None
    return bounds.maximum_base * PRICES[route.asset].price // route.unit_base


def room(route: Route, seen: Holdings, *moves: Move) -> int | None:
    parts = parts_of(BOTH, seen, withdrawn={})
    return room_base(route, BOTH, holdings=seen, parts=parts, moves=moves, me=ME)


@given(
    withdrawn=st.dictionaries(st.sampled_from(["eth", "usdc"]), st.integers(0, 10**24)),
    dust=st.integers(0, 10**8),
)
def test_routes_of_a_tier_never_plan_for_more_than_it_may_hold(withdrawn: dict[str, int], dust: int) -> None:
    seen = holdings(dust=dust)
    seen = replace(seen, prices={**PRICES, "dust": Price("usd/2", 3, START_MS)})
    parts = parts_of(BOTH, seen, withdrawn=withdrawn)

    assert sum(most(route, parts) for route in BOTH) <= max(0, VALUE - 3 * dust)
    assert sum(part.share for part in parts.values()) == 1


def test_parts_follow_what_was_withdrawn_and_a_fifth_is_shared_equally() -> None:
    parts = parts_of(BOTH, holdings(), withdrawn={"eth": 3 * ETHER, "usdc": 2_000 * 10**6})

    assert parts["eth"].share == Fraction(1, 10) + Fraction(4, 5) * Fraction(3, 4)
    assert parts_of(BOTH, holdings(), withdrawn={"eth": 1})["usdc"].share == Fraction(1, 10)
    assert {part.share for part in parts_of(BOTH, holdings(), withdrawn={}).values()} == {Fraction(1, 2)}


def test_a_route_alone_in_its_tier_has_all_of_it_and_one_without_a_bound_in_value_has_no_part() -> None:
    other = replace(USDC, tier="warm")
    amounts = replace(ETH, name="other", corridor=Corridor(Edge(1), Edge(2), Edge(3)))
    parts = parts_of([ETH, other, amounts], holdings(), withdrawn={"usdc": 10**12})

    assert parts == {"eth": Part(Fraction(1), 0), "usdc": Part(Fraction(1), 0)}
    assert narrowed(amounts, parts.get("other")) == amounts
    assert room(amounts, holdings()) is None


def test_a_bound_in_the_asset_is_not_shared() -> None:
    corridor = Corridor(Edge(1, 10), Edge(None, 100), Edge(5 * ETHER, 1000))
    found = narrowed(replace(ETH, corridor=corridor), Part(Fraction(1, 4), 200)).corridor

    assert found == Corridor(Edge(1, 0), Edge(None, 0), Edge(5 * ETHER, 200))


def test_the_room_of_a_tier_is_what_all_its_assets_leave() -> None:
    assert room(ETH, holdings()) == 5 * ETHER
    assert room(ETH, holdings(usdc=4_000 * 10**6)) == 3 * ETHER
    assert room(USDC, holdings(eth=2 * ETHER, usdc=1_000 * 10**6)) == 5_000 * 10**6
    assert room(ETH, holdings(usdc=40_000 * 10**6)) == 0
    assert room(ETH, holdings(usdc=None)) == ETHER * 5 // 2  # a silent chain counts with its whole part
    assert room(ETH, replace(holdings(), prices={})) is None


def test_what_is_on_its_way_into_a_tier_takes_room_once() -> None:
    asked = Move("top-up.usdc.1", "usdc", Direction.TOP_UP, Stage.ASKED, 4_000 * 10**6, 0, 0, 0)
    mine = Open(COLD, "usdc", HOT, ME, False, 4_000 * 10**6)
    seen = replace(holdings(), open=(mine,))
    moving, signed = replace(asked, stage=Stage.MOVING), replace(mine, signed=True)

    assert room(ETH, seen, asked) == 3 * ETHER
    assert room(ETH, replace(seen, open=(signed,)), moving) == 3 * ETHER
    assert room(ETH, replace(seen, open=(replace(mine, initiator="desk"),))) == 3 * ETHER
    assert room(ETH, replace(seen, open=(replace(mine, wallet=HOT, to=COLD),))) == 5 * ETHER
    assert room(ETH, seen, replace(asked, direction=Direction.SWEEP)) == 5 * ETHER


def test_today_days_of_long_ago_and_of_a_run_shift_no_part() -> None:
    today = START_MS - START_MS % DAY_MS
    days = [Movement(n, bytes(32), today - n * DAY_MS, HOT, "eth", 10**n, "") for n in (0, 1, 2, 28, 29)]
    band = plain_band(ETH.bounds)
    run = Alarm("eth", today - 2 * DAY_MS, "one day", 1, 1, 1, band, ended_ms=today - 2 * DAY_MS + 1)

    def lately(*alarms: Alarm) -> int:
        return withdrawn_lately(ETH, days, alarms=alarms, now_ms=START_MS)

    assert lately() == 10 + 100 + 10**28
    assert lately(run) == 10 + 10**28
    assert lately(replace(run, new_normal=True)) == lately()


class TwoAssets(FakeDesk):
    """A desk whose hot wallet has ether and dollars."""

    dollars = 0

    def _holdings(self) -> Holdings:
        found = super()._holdings()
        seen = holdings(self.balances[HOT], self.dollars)
        opened = [replace(one, asset="eth" if one.amount_base > 10**12 else "usdc") for one in found.open]
        return replace(seen, time_ms=self.now_ms, open=tuple(opened))


@pytest.mark.parametrize("order", [1, -1])
def test_top_ups_of_two_assets_stay_together_within_what_the_tier_may_hold(
    tmp_path: Path, order: int
) -> None:
    desk = TwoAssets(balances={HOT: 0, COLD: 10**24})
    desk.dollars = 7_000 * 10**6  # a deposit that came in unasked, above its part
    book = Mover(tmp_path, desk).book
    rebalancer = Rebalancer(
        desk,
        book,
        routes=[replace(one, costs=replace(one.costs, topup=1.0)) for one in BOTH][::order],
        settings=Settings(price_max_age_ms=10 * DAY_MS),
        metrics=RebalancerMetrics(),
        now_ms=lambda: desk.now_ms,
    )
    rebalancer.look()

    asked: dict[str, Any] = {one.intent.asset: one.intent for one in desk.open_requests()}
    assert asked["usdc"].wallet == HOT  # swept
    assert asked["eth"].wallet == COLD
    assert 0 < asked["eth"].amount * 2_000_00 // ETHER <= VALUE - 7_000_00
