"""What one look at a route comes to: the forecast, the plan, what is foreseen, and whether it is a run.

Where the forecast cannot be trusted, the plan falls back to the policy's plain minimum and target: ``mode``
says which holds and every change of it is noted. While an alarm stands the band stays as it was before,
whatever is forecast, since whoever drains a wallet could shape what a forecast learns.
"""

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from custody.rebalancer.breaker import Breaker, Tripped
from custody.rebalancer.explain import explain
from custody.rebalancer.flows import DAY_MS, Flows, History, base_units, units
from custody.rebalancer.forecast import Flow, Forecast, forecast
from custody.rebalancer.learning import RESTLESS, STEADY
from custody.rebalancer.plan import (
    Band,
    Bounds,
    Costs,
    Nothing,
    Plan,
    Position,
    Sweep,
    TopUp,
    follow,
    plain_band,
    plan,
)
from custody.rebalancer.steering import Steering
from custody.rebalancing.records import Alarm, Edge, Foreseen, Holdings, Price, Route

HORIZON_DAYS, PRIOR_SHARE_MAX = 10, 0.5
YEAR_DAYS, TINY = 365, 1e-12
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WANTED_SHARE = (3, 4)
"""A move asked for is still wanted while at least this share of it is."""
OLD_RUN_MS = 2 * DAY_MS
_LOG = logging.getLogger(__name__)


class Mode(StrEnum):
    """What the band rests on."""

    FORECAST = "forecast"
    UNCALIBRATED = "uncalibrated"
    NO_PRICE = "no-price"
    FAILED = "failed"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan, and what it rests on. ``reasons`` are sentences for who approves."""

    plan: Plan
    mode: Mode
    forecast: Forecast
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A top-up that is not due yet."""

    due_ms: int
    amount_base: int


@dataclass(frozen=True, slots=True)
class Sight:
    """All that a decision about a route rests on. ``price`` is None without one that is new enough."""

    route: Route
    history: History
    forecast: Forecast
    price: float | None
    alarm: Alarm | None
    failed: bool = False


def sight_of(
    route: Route, history: History, *, price: float | None, alarm: Alarm | None, now_ms: int
) -> Sight:
    """With the forecast as of today's beginning; if the model fails on this history, with the prior alone."""
    try:
        return Sight(route, history, forecast(history, _day(now_ms), horizon=HORIZON_DAYS), price, alarm)
    except Exception:  # noqa: BLE001 - a model that fails must not stop what needs none
        _LOG.exception("the forecast of %s failed", route.name)
        empty = replace(history, days=Flows(DAY_MS, _day(now_ms), (), ()), hours=None)
        seen = forecast(empty, _day(now_ms), horizon=HORIZON_DAYS)
        return Sight(route, history, seen, price, alarm, failed=True)


def decide(sight: Sight, position: Position) -> Decision:
    """The move to make now."""
    route, alarm, seen = sight.route, sight.alarm, sight.forecast
    if alarm is not None:
        made, mode = follow(alarm.band, position, bounds=route.bounds), Mode.RUN
    else:
        made, mode = _planned(sight, position)
    reasons = (*explain(seen), _of_band(route, made, position), *_of_mode(mode, alarm))
    return Decision(made, mode, seen, reasons)


def _planned(sight: Sight, position: Position) -> tuple[Plan, Mode]:
    """By the forecast where it can be trusted and its model works; else by the policy's plain band."""
    bounds, price = sight.route.bounds, sight.price
    costs = None if price is None else _costs(sight.route, price, sight.forecast)
    plain = follow(plain_band(bounds), position, bounds=bounds, fallback=True)
    if sight.failed:
        return plain, Mode.FAILED
    try:
        made = plan(sight.forecast, position, costs=costs, bounds=bounds)
    except Exception:  # noqa: BLE001 - as above
        _LOG.exception("the plan of %s failed", sight.route.name)
        return plain, Mode.FAILED
    if not made.fallback:
        return made, Mode.FORECAST
    return made, Mode.NO_PRICE if costs is None else Mode.UNCALIBRATED


def fresh(holdings: Holdings, route: Route, *, max_age_ms: int, now_ms: int) -> Price | None:
    """The asset's stated price, unless there is none or it is too old."""
    stated = holdings.prices.get(route.asset)
    return None if stated is None or now_ms - stated.observed_ms > max_age_ms else stated


def price_of(holdings: Holdings, route: Route, *, stated: Price | None) -> float | None:
    """What a unit is worth in money; the configured price only where none was ever stated."""
    if stated is None:
        return None if route.asset in holdings.prices else route.costs.price
    return units(stated.price, 10 ** int(stated.unit.rpartition("/")[2]))


def bounds_of(route: Route, stated: Price | None) -> Bounds | None:
    """The route's bounds in base units; None where they are in value and there is no price.

    Of a bound in both the stricter one holds: of a maximum the smaller, of a minimum the larger.
    """
    if route.corridor is None:
        return route.bounds
    edges = (route.corridor.minimum, route.corridor.target, route.corridor.maximum)
    if stated is None and any(edge.value is not None for edge in edges):
        return None
    low, middle, high = (_amounts(edge, route, stated) for edge in edges)
    maximum = min(high)
    minimum = min(max(low), maximum)
    return Bounds(minimum, min(max(min(middle), minimum), maximum), maximum)


