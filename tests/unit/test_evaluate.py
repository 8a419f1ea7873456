"""A verdict: no rule is no, an error is no, a forbid cannot be overridden, limits are exact."""

import dataclasses
import itertools
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.document import parse_policy
from policy.encoding import Json
from policy.evaluate import Facts, Given, Missing, Outcome, Verdict, evaluate
from policy.explain import trace
from policy.limits import limit_scopes
from policy.model import Policy, Rule
from policy.stored.pages import DamagedState
from policy.values import replace

CUSTOMER, STRANGER, TOKEN = "0x" + "ab" * 20, "0x" + "ef" * 20, "0x" + "cd" * 20
PEOPLE = ("alice", "bob", "carol", "dave", "erin")
GROUPS = ("treasury", "risk", "board")
ALLOW_ALL = {"name": "all", "when": {}, "then": {"outcome": "allow"}}
DENY_ALL = {"name": "none", "when": {}, "then": {"outcome": "deny"}}
DAY_MS = 86_400_000


def approve(*approvals: tuple[str, int]) -> dict[str, Any]:
    needed = [{"group": group, "count": count} for group, count in approvals]
    return {"name": "ask", "when": {}, "then": {"outcome": "approve", "approvals": needed}}


def limit(name: str, amount_max: int, **more: object) -> dict[str, Any]:
    fields = {"name": name, "asset": "eth", "window_ms": DAY_MS, "amount_max": str(amount_max), "per": []}
    return {**fields, **more}


