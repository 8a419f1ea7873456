"""A policy as a person reads it: one sentence for each forbid, rule and limit, amounts in their units.

Two policies that are not the same never read the same: every part of a policy has its place in a sentence, in
every language.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from policy.model import (
    Allow,
    Approve,
    Asset,
    Deny,
    Forbid,
    Limit,
    Policy,
    Requirement,
    Rule,
    Then,
)
from policy.words.conditions import value_text, when_text
from policy.words.language import ENGLISH, Language
from policy.words.tiers import holdings_text, tier_texts
from policy.words.units import amount_text, duration_text


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said, and the name of the part that it is said of; empty where it is of no single one."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences under a heading."""

    key: str
    heading: str
    sentences: tuple[Sentence, ...]


def sections(policy: Policy, language: Language = ENGLISH) -> tuple[Section, ...]:
    """The whole policy."""
    parts = (
        ("forbids", _forbids(policy, language)),
        ("rules", _rules(policy, language)),
        ("limits", _limits(policy, language)),
        ("tiers", _tiers(policy, language)),
        ("prices", _prices(policy, language)),
        ("lists", _lists(policy, language)),
        ("contracts", _contracts(policy, language)),
        ("typed_data", _typed_data(policy, language)),
        ("wallets", _wallets(policy, language)),
        ("keys", _keys(policy, language)),
        ("assets", _assets(policy, language)),
        ("fees", _fees(policy, language)),
    )
    none = (_said(language.say("none")),)
    return tuple(
        Section(key, language.say(f"heading.{key}"), tuple(said) or none)
        for key, said in parts
        if key != "tiers" or policy.tiers
    )


def forbid_text(policy: Policy, forbid: Forbid, *, language: Language = ENGLISH) -> str:
    """One forbid, without its name."""
    return language.say("forbid", when=when_text(policy, forbid.when, language=language))


def rule_text(policy: Policy, rule: Rule, *, language: Language = ENGLISH) -> str:
    """One rule, without its name."""
    then = then_text(rule.then, language)
    return language.say("rule", when=when_text(policy, rule.when, language=language), then=then)


def then_text(then: Then, language: Language = ENGLISH) -> str:
    """An outcome in words."""
    match then:
        case Allow(delay_ms=0):
            return language.say("then.allow")
        case Allow():
            return language.say("then.allow_later", delay=duration_text(then.delay_ms, language))
        case Deny():
            return language.say("then.deny")
        case Approve(delay_ms=0):
            return language.say("then.approve", ways=_ways(then.alternatives, language))
        case Approve():
            delay = duration_text(then.delay_ms, language)
            return language.say("then.approve_later", ways=_ways(then.alternatives, language), delay=delay)
        case _:
            assert_never(then)


def limit_text(policy: Policy, limit: Limit, *, language: Language = ENGLISH) -> str:
    """One limit, without its name."""
    say, scopes = language.say, ("wallets", "tiers", "initiators", "assets")
    applies = [(scope, getattr(limit, scope)) for scope in scopes]
    said = [
        say("limit.most", maximum=_maximum(policy, limit, language)),
        *(say(f"limit.{scope}", names=language.alternatives(names)) for scope, names in applies if names),
        say("limit.window", duration=duration_text(limit.window_ms, language)),
        _per(limit, language),
    ]
    return say("sentence", text=say("parts").join(said))


def _per(limit: Limit, language: Language) -> str:
    if not limit.per:
        return language.say("limit.total")
    scopes = language.say("and").join(language.say(f"per.{scope}") for scope in limit.per)
    return language.say("limit.per", scopes=scopes)


def _maximum(policy: Policy, limit: Limit, language: Language) -> str:
    match limit.measure:
        case "amount":
            asset = policy.assets[str(limit.asset)]
            amount = _in(asset, limit.maximum)
            return language.say("fees_included", amount=amount) if asset.native else amount
        case "count":
            return language.counted("payments", limit.maximum)
        case _:
            return language.say("value_and_fees", value=value_text(policy, limit.maximum, language=language))


def _ways(ways: tuple[tuple[Requirement, ...], ...], language: Language) -> str:
    texts = [
        language.say("and").join(
            language.say("need", people=language.counted("people", need.count), group=need.group)
            for need in needs
        )
        for needs in ways
    ]
    alone = len(texts) == 1
    text = texts[0] if alone else language.say("ways", ways=language.say("ways.or").join(texts))
    several = any(len(needs) > 1 for needs in ways)
    return language.say("ways.once", ways=text) if several else text


def _forbids(policy: Policy, language: Language) -> Iterator[Sentence]:
    return _numbered(
        ((one.name, forbid_text(policy, one, language=language)) for one in policy.forbids), language
    )


