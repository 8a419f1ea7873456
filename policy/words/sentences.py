"""A policy as a person reads it: one sentence for each forbid, rule and limit, amounts in their units.

Two policies that are not the same never read the same: every part of a policy has its place in a sentence.
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
    Limit,
    Policy,
    Requirement,
    Rule,
    Then,
)
from policy.words.conditions import alternatives, value_text, when_text
from policy.words.tiers import holdings_text, tier_texts
from policy.words.units import amount_text, duration_text

NOTHING_ELSE = "What no rule allows is denied."
IN_DOUBT = (
    "A price, risk score or screening verdict that is missing or too old never turns a no into a yes: the "
    "transaction waits for it, or a later rule decides."
)


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


def sections(policy: Policy) -> tuple[Section, ...]:
    """The whole policy."""
    rules = (*_numbered((rule.name, rule_text(policy, rule)) for rule in policy.rules), _said(NOTHING_ELSE))
    forbids = _numbered((one.name, f"{when_text(policy, one.when)}: forbidden.") for one in policy.forbids)
    limits = _numbered((limit.name, limit_text(policy, limit)) for limit in policy.limits)
    return (
        Section("forbids", "Forbidden, whatever a rule or a person says", tuple(forbids) or _none()),
        Section("rules", "Rules: the first one that fits decides", rules),
        Section(
            "limits",
            "Limits: what a rule allows must also fit into every one of them",
            tuple(limits) or _none(),
        ),
        *_tiers(policy),
        Section("prices", "What things are worth", tuple(_prices(policy))),
        Section("lists", "Lists of addresses", tuple(_lists(policy)) or _none()),
        Section("contracts", "Contracts that may be called", tuple(_contracts(policy)) or _none()),
        Section("typed_data", "Typed data that may be signed", tuple(_typed_data(policy)) or _none()),
        Section("wallets", "Wallets", tuple(_wallets(policy)) or _none()),
        Section("keys", "Keys", tuple(_keys(policy)) or _none()),
        Section("assets", "Assets", tuple(_assets(policy)) or _none()),
        Section("fees", "Fees", tuple(_fees(policy))),
    )


def rule_text(policy: Policy, rule: Rule) -> str:
    """One rule, without its name."""
    return f"{when_text(policy, rule.when)}: {then_text(rule.then)}."


def then_text(then: Then) -> str:
    """An outcome in words."""
    match then:
        case Allow(delay_ms=0):
            return "allowed without approval"
        case Allow():
            return (
                f"allowed without approval {duration_text(then.delay_ms)} after it was asked for, "
                "and until then one person can reject it"
            )
        case Deny():
            return "denied"
        case Approve():
            text = f"needs approval by {_ways(then.alternatives)}"
            if then.delay_ms:
                text += f"; paid {duration_text(then.delay_ms)} after the last of them, "
                text += "and until then one person can reject it"
            return text
        case _:
            assert_never(then)


def limit_text(policy: Policy, limit: Limit) -> str:
    """One limit, without its name."""
    scopes = [
        f"from wallet {alternatives(limit.wallets)}" if limit.wallets else "",
        f"from a wallet of tier {alternatives(limit.tiers)}" if limit.tiers else "",
        f"asked for by {alternatives(limit.initiators)}" if limit.initiators else "",
        f"of {alternatives(limit.assets)}" if limit.assets else "",
    ]
    window = f"in any {duration_text(limit.window_ms)}"
    per = f"for each {' and '.join(limit.per)} by itself" if limit.per else "in total"
    said = [f"at most {_maximum(policy, limit)}", *(scope for scope in scopes if scope), window, per]
    return f"{', '.join(said)}."


def _maximum(policy: Policy, limit: Limit) -> str:
    match limit.measure:
        case "amount":
            asset = policy.assets[str(limit.asset)]
            fees = " (fees included)" if asset.native else ""
            return amount_text(limit.maximum, asset=asset.name, decimals=asset.decimals) + fees
        case "count":
            return f"{limit.maximum} payment{'' if limit.maximum == 1 else 's'}"
        case _:
            return f"{value_text(policy, limit.maximum)} of payments and their fees"


def _ways(ways: tuple[tuple[Requirement, ...], ...]) -> str:
    texts = [" and ".join(f"{_people(need.count)} of {need.group}" for need in needs) for needs in ways]
    alone = len(texts) == 1
    text = texts[0] if alone else "either " + ", or ".join(texts)
    several = any(len(needs) > 1 for needs in ways)
    return f"{text}, nobody counting twice" if several else text


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _tiers(policy: Policy) -> Iterator[Section]:
    if policy.tiers:
        texts = (*_numbered(tier_texts(policy)), _said(holdings_text(policy)))
        yield Section("tiers", "Tiers, from the hottest to the coldest", texts)


def _prices(policy: Policy) -> Iterator[Sentence]:
    prices = policy.prices
    if prices is None:
        yield _said("The policy knows no prices.")
        return
    yield _said(
        f"Values are in {prices.unit}, with {prices.decimals} decimals, by the highest price that observers "
        f"stated in the last {duration_text(prices.max_age_ms)}."
    )
    yield _said(IN_DOUBT)


def _contracts(policy: Policy) -> Iterator[Sentence]:
    for name, contract in sorted(policy.contracts.items()):
        yield Sentence(name, f"{name}: {contract.address} on {contract.chain}.")
        for method, known in sorted(contract.methods.items()):
            yield Sentence(name, f"{name}.{method}: {known.signature}")


def _typed_data(policy: Policy) -> Iterator[Sentence]:
    """The texts of a domain in quotes, as they stand in JSON: what is in one cannot look like another."""
    for name, one in sorted(policy.typed_data.items()):
        given = ((what, one.domain[what]) for what in ("name", "version", "salt") if what in one.domain)
        domain = ", ".join(f"{what} {json.dumps(text)}" for what, text in given) or "nothing else"
        where = f"contract {one.contract} on {one.chain}"
        yield Sentence(name, f"{name}: {one.primary_type} for {where}, whose domain says {domain}.")
        yield Sentence(name, f"{name}: {one.encoded_type}")


def _lists(policy: Policy) -> Iterator[Sentence]:
    for name, addresses in sorted(policy.lists.items()):
        if name in policy.books:
            book = policy.books[name]
            yield Sentence(
                name,
                f"{name} changes one address at a time, signed by {_people(book.quorum)} who administer; "
                f"an added one counts after {duration_text(book.cool_down_ms)}.",
            )
        if not addresses:
            yield Sentence(name, f"{name}: no address.")
        for address in sorted(addresses):
            label = policy.labels.get(f"{name} {address}")
            yield Sentence(name, f"{name}: {address}{f' is {label}' if label is not None else ''}")


def _wallets(policy: Policy) -> Iterator[Sentence]:
    for name, wallet in sorted(policy.wallets.items()):
        paths = ", ".join(wallet.paths)
        text = f"{name}: tier {wallet.tier}, on {wallet.chain}, the accounts of key {wallet.key} at {paths}."
        yield Sentence(name, text)


def _keys(policy: Policy) -> Iterator[Sentence]:
    for name, key in sorted(policy.keys.items()):
        made = "taken in from outside" if key.imported else "made by the nodes together"
        signers = f"any {key.min_signers} of {', '.join(key.participants)} sign with it"
        yield Sentence(name, f"{name}: {key.suite}, {made}; {signers}.")


def _assets(policy: Policy) -> Iterator[Sentence]:
    for name, asset in sorted(policy.assets.items()):
        what = (
            f"the token {asset.contract} on {asset.chain}" if asset.contract else f"native on {asset.chain}"
        )
        yield Sentence(name, f"{name}: {what}, with {asset.decimals} decimals.")


def _fees(policy: Policy) -> Iterator[Sentence]:
    cancel = policy.cancel_fee_ceiling
    for name, chain in sorted(policy.chains.items()):
        asset = policy.assets[chain.native]
        yield Sentence(
            name,
            f"{name}: a transaction may cost at most {_in(asset, chain.fee_ceiling)}, "
            f"cancelling one at most {_in(asset, cancel)} if that is less.",
        )
    if not policy.chains:
        yield _said(f"To cancel a transaction may cost at most {cancel} base units.")


def _in(asset: Asset, amount: int) -> str:
    return amount_text(amount, asset=asset.name, decimals=asset.decimals)


def _numbered(parts: Iterator[tuple[str, str]]) -> Iterator[Sentence]:
    return (Sentence(name, f"{number}. {name}: {text}") for number, (name, text) in enumerate(parts, 1))


def _said(text: str) -> Sentence:
    return Sentence("", text)


def _none() -> tuple[Sentence, ...]:
    return (_said("None."),)
