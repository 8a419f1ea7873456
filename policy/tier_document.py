"""The tiers of a policy document: how they are read, and what of them cannot be meant.

Tiers stand from the hottest to the coldest. What makes one safer than the next is checked here and not left
to whoever writes rules: no two tiers share a key, so that who has a hotter one's nodes signs nothing of a
colder one's; and by its role a tier asks for people, and for a delay, in every rule that lets its funds go.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from policy.errors import MalformedError
from policy.fields import Fields
from policy.model import (
    COLD,
    HOT,
    ROLES,
    WHOLE_BP,
    Approve,
    Deny,
    Level,
    Policy,
    Rule,
    Tier,
)
from policy.rules import CALL, EXPOSURES, KINDS, LOWERS, RAISES, SAME, SWEEP, TIER_MOVE, TYPED_DATA
from policy.values import replace

TIERS_MAX, LEVEL_ASSETS_MAX = 16, 256
HOLDINGS_AGE_MS_MAX: Final = 7 * 24 * 3600 * 1000
LEVELS: Final = ("minimum", "target_min", "target_max", "maximum")
SHARES: Final = ("share_min_bp", "share_max_bp")


def read_tiers(fields: Fields) -> tuple[Tier, ...]:
    """The section ``tiers``; nothing without one."""
    if not fields.has("tiers"):
        return ()
    path = fields.path("tiers")
    tiers = fields.objects("tiers", _read_tier, count_max=TIERS_MAX)
    if not tiers:
        raise MalformedError(f"{path}: declare a tier, or leave the section out")
    return tiers


def read_holdings(fields: Fields) -> int:
    """How old a statement of what a wallet holds may be, of the section ``holdings``; 0 without one."""
    if not fields.has("holdings"):
        return 0
    inner = fields.nested("holdings")
    age_ms = inner.integer("max_age_ms", low=1, high=HOLDINGS_AGE_MS_MAX)
    inner.done()
    return age_ms


def _read_tier(fields: Fields) -> Tier:
    return replace(read_bounds(fields, fields.name("name")), role=fields.choice("role", *ROLES))


def read_bounds(fields: Fields, name: str) -> Tier:
    """A tier by its bounds alone, of no role."""
    levels = {level: _read_level(fields, level) for level in LEVELS}
    low, high = (fields.integer(share, high=WHOLE_BP) if fields.has(share) else None for share in SHARES)
    return Tier(name, "", **levels, share_min_bp=low, share_max_bp=high)


def _read_level(fields: Fields, name: str) -> Level:
    if not fields.has(name):
        return Level()
    inner, path = fields.nested(name), fields.path(name)
    value = inner.amount("value") if inner.has("value") else None
    amounts: dict[str, int] = {}
    if inner.has("amounts"):
        given = inner.mapping("amounts", count_max=LEVEL_ASSETS_MAX)
        each = Fields(given, f"{path}.amounts")
        amounts = {asset: each.amount(asset) for asset in sorted(given)}
    inner.done()
    level = Level(value, amounts)
    if not level:
        raise MalformedError(f"{path}: say how much: a 'value', or 'amounts' of assets")
    return level


def check_tiers(policy: Policy) -> None:
    """Refuse tiers that mean nothing, or that rules make less safe than they say. ``MalformedError``."""
    if not policy.tiers:
        if policy.holdings_max_age_ms:
            raise MalformedError("holdings: nothing is held against them: declare 'tiers', or leave it out")
        return
    if not policy.holdings_max_age_ms:
        raise MalformedError("tiers: say under 'holdings' how old a statement of what is held may be")
    _check_order(policy)
    for rank, tier in enumerate(policy.tiers):
        check_bounds(policy, f"tiers[{rank}]", tier=tier)
    least = sum(one.share_min_bp or 0 for one in policy.tiers)
    if least > WHOLE_BP:
        raise MalformedError(f"tiers: all share_min_bp together are {least} of {WHOLE_BP}")
    _check_coldest(policy)
    _check_wallets(policy)
    for index, rule in enumerate(policy.rules):
        _check_rule(policy, f"rules[{index}]", rule)


def _check_order(policy: Policy) -> None:
    seen: dict[str, int] = {}
    for rank, tier in enumerate(policy.tiers):
        if tier.name in seen:
            raise MalformedError(f"tiers[{rank}].name: {tier.name!r} is already at tiers[{seen[tier.name]}]")
        seen[tier.name] = rank
        hotter = policy.tiers[rank - 1].role if rank else HOT
        if ROLES.index(tier.role) < ROLES.index(hotter):
            raise MalformedError(
                f"tiers[{rank}].role: {tier.role} after {hotter}: tiers stand from the hottest to the coldest"
            )


def check_bounds(policy: Policy, path: str, *, tier: Tier) -> None:
    """Refuse bounds that name no part of the policy, have no unit or contradict one another."""
    _check_levels(policy, path, tier)
    _check_shares(policy, path, tier)


def _check_levels(policy: Policy, path: str, tier: Tier) -> None:
    chains = {wallet.chain for wallet in policy.wallets.values() if wallet.tier == tier.name}
    found: dict[str | None, tuple[str, int]] = {}
    for name in LEVELS:
        level: Level = getattr(tier, name)
        if level.value is not None and policy.prices is None:
            raise MalformedError(f"{path}.{name}: a value needs its unit: give it under 'prices'")
        for asset in level.amounts:
            if asset not in policy.assets:
                raise MalformedError(f"{path}.{name}.amounts: unknown asset {asset!r}")
            if policy.assets[asset].chain not in chains:
                raise MalformedError(
                    f"{path}.{name}.amounts: no wallet of tier {tier.name} is on the chain of {asset!r}"
                )
        for unit, bound in _bounds(level):
            lower, least = found.get(unit, (name, 0))
            if bound < least:
                raise MalformedError(f"{path}.{name}: {bound} is below {lower} of the same, {least}")
            found[unit] = (name, bound)


def _bounds(level: Level) -> Iterator[tuple[str | None, int]]:
    if level.value is not None:
        yield None, level.value
    yield from level.amounts.items()


def _check_shares(policy: Policy, path: str, tier: Tier) -> None:
    low, high = tier.share_min_bp, tier.share_max_bp
    if low is None and high is None:
        return
    if policy.prices is None:
        raise MalformedError(f"{path}: a share is of what all holdings are worth: give 'prices'")
    if low is not None and high is not None and low > high:
        raise MalformedError(f"{path}: no share is from {low} to {high} basis points")


def _check_coldest(policy: Policy) -> None:
    """There is always somewhere to go: what is moved to the coldest tier waits for nothing."""
    rank, coldest = len(policy.tiers) - 1, policy.tiers[-1]
    for name, there in (("maximum", coldest.maximum), ("share_max_bp", coldest.share_max_bp is not None)):
        if there:
            raise MalformedError(
                f"tiers[{rank}].{name}: {coldest.name!r} is the coldest tier: it takes what no other may hold"
            )


def _check_wallets(policy: Policy) -> None:
    signs: dict[str, str] = {}
    for name, wallet in policy.wallets.items():
        if policy.tier_rank(wallet.tier) is None:
            raise MalformedError(f"wallets.{name}.tier: unknown tier {wallet.tier!r}")
        other = signs.setdefault(wallet.key, name)
        if policy.wallets[other].tier != wallet.tier:
            raise MalformedError(
                f"wallets.{name}.key: {wallet.key!r} signs for tier {policy.wallets[other].tier} as well, by "
                f"wallet {other!r}: give each tier keys of its own"
            )


def _check_rule(policy: Policy, path: str, rule: Rule) -> None:
    """What consents is not laxer than the roles of the tiers whose funds it lets go."""
    if isinstance(rule.then, Deny):
        return
    for tier in _paying(policy, rule):
        reached = set(_exposures(policy, rule, tier))
        strict = reached - {LOWERS} if tier.role == COLD else reached - {LOWERS, SAME}
        if tier.role == HOT:
            strict &= {RAISES}
        if not strict:
            continue
        what = f"{rule.name!r} lets funds of tier {tier.name} go"
        if RAISES in strict:
            what = f"{rule.name!r} lets funds of tier {tier.name} go to a hotter one"
        if not isinstance(rule.then, Approve):
            raise MalformedError(f"{path}.then: {what}: that needs approvals, or a narrower 'when'")
        if tier.role == COLD and not rule.then.delay_ms:
            raise MalformedError(f"{path}.then: {what}: from a cold tier that needs a 'delay' as well")


def _paying(policy: Policy, rule: Rule) -> list[Tier]:
    """The tiers that a rule may let pay; forbids are not looked at."""
    tiers, wallets = rule.when.names("tiers"), rule.when.names("wallets")
    paying = {
        wallet.tier
        for name, wallet in policy.wallets.items()
        if (wallets is None or name in wallets) and (tiers is None or wallet.tier in tiers)
    }
    return [tier for tier in policy.tiers if tier.name in paying]


def _exposures(policy: Policy, rule: Rule, tier: Tier) -> Iterator[str]:
    """What a rule may let a tier do: moves by their exposure, and ``""`` for what leaves the house."""
    kinds = _named(rule.when.names("kinds"), KINDS)
    if rule.when.names("contracts") or rule.when.names("methods"):
        kinds &= {CALL}
    if rule.when.names("typed_data"):
        kinds &= {TYPED_DATA}
    wanted, to = rule.when.names("exposure"), rule.when.names("destination_tiers")
    if wanted is None and to is None and kinds - {TIER_MOVE, SWEEP}:
        yield ""
    allowed = _named(wanted, EXPOSURES)
    for other in policy.tiers:
        exposure = policy.exposure(tier.name, other.name)
        kind = SWEEP if exposure == SAME else TIER_MOVE
        if exposure in allowed and kind in kinds and (to is None or other.name in to):
            yield exposure


def _named(names: Iterable[str] | None, every: Iterable[str]) -> set[str]:
    return set(every if names is None else names)
