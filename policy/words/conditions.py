"""Conditions in words: each is a part of the sentence that begins with ``a transaction``."""

from collections.abc import Iterable
from typing import assert_never

from policy.model import Policy
from policy.rules import (
    CALL,
    DAYS,
    LOWERS,
    PAYMENTS,
    RAISES,
    SAME,
    SWEEP,
    TIER_MOVE,
    TRANSFER,
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
    Span,
    When,
)
from policy.words.units import amount_text

KIND_WORDS = {
    TRANSFER: "a payment to somebody else",
    TIER_MOVE: "a move to another own tier",
    SWEEP: "a move within one own tier",
    CALL: "a call of a contract",
    TYPED_DATA: "a signature of typed data",
}
AMONG_WORDS = {
    "initiators": "asked for by {}",
    "chains": "on {}",
    "tiers": "from a wallet of tier {}",
    "wallets": "from wallet {}",
    "assets": "of {}",
    "destination_tiers": "to an own wallet of tier {}",
    "exposure": "that {}",
    "screenings": "that was screened as {}",
    "contracts": "of contract {}",
    "methods": "by method {}",
    "typed_data": "that is typed data {}",
}
EXPOSURE_WORDS = {
    RAISES: "raises exposure, to a hotter tier",
    LOWERS: "lowers exposure, to a colder tier",
    SAME: "stays in its tier",
}
BOUND_WORDS = {
    "amount": "of {} {}",
    "total": "of {} {} with its fee",
    "value": "worth {} {} with its fee",
    "risk": "with a risk score of {} {}",
}


def when_text(policy: Policy, when: When) -> str:
    """Everything that a rule's conditions take in, as the subject of a sentence."""
    kinds = when.names("kinds")
    subject = _subject(kinds) if kinds else "any transaction"
    bounds = {one.fact for one in when.conditions if isinstance(one, AtLeast | AtMost)}
    # An amount says which asset it is of, and there is only one then.
    said = {"kinds", "assets"} if bounds & {"amount", "total"} else {"kinds"}
    parts = [condition_text(policy, one, when=when) for one in when.conditions if one.name not in said]
    return f"{subject} {', '.join(parts)}" if parts else subject


def _subject(kinds: tuple[str, ...]) -> str:
    if set(kinds) == set(PAYMENTS):
        return "any payment"
    return alternatives(KIND_WORDS[kind] for kind in kinds)


def condition_text(policy: Policy, condition: Condition, *, when: When) -> str:
    """One condition in words."""
    match condition:
        case Among():
            words = EXPOSURE_WORDS if condition.name == "exposure" else {}
            names = alternatives(words.get(name, name) for name in condition.allowed)
            return AMONG_WORDS[condition.name].format(names)
        case InGroup():
            return f"asked for by a member of group {alternatives(condition.groups)}"
        case Listed():
            where = "on list" if condition.wanted else "that is not on list"
            return f"to an address {where} {alternatives(condition.lists)}"
        case AtLeast():
            return _bound(policy, condition, when=when, word="at least")
        case AtMost():
            return _bound(policy, condition, when=when, word="at most")
        case FirstUse():
            return f"to an address that was {'never paid' if condition.wanted else 'paid'} before"
        case ArgumentWithin():
            return f"whose argument {condition.argument} is {_range(condition.low, condition.high)}"
        case ArgumentListed():
            return (
                f"whose argument {condition.argument} is an address on list {alternatives(condition.lists)}"
            )
        case During():
            return f"within {alternatives(_span(span) for span in condition.spans)} UTC"
        case _:
            assert_never(condition)


def alternatives(names: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def value_text(policy: Policy, value: int) -> str:
    """A value for a person, in the policy's unit."""
    if policy.prices is None:
        return f"{value} (of a unit that the policy does not say)"
    return amount_text(value, asset=policy.prices.unit, decimals=policy.prices.decimals)


def _bound(policy: Policy, condition: AtLeast | AtMost, *, when: When, word: str) -> str:
    match condition.fact:
        case "value":
            number = value_text(policy, condition.bound)
        case "risk":
            number = str(condition.bound)
        case _:
            asset = policy.assets[(when.names("assets") or ("",))[0]]
            number = amount_text(condition.bound, asset=asset.name, decimals=asset.decimals)
    return BOUND_WORDS[condition.fact].format(word, number)


def _range(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"from {low} to {high}"


def _span(span: Span) -> str:
    days = [DAYS[day] for day in sorted(span.days)]
    first, last = min(span.days), max(span.days)
    run = f"{days[0]}-{days[-1]}" if len(days) > 2 and last - first + 1 == len(days) else " ".join(days)
    return f"{run} {_time(span.from_minute)}-{_time(span.to_minute)}"


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
