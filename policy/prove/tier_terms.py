"""The bounds of tiers as formulas: the same questions in the same order as ``policy.tier_bounds``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import z3

from policy.model import TIER_MAXIMUM, TIER_MINIMUM, TIER_SHARE, TIER_VERDICTS, WHOLE_BP, Policy, Tier
from policy.prove.terms import Number, Term, all_of, any_of, not_, sum_of
from policy.prove.world import World
from policy.rules import CALL, LOWERS, SAME, TRANSFER


class Facts(Protocol):
    """What the formulas of a policy say of a transaction."""

    world: World
    policy: Policy

    @property
    def kinds(self) -> Mapping[str, Term]:
        """By a kind's name, that it is of that kind."""

    def from_tier(self, tiers: Iterable[str]) -> Term:
        """It is paid by a wallet of one of these tiers."""

    def to_own(self, tiers: Iterable[str]) -> Term:
        """It is paid to an account of a wallet of one of these tiers."""

    def moves(self, exposure: str) -> Term:
        """It is a move between own tiers that does this to exposure."""

    def number(self, fact: str) -> tuple[Term, Number]:
        """Whether a number is known, and what it is."""


class Line(NamedTuple):
    """One bound: when it is asked, when its numbers are known, when it is broken, when it is waited for."""

    verdict: str
    asked: Term
    told: Term
    broken: Term
    waits: Term


class Bounds(NamedTuple):
    """By the name in a verdict: when it is known that a bound is broken, and when it has to be waited for."""

    told: dict[str, Term]
    untold: dict[str, Term]


def bounds_of(facts: Facts, tiers: Iterable[Tier], *, automatic: bool) -> Bounds:
    """The bounds of these tiers, which are the policy's or others under the same names."""
    told: dict[str, list[Term]] = {name: [] for name in TIER_VERDICTS}
    untold: dict[str, list[Term]] = {name: [] for name in TIER_VERDICTS}
    for line in _lines(facts, tiers, automatic=automatic):
        told[line.verdict].append(all_of(line.asked, line.told, line.broken))
        untold[line.verdict].append(all_of(line.asked, not_(line.told), line.waits))
    return Bounds(
        {name: any_of(*terms) for name, terms in told.items() if terms},
        {name: any_of(*terms) for name, terms in untold.items() if terms},
    )


def _lines(facts: Facts, tiers: Iterable[Tier], *, automatic: bool) -> Iterator[Line]:
    for tier in tiers:
        yield from _maximum(facts, tier)
        if automatic:
            yield from _minimum(facts, tier)
        yield from _share_max(facts, tier)
        yield from _share_min(facts, tier)


def _moved(facts: Facts, *, source: str = "", destination: str = "") -> Term:
    """A move between two different tiers, of which one is given."""
    names = [tier.name for tier in facts.policy.tiers]
    pairs = [
        all_of(facts.from_tier([a]), facts.to_own([b]))
        for a in names
        for b in names
        if (a == source or b == destination) and facts.policy.exposure(a, b) != SAME
    ]
    return all_of(facts.world.plain, any_of(*pairs))


def _left(facts: Facts, tiers: Iterable[str]) -> Term:
    """What leaves the house from one of these tiers."""
    return all_of(facts.from_tier(tiers), any_of(facts.kinds[TRANSFER], facts.kinds[CALL]))


def _maximum(facts: Facts, tier: Tier) -> Iterator[Line]:
    world, there = facts.world, facts.world.held(facts.policy, tier.name)
    asked = _moved(facts, destination=tier.name)
    for asset, bound in tier.maximum.amounts.items():
        broken = there.high + world.amount > bound
        yield Line(TIER_MAXIMUM, all_of(asked, world.asset.is_(asset)), there.known, broken, z3.BoolVal(True))
    if tier.maximum.value is not None:
        known, value = facts.number("value")
        broken = there.value_high + value > tier.maximum.value
        yield Line(TIER_MAXIMUM, asked, all_of(known, there.valued), broken, z3.BoolVal(True))


def _minimum(facts: Facts, tier: Tier) -> Iterator[Line]:
    world, there = facts.world, facts.world.held(facts.policy, tier.name)
    asked, waits = _moved(facts, source=tier.name), not_(facts.moves(LOWERS))
    for asset, bound in tier.minimum.amounts.items():
        broken = _less(there.low, facts.number("total")[1]) < bound
        yield Line(TIER_MINIMUM, all_of(asked, world.asset.is_(asset)), there.known, broken, waits)
    if tier.minimum.value is not None:
        known, value = facts.number("value")
        broken = _less(there.value_low, value) < tier.minimum.value
        yield Line(TIER_MINIMUM, asked, all_of(known, there.valued), broken, waits)


def _share_max(facts: Facts, tier: Tier) -> Iterator[Line]:
    if tier.share_max_bp is None:
        return
    told, value = _valued(facts)
    names = [one.name for one in facts.policy.tiers]
    colder = names[names.index(tier.name) + 1 :]
    into = _moved(facts, destination=tier.name)
    own = facts.world.held(facts.policy, tier.name).value_high + z3.If(into, value, 0)
    others = _less(_others(facts, tier, low=True), value)
    broken = own * WHOLE_BP > tier.share_max_bp * (own + others)
    yield Line(TIER_SHARE, any_of(into, _left(facts, colder)), told, broken, not_(facts.moves(LOWERS)))


def _share_min(facts: Facts, tier: Tier) -> Iterator[Line]:
    if tier.share_min_bp is None:
        return
    told, value = _valued(facts)
    moved = _moved(facts, source=tier.name)
    own = _less(facts.world.held(facts.policy, tier.name).value_low, value)
    others = _others(facts, tier, low=False) + z3.If(moved, value, 0)
    broken = own * WHOLE_BP < tier.share_min_bp * (own + others)
    asked = any_of(moved, _left(facts, [tier.name]))
    yield Line(TIER_SHARE, asked, told, broken, not_(facts.moves(LOWERS)))


def _valued(facts: Facts) -> tuple[Term, Number]:
    """Whether everything that a share takes is known, and what the transaction is worth."""
    known, value = facts.number("value")
    every = [facts.world.held(facts.policy, tier.name).valued for tier in facts.policy.tiers]
    return all_of(known, *every), value


def _others(facts: Facts, tier: Tier, *, low: bool) -> Number:
    held = [facts.world.held(facts.policy, one.name) for one in facts.policy.tiers if one.name != tier.name]
    return sum_of(*(one.value_low if low else one.value_high for one in held))


def _less(number: Number, less: Number) -> Number:
    """What is left, nothing at the least."""
    return z3.If(number >= less, number - less, 0)
