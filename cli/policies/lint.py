"""What a policy that can be read cannot mean: rules that nothing reaches, lists that nothing looks at.

By the words alone: a rule is unreachable here when every condition of an earlier one follows from one of its
own. That an earlier rule covers it together with others is for ``quorumkeep policy prove`` to see.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from policy.document import deposit_min_default
from policy.model import Allow, Policy, Rule, Tier, Wallet
from policy.roster import Roster
from policy.rules import (
    DAY_MINUTES,
    TYPED_DATA,
    Among,
    ArgumentListed,
    ArgumentWithin,
    AtLeast,
    AtMost,
    Condition,
    During,
    FirstUse,
    InGroup,
    Listed,
    When,
)
from policy.words.units import amount_text


class Remark(NamedTuple):
    """Something that cannot be meant, or, unless ``error``, that may not be."""

    path: str
    message: str
    error: bool


def lint(policy: Policy) -> Iterator[Remark]:
    """Everything there is to say about a policy by itself."""
    yield from _unreachable(policy)
    yield from _unused(policy)
    yield from _dust(policy)
    yield from _tiers(policy)
    yield from _typed_data(policy)
    yield from _idle_limits(policy)


def lint_groups(policy: Policy, roster: Roster) -> Iterator[Remark]:
    """Groups of people that no rule asks for: warnings, since a later policy may."""
    needed = policy.groups_named()
    for group in sorted({group for one in roster.operators.values() for group in one.groups}):
        if group not in needed:
            yield Remark(
                "rules", f"the roster has a group {group!r} of which no rule needs an approval", False
            )


def _unreachable(policy: Policy) -> Iterator[Remark]:
    for index, rule in enumerate(policy.rules):
        forbids = (forbid.name for forbid in policy.forbids if covers(forbid.when, rule.when))
        if forbid := next(forbids, None):
            reason = f"{rule.name!r} can never apply: {forbid!r} forbids everything it is for"
            yield Remark(f"rules[{index}]", reason, True)
        elif earlier := _earlier(policy.rules[:index], rule):
            reason = (
                f"{rule.name!r} is never reached: {earlier.name!r} before it has no conditions"
                if not earlier.when.conditions
                else f"{rule.name!r} is never reached: {earlier.name!r} before it takes all that it is for"
            )
            yield Remark(f"rules[{index}]", reason, True)
    for index, later in enumerate(policy.forbids):
        others = (one.name for one in policy.forbids[:index] if covers(one.when, later.when))
        if other := next(others, None):
            reason = f"{later.name!r} forbids nothing that {other!r} does not"
            yield Remark(f"forbids[{index}]", reason, True)


def _earlier(rules: tuple[Rule, ...], rule: Rule) -> Rule | None:
    return next((one for one in rules if covers(one.when, rule.when)), None)


def _unused(policy: Policy) -> Iterator[Remark]:
    whens = [one.when for one in policy.forbids] + [one.when for one in policy.rules]
    conditions = [condition for when in whens for condition in when.conditions]
    used = {name for one in conditions if isinstance(one, Listed | ArgumentListed) for name in one.lists}
    for name in policy.lists:
        if name not in used:
            yield Remark(f"lists.{name}", f"no rule and no forbid looks at the list {name!r}", True)
    values = any(isinstance(one, AtLeast | AtMost) and one.fact == "value" for one in conditions)
    values = values or any(limit.measure == "value" for limit in policy.limits)
    if policy.prices and not values and not any(map(_is_valued, policy.tiers)):
        yield Remark("prices", "no rule and no limit is about what something is worth", False)
    keys = {wallet.key for wallet in policy.wallets.values()}
    for name in policy.keys:
        if name not in keys:
            yield Remark(f"keys.{name}", f"no wallet has the key {name!r}", False)


def _dust(policy: Policy) -> Iterator[Remark]:
    """Assets of which next to nothing may be a deposit: each is an entry of the log, at anybody's will."""
    for name, asset in policy.assets.items():
        default = deposit_min_default(asset.decimals)
        if asset.deposit_min < default or (asset.contract and asset.deposit_min == default):
            least = amount_text(asset.deposit_min, asset=name, decimals=asset.decimals)
            reason = (
                f"whoever pays {least} makes an entry of the log: say by deposit_min what is worth one to you"
            )
            yield Remark(f"assets.{name}", reason, False)


