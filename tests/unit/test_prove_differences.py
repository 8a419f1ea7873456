"""What a new policy means that an old one does not: each difference is a transaction both are asked about."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.evaluate import Outcome, evaluate
from policy.model import Policy
from policy.prove.differences import OUTCOMES, PAIRS_MAX, Change, compare, eases
from policy.rules import Facts
from policy.values import replace
from tests.unit.prove_house import policies, transactions
from tests.unit.test_prove import (
    COLD_RULE,
    CUSTOMER,
    DAILY,
    DAY_MS,
    ETHER,
    LARGE_RULE,
    SMALL_RULE,
    policy_of,
)

OLD = policy_of()


def one(change: Change, new: Policy, *, old: Policy = OLD) -> tuple[str, str]:
    """The parts that decide the one difference of a kind."""
    found = [each for each in compare(old, new).differences if each.change is change]
    assert len(found) == 1
    return found[0].old.rule, found[0].new.rule


def test_a_policy_means_the_same_as_itself_and_under_other_names() -> None:
    again = policy_of({**COLD_RULE, "name": "frozen"}, SMALL_RULE, LARGE_RULE)

    assert compare(OLD, OLD).same
    assert compare(OLD, again).same


def test_a_new_address_on_a_list_is_newly_paid() -> None:
    more = policy_of(lists={"whitelist": [CUSTOMER, "0x" + "ee" * 20]})

    found = compare(OLD, more).differences

    assert [(each.change, each.new.rule) for each in found] == [(Change.ALLOWED, "cold")]
    assert found[0].transaction.facts.destination == "0x" + "ee" * 20


def test_a_lower_bound_eases_and_a_higher_one_hardens() -> None:
    higher = policy_of(
        {**SMALL_RULE, "when": {**SMALL_RULE["when"], "amount_max": str(101 * ETHER)}}, LARGE_RULE
    )
    lower = policy_of(SMALL_RULE, LARGE_RULE)

    assert one(Change.EASED, higher, old=lower) == ("large", "small")
    assert one(Change.HARDENED, lower, old=higher) == ("small", "large")


def test_fewer_approvals_and_a_shorter_delay_ease() -> None:
    fewer = {**COLD_RULE["then"], "approvals": COLD_RULE["then"]["approvals"][:1]}
    sooner = {**COLD_RULE["then"], "delay_ms": DAY_MS - 1}

    for then in (fewer, sooner):
        new = policy_of({**COLD_RULE, "then": then}, SMALL_RULE, LARGE_RULE)
        assert one(Change.EASED, new) == ("cold", "cold")
        assert one(Change.HARDENED, OLD, old=new) == ("cold", "cold")


def test_a_raised_limit_is_seen_with_what_others_used() -> None:
    raised = policy_of(limits=[{**DAILY, "name": "often", "amount_max": str(501 * ETHER)}])

    found = [each for each in compare(OLD, raised).differences if each.change is Change.ALLOWED]

    assert {each.old.rule for each in found} == {"daily"}
    used = [used for each in found for _, used in each.transaction.used]
    assert max(used) > 400 * ETHER


def test_a_limit_for_each_destination_allows_more_than_one_for_all() -> None:
    apart = policy_of(limits=[{**DAILY, "per": ["wallet", "destination"]}])

    assert eases(OLD, apart)
    assert not eases(apart, OLD)


def test_a_longer_window_allows_no_more() -> None:
    longer = policy_of(limits=[{**DAILY, "window_ms": 2 * DAY_MS}])

    assert eases(longer, OLD)
    assert not eases(OLD, longer)


def test_another_thing_under_an_old_name_is_told() -> None:
    assets = dict(OLD.assets)
    assets["usdc"] = dataclasses.replace(assets["usdc"], contract="0x" + "ce" * 20)

    found = compare(OLD, dataclasses.replace(OLD, assets=assets))

    assert not found.same
    assert [text.split(":")[0] for text in found.redefined] == ["asset usdc is changed"]


def test_a_change_with_many_consequences_is_cut_short_and_hides_no_other() -> None:
    rules = [
        {"name": f"rule-{n}", "when": {"kinds": ["transfer"]}, "then": {"outcome": "deny"}} for n in range(1)
    ]
    tiers = [
        {**SMALL_RULE, "name": f"up-to-{n}", "when": {**SMALL_RULE["when"], "amount_max": str(n)}}
        for n in range(1, PAIRS_MAX + 4)
    ]
    old = policy_of(*tiers, *rules)
    new = policy_of(*tiers, COLD_RULE, limits=[])

    found = compare(old, new)

    allowed = [each for each in found.differences if each.change is Change.ALLOWED]
    assert len(allowed) == PAIRS_MAX
    assert Change.ALLOWED in found.more
    assert "cold" in {each.new.rule for each in allowed}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), policies())
def test_a_verdict_that_differs_is_a_difference_and_each_difference_is_one(
    data: st.DataObject, old: Policy
) -> None:
    changed = data.draw(policies())
    new = dataclasses.replace(old, rules=changed.rules, limits=changed.limits[:1])
    facts, _ = data.draw(transactions(old))

    found = compare(old, new).differences

    seen = {each.change for each in found}
    assert all((each.old.outcome, each.new.outcome) == OUTCOMES[each.change] for each in found)
    assert not (verdicts := changes(old, new, replace(facts, usage={}))) or verdicts <= seen


def changes(old: Policy, new: Policy, facts: Facts) -> set[Change]:
    pair = evaluate(old, facts).outcome, evaluate(new, facts).outcome
    return {change for change, outcomes in OUTCOMES.items() if outcomes == pair}


@pytest.mark.parametrize("change", list(Change))
def test_every_kind_of_change_is_of_two_outcomes_of_which_one_allows(change: Change) -> None:
    assert OUTCOMES[change].count(Outcome.ALLOW) == 1
