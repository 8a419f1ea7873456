"""The section ``tiers``: what cannot be meant is refused with its place, and what is meant is kept."""

from typing import Any, cast

import pytest

from cli.main import invoke
from cli.policies.authoring import convert
from cli.policies.units import share_bp
from cli.policies.yaml_reader import read_yaml
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import MalformedError
from policy.model import Level, Policy
from policy.words.sentences import sections
from policy.words.units import share_text
from tests.unit.policy_documents import Document, as_yaml, tiered_document, written

ALLOW = {"outcome": "allow"}
APPROVED = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
DELAYED = APPROVED | {"delay_ms": 1}


def read(document: Document) -> Policy:
    return parse_policy(cast("Json", document))


def with_rule(then: Any, **when: Any) -> Document:
    return three_tiers() | {"rules": [{"name": "r", "when": when, "then": then}]}


def three_tiers() -> Document:
    """Hot, warm and cold, each with a wallet of one key."""
    document = tiered_document()
    document["keys"]["warm"] = document["keys"]["main"]
    document["wallets"]["warm"] = document["wallets"]["vault"] | {"tier": "warm", "key": "warm"}
    hot, cold = document["tiers"]
    return document | {"tiers": [hot, {"name": "warm", "role": "warm"}, cold]}


def changed(*path: Any, to: Any) -> Document:
    document = tiered_document()
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return document


def without(name: str) -> Document:
    document = tiered_document()
    del document[name]
    return document


def test_tiers_are_read_from_the_hottest_to_the_coldest() -> None:
    hot, cold = read(tiered_document()).tiers

    assert (hot.name, cold.name) == ("hot", "cold")
    assert hot.maximum == Level(4, {"eth": 4})
    assert (hot.share_max_bp, cold.share_min_bp, cold.share_max_bp) == (250, 9500, None)
    assert read(tiered_document()).holdings_max_age_ms == 60_000


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed("tiers", to=[]), "tiers: declare a tier, or leave the section out"),
        (without("holdings"), "tiers: say under 'holdings' how old"),
        (without("tiers"), "holdings: nothing is held against them"),
        (changed("tiers", 1, "name", to="hot"), r"tiers\[1\].name: 'hot' is already at tiers\[0\]"),
        (changed("tiers", 0, "role", to="cold"), None),
        (changed("tiers", 1, "role", to="tepid"), "field 'role' must be one of hot, warm, cold"),
        (changed("tiers", 0, "minimum", to={}), r"tiers\[0\].minimum: say how much"),
        (changed("tiers", 0, "minimum", to={"value": "5"}), r"target_min: 2 is below minimum of the same, 5"),
        (changed("tiers", 0, "maximum", "amounts", "eth", to="2"), r"maximum: 2 is below target_max"),
        (changed("tiers", 0, "maximum", "amounts", to={"doge": "9"}), "unknown asset 'doge'"),
        (
            changed("tiers", 1, "minimum", to={"amounts": {"btc": "1"}}),
            "no wallet of tier cold is on the chain of 'btc'",
        ),
        (changed("tiers", 0, "share_max_bp", to=10_001), "an integer from 0 to 10000"),
        (changed("tiers", 0, "share_min_bp", to=251), "no share is from 251 to 250 basis points"),
        (
            changed("tiers", 1, "share_min_bp", to=10_000),
            "all share_min_bp together are 10001 of 10000",
        ),
        (changed("tiers", 1, "maximum", to={"value": "9"}), r"tiers\[1\].maximum: 'cold' is the coldest"),
        (changed("tiers", 1, "share_max_bp", to=9600), r"tiers\[1\].share_max_bp: 'cold' is the coldest"),
        (changed("wallets", "vault", "tier", to="ice"), "wallets.vault.tier: unknown tier 'ice'"),
    ],
)
def test_what_tiers_cannot_mean_is_refused_with_its_place(document: Document, message: str | None) -> None:
    if message is None:
        read(document)
        return
    with pytest.raises(MalformedError, match=message):
        read(document)