def policy_of(*rules: dict[str, Any], **more: object) -> Policy:
    document: dict[str, Any] = {
        "version": 1,
        "name": "demo",
        "chains": {"evm:1": {"native": "eth", "fee_ceiling": str(2**201)}},
        "assets": {
            "eth": {"chain": "evm:1", "kind": "native", "decimals": 18},
            "usdc": {"chain": "evm:1", "kind": "erc20", "contract": TOKEN, "decimals": 6},
        },
        "keys": {"hot": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": ["a", "b", "c"]}},
        "wallets": {"hot": {"tier": "hot", "key": "hot", "chain": "evm:1", "paths": ["m/0/0"]}},
        "lists": {"customers": [CUSTOMER]},
        "forbids": [],
        "rules": list(rules),
        "limits": [],
        "cancel": {"fee_ceiling": "1000"},
    }
    return parse_policy(cast("Json", {**document, **more}))


def facts_of(**changed: Any) -> Facts:
    facts = Facts(
        initiator="backend",
        initiator_groups=frozenset(),
        kind="transfer",
        chain="evm:1",
        wallet="hot",
        tier="hot",
        asset="eth",
        amount=100,
        total=110,
        value=None,
        destination=CUSTOMER,
        destination_tier="",
        first_use=False,
        contract="",
        method="",
        typed_data="",
        arguments={},
        fee_ceiling=2**201,
        fee_max=10,
        screening=None,
        risk=None,
        approvals=(),
        initiator_people=frozenset(),
        usage={},
        since_ms=0,
        time_ms=0,
    )
    facts = replace(facts, **changed)
    whole = type(facts.amount) is int and type(facts.fee_max) is int and "total" not in changed
    return replace(facts, total=facts.amount + facts.fee_max) if whole else facts


def said_yes(**groups: str) -> tuple[Given, ...]:
    return tuple(Given(operator, frozenset(member_of.split()), 0) for operator, member_of in groups.items())


def lacking(verdict: Verdict) -> int:
    return sum(missing.needed - missing.have for missing in verdict.missing)


OPERATORS = st.builds(
    Given, st.sampled_from(PEOPLE), st.frozensets(st.sampled_from(GROUPS)), st.integers(0, 100)
)
APPROVALS = st.lists(OPERATORS, max_size=6).map(tuple)
REQUIREMENTS = st.dictionaries(st.sampled_from(GROUPS), st.integers(1, 3), min_size=1, max_size=3)
ANY_FACTS = st.builds(
    facts_of,
    initiator=st.sampled_from(["backend", *PEOPLE]),
    asset=st.sampled_from(["eth", "usdc"]),
    amount=st.integers(1, 2**256 - 1),
    destination=st.sampled_from([CUSTOMER, STRANGER]),
    approvals=APPROVALS,
    initiator_people=st.frozensets(st.sampled_from(PEOPLE), max_size=2),
)


@given(ANY_FACTS)
def test_no_rules_is_not_consent(facts: Facts) -> None:
    verdict = evaluate(policy_of(), facts)

    assert (verdict.outcome, verdict.rule) == (Outcome.DENY, "no-rule-matches")


@given(ANY_FACTS, st.sampled_from([ALLOW_ALL, approve(("treasury", 1))]))
def test_a_forbid_beats_every_rule_and_every_approval(facts: Facts, rule: dict[str, Any]) -> None:
    verdict = evaluate(policy_of(rule, forbids=[{"name": "never", "when": {}}]), facts)

    assert (verdict.outcome, verdict.rule) == (Outcome.DENY, "never")


@given(ANY_FACTS, REQUIREMENTS, OPERATORS)
def test_one_more_approval_never_takes_consent_away(
    facts: Facts, needed: dict[str, int], more: Given
) -> None:
    policy = policy_of(approve(*needed.items()))
    before = evaluate(policy, facts)
    after = evaluate(policy, replace(facts, approvals=(*facts.approvals, more)))

    assert before.outcome in (Outcome.ALLOW, Outcome.WAIT)
    assert after.outcome is Outcome.ALLOW or before.outcome is Outcome.WAIT
    assert lacking(after) <= lacking(before)


@settings(max_examples=150, deadline=None)
@given(ANY_FACTS, REQUIREMENTS)
def test_consent_is_what_every_assignment_of_people_finds(facts: Facts, needed: dict[str, int]) -> None:
    verdict = evaluate(policy_of(approve(*needed.items())), facts)
    groups: dict[str, set[str]] = {}
    for operator, member_of, _ in facts.approvals:
        if operator not in facts.initiator_people and operator != facts.initiator:
            groups.setdefault(operator, set()).update(member_of)
    places = [group for group, count in needed.items() for _ in range(count)]
    possible = any(
        all(group in groups[operator] for operator, group in zip(chosen, places, strict=True))
        for chosen in itertools.permutations(groups, len(places))
    )

    assert (verdict.outcome is Outcome.ALLOW) == possible


@given(ANY_FACTS, REQUIREMENTS, st.randoms(use_true_random=False))
def test_the_order_of_approvals_does_not_matter(facts: Facts, needed: dict[str, int], random: Any) -> None:
    shuffled = list(facts.approvals)
    random.shuffle(shuffled)
    policy = policy_of(approve(*needed.items()))

    assert evaluate(policy, facts) == evaluate(policy, replace(facts, approvals=tuple(shuffled)))


BIG = st.integers(2**199, 2**200)


@given(used=BIG, amount=BIG, fee=BIG, slack=st.integers(-1, 1))
def test_a_limit_is_exact_at_its_boundary_however_large(used: int, amount: int, fee: int, slack: int) -> None:
    policy = policy_of(ALLOW_ALL, limits=[limit("daily", used + amount + fee + slack)])
    facts = facts_of(amount=amount, fee_max=fee, usage={("daily", ""): used})
    verdict = evaluate(policy, facts)

    expected = (Outcome.DENY, "daily") if slack < 0 else (Outcome.ALLOW, "all")
    assert (verdict.outcome, verdict.rule) == expected


@given(used=BIG, fee=BIG, slack=st.integers(-1, 1))
def test_the_fee_of_a_token_transfer_counts_into_the_native_limit(used: int, fee: int, slack: int) -> None:
    policy = policy_of(ALLOW_ALL, limits=[limit("daily", used + fee + slack)])
    facts = facts_of(asset="usdc", amount=2**255, fee_max=fee, usage={("daily", ""): used})

    assert (evaluate(policy, facts).outcome is Outcome.ALLOW) == (slack >= 0)


def test_the_fee_does_not_count_into_a_tokens_limit() -> None:
    policy = policy_of(ALLOW_ALL, limits=[limit("tokens", 100, asset="usdc")])

    assert evaluate(policy, facts_of(asset="usdc", amount=100, fee_max=50)).outcome is Outcome.ALLOW
    assert evaluate(policy, facts_of(asset="usdc", amount=101, fee_max=50)).rule == "tokens"
    assert limit_scopes(policy, facts_of(asset="eth")) == ()


def test_each_scope_of_a_limit_has_its_own_key() -> None:
    policy = policy_of(
        ALLOW_ALL,
        limits=[
            limit("total", 500),
            limit("each", 500, per=["destination", "wallet", "initiator"]),
            limit("other-wallet", 500, wallets=["hot"], initiators=["someone"]),
        ],
    )
    scopes = limit_scopes(policy, facts_of())

    assert [(scope.limit.name, scope.scope_key, scope.amount) for scope in scopes] == [
        ("total", "", 110),
        ("each", f"wallet=hot/initiator=backend/destination={CUSTOMER}", 110),
    ]


def test_usage_that_cannot_be_read_from_the_disk_is_an_error_and_no_denial() -> None:
    def usage(name: str, key: str) -> int:
        raise DamagedState("a page is missing")

    with pytest.raises(DamagedState):
        evaluate(policy_of(ALLOW_ALL, limits=[limit("daily", 500)]), facts_of(usage=usage))


def test_usage_may_be_a_function_of_limit_and_scope() -> None:
    policy = policy_of(ALLOW_ALL, limits=[limit("daily", 500, per=["initiator"])])
    asked: list[tuple[str, str]] = []

    def usage(name: str, key: str) -> int:
        asked.append((name, key))
        return 391

    verdict = evaluate(policy, facts_of(usage=usage))

    assert asked == [("daily", "initiator=backend")]
    assert verdict.rule == "daily"
    assert "391 used and 110 asked is above 500 eth" in verdict.reason


def test_a_limit_denies_before_anyone_is_asked_to_approve() -> None:
    policy = policy_of(approve(("treasury", 1)), limits=[limit("daily", 109)])

    assert evaluate(policy, facts_of()).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("fee_max", "fee_ceiling", "outcome"),
    [
        (10, 10, Outcome.ALLOW),
        (11, 10, Outcome.DENY),
        (2**201, 2**202, Outcome.ALLOW),
        (2**201 + 1, 2**202, Outcome.DENY),
    ],
)
def test_a_fee_above_either_ceiling_denies(fee_max: int, fee_ceiling: int, outcome: Outcome) -> None:
    verdict = evaluate(policy_of(ALLOW_ALL), facts_of(fee_max=fee_max, fee_ceiling=fee_ceiling))

    assert verdict.outcome is outcome
    assert verdict.rule == ("all" if outcome is Outcome.ALLOW else "fee-ceiling")


