"""A change of a list that is in effect at once lets nothing through that was not before."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.address_book import with_book
from policy.document import parse_policy
from policy.evaluate import Outcome, evaluate
from policy.facts import request_facts, with_approvals
from policy.list_uses import may_let_through
from policy.model import Policy
from policy.rules import Facts, Given
from policy.values import replace
from tests.simulation.world import CUSTOMER, OTHER, SANCTIONED, STRANGER, Book, World

WORLD = World()
BOOK = Book(WORLD)
ADDRESSES = (CUSTOMER, OTHER, SANCTIONED, STRANGER)
PEOPLE = (("alice", "treasury"), ("bob", "treasury"), ("dave", "risk"))


def approve(*needs: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {
        "outcome": "approve",
        "approvals": [{"group": group, "count": count} for group, count in needs],
        **more,
    }


ALLOW, DENY, ONE, TWO = (
    {"outcome": "allow"},
    {"outcome": "deny"},
    approve(("treasury", 1)),
    approve(("treasury", 2)),
)
THENS = [
    ALLOW,
    DENY,
    ONE,
    TWO,
    {**ALLOW, "delay_ms": 5},
    approve(("treasury", 1), ("risk", 1)),
    approve(("risk", 1)),
]
WHENS = [
    {},
    *(
        {name: lists}
        for name in ("destinations", "not_destinations")
        for lists in (["customers"], ["sanctioned"], ["customers", "sanctioned"])
    ),
    {"destinations": ["customers"], "not_destinations": ["sanctioned"]},
]
RULES = st.lists(st.tuples(st.sampled_from(WHENS), st.sampled_from(THENS)), max_size=4)
FORBIDS = st.lists(st.sampled_from(WHENS[1:]), max_size=2)


def policy_of(rules: list[tuple[Any, Any]], forbids: list[Any]) -> Policy:
    return parse_policy(
        WORLD.policy(
            lists={"customers": [CUSTOMER, OTHER], "sanctioned": [SANCTIONED, OTHER]},
            rules=[{"name": f"r{i}", "when": when, "then": then} for i, (when, then) in enumerate(rules)],
            forbids=[{"name": f"f{i}", "when": when} for i, when in enumerate(forbids)],
            limits=[],
        )
    )


def allowed(policy: Policy) -> set[tuple[str, int, int]]:
    """Which destinations are paid, by whose approvals, how long after the request."""
    found = set()
    for to in ADDRESSES:
        asked = BOOK.asked(1, to=to, initiator="backend")
        base = request_facts(BOOK.state, asked, identifier=bytes(32), fee_max=1, time_ms=1, usage={})
        for some in range(2 ** len(PEOPLE)):
            given = [Given(n, frozenset({g}), 1) for i, (n, g) in enumerate(PEOPLE) if some >> i & 1]
            for after in (0, 5):
                facts: Facts = replace(with_approvals(base, given), since_ms=1, time_ms=1 + after)
                if evaluate(policy, facts).outcome is Outcome.ALLOW:
                    found.add((to, some, after))
    return found


@settings(max_examples=150, deadline=None)
@given(RULES, FORBIDS, st.sampled_from(ADDRESSES), st.sampled_from(["customers", "sanctioned"]))
def test_what_is_in_effect_at_once_lets_nothing_more_through(
    rules: list[tuple[Any, Any]], forbids: list[Any], address: str, name: str
) -> None:
    policy = policy_of(rules, forbids)
    adds = address not in policy.lists[name]
    changed = with_book(policy, {(name, address): "new" if adds else ""})
    more = allowed(changed) - allowed(policy)

    assert not more or may_let_through(policy, name, adds=adds)


@pytest.mark.parametrize(
    ("rules", "forbids", "add_waits", "remove_waits"),
    [
        ([({"destinations": ["customers"]}, ALLOW)], [], True, False),
        ([({"destinations": ["customers"]}, ONE), ({}, TWO)], [], True, False),
        ([({"destinations": ["customers"]}, TWO), ({}, ONE)], [], True, True),
        ([({"destinations": ["customers"]}, TWO), ({"destinations": ["customers"]}, ALLOW)], [], True, False),
        ([({"not_destinations": ["customers"]}, TWO), ({}, ALLOW)], [], True, True),
        ([({"not_destinations": ["customers"]}, DENY), ({}, ALLOW)], [], True, False),
        ([({"destinations": ["customers"]}, DENY), ({}, ALLOW)], [], False, True),
        ([({}, ALLOW)], [{"destinations": ["customers"]}], False, True),
        ([({}, ALLOW)], [{"not_destinations": ["customers"]}], True, False),
        ([({}, ALLOW)], [], False, False),
    ],
)
def test_what_waits_follows_from_where_the_list_stands(
    rules: list[tuple[Any, Any]], forbids: list[Any], add_waits: bool, remove_waits: bool
) -> None:
    policy = policy_of(rules, forbids)

    assert may_let_through(policy, "customers", adds=True) == add_waits
    assert may_let_through(policy, "customers", adds=False) == remove_waits


def test_the_property_can_fail() -> None:
    policy = policy_of([({"not_destinations": ["customers"]}, TWO), ({}, ALLOW)], [])
    changed = with_book(policy, {("customers", STRANGER): "new"})

    assert (STRANGER, 0, 0) in allowed(changed) - allowed(policy)
