"""What a decision comes to: one move of a route at a time, within what there is and the breaker's quota."""

import numpy as np
import pytest

from custody.rebalancer.plan import Band, Nothing, Plan, Position, Sweep, TopUp
from custody.rebalancing import deciding
from custody.rebalancing.deciding import Ahead, Decision, Mode
from custody.rebalancing.moves import Stage
from custody.rebalancing.observing import history_of
from custody.rebalancing.proposing import Announce, Ask, GiveUp, Hold, Scope, Wish, wishes
from custody.rebalancing.records import (
    DAY_MS,
    Corridor,
    Direction,
    Edge,
    Holdings,
    Move,
    Price,
    replace,
)
from tests.unit.rebalancing_house import ETHER, START_MS, make_route

ROUTE = make_route()
AMPLE = Scope(source_base=1000, paying_base=1000)
SIGHT = deciding.sight_of(
    ROUTE,
    history_of(ROUTE, [], deposits={}, alarms=(), now_ms=START_MS),
    price=None,
    alarm=None,
    now_ms=START_MS,
)


def decision(action: TopUp | Sweep | Nothing, amount: int) -> Decision:
    plan = Plan(action, amount, Band(100, 200, 400, 300), ("because",), False)
    return Decision(plan, Mode.FORECAST, SIGHT.forecast, ("because",))


UP, DOWN, STAY = decision(TopUp(), 100), decision(Sweep(), 100), decision(Nothing(), 0)


def move(stage: Stage, *, amount: int = 100, up: bool = True, released: bool = False) -> Move:
    direction = Direction.TOP_UP if up else Direction.SWEEP
    return Move("m", "eth", direction, stage, amount, START_MS, START_MS, START_MS, released=released)


def wished(
    now: Decision,
    *moves: Move,
    free: int = 100,
    ahead: Ahead | None = None,
    scope: Scope = AMPLE,
) -> tuple[Wish, ...]:
    return wishes(now, free_base=free, moves=moves, ahead=ahead, scope=scope)


def test_what_is_wanted_is_asked_for() -> None:
    assert wished(UP) == (Ask(Direction.TOP_UP, 100),)
    assert wished(DOWN) == (Ask(Direction.SWEEP, 100),)
    assert wished(STAY) == ()


@pytest.mark.parametrize("stage", [Stage.DECIDED, Stage.ASKED, Stage.CALLING_BACK, Stage.MOVING])
@pytest.mark.parametrize(("now", "free"), [(UP, 100), (DOWN, 400)])
def test_while_a_move_is_in_flight_nothing_new_is_asked(now: Decision, free: int, stage: Stage) -> None:
    assert wished(now, move(stage, up=now is UP), free=free) == ()


def test_a_move_that_is_not_wanted_any_more_is_given_up_before_it_is_signed() -> None:
    asked, swept = move(Stage.ASKED), move(Stage.ASKED, up=False)

    assert wished(STAY, asked, free=126) == (GiveUp(asked),)
    assert wished(DOWN, asked, free=500) == (GiveUp(asked),)
    assert wished(STAY, swept, free=374) == (GiveUp(swept),)
    assert wished(STAY, move(Stage.MOVING), free=500) == ()


@pytest.mark.parametrize("free", [-50, 99, 101, 125])
def test_a_move_of_which_three_quarters_are_wanted_stays_also_at_the_bands_very_edge(free: int) -> None:
    assert wished(STAY, move(Stage.ASKED), free=free) == ()


def test_no_more_is_asked_for_than_there_is() -> None:
    scope = Scope(source_base=30, paying_base=40, least_base=10)

    assert wished(UP, scope=scope) == (Ask(Direction.TOP_UP, 30),)
    assert wished(DOWN, scope=scope) == (Ask(Direction.SWEEP, 40),)
    assert wished(UP, scope=replace(scope, source_base=9)) == ()
    assert wished(DOWN, scope=replace(scope, paying_base=9)) == ()