def test_the_first_rule_that_matches_decides_and_the_trace_says_why() -> None:
    small = {"name": "small", "when": {"assets": ["eth"], "amount_max": "99"}, "then": {"outcome": "allow"}}
    forbid = {"name": "strangers", "when": {"not_destinations": ["customers"]}}
    policy = policy_of(small, DENY_ALL, ALLOW_ALL, forbids=[forbid])
    verdict = evaluate(policy, facts_of())

    assert (verdict.outcome, verdict.rule) == (Outcome.DENY, "none")
    assert trace(policy, facts_of()) == (
        ("strangers", f"not_destinations: {CUSTOMER} is on list customers"),
        ("small", "amount_max: 100 is above 99"),
        ("none", ""),
        ("all", ""),
    )


@pytest.mark.parametrize(
    ("when", "met", "unmet"),
    [
        ({"initiators": ["backend", "x"]}, {}, {"initiator": "y"}),
        ({"wallets": ["hot"]}, {}, {}),
        ({"assets": ["eth"]}, {}, {"asset": "usdc"}),
        ({"destinations": ["customers"]}, {}, {"destination": STRANGER}),
        ({"not_destinations": ["customers"]}, {"destination": STRANGER}, {}),
        ({"assets": ["eth"], "amount_min": "100"}, {"amount": 100}, {"amount": 99}),
        ({"assets": ["eth"], "amount_max": "100"}, {"amount": 100}, {"amount": 101}),
    ],
)
def test_a_rule_matches_only_when_its_condition_holds(
    when: dict[str, Any], met: dict[str, Any], unmet: dict[str, Any]
) -> None:
    policy = policy_of({"name": "rule", "when": when, "then": {"outcome": "allow"}})

    assert evaluate(policy, facts_of(**met)).outcome is Outcome.ALLOW
    if unmet or "not_destinations" in when:
        verdict = evaluate(policy, facts_of(**unmet))
        assert verdict.rule == "no-rule-matches"
        assert trace(policy, facts_of(**unmet))[0].unmet.startswith(list(when)[-1])


class Walked(Policy):
    """A policy that leaves no rule out before it is looked at."""

    def rules_for(self, wallet: str) -> tuple[Rule, ...]:
        return self.rules


class Careless(Policy):
    """A policy that leaves out every rule that names wallets."""

    def rules_for(self, wallet: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.when.names("wallets") is None)


def as_(kind: type[Policy], policy: Policy) -> Policy:
    return kind(**{field.name: getattr(policy, field.name) for field in dataclasses.fields(Policy)})


WALLETS = {
    name: {"tier": "hot", "key": "hot", "chain": "evm:1", "paths": [path]}
    for name, path in (("hot", "m/0/0"), ("till", "m/0/1"))
}
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "wallets": st.sampled_from([["hot"], ["till"], ["hot", "till"]]),
        "initiators": st.sampled_from([["backend"], ["other"]]),
        "amount_max": st.sampled_from(["99", "100"]),
        "risk_max": st.just(50),
    },
)
THENS = (ALLOW_ALL["then"], DENY_ALL["then"], approve(("treasury", 1))["then"])
RULES = st.lists(st.fixed_dictionaries({"when": CONDITIONS, "then": st.sampled_from(THENS)}), max_size=6)


