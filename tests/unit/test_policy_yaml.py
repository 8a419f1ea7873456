"""A policy in YAML is read exactly, or refused with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.policies.authoring import convert
from cli.policies.faults import FaultyError
from cli.policies.reading import Examined, examine, read_policy
from cli.policies.yaml_reader import DEPTH_MAX, read_yaml
from policy.document import policy_hash
from policy.errors import OperationalError
from tests.unit.policy_documents import PHASES, Document, as_yaml, documents, mutants, written

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "treasury.yaml"
TEXT = EXAMPLE.read_text()
quick = settings(
    max_examples=20,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


def examined(file: Path, text: str) -> Examined:
    file.write_text(text)
    return examine(file)


def with_text(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


@quick
@given(document=documents())
def test_every_policy_comes_back_from_yaml_as_it_was(document: Document) -> None:
    converted = convert(read_yaml(as_yaml(written(document))))

    assert converted.faults == []
    assert converted.body == document


def test_yaml_and_json_of_one_policy_have_one_hash(file: Path) -> None:
    from_yaml = read_policy(EXAMPLE)
    as_json, nameless = file.with_suffix(".json"), file.with_name("policy")
    as_json.write_text(json.dumps(from_yaml.body))
    nameless.write_text(json.dumps(from_yaml.body, indent=1))

    hashes = {policy_hash(read_policy(path).body) for path in (EXAMPLE, as_json, nameless)}
    nameless.write_text(TEXT)

    assert hashes == {policy_hash(read_policy(nameless).body)}


def test_amounts_and_times_become_base_units_and_milliseconds() -> None:
    body: Any = read_policy(EXAMPLE).body

    assert body["chains"]["evm:1"]["fee_ceiling"] == "50000000000000000"
    assert body["rules"][5]["when"]["amount_max"] == "2500000000"
    assert body["rules"][0]["when"]["value_max"] == "5000000"
    assert body["prices"]["max_age_ms"] == 900_000
    assert body["limits"][2]["window_ms"] == 7 * 86_400_000
    assert body["rules"][1]["then"]["delay_ms"] == 86_400_000
    assert body["rules"][6]["when"]["hours"] == [
        {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}
    ]


SURPRISES = {
    "a: no": (1, 4, "true or false"),
    "a: Yes": (1, 4, "true or false"),
    "a: on": (1, 4, "true or false"),
    "a: OFF": (1, 4, "true or false"),
    "a: y": (1, 4, "true or false"),
    "a: True": (1, 4, "true or false"),
    "on: x": (1, 1, "true or false"),
    "- a\n- [b, n]": (2, 7, "true or false"),
    "a: 017": (1, 4, "no number here"),
    "a: 0o17": (1, 4, "no number here"),
    "a: 0b11": (1, 4, "no number here"),
    "a: 0x1F": (1, 4, "put an address in quotes"),
    "a: 0x8ba1f109551bd432803012645ac136ddd64dba72": (1, 4, "put an address in quotes"),
    "a: 1_000": (1, 4, "no number here"),
    "a: 1,000": (1, 4, "no number here"),
    "a: 1.5": (1, 4, "has its unit"),
    "a: 1e3": (1, 4, "no number here"),
    "a: .5": (1, 4, "no number here"),
    "a: -1": (1, 4, "no number here"),
    "a: +1": (1, 4, "no number here"),
    "a: .inf": (1, 4, "no number here"),
    "a: .NaN": (1, 4, "no number here"),
    "a: 12345678901234567890": (1, 4, "no number here"),
    "a: 10:30": (1, 4, "base 60"),
    "a: 1:30:00": (1, 4, "base 60"),
    "a: 2026-01-02": (1, 4, "is a date"),
    "a: 2026-01-02 10:00:00": (1, 4, "is a date"),
    "a:": (1, 3, "nothing is here"),
    "a: ~": (1, 4, "nothing is here"),
    "a: Null": (1, 4, "nothing is here"),
    "- a\n-\n- b": (2, 2, "nothing is here"),
    "a: {b, c: d}": (1, 6, "nothing is here"),
    "a: b\nc: d\na: e": (3, 1, "'a' is there twice, first in line 1"),
    "a: &x b": (1, 4, "an anchor (&x)"),
    "a: b\nc: *x": (2, 4, "an alias (*x)"),
    "a: {<<: {b: c}}": (1, 5, "a merge key"),
    "a: !!str b": (1, 4, "a tag"),
    "a: ! b": (1, 4, "a tag"),
    "a: !!python/object:os.system {}": (1, 4, "a tag"),
    "%YAML 1.1\n---\na: b": (1, 1, "a directive"),
    "a: b\n---\nc: d": (2, 1, "another document"),
    "a: |\n  b\n": (1, 4, "several lines"),
    "a: >-\n  b\n": (1, 4, "several lines"),
    "a: 1\n  eth": (1, 4, "goes on in the next line"),
    'a: "b\n  c"': (1, 4, "goes on in the next line"),
    "a:\tb": (1, 3, "a tab"),
    "a:\n\t- b": (2, 1, "a tab"),
    "a: b\u2028c: d": (1, 5, "U+2028"),
    "a: b # \u202e": (1, 8, "U+202E"),
    "a: b\x85": (1, 5, "U+0085"),
    "1: a": (1, 1, "name of a field is text"),
    "true: a": (1, 1, "name of a field is text"),
    "[a]: b": (1, 1, "name of a field is text"),
    "a: [b": (1, 6, "this is not YAML"),
    "a: b: c": (1, 5, "this is not YAML"),
    "a: @b": (1, 4, "this is not YAML"),
    "": (1, 1, "the file is empty"),
}


@pytest.mark.parametrize(("text", "expected"), SURPRISES.items(), ids=map(repr, SURPRISES))
def test_a_surprise_of_yaml_is_refused_with_its_place(text: str, expected: tuple[int, int, str]) -> None:
    with pytest.raises(FaultyError) as caught:
        read_yaml(text)
    places = [(*fault.place, fault.message) for fault in caught.value.faults]

    assert any((line, column) == expected[:2] and expected[2] in why for line, column, why in places), places


@pytest.mark.parametrize(
    "text", ["a: 'no'", 'a: "0x11"', "a: '10:30'", "a: 0", "a: true", "a: 1.5 eth", "a: 1inch"]
)
def test_what_every_reader_takes_alike_is_read(text: str) -> None:
    assert isinstance(read_yaml(text).value, dict)


def test_every_surprise_of_a_file_is_reported_at_once(file: Path) -> None:
    found = examined(file, "a: no\nb: 1.5\nc: 010\n").faults

    assert [fault.place.line for fault in found] == [1, 2, 3]


def test_what_is_nested_too_deep_is_refused_not_followed(file: Path) -> None:
    for text in ("[" * (DEPTH_MAX + 2), "a: " + "[" * 5000, "- " * 3000 + "a", '{"a":' * 5000):
        assert examined(file, text).faults
    assert examined(file.with_suffix(".json"), '{"a":' * 50_000).faults


# in the running example: what is written, what instead, and where which mistake is then reported
WRONG = [
    ("amount_max: 1 eth", "amount_max: 1", "rules[4].when.amount_max: '1' has no unit"),
    ("amount_max: 1 eth", "amount_max: '1.5'", "'1.5' has no unit: write it as in '1.5 eth'"),
    ("amount_max: 1 eth", "amount_max: 1 usdc", "'1 usdc' is in usdc: expected an amount in eth"),
    ("amount_max: 1 eth", "amount_max: 1 etc", "'1 etc' is in etc: expected an amount in eth"),
    ("amount_max: 1 eth", "amount_max: 1eth", "'1eth' is no amount"),
    ("amount_max: 1 eth", "amount_max: -1 eth", "'-1 eth' is no amount"),
    ("amount_max: 1 eth", "amount_max: 1e3 eth", "'1e3 eth' is no amount"),
    ("2500 usdc", "0.0000001 usdc", "has 7 decimals, usdc has 6: round it yourself"),
    ("amount_max: 1 eth", f"amount_max: 1{'0' * 60} eth", "above 2**256 - 1"),
    ("value_max: 50000 usd", "value_max: 50000 eur", "'50000 eur' is in eur: values are in usd"),
    ("value_max: 50000 usd", "value_max: 0.001 usd", "has 3 decimals, usd has 2"),
    ("fee_ceiling: 0.05 eth", "fee_ceiling: 0.05 usdc", "expected an amount in eth"),
    ("fee_ceiling: 0.02 eth", "fee_ceiling: 0.02 usdc", "expected an amount in eth"),
    ("max_age: 15 min", "max_age: 15", "15 is no length of time such as"),
    ("max_age: 15 min", "max_age: 15 minutes", "'15 minutes' is no length of time"),
    ("max_age: 15 min", "max_age: 8 d", "'8 d' is too long: at most 7 days"),
    ("max_age: 15 min", "max_age_ms: 900000", "write 'max_age' with a unit"),
    ("delay: 24 h", "delay: 24 hours", "'24 hours' is no length of time"),
    ("[mon-fri 08:00-18:00 UTC]", "[mon-fri 08:00-18:00]", "'mon-fri 08:00-18:00' are no hours"),
    ("[mon-fri 08:00-18:00 UTC]", "[fri-mon 08:00-18:00 UTC]", "ends before it begins"),
    ("[mon-fri 08:00-18:00 UTC]", "[mon 18:00-08:00 UTC]", "ends before it begins"),
    ("approvals: [1 of treasury]", "approvals: [treasury]", "'treasury' are no approvals such as"),
    ("approvals: [1 of treasury]", "approvals: [0 of treasury]", "are no approvals such as"),
    ("approvals: [1 of treasury]", "approvals: [17 of treasury]", "must be an integer from 1 to 16"),
    (
        "destinations: [customers, exchanges]",
        "destinations: [customers, exchange]",
        "unknown list 'exchange'",
    ),
    ("assets: [usdc]", "assets: [usdc, dai]", "unknown asset 'dai'"),
    ("tiers: [hot, warm]", "tiers: [hot, luke-warm]", "rules[6].when.tiers[1]: unknown tier 'luke-warm'"),
    ("first_use: true", "first_use: 1", "field 'first_use' must be true or false"),
    ("kind: erc20", "kind: erc721", "field 'kind' must be one of native, erc20"),
    ("window: 7 d, ", "", "limits[2]: field 'window' is missing"),
    ("per: [initiator]", "per: [nobody]", "limits[1].per[0]: unknown scope 'nobody'"),
    ("name: to-safety", "name: refill", "'refill' is already at rules[0].name"),
    ("name: treasury", "nam: treasury", "unknown field 'nam'"),
    ("version: 1\n", "version: 0\n", "must be an integer from 1 to 1"),
    ("version: 1\n", "version: 2\n", "version 2 of policies is a later program's"),
    ("- name: to-safety", "- nmae: to-safety", "rules[2]: field 'name' is missing"),
    (
        "key: warm, chain: evm:1, paths: [m/0/0]",
        "key: hot, chain: evm:1, paths: [m/0/1]",
        "is already at wallets.hot.paths[1]",
    ),
    (
        "key: warm, chain: evm:1, paths: [m/0/0]",
        "key: warm, chain: evm:1, paths: [m/1']",
        "wallets.warm.paths[0]: must be an unhardened path",
    ),
    ("role: cold", "role: tepid", "tiers[2]: field 'role' must be one of hot, warm, cold"),
    ("share_max: 5 %", "share_max: 5", "tiers[0].share_max: 5 is no share such as '5 %'"),
    ("tD432803012645Ac136ddd64DBA72"[1:], "D432803012645Ac136ddd64DBA71", "lists.customers[0].address"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[f"{new or old}" for old, new, _ in WRONG])
def test_a_mistake_is_reported_where_it_is(file: Path, old: str, new: str, message: str) -> None:
    line = TEXT[: TEXT.index(old)].count("\n") + 1
    found = examined(file, with_text(old, new)).faults
    fitting = [fault for fault in found if message in fault.message]

    assert fitting, [fault.at("policy.yaml") for fault in found]
    if "missing" not in message:
        assert {fault.place.line for fault in fitting} <= {line, line + 1}
    columns = {fault.place.column for fault in fitting}
    assert columns != {1} or TEXT.splitlines()[line - 1].startswith(old.strip())


def test_several_mistakes_are_reported_together_and_none_that_only_follows(file: Path) -> None:
    text = with_text("decimals: 6, deposit_min", "decimals: x, deposit_min").replace(
        "amount_max: 1 eth", "amount_max: 1"
    )
    text = text.replace("per: [initiator]", "per: [nobody]").replace("[hot, warm]", "[hot, tepid]")
    found = [fault.message for fault in examined(file, text).faults]

    assert sorted(m.partition(":")[0] for m in found) == [
        "assets.usdc",
        "limits[1].per[0]",
        "rules[4].when.amount_max",
        "rules[6].when.tiers[1]",
    ]
    assert not any("unknown asset 'eth'" in message for message in found)


@quick
@given(document=mutants(documents().map(written)))
def test_whatever_is_in_a_file_it_is_a_policy_or_has_faults_inside_the_file(
    file: Path, document: Document
) -> None:
    text = as_yaml(document)
    found = examined(file, text)

    assert (found.read is None) == bool(found.faults)
    assert all(1 <= fault.place.line <= text.count("\n") + 1 for fault in found.faults)


@settings(parent=quick, max_examples=50)
@given(at=st.integers(0, len(TEXT) - 1), cut=st.integers(0, 9), put=st.text(max_size=6))
def test_a_spoilt_file_is_refused_or_read_never_a_crash(file: Path, at: int, cut: int, put: str) -> None:
    file.write_bytes((TEXT[:at] + put + TEXT[at + cut :]).encode("utf-8", "surrogatepass"))
    found = examine(file)

    assert (found.read is None) == bool(found.faults)


def test_json_is_refused_with_places_too(file: Path) -> None:
    body: Any = read_policy(EXAMPLE).body
    as_json = file.with_suffix(".json")
    body["rules"][2]["when"]["destination_tiers"] = ["hto"]
    text = json.dumps(body, indent="\t")
    line = text[: text.index('"hto"')].count("\n") + 1
    fault = examined(as_json, text).faults[0]
    broken = examined(as_json, text[:-3]).faults[0]
    twice = examined(as_json, '{"version": 1, "version": 1}').faults[0]
    (later,) = examined(as_json, '{"version": 2, "colours": []}').faults

    assert (fault.place.line, fault.message) == (
        line,
        "rules[2].when.destination_tiers[0]: unknown tier 'hto'",
    )
    assert "this is not JSON" in broken.message and broken.place.line >= line
    assert "'version' is there twice" in twice.message
    assert "a later program's" in later.message


def test_what_is_no_text_is_refused_with_its_place(file: Path) -> None:
    file.write_bytes(b"version: 1\nname: \xff\n")

    assert examine(file).faults[0].at("f") == "f:2:7: this is not UTF-8 text"


def test_a_policy_with_mistakes_is_not_handed_on(file: Path) -> None:
    file.write_text(with_text("amount_max: 1 eth", "amount_max: 1").replace("delay: 24 h", "delay: 24"))

    with pytest.raises(
        OperationalError, match=r"policy\.yaml:55:\d+: rules\[1\].*and 1 more: run quorumkeep policy check"
    ):
        read_policy(file)
    with pytest.raises(OperationalError, match="cannot read the policy"):
        read_policy(file.with_name("missing.yaml"))
