"""Slips of the pen in a policy, one at a time, and whether its invariants notice them.

A mutant that means the same, or that is only stricter, is none that an invariant could catch: it is not
counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from policy.model import (
    Allow,
    Approve,
    Deny,
    Forbid,
    Level,
    Limit,
    Policy,
    Requirement,
    Rule,
    Then,
    Tier,
)
from policy.prove.differences import eases
from policy.prove.formulas import Formulas
from policy.prove.invariants import Invariant
from policy.prove.proofs import breaking
from policy.prove.transactions import Search
from policy.prove.world import World, unlisted_address
from policy.rules import Among, AtLeast, AtMost, Condition, InGroup, Listed, When
from policy.values import replace

T = TypeVar("T")
FACTOR = 10


@dataclass(frozen=True, slots=True)
class Mutant:
    """A policy with one slip, and the slip in words."""

    slip: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Score:
    """How many mutants allow more than the policy does, and which of these no invariant catches.

    ``harmless`` mean the same or are only stricter.
    """

    harmless: int
    caught: int
    survivors: tuple[str, ...]

    @property
    def counted(self) -> int:
        """The mutants that allow more."""
        return self.caught + len(self.survivors)


def score(policy: Policy, invariants: Sequence[Invariant]) -> Score:
    """Try every mutant; an invariant that the policy itself breaks catches none. Raises ``Undecided``."""
    harmless, caught, survivors = 0, 0, []
    invariants = [one for one in invariants if not _caught(policy, (one,))]
    for mutant in mutants(policy):
        if not eases(policy, mutant.policy):
            harmless += 1
        elif _caught(mutant.policy, invariants):
            caught += 1
        else:
            survivors.append(mutant.slip)
    return Score(harmless, caught, tuple(survivors))


def mutants(policy: Policy) -> Iterator[Mutant]:
    """Every slip: in a forbid, a rule, a limit or a list."""
    for index, forbid in enumerate(policy.forbids):
        yield Mutant(f"{forbid.name}: dropped", replace(policy, forbids=_without(policy.forbids, index)))
        for slip, when in _slips_of(forbid.when):
            changed = _with(policy.forbids, index, Forbid(forbid.name, when))
            yield Mutant(f"{forbid.name}: {slip}", replace(policy, forbids=changed))
    yield from _in_rules(policy)
    for index, limit in enumerate(policy.limits):
        yield Mutant(f"{limit.name}: dropped", replace(policy, limits=_without(policy.limits, index)))
        for slip, changed_limit in _looser(limit):
            yield Mutant(
                f"{limit.name}: {slip}", replace(policy, limits=_with(policy.limits, index, changed_limit))
            )
    yield from _in_tiers(policy)
    for name, addresses in policy.lists.items():
        for chain in policy.chains:
            more = {**policy.lists, name: addresses | {unlisted_address(chain, addresses)}}
            yield Mutant(f"list {name}: one more address of {chain}", replace(policy, lists=more))
        if addresses:
            less = {**policy.lists, name: frozenset(sorted(addresses)[1:])}
            yield Mutant(f"list {name}: one address less", replace(policy, lists=less))


def _in_rules(policy: Policy) -> Iterator[Mutant]:
    rules = policy.rules
    for index, rule in enumerate(rules):
        yield Mutant(f"{rule.name}: dropped", replace(policy, rules=_without(rules, index)))
        for slip, when in _slips_of(rule.when):
            changed = Rule(rule.name, when, rule.then)
            yield Mutant(f"{rule.name}: {slip}", replace(policy, rules=_with(rules, index, changed)))
        for slip, then in _outcomes(rule.then):
            changed = Rule(rule.name, rule.when, then)
            yield Mutant(f"{rule.name}: {slip}", replace(policy, rules=_with(rules, index, changed)))
        if index:
            swapped = (*rules[: index - 1], rule, rules[index - 1], *rules[index + 1 :])
            slip = f"{rule.name}: before {rules[index - 1].name}"
            yield Mutant(slip, replace(policy, rules=swapped))


def _in_tiers(policy: Policy) -> Iterator[Mutant]:
    for index, tier in enumerate(policy.tiers):
        for slip, changed in _wider(tier):
            yield Mutant(
                f"tier {tier.name}: {slip}", replace(policy, tiers=_with(policy.tiers, index, changed))
            )


def _wider(tier: Tier) -> Iterator[tuple[str, Tier]]:
    """The same tier with another bound, or one bound less; targets mean nothing to a verdict."""
    for slip, level in _levels(tier.maximum):
        yield f"maximum {slip}", replace(tier, maximum=level)
    for slip, level in _levels(tier.minimum):
        yield f"minimum {slip}", replace(tier, minimum=level)
    if tier.share_min_bp is not None:
        for slip, share in _near(tier.share_min_bp):
            yield f"share_min {slip}", replace(tier, share_min_bp=share)
    if tier.share_max_bp is not None:
        for slip, share in _near(tier.share_max_bp):
            yield f"share_max {slip}", replace(tier, share_max_bp=share)


def _levels(level: Level) -> Iterator[tuple[str, Level]]:
    if level.value is not None:
        for slip, value in _near(level.value):
            yield f"of value {slip}", replace(level, value=value)
    for asset, amount in level.amounts.items():
        others = {other: one for other, one in level.amounts.items() if other != asset}
        for slip, near in _near(amount):
            amounts = others if near is None else {**others, asset: near}
            yield f"of {asset} {slip}", replace(level, amounts=amounts)


def _near(bound: int) -> Iterator[tuple[str, int | None]]:
    yield "dropped", None
    yield from (("+ 1", bound + 1), ("- 1", bound - 1), ("x 10", bound * FACTOR), ("/ 10", bound // FACTOR))


def _caught(policy: Policy, invariants: Sequence[Invariant]) -> bool:
    world = World((policy,), [one.when for one in invariants])
    formulas, search = Formulas(world, policy), Search(world)
    return any(breaking(search, formulas, invariant=invariant) is not None for invariant in invariants)


def _slips_of(when: When) -> Iterator[tuple[str, When]]:
    for index, condition in enumerate(when.conditions):
        yield f"without {condition.name}", When(_without(when.conditions, index))
        for slip, changed in _other(condition):
            yield f"{condition.name} {slip}", When(_with(when.conditions, index, changed))


def _other(condition: Condition) -> Iterator[tuple[str, Condition]]:
    """The same condition with another bound, or one name less."""
    if isinstance(condition, AtLeast | AtMost):
        bound = condition.bound
        for slip, other in (("+ 1", bound + 1), ("- 1", bound - 1), ("x 10", bound * FACTOR)):
            yield slip, replace(condition, bound=other)
        yield "/ 10", replace(condition, bound=bound // FACTOR)
    if isinstance(condition, Listed):
        yield "turned round", replace(condition, wanted=not condition.wanted)
    if isinstance(condition, Among) and len(condition.allowed) > 1:
        for index, name in enumerate(condition.allowed):
            yield f"without {name}", replace(condition, allowed=_without(condition.allowed, index))
    if isinstance(condition, InGroup) and len(condition.groups) > 1:
        for index, name in enumerate(condition.groups):
            yield f"without {name}", replace(condition, groups=_without(condition.groups, index))


def _outcomes(then: Then) -> Iterator[tuple[str, Then]]:
    match then:
        case Deny():
            yield "allows", Allow()
        case Allow():
            if then.delay_ms:
                yield "without delay", Allow()
        case Approve():
            yield "needs no approval", Allow(then.delay_ms)
            if then.delay_ms:
                yield "without delay", Approve(then.alternatives)
            for index, needs in enumerate(then.alternatives):
                for slip, fewer in _fewer(needs):
                    yield slip, replace(then, alternatives=_with(then.alternatives, index, fewer))


def _fewer(needs: tuple[Requirement, ...]) -> Iterator[tuple[str, tuple[Requirement, ...]]]:
    for index, need in enumerate(needs):
        if len(needs) > 1:
            yield f"without approval of {need.group}", _without(needs, index)
        if need.count > 1:
            yield f"one of {need.group} less", _with(needs, index, Requirement(need.group, need.count - 1))


def _looser(limit: Limit) -> Iterator[tuple[str, Limit]]:
    yield "x 10", replace(limit, maximum=limit.maximum * FACTOR)
    yield "+ 1", replace(limit, maximum=limit.maximum + 1)
    yield "a tenth of the time", replace(limit, window_ms=max(1, limit.window_ms // FACTOR))
    if "destination" not in limit.per:
        yield "for each destination", replace(limit, per=(*limit.per, "destination"))


def _without(items: tuple[T, ...], index: int) -> tuple[T, ...]:
    return (*items[:index], *items[index + 1 :])


def _with(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return (*items[:index], item, *items[index + 1 :])