def _amounts(edge: Edge, route: Route, stated: Price | None) -> list[int]:
    found = [] if edge.amount_base is None else [edge.amount_base]
    if edge.value is not None and stated is not None:
        found.append(edge.value * route.unit_base // stated.price)
    return found


def still_wanted(band: Band, free_base: int, *, amount_base: int, top_up: bool) -> bool:
    """Whether most of a move that was asked for would bring the wallet to where the band wants it now.

    Not whether it would be decided now: what is about the band's edge is not asked for and given up in turns.
    """
    wanted = band.S_base - free_base if top_up else free_base - band.T_base
    share, whole = WANTED_SHARE
    return wanted * whole >= amount_base * share


def ahead(decision: Decision, position: Position, *, now_ms: int) -> Ahead | None:
    """When the band's lower edge is likely to be reached, if that is within the horizon: the median path.

    Nothing is foreseen by a forecast that rests on the prior more than on what came.
    """
    band, seen = decision.plan.band, decision.forecast
    if decision.mode is Mode.FAILED or seen.basis.prior_share > PRIOR_SHARE_MAX:
        return None
    free = position.hot_base - position.owed_base - position.outgoing_base + position.incoming_base
    room = units(max(0, free - band.s_base), seen.unit_base)
    before = 0.0
    for step in range(len(seen.withdrawn)):
        (gone,) = seen.quantiles_until(Flow.NET, step, levels=(0.5,))
        if gone >= room and gone > before:
            share = min(1.0, max(0.0, (room - before) / (gone - before)))
            due_ms = seen.now_ms + step * seen.step_ms + int(share * seen.step_ms)
            return Ahead(max(due_ms, now_ms), max(0, band.S_base - band.s_base))
        before = gone
    return None


def foreseen(decision: Decision) -> tuple[Foreseen, ...]:
    """The forecast's quantiles of each day, to be compared with what comes."""
    seen = decision.forecast
    return tuple(
        Foreseen(
            made_ms=seen.now_ms,
            day_ms=seen.now_ms + step * seen.step_ms,
            flow=flow.value,
            levels=LEVELS,
            amounts_base=tuple(
                base_units(max(0.0, value), seen.unit_base)
                for value in seen.quantiles(flow, step, levels=LEVELS)
            ),
        )
        for flow in (Flow.WITHDRAWN, Flow.DEPOSITED)
        for step in range(len(seen.withdrawn))
    )


def breaker_of(history: History, *, calm_ms: int) -> Breaker:
    """The breaker after every whole day; a run that people ended, or of long ago, is none any more."""
    breaker = Breaker()
    days = history.days
    for place, amount in enumerate(days.withdrawn_base):
        end_ms = days.first_ms + (place + 1) * DAY_MS
        withdrawn = None if amount is None else units(amount, history.unit_base)
        breaker, state = breaker.observe(end_ms, withdrawn=withdrawn)
        if isinstance(state, Tripped) and (end_ms <= calm_ms or days.end_ms - end_ms > OLD_RUN_MS):
            breaker = breaker.reset(new_normal=True)  # what history still knows, people called normal
    return breaker


def run_now(breaker: Breaker, sight: Sight, *, withdrawn_base: int, now_ms: int) -> Tripped | None:
    """Whether what was withdrawn today is a run already, hours before the day is over."""
    expected = float(np.median(sight.forecast.withdrawn[0]))
    withdrawn = units(withdrawn_base, sight.route.unit_base)
    _, state = breaker.observe(now_ms, withdrawn=withdrawn, expected=expected)
    return state if isinstance(state, Tripped) else None


def alarm_of(route: Route, tripped: Tripped, *, band: Band, now_ms: int) -> Alarm:
    """The alarm that a run begins, with the band that stays until people end it."""
    amounts = (tripped.observed, tripped.threshold, tripped.quota)
    observed, threshold, quota = (base_units(max(0.0, one), route.unit_base) for one in amounts)
    return Alarm(
        route=route.name,
        since_ms=now_ms,
        rule=tripped.rule,
        observed_base=observed,
        threshold_base=threshold,
        quota_base=quota,
        band=band,
    )


def _costs(route: Route, price: float, seen: Forecast) -> Costs:
    given = route.costs
    delay = given.delay
    if delay is None:
        profile = RESTLESS if seen.basis.profile == RESTLESS.name else STEADY
        held_a_day = Steering(given.service, max(seen.basis.level, TINY)).delay(profile)
        delay = held_a_day * given.exposure_year / YEAR_DAYS
    return Costs(
        price=price,
        topup=given.topup,
        sweep=given.sweep,
        exposure_year=given.exposure_year,
        delay=delay,
        lead_steps=given.lead_days,
    )


def _of_band(route: Route, made: Plan, position: Position) -> str:
    """Why the band wants this move, in units, as people count."""

    def about(amount_base: int) -> str:
        return f"{units(amount_base, route.unit_base):,.6g} {route.asset}"

    free, band = position.hot_base - position.owed_base - position.outgoing_base, made.band
    has = f"{about(free)} of {about(position.hot_base)} is free"
    match made.action:
        case TopUp():
            return f"{has}: below {about(band.s_base)} it is topped up to {about(band.S_base)}"
        case Sweep():
            return f"{has}: above {about(band.U_base)} it is swept down to {about(band.T_base)}"
        case Nothing():
            return (
                f"{has}: it is topped up to {about(band.S_base)} once it is below {about(band.s_base)}, "
                f"and swept down to {about(band.T_base)} once it is above {about(band.U_base)}"
            )


def _of_mode(mode: Mode, alarm: Alarm | None) -> tuple[str, ...]:
    if alarm is not None:
        return (f"the breaker tripped ({alarm.rule}): the band stays as it was before",)
    if mode is Mode.NO_PRICE:
        return ("there is no price that is new enough",)
    if mode is Mode.FAILED:
        return ("the forecast's model failed: its own log says how",)
    if mode is Mode.UNCALIBRATED:
        return ("forecasts have missed more than they promised",)
    return ()


def _day(time_ms: int) -> int:
    return time_ms - time_ms % DAY_MS
