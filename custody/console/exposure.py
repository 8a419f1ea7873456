"""What each tier holds today against what the policy wants of it, as the chains and the stated prices say.

It is for the eye: nodes decide by what observers stated, at the highest and lowest prices of a while.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from custody.console.requests import units
from custody.console.wallets import tiers
from custody.parts import Parts
from policy.model import Level, Policy, Tier
from policy.state import State
from policy.words.units import share_text

WHOLE_BP = 10_000


@dataclass(frozen=True, slots=True)
class Bound:
    """A measure of a tier: what is held, what is wanted, and what is the most; empty texts are not known.

    ``percent`` is of the most, for the eye alone; ``beyond`` says that it is above that or below the least.
    """

    measure: str
    held: str
    minimum: str
    target: str
    maximum: str
    percent: int
    beyond: bool


@dataclass(frozen=True, slots=True)
class TierLine:
    """A tier with its measures: each asset it holds or has a bound in, and value where there are prices."""

    name: str
    role: str
    share: str
    share_wanted: str
    share_beyond: bool
    bounds: tuple[Bound, ...]


async def exposure(parts: Parts) -> tuple[TierLine, ...]:
    """Every tier, from the hottest on."""
    state = parts.sequencer.state
    held: dict[str, dict[str, int | None]] = {}
    for name, wallets in (await tiers(parts)).items():
        held[name] = _added(sums for one in wallets for sums in one.sums.items())
    return by_tier(state, held)


def by_tier(state: State, held: dict[str, dict[str, int | None]]) -> tuple[TierLine, ...]:
    """The lines, from base units by tier and asset; None is not known."""
    values = {name: _value(state, amounts) for name, amounts in held.items()}
    known = [value for value in values.values() if value is not None]
    total = sum(known) if len(known) == len(values) else None
    declared = {tier.name: tier for tier in state.policy.tiers}
    names = [*declared, *sorted(held.keys() - declared.keys())]
    return tuple(
        _line(
            state.policy,
            declared.get(name, Tier(name, "")),
            held=held.get(name, {}),
            value=values.get(name),
            total=total,
        )
        for name in names
    )


def _line(
    policy: Policy, tier: Tier, *, held: dict[str, int | None], value: int | None, total: int | None
) -> TierLine:
    share = value * WHOLE_BP // total if value is not None and total else None
    low, high = tier.share_min_bp, tier.share_max_bp
    bounds = [_bound(policy, tier, unit=name, held=amount) for name, amount in sorted(held.items())]
    if policy.prices is not None:
        bounds.append(_bound(policy, tier, unit=policy.prices.unit, held=value))
    return TierLine(
        name=tier.name,
        role=tier.role,
        share="" if share is None else share_text(share),
        share_wanted=_range("" if low is None else share_text(low), "" if high is None else share_text(high)),
        share_beyond=share is not None and not (low or 0) <= share <= (WHOLE_BP if high is None else high),
        bounds=tuple(bounds),
    )


def _bound(policy: Policy, tier: Tier, *, unit: str, held: int | None) -> Bound:
    def at(level: Level) -> int | None:
        return level.amounts.get(unit) if unit in policy.assets else level.value

    def text(amount: int | None) -> str:
        return "" if amount is None else units(policy, amount, unit=unit)

    low, high = at(tier.minimum), at(tier.maximum)
    most = high or at(tier.target_max)
    return Bound(
        measure=unit,
        held=text(held),
        minimum=text(low),
        target=_range(text(at(tier.target_min)), text(at(tier.target_max))),
        maximum=text(high),
        percent=min(100, 100 * held // most) if held is not None and most else 0,
        beyond=held is not None and not (low or 0) <= held <= (held if high is None else high),
    )


def _range(low: str, high: str) -> str:
    """Both ends where there are both; ``≥`` or ``≤`` where there is one."""
    if low and high:
        return f"{low} – {high}"
    return f"≥ {low}" if low else f"≤ {high}" if high else ""


def _value(state: State, amounts: dict[str, int | None]) -> int | None:
    """What amounts are worth at the newest stated prices, whatever their age; None if one is not known."""
    total = 0
    for asset, amount in amounts.items():
        points = state.prices.get(asset, ())
        if amount is None or (amount and not points):
            return None
        if amount:
            total += amount * points[-1].price // 10 ** state.policy.assets[asset].decimals
    return total


def _added(sums: Iterable[tuple[str, int | None]]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for asset, amount in sums:
        before = found.get(asset, 0)
        found[asset] = None if amount is None or before is None else before + amount
    return found