def _rules(policy: Policy, language: Language) -> Iterator[Sentence]:
    texts = ((rule.name, rule_text(policy, rule, language=language)) for rule in policy.rules)
    yield from _numbered(texts, language)
    yield _said(language.say("nothing_else"))


def _limits(policy: Policy, language: Language) -> Iterator[Sentence]:
    texts = ((limit.name, limit_text(policy, limit, language=language)) for limit in policy.limits)
    return _numbered(texts, language)


def _tiers(policy: Policy, language: Language) -> Iterator[Sentence]:
    yield from _numbered(tier_texts(policy, language), language)
    yield _said(holdings_text(policy, language))


def _prices(policy: Policy, language: Language) -> Iterator[Sentence]:
    prices = policy.prices
    if prices is None:
        yield _said(language.say("prices.none"))
        return
    age = duration_text(prices.max_age_ms, language)
    yield _said(language.say("prices", unit=prices.unit, decimals=prices.decimals, age=age))
    yield _said(language.say("in_doubt"))


def _contracts(policy: Policy, language: Language) -> Iterator[Sentence]:
    for name, contract in sorted(policy.contracts.items()):
        where = {"address": contract.address, "chain": contract.chain}
        yield Sentence(name, language.say("contract", name=name, **where))
        for method, known in sorted(contract.methods.items()):
            said = language.say("method", name=name, method=method, signature=known.signature)
            yield Sentence(name, said)


def _typed_data(policy: Policy, language: Language) -> Iterator[Sentence]:
    """The texts of a domain in quotes, as they stand in JSON: what is in one cannot look like another."""
    for name, one in sorted(policy.typed_data.items()):
        given = ((what, one.domain[what]) for what in ("name", "version", "salt") if what in one.domain)
        texts = [language.say("typed_data.domain", what=what, text=json.dumps(text)) for what, text in given]
        said = language.say(
            "typed_data",
            name=name,
            type=one.primary_type,
            contract=one.contract,
            chain=one.chain,
            domain=language.say("enumeration").join(texts) or language.say("typed_data.nothing"),
        )
        yield Sentence(name, said)
        yield Sentence(name, language.say("typed_data.type", name=name, type=one.encoded_type))


def _lists(policy: Policy, language: Language) -> Iterator[Sentence]:
    for name, addresses in sorted(policy.lists.items()):
        if name in policy.books:
            book = policy.books[name]
            people = language.counted("people", book.quorum)
            wait = duration_text(book.cool_down_ms, language)
            yield Sentence(name, language.say("list.book", name=name, people=people, cool_down=wait))
        if not addresses:
            yield Sentence(name, language.say("list.empty", name=name))
        for address in sorted(addresses):
            label = policy.labels.get(f"{name} {address}")
            key = "list.address" if label is None else "list.label"
            yield Sentence(name, language.say(key, name=name, address=address, label=label))


def _wallets(policy: Policy, language: Language) -> Iterator[Sentence]:
    for name, wallet in sorted(policy.wallets.items()):
        where = {"tier": wallet.tier, "chain": wallet.chain, "key": wallet.key}
        paths = language.say("enumeration").join(wallet.paths)
        yield Sentence(name, language.say("wallet", name=name, paths=paths, **where))


def _keys(policy: Policy, language: Language) -> Iterator[Sentence]:
    for name, key in sorted(policy.keys.items()):
        said = language.say(
            "key",
            name=name,
            suite=key.suite,
            made=language.say("key.imported" if key.imported else "key.made"),
            count=key.min_signers,
            names=language.say("enumeration").join(key.participants),
        )
        yield Sentence(name, said)


def _assets(policy: Policy, language: Language) -> Iterator[Sentence]:
    for name, asset in sorted(policy.assets.items()):
        where = {"contract": asset.contract, "chain": asset.chain, "decimals": asset.decimals}
        least = _in(asset, asset.deposit_min)
        kind = "asset.token" if asset.contract else "asset.native"
        yield Sentence(name, language.say(kind, name=name, least=least, **where))


def _fees(policy: Policy, language: Language) -> Iterator[Sentence]:
    cancel = policy.cancel_fee_ceiling
    for name, chain in sorted(policy.chains.items()):
        asset = policy.assets[chain.native]
        costs = {"ceiling": _in(asset, chain.fee_ceiling), "cancel": _in(asset, cancel)}
        yield Sentence(name, language.say("fee", name=name, **costs))
    if not policy.chains:
        yield _said(language.say("fee.none", cancel=cancel))


def _in(asset: Asset, amount: int) -> str:
    return amount_text(amount, asset=asset.name, decimals=asset.decimals)


def _numbered(parts: Iterator[tuple[str, str]], language: Language) -> Iterator[Sentence]:
    return (
        Sentence(name, language.say("numbered", number=number, name=name, text=text))
        for number, (name, text) in enumerate(parts, 1)
    )


def _said(text: str) -> Sentence:
    return Sentence("", text)
