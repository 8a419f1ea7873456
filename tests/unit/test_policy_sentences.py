"""A policy in sentences: all of it is said, in words, and two policies never read the same."""

import copy
import re
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cli.main import invoke
from policy import document as reader
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import CallerError, MalformedError
from policy.model import ROLES, SCOPES, Allow, Approve, Deny, Policy, Requirement, Then
from policy.rules import DAYS, EXPOSURES, KINDS, Condition
from policy.words.conditions import condition_text
from policy.words.language import CHINESE, ENGLISH, LANGUAGES, Language
from policy.words.sentences import Section, limit_text, rule_text, sections, then_text
from tests.unit.policy_documents import (
    PHASES,
    Document,
    base_document,
    documents,
    full_document,
    near,
    places_of,
)
from tests.unit.typed_data_house import TYPED_DATA

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
quick = settings(max_examples=25, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


CONTRACTS = {
    "vault": {
        "chain": "evm:1",
        "address": "0x" + "77" * 20,
        "methods": {"pay": "pay(address to,uint256 amount)"},
    }
}


def policy_with(**parts: Any) -> Policy:
    declared = {"contracts": CONTRACTS, "typed_data": TYPED_DATA}
    return parse_policy(cast("Json", base_document() | declared | parts))


def text_of(policy: Policy, language: Language = ENGLISH) -> str:
    said = (one.text for part in sections(policy, language) for one in part.sentences)
    return "\n".join([policy.name, *said])


def read(document: Document) -> Policy | None:
    try:
        return parse_policy(cast("Json", document))
    except (MalformedError, CallerError):
        return None


WHENS: dict[str, Document] = {
    "any transaction": {},
    "any transaction asked for by shop or desk": {"initiators": ["shop", "desk"]},
    "any transaction asked for by a member of group a, b or c": {"initiator_groups": ["a", "b", "c"]},
    "a payment to somebody else": {"kinds": ["transfer"]},
    "a move to another own tier or a move within one own tier": {"kinds": ["tier_move", "sweep"]},
    "any transaction on evm:1": {"chains": ["evm:1"]},
    "any transaction from a wallet of tier hot or cold": {"tiers": ["hot", "cold"]},
    "any transaction from wallet vault": {"wallets": ["vault"]},
    "any transaction of eth or usdc": {"assets": ["eth", "usdc"]},
    "any transaction to an address on list customers or exchanges": {
        "destinations": ["customers", "exchanges"]
    },
    "any transaction to an address that is not on list customers": {"not_destinations": ["customers"]},
    "any transaction to an own wallet of tier cold": {"destination_tiers": ["cold"]},
    "any transaction to an address that was never paid before": {"first_use": True},
    "any transaction to an address that was paid before": {"first_use": False},
    "any transaction that was screened as flagged": {"screenings": ["flagged"]},
    "any transaction of at least 0.5 usdc, of at most 2 usdc": {
        "assets": ["usdc"],
        "amount_min": "500000",
        "amount_max": "2000000",
    },
    "any transaction of at most 1.5 eth with its fee": {
        "assets": ["eth"],
        "total_max": "1500000000000000000",
    },
    "any transaction worth at least 10.01 usd with its fee": {"value_min": "1001"},
    "any transaction with a risk score of at most 20": {"risk_max": 20},
    "any transaction of contract vault": {"contracts": ["vault"]},
    "a signature of typed data that is typed data permit, whose argument value is at most 5": {
        "kinds": ["typed_data"],
        "typed_data": ["permit"],
        "arguments": [{"argument": "value", "max": "5"}],
    },
    "a call of a contract by method vault.pay, whose argument to is an address on list customers, "
    "whose argument amount is from 1 to 5": {
        "kinds": ["call"],
        "methods": ["vault.pay"],
        "arguments": [
            {"argument": "to", "destinations": ["customers"]},
            {"argument": "amount", "min": "1", "max": "5"},
        ],
    },
    "any transaction within mon-fri 09:00-17:30 or sat sun 10:00-24:00 UTC": {
        "hours": [
            {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:30"},
            {"days": ["sun", "sat"], "from": "10:00", "to": "24:00"},
        ]
    },
}
THENS: dict[str, Then] = {
    "allowed without approval": Allow(),
    "allowed without approval 2 hours after it was asked for, and until then one person can reject it": Allow(
        2 * HOUR_MS
    ),
    "denied": Deny(),
    "needs approval by 2 people of board": Approve(((Requirement("board", 2),),)),
    "needs approval by 1 person of a and 2 people of b, nobody counting twice": Approve(
        ((Requirement("a", 1), Requirement("b", 2)),)
    ),
    "needs approval by either 2 people of a, or 1 person of b; paid 24 hours after the last of them, and "
    "until then one person can reject it": Approve(((Requirement("a", 2),), (Requirement("b", 1),)), DAY_MS),
}
LIMITS: dict[str, Document] = {
    "at most 2 eth (fees included), in any 24 hours, for each wallet and initiator by itself.": {
        "asset": "eth",
        "amount_max": "2000000000000000000",
        "window_ms": DAY_MS,
        "per": ["initiator", "wallet"],
    },
    "at most 2 usdc, from wallet hot, in any 90 minutes, in total.": {
        "asset": "usdc",
        "amount_max": "2000000",
        "window_ms": 90 * 60_000,
        "per": [],
        "wallets": ["hot"],
    },
    "at most 1 payment, from a wallet of tier hot, asked for by shop, of eth or usdc, in any 7 days, "
    "for each destination by itself.": {
        "count_max": 1,
        "window_ms": 7 * DAY_MS,
        "per": ["destination"],
        "tiers": ["hot"],
        "initiators": ["shop"],
        "assets": ["eth", "usdc"],
    },
    "at most 1000.5 usd of payments and their fees, in any 1 second, in total.": {
        "value_max": "100050",
        "window_ms": 1000,
        "per": [],
    },
}


@pytest.mark.parametrize(("sentence", "when"), WHENS.items(), ids=[",".join(w) for w in WHENS.values()])
def test_conditions_are_said_in_words(sentence: str, when: Document) -> None:
    policy = policy_with(rules=[{"name": "r", "when": when, "then": {"outcome": "deny"}}])

    assert rule_text(policy, policy.rules[0]) == f"{sentence}: denied."


@pytest.mark.parametrize(("sentence", "then"), THENS.items())
def test_outcomes_are_said_in_words(sentence: str, then: Then) -> None:
    assert then_text(then) == sentence


@pytest.mark.parametrize(("sentence", "limit"), LIMITS.items())
def test_limits_are_said_in_words(sentence: str, limit: Document) -> None:
    policy = policy_with(limits=[{"name": "l", **limit}])

    assert limit_text(policy, policy.limits[0]) == sentence


def test_every_condition_and_outcome_of_the_language_is_among_those_said_above() -> None:
    rules = [{"name": f"r{i}", "when": w, "then": {"outcome": "deny"}} for i, w in enumerate(WHENS.values())]
    whens = [rule.when for rule in policy_with(rules=rules).rules]
    said = {type(condition) for when in whens for condition in when.conditions}

    assert said == set(get_args(Condition))
    assert {type(then) for then in THENS.values()} == set(get_args(Then))


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_every_word_of_the_policy_language_is_in_every_language(language: Language) -> None:
    def texts(prefix: str) -> set[str]:
        return {name.removeprefix(prefix) for name in language.texts if name.startswith(prefix)}

    assert texts("kind.") == set(KINDS)
    assert texts("exposure.") == set(EXPOSURES)
    assert {*texts("among."), "kinds"} == {*reader._NAMED, "methods"}
    assert texts("bound.") == {*reader._BOUNDED, "risk"}
    assert texts("per.") == set(SCOPES)
    assert texts("role.") == set(ROLES)
    assert set(DAYS) <= texts("day.")


def test_the_languages_have_the_same_texts_with_the_same_values() -> None:
    def values(language: Language) -> dict[str, list[str]]:
        return {name: sorted(re.findall(r"\{(\w+)\}", text)) for name, text in language.texts.items()}

    assert values(CHINESE) == values(ENGLISH)
    assert all(text for one in LANGUAGES.values() for text in one.texts.values())


ENGLISH_ALONE = re.compile(r"[A-Za-z]{2,}( [A-Za-z]+)+")


def test_no_chinese_sentence_falls_back_to_english() -> None:
    """Names, units, addresses and signatures stand in both as they are; no two English words in a row do."""
    same = {name for name, text in CHINESE.texts.items() if text == ENGLISH.texts[name]}
    policy = parse_policy(cast("Json", full_document()))
    said = [one for part in sections(policy, CHINESE) for one in (part.heading, *_texts(part))]

    assert same == {"typed_data.domain"}
    assert not [name for name, text in CHINESE.texts.items() if ENGLISH_ALONE.search(text)]
    assert len(said) > 40
    assert not [one for one in said if not re.search(r"[\u4e00-\u9fff]|：", one)]


def _texts(section: Section) -> list[str]:
    return [one.text for one in section.sentences]


CHINESE_RULES: dict[str, tuple[Document, Document]] = {
    "任何交易：拒绝。": ({}, {"outcome": "deny"}),
    "向他人付款，收款地址在名单 customers 或 exchanges 上，数额最多 2 usdc：无需批准即允许。": (
        {
            "kinds": ["transfer"],
            "assets": ["usdc"],
            "amount_max": "2000000",
            "destinations": ["customers", "exchanges"],
        },
        {"outcome": "allow"},
    ),
    "任何付款，由 shop 或 desk 发起：需要 board 组的 2 人批准；"
    "最后一次批准 24 小时后付款，在此之前任何一人都可以拒绝。": (
        {"initiators": ["shop", "desk"]},
        {"outcome": "approve", "approvals": [{"group": "board", "count": 2}], "delay_ms": DAY_MS},
    ),
}


@pytest.mark.parametrize(("sentence", "rule"), CHINESE_RULES.items())
def test_rules_are_said_in_chinese(sentence: str, rule: tuple[Document, Document]) -> None:
    policy = policy_with(rules=[{"name": "r", "when": rule[0], "then": rule[1]}])

    assert rule_text(policy, policy.rules[0], language=CHINESE) == sentence


def test_a_policy_without_rules_says_that_nothing_is_allowed() -> None:
    said = {part.key: [one.text for one in part.sentences] for part in sections(policy_with())}

    assert said["rules"] == ["What no rule allows is denied."]
    assert said["forbids"] == said["limits"] == ["None."]


@pytest.mark.parametrize("example", ["treasury", "payouts", "permits"])
def test_the_examples_are_printed_as_they_are_kept(example: str) -> None:
    printed = invoke("policy", "print", str(EXAMPLES / f"{example}.yaml"))

    assert "\n".join(map(str, printed.text)) + "\n" == (EXAMPLES / f"{example}.txt").read_text()


def test_a_policy_is_printed_in_chinese_when_asked_for() -> None:
    printed = invoke("policy", "print", str(EXAMPLES / "treasury.yaml"), "--language", "zh")

    assert "钱包" in printed.text
    assert any("没有规则允许的交易一律拒绝。" in str(line) for line in printed.text)


def test_the_printed_document_has_the_same_sentences_by_section() -> None:
    printed = invoke("policy", "print", str(EXAMPLES / "treasury.yaml"))

    assert [one["name"] for one in printed.document["limits"]] == [
        "daily-eth",
        "hourly-payments",
        "weekly-value",
    ]
    assert all(f"  {one['text']}" in printed.text for one in printed.document["rules"])
    assert len(printed.document["hash"]) == 64


@quick
@given(document=documents())
def test_every_part_has_a_sentence_and_every_condition_its_words(document: Document) -> None:
    policy = parse_policy(cast("Json", document))
    said = {part.key: part.sentences for part in sections(policy)}

    for rule, sentence in zip(policy.rules, said["rules"], strict=False):
        texts = [
            condition_text(policy, one, when=rule.when)
            for one in rule.when.conditions
            if one.name not in ("kinds", "assets")
        ]
        assert sentence.name == rule.name
        assert all(text in sentence.text for text in texts)
    assert [one.name for one in said["limits"] if one.name] == [limit.name for limit in policy.limits]
    assert [one.name for one in said["forbids"] if one.name] == [forbid.name for forbid in policy.forbids]


@quick
@given(first=documents(), data=st.data())
def test_two_policies_never_read_the_same(first: Document, data: st.DataObject) -> None:
    second = data.draw(st.one_of(documents(), small_changes(first)))
    one, other = read(first), read(second)
    assume(one is not None and other is not None)
    assert one is not None and other is not None

    for language in LANGUAGES.values():
        assert (text_of(one, language) == text_of(other, language)) == (one == other)


def test_no_single_change_of_any_part_reads_the_same() -> None:
    full = full_document()
    policy = parse_policy(cast("Json", full))
    same = [(one, text_of(policy, one)) for one in LANGUAGES.values()]
    changed = 0
    for *outer, last in places_of(full):
        for value in near(value_at(full, [*outer, last])):
            document = copy.deepcopy(full)
            value_at(document, outer)[last] = value
            other = read(document)
            if other is not None and other != policy:
                changed += 1
                for language, text in same:
                    assert text_of(other, language) != text, (language, outer, last, value)

    assert changed > 150


def value_at(document: Any, path: list[Any]) -> Any:
    for step in path:
        document = document[step]
    return document


@st.composite
def small_changes(draw: st.DrawFn, document: Document) -> Document:
    """The same document but for one rule, limit, forbid or other part of another one."""
    other = draw(documents())
    part = draw(st.sampled_from(("forbids", "rules", "limits", "lists", "keys", "prices", "cancel", "name")))
    changed = copy.deepcopy(document)
    changed[part] = other[part]
    return changed