def test_a_hotter_tier_never_comes_after_a_colder_one() -> None:
    document = tiered_document()
    document["tiers"] = [document["tiers"][0] | {"role": "warm"}, document["tiers"][1] | {"role": "hot"}]

    with pytest.raises(MalformedError, match=r"tiers\[1\].role: hot after warm"):
        read(document)


def test_values_and_shares_need_prices() -> None:
    valued, shared = without("prices"), without("prices")
    valued["tiers"][0] = {"name": "hot", "role": "hot", "maximum": {"value": "4"}}
    valued["tiers"][1] = {"name": "cold", "role": "cold"}
    shared["tiers"][0] = {"name": "hot", "role": "hot"}

    with pytest.raises(MalformedError, match=r"tiers\[0\].maximum: a value needs its unit"):
        read(valued)
    with pytest.raises(MalformedError, match=r"tiers\[1\]: a share is of what all holdings are worth"):
        read(shared)


def test_a_hot_key_never_signs_for_cold() -> None:
    with pytest.raises(
        MalformedError, match=r"wallets.vault.key: 'main' signs for tier hot as well, by wallet"
    ):
        read(changed("wallets", "vault", "key", to="main"))


@pytest.mark.parametrize(
    ("then", "when"),
    [
        (ALLOW, {"tiers": ["hot"]}),
        (ALLOW, {"exposure": ["lowers"]}),
        (ALLOW, {"exposure": ["lowers", "same"], "tiers": ["hot", "warm"]}),
        (ALLOW, {"kinds": ["tier_move"], "destination_tiers": ["cold"]}),
        (ALLOW, {"contracts": ["vault"], "wallets": ["hot"]}),
        (APPROVED, {"tiers": ["hot", "warm"]}),
        (APPROVED, {"exposure": ["raises"], "wallets": ["warm"]}),
        (APPROVED, {"exposure": ["lowers"], "tiers": ["cold"]}),
        (DELAYED, {}),
        ({"outcome": "deny"}, {}),
    ],
)
def test_rules_as_strict_as_the_roles_are_taken(then: Document, when: Document) -> None:
    assert read(with_rule(then, **when)).rules


@pytest.mark.parametrize(
    ("then", "when", "message"),
    [
        (ALLOW, {}, "lets funds of tier warm go to a hotter one: that needs approvals"),
        (ALLOW, {"destinations": ["customers"]}, "lets funds of tier warm go to a hotter one"),
        (
            ALLOW,
            {"tiers": ["warm"], "kinds": ["transfer"]},
            "lets funds of tier warm go: that needs approvals",
        ),
        (ALLOW, {"tiers": ["warm"], "contracts": ["vault"]}, "lets funds of tier warm go: that needs"),
        (ALLOW, {"tiers": ["warm"], "typed_data": ["permit"]}, "lets funds of tier warm go: that needs"),
        (ALLOW, {"exposure": ["raises"], "tiers": ["warm"]}, "go to a hotter one: that needs approvals"),
        (ALLOW | {"delay_ms": 9}, {"tiers": ["cold"]}, "tier cold go to a hotter one: that needs approvals"),
        (APPROVED, {}, "tier cold go to a hotter one: from a cold tier that needs a 'delay' as well"),
        (APPROVED, {"wallets": ["vault"], "kinds": ["transfer"]}, "from a cold tier that needs a 'delay'"),
        (APPROVED, {"tiers": ["cold"], "exposure": ["same"]}, "from a cold tier that needs a 'delay'"),
    ],
)
def test_a_rule_laxer_than_a_role_is_refused(then: Document, when: Document, message: str) -> None:
    with pytest.raises(MalformedError, match=rf"rules\[0\].then: 'r' lets .*{message}|{message}"):
        read(with_rule(then, **when))


def test_exposure_is_of_declared_tiers_only() -> None:
    document = without("tiers") | {"rules": [{"name": "r", "when": {"exposure": ["lowers"]}, "then": ALLOW}]}
    del document["holdings"]

    with pytest.raises(MalformedError, match=r"rules\[0\].when.exposure: declare under 'tiers'"):
        read(document)
    with pytest.raises(MalformedError, match="unknown exposure 'up'"):
        read(with_rule(ALLOW, exposure=["up"]))


