"""Bands and the next move, by dynamic programming over a forecast's scenarios.

The rules: what waits to be paid and what is already on its way count; nothing goes above the policy's maximum
even if no withdrawal comes; one move in flight in each direction; without a calibrated forecast or a price
the bands are the policy's plain minimum and target.
"""

from dataclasses import dataclass, replace

from custody.rebalancer.bands import Terms, optimal_levels
from custody.rebalancer.flows import DAY_MS, base_units
from custody.rebalancer.forecast import Forecast
from policy.errors import CallerError

YEAR_MS = 365 * DAY_MS


@dataclass(frozen=True, slots=True)
class Position:
    """What is there now. Base units.

    ``hot_base`` is confirmed and free; ``owed_base`` is asked for and not yet paid; ``incoming_base`` is on
    its way into the tier by a top-up, ``outgoing_base`` out of it by a sweep.
    """

    hot_base: int
    owed_base: int = 0
    incoming_base: int = 0
    outgoing_base: int = 0

    def __post_init__(self) -> None:
        if min(self.hot_base, self.owed_base, self.incoming_base, self.outgoing_base) < 0:
            raise CallerError("a position has no amount below zero")


@dataclass(frozen=True, slots=True)
class Costs:
    """What things cost, in one currency of money; any currency, as long as it is the same.

    ``price`` is of one unit of the asset. ``topup`` is people's time and fees of one move into the tier,
    ``sweep`` the fee of one out of it. ``exposure_year`` is the yearly share of the money exposed that
    exposing it costs (chance of theft, insurance, interest). ``delay`` is the share of a withdrawal's value
    that not paying it at once costs.
    """

    price: float
    topup: float
    sweep: float
    exposure_year: float = 0.1
    delay: float = 0.02
    lead_steps: int = 1  # whole steps that pass before a top-up can be used; 0 or 1, choose the step by it

    def __post_init__(self) -> None:
        if not (self.price > 0 and self.exposure_year > 0 and min(self.topup, self.sweep, self.delay) >= 0):
            raise CallerError("price and exposure_year are above zero, the other costs not below")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The policy's word on the tier, in base units: what caps every plan, and what to fall back to."""

    minimum_base: int
    target_base: int
    maximum_base: int

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_base <= self.target_base <= self.maximum_base:
            raise CallerError("bounds are 0 <= minimum <= target <= maximum")


@dataclass(frozen=True, slots=True)
class Band:
    """Below ``s_base`` top up to ``S_base``, above ``U_base`` sweep down to ``T_base``. Base units."""

    s_base: int
    S_base: int
    U_base: int
    T_base: int


@dataclass(frozen=True, slots=True)
class TopUp:
    """Move into the tier: raises exposure, so people approve it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Move out of the tier."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leave everything where it is."""


Action = TopUp | Sweep | Nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """One proposed move, zero for nothing, with the band it follows from and its reasons in sentences."""

    action: Action
    amount_base: int
    band: Band
    reasons: tuple[str, ...]
    fallback: bool  # the band is the policy's plain minimum and target


def plan(forecast: Forecast, position: Position, *, costs: Costs | None, bounds: Bounds) -> Plan:
    """The move to make now.

    ``costs`` is None when there is no price: then the plain band, and the plan says so.
    """
    if costs is None or not forecast.basis.calibrated:
        return follow(plain_band(bounds), position, bounds=bounds, fallback=True)
    band = _band(forecast, costs, bounds)
    return follow(band, position, bounds=bounds)


def plan_in_run(band: Band, position: Position, *, bounds: Bounds, quota_base: int) -> Plan:
    """The move while the breaker is tripped: by the band from before it, and only the quota of what is owed
    counts.

    So hot is not filled to pay out whatever is asked for: the rest waits for people.
    """
    counted = replace(position, owed_base=min(position.owed_base, quota_base))
    made = follow(band, counted, bounds=bounds)
    waiting = position.owed_base - counted.owed_base
    return replace(
        made,
        reasons=(*made.reasons, f"the breaker is tripped: bands are frozen, {waiting} waits for people"),
    )


def plain_band(bounds: Bounds) -> Band:
    """Fixed minimum and maximum around the target: what is left when nothing better can be trusted."""
    return Band(bounds.minimum_base, bounds.target_base, bounds.maximum_base, bounds.target_base)


def follow(band: Band, position: Position, *, bounds: Bounds, fallback: bool = False) -> Plan:
    """What a band says of a position, capped by the bounds."""
    free = position.hot_base - position.owed_base - position.outgoing_base
    why = ("the plain minimum and target of the policy",) if fallback else ()
    # hot itself, not what is free of debt: until customers are paid, it is all there to be stolen
    room = max(0, bounds.maximum_base - position.hot_base - position.incoming_base)
    if free > band.U_base and not position.outgoing_base:
        amount = free - min(band.T_base, bounds.maximum_base)
        return Plan(Sweep(), amount, band, (f"{free} is above U = {band.U_base}", *why), fallback)
    if free + position.incoming_base < band.s_base and not position.incoming_base:
        wanted = band.S_base - free
        amount = min(wanted, room)
        if amount < wanted:
            why = (f"the maximum leaves room for {amount} of {wanted}", *why)
        if amount > 0:
            return Plan(TopUp(), amount, band, (f"{free} is below s = {band.s_base}", *why), fallback)
        return Plan(Nothing(), 0, band, why, fallback)
    return Plan(Nothing(), 0, band, ("the position is inside the band", *why), fallback)


def _band(forecast: Forecast, costs: Costs, bounds: Bounds) -> Band:
    """The optimal band, inside the policy's bounds."""
    exposing = (
        costs.price * costs.exposure_year * forecast.step_ms / YEAR_MS
    )  # money for one unit in one step
    terms = Terms(
        topup=costs.topup / exposing,
        sweep=costs.sweep / exposing,
        delay=costs.price * costs.delay / exposing,
        lead_steps=costs.lead_steps,
    )
    levels = optimal_levels(forecast.withdrawn, forecast.deposited, terms=terms)
    s, aim, upper, sweep_to = (base_units(max(0.0, level), forecast.unit_base) for level in levels)
    low, high = bounds.minimum_base, bounds.maximum_base
    s, aim, upper, sweep_to = (min(max(low, level), high) for level in (s, aim, upper, sweep_to))
    return Band(s, max(s, aim), max(sweep_to, upper), sweep_to)
