"""``policy check``: what cannot be meant is an error with its place, what may not be meant a warning."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from cli.main import invoke, main
from cli.policies.lint import covers, lint, lint_groups
from cli.results import Result
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.roster import parse_roster
from policy.rules import When
from tests.unit.policy_documents import Document, as_yaml, base_document, written

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path for path in (ROOT / "docs/examples").glob("*.yaml") if "." not in path.stem)
ALLOW, DENY = {"outcome": "allow"}, {"outcome": "deny"}
APPROVE = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
WORKDAYS = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}
AMOUNT, RECEIVER = {"methods": ["vault.deposit"]}, {"argument": "receiver", "destinations": ["customers"]}
NARROWER = [
    (
        AMOUNT | {"arguments": [{"argument": "amount", "max": "5"}]},
        AMOUNT | {"arguments": [RECEIVER, {"argument": "amount", "max": "4", "min": "1"}]},
    ),
    ({}, {"tiers": ["hot"]}),
    ({"tiers": ["hot"]}, {"tiers": ["hot"], "first_use": True}),
    ({"tiers": ["hot", "cold"]}, {"tiers": ["cold"]}),
    ({"initiator_groups": ["a", "b"]}, {"initiator_groups": ["b"]}),
    ({"destinations": ["customers", "exchanges"]}, {"destinations": ["customers"]}),
    ({"not_destinations": ["customers"]}, {"not_destinations": ["customers", "exchanges"]}),
    ({"assets": ["eth"], "amount_max": "5"}, {"assets": ["eth"], "amount_max": "5"}),
    ({"assets": ["eth"], "amount_max": "5"}, {"assets": ["eth"], "amount_max": "4", "amount_min": "1"}),
    ({"value_min": "5"}, {"value_min": "6"}),
    ({"risk_max": 50}, {"risk_max": 20}),
    ({"first_use": True}, {"first_use": True}),
    ({"hours": [WORKDAYS]}, {"hours": [{"days": ["mon"], "from": "10:00", "to": "11:00"}]}),
]
OTHER = [
    (
        AMOUNT | {"arguments": [{"argument": "amount", "max": "5"}]},
        AMOUNT | {"arguments": [{"argument": "amount", "min": "5"}, RECEIVER]},
    ),
    ({"tiers": ["hot"]}, {}),
    ({"tiers": ["hot"]}, {"tiers": ["hot", "cold"]}),
    ({"tiers": ["hot"]}, {"destination_tiers": ["hot"]}),
    ({"destinations": ["customers"]}, {"destinations": ["customers", "exchanges"]}),
    ({"not_destinations": ["customers", "exchanges"]}, {"not_destinations": ["customers"]}),
    ({"destinations": ["customers"]}, {"not_destinations": ["customers"]}),
    ({"assets": ["eth"], "amount_max": "4"}, {"assets": ["eth"], "amount_max": "5"}),
    ({"assets": ["eth"], "amount_max": "5"}, {"assets": ["usdc"], "amount_max": "4"}),
    ({"assets": ["eth"], "amount_max": "5"}, {"assets": ["eth"], "total_max": "4"}),
    ({"value_min": "6"}, {"value_min": "5"}),
    ({"value_min": "5"}, {"value_max": "5"}),
    ({"first_use": True}, {"first_use": False}),
    ({"hours": [WORKDAYS]}, {"hours": [{"days": ["fri", "sat"], "from": "10:00", "to": "11:00"}]}),
]


def policy_with(**parts: Any) -> Any:
    return parse_policy(cast("Json", base_document() | {"lists": {}} | parts))


def rule(name: str, when: Document, then: Document = DENY) -> Document:
    return {"name": name, "when": when, "then": then}


def whens(*documents: Document) -> list[When]:
    lists: Document = {"customers": [], "exchanges": []}
    rules = [rule(f"r{index}", when) for index, when in enumerate(documents)]
    return [one.when for one in policy_with(lists=lists, rules=rules).rules]


def check(file: Path, document: Document) -> Result:
    file.write_text(as_yaml(written(document)))
    return invoke("policy", "check", str(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


@pytest.mark.parametrize(("wide", "narrow"), NARROWER)
def test_a_rule_behind_one_with_weaker_conditions_is_unreachable(wide: Document, narrow: Document) -> None:
    first, second = whens(wide, narrow)

    assert covers(first, second)


@pytest.mark.parametrize(("wide", "narrow"), OTHER)
def test_a_rule_behind_one_with_other_conditions_is_not(wide: Document, narrow: Document) -> None:
    first, second = whens(wide, narrow)

    assert not covers(first, second)


def test_unreachable_rules_and_unused_lists_are_errors_where_they_stand(file: Path) -> None:
    some = rule("some", {"tiers": ["hot"], "first_use": True}, ALLOW)
    rules = [rule("all", {"tiers": ["hot"]}, ALLOW), some]
    forbids = [{"name": "never", "when": {"tiers": ["cold"]}}, {"name": "again", "when": {"tiers": ["cold"]}}]
    frozen = rule("frozen", {"tiers": ["cold"], "assets": ["eth"]})
    parts = {"rules": [*rules, frozen], "forbids": forbids, "lists": {"customers": []}}
    result = check(file, base_document() | parts)
    lines = file.read_text().splitlines()
    said = [str(one) for one in result.text]

    assert result.code == 1
    assert [lines[int(one.split(":")[1]) - 1].strip() for one in said[:-1] if "warning" not in one] == [
        "customers: []",
        "- name: again",
        "- name: some",
        "- name: frozen",
    ]
    assert "'some' is never reached: 'all' before it takes all that it is for" in said[2]
    assert "'frozen' can never apply: 'never' forbids everything it is for" in said[3]
    assert said[-1].endswith("4 errors, 2 warnings")


def test_a_rule_behind_one_without_conditions_is_never_reached() -> None:
    policy = policy_with(rules=[rule("rest", {}), rule("late", {"tiers": ["hot"]})])
    remarks = [remark for remark in lint(policy) if remark.error]

    assert [(one.path, one.message) for one in remarks] == [
        ("rules[1]", "'late' is never reached: 'rest' before it has no conditions")
    ]


def test_a_list_that_only_an_argument_has_to_be_on_is_used() -> None:
    call = rule("call", AMOUNT | {"arguments": [RECEIVER]})
    policy = policy_with(lists={"customers": []}, rules=[call])

    assert [remark for remark in lint(policy) if remark.error] == []


def test_a_limit_that_can_never_count_is_an_error() -> None:
    limit = {"name": "l", "count_max": 1, "window_ms": 1, "per": [], "wallets": ["hot"], "tiers": ["cold"]}
    remarks = [remark for remark in lint(policy_with(limits=[limit])) if remark.error]

    assert [one.path for one in remarks] == ["limits[0]"]


@pytest.mark.parametrize(
    ("when", "then", "paths"),
    [
        ({"typed_data": ["permit"]}, ALLOW, ["rules[0]"]),
        ({"kinds": ["call", "typed_data"]}, ALLOW, ["rules[0]"]),
        ({"typed_data": ["permit"], "arguments": [{"argument": "value", "max": "5"}]}, ALLOW, []),
        ({"typed_data": ["permit"]}, APPROVE, []),
        ({"kinds": ["call"]}, ALLOW, ["typed_data.permit"]),
        ({}, ALLOW, ["typed_data.permit"]),
    ],
)
def test_typed_data_that_says_what_it_likes_or_that_no_rule_is_about_is_a_warning(
    when: Document, then: Document, paths: list[str]
) -> None:
    policy = policy_with(rules=[rule("signs", when, then)])

    assert [(one.path, one.error) for one in lint(policy) if one.path != "prices"] == [
        (path, False) for path in paths
    ]


def test_what_may_be_for_later_is_a_warning_and_no_refusal(file: Path) -> None:
    keys = base_document()["keys"]
    result = check(file, base_document() | {"lists": {}, "keys": keys | {"spare": keys["main"]}})

    assert result.code == 0
    assert result.document["ok"] is True
    assert {one["message"].partition(":")[0] for one in result.document["warnings"]} == {
        "prices",
        "keys.spare",
        "typed_data.permit",
    }


def test_a_group_that_no_rule_needs_is_a_warning_by_the_roster(file: Path, tmp_path: Path) -> None:
    roster_body = json.loads((ROOT / "docs/spec/examples/genesis.json").read_bytes())["body"]["roster"]
    policy_body = json.loads((ROOT / "docs/spec/examples/genesis.json").read_bytes())["body"]["policy"]
    roster_file, policy_file = tmp_path / "roster.json", tmp_path / "policy.json"
    roster_file.write_bytes(canonical(roster_body))
    needed = parse_policy(policy_body).groups_named()
    groups = {group for one in parse_roster(roster_body).operators.values() for group in one.groups}
    policy_file.write_bytes(canonical(policy_body | {"rules": []}))
    without_rules = [
        remark.message
        for remark in lint_groups(parse_policy(policy_body | {"rules": []}), parse_roster(roster_body))
    ]

    assert [
        remark
        for remark in lint_groups(parse_policy(policy_body), parse_roster(roster_body))
        if any(group in remark.message for group in needed)
    ] == []
    assert [any(repr(group) in message for message in without_rules) for group in sorted(groups)] == [
        True
    ] * len(groups)
    assert groups


def test_a_roster_without_the_people_that_a_rule_needs_is_an_error(file: Path, tmp_path: Path) -> None:
    genesis = json.loads((ROOT / "docs/spec/examples/genesis.json").read_bytes())["body"]
    (tmp_path / "roster.json").write_bytes(canonical(genesis["roster"]))
    approve = {"outcome": "approve", "approvals": [{"group": "nobody", "count": 1}]}
    body = genesis["policy"] | {"rules": [rule("r", {"tiers": ["hot"]}, approve)], "forbids": [], "lists": {}}
    file.with_suffix(".json").write_bytes(canonical(body))
    result = invoke(
        "policy", "check", str(file.with_suffix(".json")), "--roster", str(tmp_path / "roster.json")
    )

    assert result.code == 1
    assert "nobody" in result.document["errors"][0]["message"]


@pytest.mark.parametrize(
    ("asset", "least", "warned"),
    [
        ("usdc", None, True),
        ("usdc", "11", False),
        ("usdc", "0", True),
        ("eth", None, False),
        ("eth", "1", True),
    ],
)
def test_dust_that_makes_entries_of_the_log_is_a_warning(asset: str, least: str | None, warned: bool) -> None:
    document = base_document()
    document["assets"][asset].pop("deposit_min", None)
    if least is not None:
        document["assets"][asset]["deposit_min"] = least

    dust = [one for one in lint(parse_policy(cast("Json", document))) if "entry of the log" in one.message]
    assert [(one.path, one.error) for one in dust] == [(f"assets.{asset}", False)] * warned


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_have_neither_errors_nor_warnings(example: Path) -> None:
    result = invoke("policy", "check", str(example))

    assert result.document == {"ok": True, "file": str(example), "errors": [], "warnings": []}


def test_the_command_ends_with_1_and_says_where(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("version: 1\nname: no\n")
    code = main(["policy", "check", str(file)])
    as_json = main(["policy", "check", str(file), "--json"])
    text, document = capsys.readouterr().out.rstrip().rsplit("\n", 1)

    assert (code, as_json) == (1, 1)
    assert text.startswith(f"{file}:2:7: no is text to some readers")
    assert json.loads(document)["errors"][0] | {"message": ""} == {"line": 2, "column": 7, "message": ""}
