"""The solver's model of a policy and the evaluator say the same, of any policy and any transaction."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.evaluate import Outcome, evaluate
from policy.model import TIER_MINIMUM, TIER_VERDICTS, Approve, Policy, Rule
from policy.prove.formulas import Formulas
from policy.prove.transactions import Search, confirmed
from policy.prove.world import World
from policy.rules import Facts
from tests.unit.prove_house import Values, policies, tiered_policies, transactions

SLOW_TO_DRAW = (HealthCheck.too_slow, HealthCheck.data_too_large)


def first_match(policy: Policy, facts: Facts) -> Rule | None:
    return next((rule for rule in policy.rules if rule.when.holds(facts, policy.lists)), None)


def values_of(formulas: Formulas, facts: Facts, *, owner: str) -> Values:
    values, rule = Values(formulas, facts, owner=owner), first_match(formulas.policy, facts)
    if rule and isinstance(rule.then, Approve):
        values.people(rule.name, rule.then)
    else:
        values.nobody()
    return values


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(st.data(), policies())
def test_the_model_and_the_evaluator_give_one_verdict(data: st.DataObject, policy: Policy) -> None:
    formulas = Formulas(World((policy,)), policy)
    facts, owner = data.draw(transactions(policy))
    values = values_of(formulas, facts, owner=owner)

    verdict = evaluate(policy, facts)

    assert values.true(formulas.allowed) is (verdict.outcome is Outcome.ALLOW)
    assert values.true(formulas.waits) is (verdict.outcome is Outcome.WAIT)
    assert [name for name, term in formulas.decides.items() if values.true(term)] == [verdict.rule]


def test_they_give_one_verdict_on_every_bound_of_tiers() -> None:
    seen: set[tuple[Outcome, str]] = set()

    @settings(max_examples=250, deadline=None, suppress_health_check=SLOW_TO_DRAW, derandomize=True)
    @given(st.data(), tiered_policies())
    def agree(data: st.DataObject, policy: Policy) -> None:
        formulas = Formulas(World((policy,)), policy)
        facts, owner = data.draw(transactions(policy, moves=True))
        values = values_of(formulas, facts, owner=owner)
        verdict = evaluate(policy, facts)
        seen.add((verdict.outcome, verdict.rule))
        assert values.true(formulas.allowed) is (verdict.outcome is Outcome.ALLOW)
        assert values.true(formulas.waits) is (verdict.outcome is Outcome.WAIT)
        assert [name for name, term in formulas.decides.items() if values.true(term)] == [verdict.rule]

    agree()

    wanted = {(outcome, name) for outcome in (Outcome.DENY, Outcome.WAIT) for name in TIER_VERDICTS}
    assert seen >= wanted - {(Outcome.WAIT, TIER_MINIMUM)}  # nothing that goes up by itself is ever read


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(st.data(), policies())
def test_no_transaction_is_outside_the_world(data: st.DataObject, policy: Policy) -> None:
    formulas = Formulas(World((policy,)), policy)
    facts, owner = data.draw(transactions(policy))
    ceiling = 0 if facts.typed_data else 9
    values = values_of(formulas, replace(facts, usage={}, fee_ceiling=ceiling), owner=owner)

    outside = [term for term in formulas.world.constraints() if not values.true(term)]

    assert outside == []


@settings(max_examples=15, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(policies())
def test_the_evaluator_confirms_whatever_the_solver_finds(policy: Policy) -> None:
    world = World((policy,))
    formulas, search = Formulas(world, policy), Search(world)

    found = {name: search.find(term) for name, term in formulas.decides.items()}
    allowed, waiting = search.find(formulas.allowed), search.find(formulas.waits)

    assert all(one is None or one.judged(policy).rule == name for name, one in found.items())
    assert allowed is None or confirmed(allowed, formulas, outcome=Outcome.ALLOW).outcome is Outcome.ALLOW
    assert waiting is None or confirmed(waiting, formulas, outcome=Outcome.WAIT).outcome is Outcome.WAIT
