"""The tiers of a policy in words: what each may hold, and what it takes to let its funds go."""

from collections.abc import Iterator

from policy.model import COLD, HOT, WARM, Level, Policy, Tier
from policy.words.conditions import value_text
from policy.words.units import amount_text, duration_text, share_text

ROLE_WORDS = {
    HOT: "a rule alone may let its funds go",
    WARM: "what leaves it needs approvals, but for moves to a colder tier",
    COLD: "what it signs needs approvals and a delay, but for moves to a colder tier",
}


def tier_texts(policy: Policy) -> Iterator[tuple[str, str]]:
    """Each tier with what is said of it, from the hottest to the coldest."""
    for tier in policy.tiers:
        said = (ROLE_WORDS[tier.role], *_bounds(policy, tier))
        yield tier.name, f"role {tier.role}: {'; '.join(said)}."


def holdings_text(policy: Policy) -> str:
    """How holdings are known."""
    age = duration_text(policy.holdings_max_age_ms)
    return (
        f"What wallets hold is what observers stated in the last {age}, and what was reserved since counts "
        "as well. Without such a statement what raises exposure waits."
    )


def _bounds(policy: Policy, tier: Tier) -> Iterator[str]:
    if tier.maximum:
        yield f"no transaction takes it above {_level(policy, tier.maximum, 'or')}"
    for share, word in ((tier.share_min_bp, "below"), (tier.share_max_bp, "above")):
        if share is not None:
            yield f"none takes it {word} {share_text(share)} of what all holdings are worth"
    if tier.minimum:
        yield f"moves that nobody approves leave {_level(policy, tier.minimum, 'and')} in it"
    for target, word in ((tier.target_min, "at least"), (tier.target_max, "at most")):
        if target:
            yield f"the rebalancer keeps {word} {_level(policy, target, 'and')} in it"


def _level(policy: Policy, level: Level, joined: str) -> str:
    texts = [] if level.value is None else [value_text(policy, level.value)]
    for asset, amount in sorted(level.amounts.items()):
        texts.append(amount_text(amount, asset=asset, decimals=policy.assets[asset].decimals))
    return f" {joined} ".join(texts)
