"""How the routes of one tier share its bounds in value, so that together they stay within them. Pure.

The policy bounds what a whole tier holds; a route sees one asset of one wallet. Rules: (1) what the tier
holds and no route watches comes off first; (2) of the rest a fifth is shared out equally, so that an asset
nobody asked for lately can begin, and four fifths by what was withdrawn in the last four weeks, in value;
(3) days of a run shift no part, since whoever drains one asset could take another's; (4) a top-up asks for no
more than what the tier as a whole has room for, whatever the parts are: deposits come in unasked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from custody.rebalancing.moves import Stage
from custody.rebalancing.observing import balance_of
from custody.rebalancing.records import Corridor, Direction, Edge, Holdings, Move, Route, replace

EQUALLY = Fraction(1, 5)


@dataclass(frozen=True, slots=True)
class Part:
    """A route's ``share`` of what its tier may hold besides ``taken``, which no route watches; in value."""

    share: Fraction
    taken: int

    def of(self, value: int) -> int:
        """The part of a bound."""
        return int(self.share * max(0, value - self.taken))


def parts_of(routes: Sequence[Route], holdings: Holdings, *, withdrawn: Mapping[str, int]) -> dict[str, Part]:
    """The part of each route whose tier is bounded in value, by base units ``withdrawn`` of each lately."""
    found: dict[str, Part] = {}
    for tier in {route.tier for route in routes if _is_bounded(route)}:
        members = [route for route in routes if route.tier == tier and _is_bounded(route)]
        wanted = {
            one.name: _worth(one, holdings, asset=one.asset, amount_base=withdrawn.get(one.name, 0))
            for one in members
        }
        total, taken = sum(wanted.values()), _unwatched(members, holdings)
        for name, value in wanted.items():
            equal = Fraction(1, len(members))
            share = EQUALLY * equal + (1 - EQUALLY) * Fraction(value, total) if total else equal
            found[name] = Part(share, taken)
    return found


def narrowed(route: Route, part: Part | None) -> Route:
    """The route with its part of the bounds in value."""
    if part is None or route.corridor is None:
        return route
    edges = (route.corridor.minimum, route.corridor.target, route.corridor.maximum)
    low, middle, high = (
        edge if edge.value is None else Edge(edge.amount_base, part.of(edge.value)) for edge in edges
    )
    return replace(route, corridor=Corridor(low, middle, high))


def room_base(
    route: Route,
    routes: Iterable[Route],
    *,
    holdings: Holdings,
    parts: Mapping[str, Part],
    moves: Iterable[Move],
    me: str,
) -> int | None:
    """What may still come into the route's tier, in its asset; None where the tier has no bound in value.

    Besides what is held, top-ups of this rebalancer in flight count, and what others move in; what was signed
    to leave is still there, as it is for the nodes. A route whose chain is silent counts with its whole part.
    """
    price = holdings.prices.get(route.asset)
    if route.corridor is None or route.corridor.maximum.value is None or price is None:
        return None
    maximum, members = route.corridor.maximum.value, [one for one in routes if one.tier == route.tier]
    used = _unwatched(members, holdings)
    for one in members:
        held = balance_of(holdings, one.wallet, asset=one.asset)
        if held is not None:
            used += _worth(one, holdings, asset=one.asset, amount_base=held)
        elif one.name in parts:
            used += parts[one.name].of(maximum)
    assets = {one.name: one.asset for one in members}
    for move in moves:
        if move.direction is Direction.TOP_UP and move.stage is not Stage.MOVING and move.route in assets:
            used += _worth(route, holdings, asset=assets[move.route], amount_base=move.amount_base)
    used += _coming(route, holdings, me)
    return max(0, maximum - used) * route.unit_base // price.price


def _is_bounded(route: Route) -> bool:
    return route.corridor is not None and route.corridor.maximum.value is not None


def _unwatched(members: Sequence[Route], holdings: Holdings) -> int:
    """What the tier holds and no route watches; what has no balance or price counts nothing: nodes wait."""
    watched = {(one.wallet, one.asset) for one in members}
    return sum(
        _worth(members[0], holdings, asset=one.asset, amount_base=one.balance_base or 0)
        for one in holdings.accounts
        if members and one.tier == members[0].tier and (one.wallet, one.asset) not in watched
    )


def _coming(route: Route, holdings: Holdings, me: str) -> int:
    """What is on its way into the tier: all that is signed, and what others have asked for."""
    inside = {one.wallet for one in holdings.accounts if one.tier == route.tier}
    return sum(
        _worth(route, holdings, asset=one.asset, amount_base=one.amount_base)
        for one in holdings.open
        if one.to in inside and one.wallet not in inside and (one.signed or one.initiator != me)
    )


def _worth(route: Route, holdings: Holdings, *, asset: str, amount_base: int) -> int:
    """What an amount is worth at the newest stated price, of any age, rounded up."""
    price, unit_base = holdings.prices.get(asset), dict(route.units).get(asset)
    return 0 if price is None or unit_base is None else -(-amount_base * price.price // unit_base)