def test_the_form_of_people_means_the_same() -> None:
    document = tiered_document()
    people = written(document)

    converted = convert(read_yaml(as_yaml(people)))

    assert people["tiers"][0]["maximum"] == ["0.04 usd", "0.000000000000000004 eth"]
    assert people["tiers"][1]["share_min"] == "95.00 %"
    assert not converted.faults
    assert read(cast("Document", converted.body)) == read(document)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("maximum", "4", "has no unit"),
        ("maximum", ["4 eth", "5 eth"], "eth is there twice"),
        ("maximum", "4 doge", "is in doge: expected an amount in btc or eth or sol or spl or usdc"),
        ("share_max", "5", "'5' is no share such as '5 %'"),
        ("share_max", 5, "5 is no share such as '5 %'"),
        ("share_max", "100.01 %", "of 100 % at most"),
        ("share_max_bp", 500, "write 'share_max' with its unit, as in '5 %'"),
    ],
)
def test_a_number_of_a_tier_has_its_unit(field: str, text: Any, message: str) -> None:
    people = written(tiered_document())
    people["tiers"][0].pop("share_max", None)
    people["tiers"][0][field] = text

    converted = convert(read_yaml(as_yaml(people)))

    assert any(message in fault.message for fault in converted.faults), converted.faults


def test_an_asset_that_is_called_like_the_unit_of_values_is_ambiguous() -> None:
    people = written(tiered_document())
    people["assets"]["usd"] = people["assets"].pop("usdc")

    converted = convert(read_yaml(as_yaml(people)))

    assert any("an asset and the unit of values both" in fault.message for fault in converted.faults)


@pytest.mark.parametrize(
    ("text", "share"), [("5 %", 500), ("97.5 %", 9750), ("0.05 %", 5), ("100 %", 10_000)]
)
def test_shares_are_read_and_written_exactly(text: str, share: int) -> None:
    assert share_bp(text) == share
    assert share_text(share) == text


def test_every_number_of_a_tier_is_said() -> None:
    said = {part.key: [one.text for one in part.sentences] for part in sections(read(tiered_document()))}

    assert said["tiers"][0] == (
        "1. hot: role hot: a rule alone may let its funds go; no transaction takes it above 0.04 usd or "
        "0.000000000000000004 eth; none takes it below 0.01 % of what all holdings are worth; none takes it "
        "above 2.5 % of what all holdings are worth; moves that nobody approves leave 0.01 usd and "
        "0.000000000000000001 eth in it; the rebalancer keeps at least 0.02 usd and 0.000000000000000002 "
        "eth in it; the rebalancer keeps at most 0.03 usd and 0.000000000000000003 eth in it."
    )
    assert said["tiers"][-1].startswith("What wallets hold is what observers stated in the last 1 minute")


def test_a_mistake_in_a_tier_hides_none_elsewhere(tmp_path: Any) -> None:
    people = written(with_rule(ALLOW, exposure=["lowers"], value_max="7"))
    people["tiers"][0]["role"] = "tepid"
    people["rules"].append({"name": "s", "when": {"kinds": ["gift"]}, "then": "deny"})
    path = tmp_path / "policy.yaml"
    path.write_text(as_yaml(people))

    found = invoke("policy", "check", str(path))

    messages = sorted(error["message"] for error in cast("Any", found.document)["errors"])
    assert len(messages) == 2
    assert messages[0] == "rules[1].when.kinds[0]: unknown kind 'gift'"
    assert messages[1] == "tiers[0]: field 'role' must be one of hot, warm, cold"


def test_a_tier_without_a_wallet_is_an_error(tmp_path: Any) -> None:
    people = written(three_tiers())
    del people["wallets"]["warm"]
    path = tmp_path / "policy.yaml"
    path.write_text(as_yaml(people))

    found = invoke("policy", "check", str(path))

    errors = [error["message"] for error in cast("Any", found.document)["errors"]]
    assert "tiers[1]: no wallet is of tier 'warm'" in errors
