"""Conditions in words: each is a part of the sentence that begins with ``a transaction``."""

from typing import assert_never

from policy.model import Policy
from policy.rules import (
    DAYS,
    PAYMENTS,
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
    Span,
    When,
)
from policy.words.language import ENGLISH, Language
from policy.words.units import amount_text


def when_text(policy: Policy, when: When, *, language: Language = ENGLISH) -> str:
    """Everything that a rule's conditions take in, as the subject of a sentence."""
    kinds = when.names("kinds")
    subject = _subject(kinds, language) if kinds else language.say("any_transaction")
    bounds = {one.fact for one in when.conditions if isinstance(one, AtLeast | AtMost)}
    # An amount says which asset it is of, and there is only one then.
    said = {"kinds", "assets"} if bounds & {"amount", "total"} else {"kinds"}
    parts = [
        condition_text(policy, one, when=when, language=language)
        for one in when.conditions
        if one.name not in said
    ]
    return (
        language.say("when", subject=subject, parts=language.say("parts").join(parts)) if parts else subject
    )


def _subject(kinds: tuple[str, ...], language: Language) -> str:
    if set(kinds) == set(PAYMENTS):
        return language.say("any_payment")
    return language.alternatives(language.say(f"kind.{kind}") for kind in kinds)


def condition_text(policy: Policy, condition: Condition, *, when: When, language: Language = ENGLISH) -> str:
    """One condition in words."""
    say, names = language.say, language.alternatives
    match condition:
        case Among(name="exposure"):
            return say("among.exposure", names=names(say(f"exposure.{one}") for one in condition.allowed))
        case Among():
            return say(f"among.{condition.name}", names=names(condition.allowed))
        case InGroup():
            return say("in_group", names=names(condition.groups))
        case Listed():
            return say("listed" if condition.wanted else "not_listed", names=names(condition.lists))
        case AtLeast() | AtMost():
            return _bound(policy, condition, when=when, language=language)
        case FirstUse():
            return say("never_paid" if condition.wanted else "paid")
        case ArgumentWithin():
            between = _range(condition.low, condition.high, language=language)
            return say("argument_within", argument=condition.argument, range=between)
        case ArgumentListed():
            return say("argument_listed", argument=condition.argument, names=names(condition.lists))
        case During():
            return say("during", spans=names(_span(span, language) for span in condition.spans))
        case _:
            assert_never(condition)


def value_text(policy: Policy, value: int, *, language: Language = ENGLISH) -> str:
    """A value for a person, in the policy's unit."""
    if policy.prices is None:
        return language.say("value_without_unit", value=value)
    return amount_text(value, asset=policy.prices.unit, decimals=policy.prices.decimals)


def _bound(policy: Policy, condition: AtLeast | AtMost, *, when: When, language: Language) -> str:
    match condition.fact:
        case "value":
            number = value_text(policy, condition.bound, language=language)
        case "risk":
            number = str(condition.bound)
        case _:
            asset = policy.assets[(when.names("assets") or ("",))[0]]
            number = amount_text(condition.bound, asset=asset.name, decimals=asset.decimals)
    bound = language.say("at_least" if isinstance(condition, AtLeast) else "at_most", number=number)
    return language.say(f"bound.{condition.fact}", bound=bound)


def _range(low: int | None, high: int | None, *, language: Language) -> str:
    if low is None:
        return language.say("at_most", number=high)
    if high is None:
        return language.say("at_least", number=low)
    return language.say("range", low=low, high=high)


def _span(span: Span, language: Language) -> str:
    days = [language.say(f"day.{DAYS[day]}") for day in sorted(span.days)]
    first, last = min(span.days), max(span.days)
    run = f"{days[0]}-{days[-1]}" if len(days) > 2 and last - first + 1 == len(days) else " ".join(days)
    return f"{run} {_time(span.from_minute)}-{_time(span.to_minute)}"


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