def _is_valued(tier: Tier) -> bool:
    levels = (tier.minimum, tier.target_min, tier.target_max, tier.maximum)
    shares = (tier.share_min_bp, tier.share_max_bp)
    return any(level.value is not None for level in levels) or shares != (None, None)


def _tiers(policy: Policy) -> Iterator[Remark]:
    used = {wallet.tier for wallet in policy.wallets.values()}
    for rank, tier in enumerate(policy.tiers):
        if tier.name not in used:
            yield Remark(f"tiers[{rank}]", f"no wallet is of tier {tier.name!r}", True)


def _typed_data(policy: Policy) -> Iterator[Remark]:
    """Typed data that no rule is about, and rules that allow it whatever it says and nobody approves."""
    about: set[str] = set()
    for index, rule in enumerate(policy.rules):
        named = rule.when.names("typed_data")
        if named is None and TYPED_DATA not in (rule.when.names("kinds") or ()):
            continue
        about |= set(named or policy.typed_data)
        bounded = any(isinstance(one, ArgumentListed | ArgumentWithin) for one in rule.when.conditions)
        if isinstance(rule.then, Allow) and not bounded:
            reason = f"{rule.name!r} allows typed data with whatever is in its fields, approved by nobody"
            yield Remark(f"rules[{index}]", reason, False)
    for name in sorted(set(policy.typed_data) - about):
        yield Remark(f"typed_data.{name}", f"no rule is about the typed data {name!r}", False)


def _idle_limits(policy: Policy) -> Iterator[Remark]:
    for index, limit in enumerate(policy.limits):
        wallets: list[Wallet] = [policy.wallets[name] for name in limit.wallets or policy.wallets]
        if limit.wallets and limit.tiers and not any(one.tier in limit.tiers for one in wallets):
            yield Remark(
                f"limits[{index}]",
                f"{limit.name!r} can never count: none of its wallets is of one of its tiers",
                True,
            )


def covers(wide: When, narrow: When) -> bool:
    """Whether all that meets ``narrow`` meets ``wide``, as far as single conditions show it."""
    own: dict[str, list[Condition]] = {}
    for condition in narrow.conditions:
        own.setdefault(condition.name, []).append(condition)
    return all(any(_follows(one, other) for other in own.get(one.name, ())) for one in wide.conditions)


def _follows(wide: Condition, narrow: Condition) -> bool:
    """Whether one condition holds wherever another of the same name does."""
    match wide, narrow:
        case Among(), Among():
            return set(narrow.allowed) <= set(wide.allowed)
        case InGroup(), InGroup():
            return set(narrow.groups) <= set(wide.groups)
        case Listed(), Listed():
            few, many = (narrow, wide) if wide.wanted else (wide, narrow)
            return set(few.lists) <= set(many.lists)
        case AtLeast(), AtLeast():
            return wide.bound <= narrow.bound
        case AtMost(), AtMost():
            return wide.bound >= narrow.bound
        case ArgumentWithin(), ArgumentWithin():
            return wide.argument == narrow.argument and _inside(narrow, wide)
        case ArgumentListed(), ArgumentListed():
            return wide.argument == narrow.argument and set(narrow.lists) <= set(wide.lists)
        case FirstUse(), FirstUse():
            return wide.wanted is narrow.wanted
        case During(), During():
            return not _minutes(narrow) & ~_minutes(wide)
        case _:
            return False


def _inside(narrow: ArgumentWithin, wide: ArgumentWithin) -> bool:
    low = wide.low is None or (narrow.low is not None and narrow.low >= wide.low)
    high = wide.high is None or (narrow.high is not None and narrow.high <= wide.high)
    return low and high


@lru_cache(maxsize=1024)
def _minutes(during: During) -> int:
    """Every minute of the week inside the spans, as the bits of a number."""
    minutes = 0
    for span in during.spans:
        of_a_day = (1 << span.to_minute) - (1 << span.from_minute)
        for day in span.days:
            minutes |= of_a_day << day * DAY_MINUTES
    return minutes