def of_two_wallets(rules: list[dict[str, Any]]) -> Policy:
    named = [{"name": f"rule-{number}", **rule} for number, rule in enumerate(rules)]
    for rule in named:
        amounts = "amount_max" in rule["when"]
        rule["when"] = {**rule["when"], "assets": ["eth"]} if amounts else rule["when"]
    return policy_of(*named, wallets=WALLETS)


@given(RULES, st.sampled_from(["hot", "till"]), st.sampled_from([None, 10, 60]))
def test_rules_of_other_wallets_left_out_beforehand_change_no_verdict(
    rules: list[dict[str, Any]], wallet: str, risk: int | None
) -> None:
    policy, facts = of_two_wallets(rules), facts_of(wallet=wallet, risk=risk)

    assert evaluate(policy, facts) == evaluate(as_(Walked, policy), facts)


def test_a_rule_left_out_that_decides_is_noticed() -> None:
    when = [{"wallets": ["till"]}, {"wallets": ["hot"]}, {}]
    policy = of_two_wallets([{"when": one, "then": then} for one, then in zip(when, THENS, strict=True)])

    assert [rule.name for rule in policy.rules_for("hot")] == ["rule-1", "rule-2"]
    assert evaluate(as_(Walked, policy), facts_of()) != evaluate(as_(Careless, policy), facts_of())


def test_the_initiator_cannot_approve() -> None:
    policy = policy_of(approve(("treasury", 1)))
    approvals = said_yes(alice="treasury")

    assert evaluate(policy, facts_of(approvals=approvals)).outcome is Outcome.ALLOW
    for facts in (facts_of(initiator="alice"), facts_of(initiator_people=frozenset({"alice"}))):
        verdict = evaluate(policy, replace(facts, approvals=approvals))
        assert verdict.outcome is Outcome.WAIT
        assert verdict.missing == (Missing("treasury", 1, 0),)
        assert "the initiator cannot approve: alice did not count" in verdict.reason


def test_one_person_is_one_approval_however_often_they_say_yes() -> None:
    approvals = said_yes(alice="treasury") * 3
    verdict = evaluate(policy_of(approve(("treasury", 2))), facts_of(approvals=approvals))

    assert verdict.missing == (Missing("treasury", 2, 1),)
    assert "need 2 approvals of treasury, got 1" in verdict.reason


def test_one_person_in_two_groups_fills_one_place() -> None:
    policy = policy_of(approve(("treasury", 1), ("risk", 1)))
    alone = evaluate(policy, facts_of(approvals=said_yes(alice="treasury risk")))
    both = evaluate(policy, facts_of(approvals=said_yes(alice="treasury risk", bob="treasury")))

    assert alone.missing == (Missing("risk", 1, 0),)
    assert both.outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    "changed",
    [
        {"wallet": "cold"},
        {"asset": "etc"},
        {"chain": "evm:2"},
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.0},
        {"amount": True},
        {"fee_max": -1},
        {"fee_ceiling": "9"},
        {"usage": {("daily", ""): -5}},
        {"usage": {("daily", ""): 0.5}},
        {"usage": lambda limit, key: None},
        {"usage": lambda limit, key: 1 // 0},
        {"usage": None},
        {"approvals": ((["unhashable"], frozenset()),)},
        {"approvals": None},
    ],
)
def test_facts_that_do_not_fit_or_break_something_deny(changed: dict[str, Any]) -> None:
    policy = policy_of(approve(("treasury", 1)), limits=[limit("daily", 10**6)])
    verdict = evaluate(policy, facts_of(**{"approvals": said_yes(alice="treasury"), **changed}))

    assert evaluate(policy, facts_of(approvals=said_yes(alice="treasury"))).outcome is Outcome.ALLOW
    assert (verdict.outcome, verdict.rule) == (Outcome.DENY, "error")


def test_an_asset_or_wallet_of_another_chain_denies() -> None:
    policy = policy_of(ALLOW_ALL)
    token = dataclasses.replace(policy.assets["usdc"], chain="evm:2")
    wallet = dataclasses.replace(policy.wallets["hot"], chain="evm:2")
    elsewhere = dataclasses.replace(policy, assets={**policy.assets, "usdc": token})

    assert evaluate(policy, facts_of(asset="usdc")).rule == "all"
    assert evaluate(elsewhere, facts_of(asset="usdc")).rule == "error"
    assert evaluate(dataclasses.replace(policy, wallets={"hot": wallet}), facts_of()).rule == "error"


def test_the_zero_value_is_unknown_and_what_is_logged_is_compact() -> None:
    assert Outcome(0) is Outcome.UNKNOWN
    assert Verdict(Outcome.DENY, "daily", "why").to_json() == {"outcome": "deny", "rule": "daily"}
