"""What amounts of assets are worth, by the prices that observers stated."""

from collections.abc import Iterable

from policy.model import Policy
from policy.state import PricePoint, State

PRICE_POINTS_MAX = 256


def worth(state: State, amounts: Iterable[tuple[str, int]], *, time_ms: int) -> int | None:
    """What these amounts of assets are worth together, each rounded up; None without a price new enough.

    The highest price counts that was stated within the age allowed: one low price opens no limit.
    """
    if state.policy.prices is None:
        return None
    total = 0
    for asset, amount in amounts:
        found = highest(state, asset, amount=amount, time_ms=time_ms)
        if found is None:
            return None
        total += found
    return total


def highest(state: State, asset: str, *, amount: int, time_ms: int) -> int | None:
    """What an amount is worth at most, rounded up; None without a price new enough."""
    if not amount:
        return 0
    prices = _recent(state.policy, asset, points=state.prices.get(asset, ()), time_ms=time_ms)
    return -(-amount * max(prices) // _whole(state, asset)) if prices else None


def lowest(state: State, asset: str, *, amount: int, time_ms: int) -> int | None:
    """What an amount is worth at least, rounded down; None without a price new enough."""
    if not amount:
        return 0
    prices = _recent(state.policy, asset, points=state.lows.get(asset, ()), time_ms=time_ms)
    return amount * min(prices) // _whole(state, asset) if prices else None


def add_price(points: tuple[PricePoint, ...], new: PricePoint) -> tuple[PricePoint, ...]:
    """The points that can still be the highest of some window, oldest first.

    Beyond ``PRICE_POINTS_MAX`` the oldest two become one, with the higher price and the later time.
    """
    kept = (*(point for point in points if point.price > new.price), new)
    return _bounded(kept)


def add_low(points: tuple[PricePoint, ...], new: PricePoint) -> tuple[PricePoint, ...]:
    """The same of the lowest."""
    kept = (*(point for point in points if point.price < new.price), new)
    return _bounded(kept)


def _bounded(kept: tuple[PricePoint, ...]) -> tuple[PricePoint, ...]:
    if len(kept) <= PRICE_POINTS_MAX:
        return kept
    first, second, *rest = kept
    return (PricePoint(second.observed_ms, first.price), *rest)


def _recent(policy: Policy, asset: str, *, points: tuple[PricePoint, ...], time_ms: int) -> list[int]:
    if policy.prices is None or asset not in policy.assets:
        return []
    return [point.price for point in points if point.observed_ms > time_ms - policy.prices.max_age_ms]


def _whole(state: State, asset: str) -> int:
    return int(10 ** state.policy.assets[asset].decimals)
