"""The policy language: what its newer parts cannot mean is refused, with its path."""

from typing import Any

import pytest

from policy.document import parse_policy
from policy.errors import MalformedError
from tests.simulation.world import CUSTOMER, DAY_MS, OTHER, World

WORLD = World()
ALLOW = {"outcome": "allow"}
WAY = {"approvals": [{"group": "risk", "count": 1}]}


def rule(name: str, then: dict[str, Any], **when: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "then": then}


def limit(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "window_ms": DAY_MS, "per": [], **fields}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"rules": [rule("x", ALLOW, value_max="5")]}, "a value needs its unit"),
        ({"limits": [limit("x", value_max="5")]}, "a value needs its unit"),
        ({"limits": [limit("x")]}, "a limit is an 'amount_max' of an 'asset'"),
        ({"limits": [limit("x", count_max=1, amount_max="5")]}, "unknown field 'amount_max'"),
        (
            {"limits": [limit("x", asset="eth", amount_max="5", assets=["eth"])]},
            "an amount is of one 'asset'",
        ),
        ({"rules": [rule("x", ALLOW, assets=["usdc"], total_max="5")]}, "paid in another asset"),
        ({"rules": [rule("x", ALLOW, total_max="5")]}, "an amount needs its unit"),
        ({"rules": [rule("x", ALLOW, risk_min=5, risk_max=4)]}, "no risk is from 5 to 4"),
        ({"rules": [rule("x", ALLOW, kinds=["gift"])]}, "unknown kind 'gift'"),
        ({"rules": [rule("x", ALLOW, destination_tiers=["ice"])]}, "unknown tier 'ice'"),
        (
            {"rules": [rule("x", ALLOW, hours=[{"days": ["mon"], "from": "9:00", "to": "10:00"}])]},
            "'9:00' is no time of day",
        ),
        (
            {"rules": [rule("x", ALLOW, hours=[{"days": ["mon"], "from": "10:00", "to": "09:00"}])]},
            "ends after it starts",
        ),
        (
            {"rules": [rule("x", ALLOW, hours=[{"days": ["monday"], "from": "09:00", "to": "10:00"}])]},
            "unknown day 'monday'",
        ),
        ({"rules": [rule("x", {**ALLOW, "delay_ms": 0})]}, "an integer from 1"),
        (
            {
                "rules": [
                    rule(
                        "x",
                        {"outcome": "approve", "any_of": [{"approvals": [{"group": "risk", "count": 1}]}]},
                    )
                ]
            },
            "one way alone is no choice",
        ),
        ({"lists": {"customers": [{"address": CUSTOMER, "label": ""}], "sanctioned": []}}, "label"),
    ],
)
def test_what_cannot_be_meant_is_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_policy(WORLD.policy(**part))

    assert message in str(caught.value)


def test_a_label_is_text_beside_an_address_and_changes_no_verdict() -> None:
    labelled = WORLD.policy(
        lists={"customers": [{"address": CUSTOMER, "label": "a shop"}, OTHER], "sanctioned": []}
    )
    policy = parse_policy(labelled)

    assert policy.lists["customers"] == {CUSTOMER, OTHER}
    assert policy.labels == {f"customers {CUSTOMER}": "a shop"}