def test_a_top_up_to_come_is_announced_changed_and_dropped() -> None:
    ahead, known = Ahead(START_MS + DAY_MS, 60), move(Stage.ANNOUNCED)

    assert wished(STAY, ahead=ahead) == (Announce(60, START_MS + DAY_MS),)
    assert wished(STAY, known, ahead=ahead) == (Announce(60, START_MS + DAY_MS, known),)
    assert wished(STAY, known) == (GiveUp(known),)
    assert wished(UP, known) == (Ask(Direction.TOP_UP, 100, known),)
    assert wished(DOWN, known) == (GiveUp(known), Ask(Direction.SWEEP, 100))


def test_above_the_breakers_quota_a_top_up_waits_for_a_person_and_a_sweep_does_not() -> None:
    scope = Scope(source_base=1000, paying_base=1000, quota_base=30, least_base=10)
    spent = replace(scope, quota_base=0)
    held, let_go = move(Stage.HELD), move(Stage.HELD, released=True)

    assert wished(UP, scope=scope) == (Ask(Direction.TOP_UP, 30),)
    assert wished(UP, scope=spent) == (Hold(100),)
    assert wished(UP, held, scope=spent) == (Hold(100, held),)
    assert wished(UP, let_go, scope=spent) == (Ask(Direction.TOP_UP, 100, let_go),)
    assert wished(DOWN, scope=spent) == (Ask(Direction.SWEEP, 100),)


def test_a_price_that_is_too_old_is_none_and_a_configured_one_takes_the_place_of_no_stated_one() -> None:
    route = make_route(price=7.0)
    priced = Holdings(START_MS, bytes(32), (), (), {"eth": Price("usd/2", 250_000, START_MS)})
    fresh = deciding.fresh(priced, route, max_age_ms=10, now_ms=START_MS + 10)
    old = deciding.fresh(priced, route, max_age_ms=10, now_ms=START_MS + 11)
    bare = replace(priced, prices={})

    assert deciding.price_of(priced, route, stated=fresh) == 2500
    assert deciding.price_of(priced, route, stated=old) is None
    assert deciding.price_of(bare, route, stated=None) == 7


def test_of_a_bound_in_value_and_amount_the_stricter_one_holds() -> None:
    corridor = Corridor(
        minimum=Edge(ETHER, 5_000), target=Edge(None, 20_000), maximum=Edge(10 * ETHER, 40_000)
    )
    route = replace(ROUTE, corridor=corridor)
    dear, cheap = Price("usd/0", 10_000, START_MS), Price("usd/0", 1_000, START_MS)

    at_dear, at_cheap = deciding.bounds_of(route, dear), deciding.bounds_of(route, cheap)

    assert at_dear is not None and at_cheap is not None
    assert (at_dear.minimum_base, at_dear.target_base, at_dear.maximum_base) == (ETHER, 2 * ETHER, 4 * ETHER)
    assert (at_cheap.minimum_base, at_cheap.maximum_base) == (5 * ETHER, 10 * ETHER)
    assert deciding.bounds_of(route, None) is None
    assert deciding.bounds_of(replace(route, corridor=None), None) == ROUTE.bounds


def test_nothing_is_foreseen_from_the_prior_alone() -> None:
    assert deciding.ahead(STAY, Position(hot_base=30), now_ms=START_MS) is None


def test_a_top_up_is_foreseen_for_when_the_median_reaches_the_bands_edge() -> None:
    known = replace(SIGHT.forecast.basis, prior_share=0.1)
    flat = np.full((7, 10), 4.0)
    seen = replace(SIGHT.forecast, withdrawn=flat, deposited=np.zeros((7, 10)), basis=known, now_ms=START_MS)
    band = Band(10 * ETHER, 20 * ETHER, 40 * ETHER, 30 * ETHER)
    now = replace(STAY, forecast=seen, plan=replace(STAY.plan, band=band))

    found = deciding.ahead(now, Position(hot_base=16 * ETHER), now_ms=START_MS)
    late = deciding.ahead(now, Position(hot_base=90 * ETHER), now_ms=START_MS)

    assert found == Ahead(START_MS + DAY_MS * 3 // 2, 10 * ETHER)
    assert late is None
