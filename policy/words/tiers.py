"""The tiers of a policy in words: what each may hold, and what it takes to let its funds go."""

from collections.abc import Iterator

from policy.model import Level, Policy, Tier
from policy.words.conditions import value_text
from policy.words.language import Language
from policy.words.units import amount_text, duration_text, share_text


def tier_texts(policy: Policy, language: Language) -> Iterator[tuple[str, str]]:
    """Each tier with what is said of it, from the hottest to the coldest."""
    for tier in policy.tiers:
        said = (language.say(f"role.{tier.role}"), *_bounds(policy, tier, language))
        yield tier.name, language.say("tier", role=tier.role, said=language.say("clauses").join(said))


def holdings_text(policy: Policy, language: Language) -> str:
    """How holdings are known."""
    return language.say("holdings", age=duration_text(policy.holdings_max_age_ms, language))


def _bounds(policy: Policy, tier: Tier, language: Language) -> Iterator[str]:
    if tier.maximum:
        level = _level(policy, tier.maximum, language=language, joined="or")
        yield language.say("tier.maximum", level=level)
    for share, name in ((tier.share_min_bp, "share_min"), (tier.share_max_bp, "share_max")):
        if share is not None:
            yield language.say(f"tier.{name}", share=share_text(share))
    levels = ((tier.minimum, "minimum"), (tier.target_min, "target_min"), (tier.target_max, "target_max"))
    for kept, name in levels:
        if kept:
            yield language.say(f"tier.{name}", level=_level(policy, kept, language=language, joined="and"))


def _level(policy: Policy, level: Level, *, language: Language, joined: str) -> str:
    texts = [] if level.value is None else [value_text(policy, level.value, language=language)]
    for asset, amount in sorted(level.amounts.items()):
        texts.append(amount_text(amount, asset=asset, decimals=policy.assets[asset].decimals))
    return language.say(joined).join(texts)
