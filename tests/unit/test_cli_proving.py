"""``policy prove``, ``policy diff`` and ``bench policy``, as people run them."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import invoke
from cli.policies.bench import PROOF_RULES, RULES, diff_s, prove_s
from cli.policies.invariants import read_invariants
from cli.policies.reading import read_policy
from cli.policies.sample_policy import changed_document, sample_document
from cli.results import Misuse
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import OperationalError
from policy.prove.differences import compare
from policy.prove.invariants import UNREACHABLE
from policy.prove.proofs import Answer, prove
from tests.architecture.planting import REPOSITORY

EXAMPLES = REPOSITORY / "docs" / "examples"
TREASURY, INVARIANTS = EXAMPLES / "treasury.yaml", EXAMPLES / "treasury.invariants.yaml"


def changed_treasury(folder: Path, old: str, new: str) -> Path:
    """The example with one text in place of another."""
    text = TREASURY.read_text()
    assert text.count(old) == 1
    path = folder / "treasury.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_the_treasury_holds_its_invariants_and_they_catch_most_slips_that_allow_more() -> None:
    result = invoke("policy", "prove", str(TREASURY), "--mutants")

    assert result.code == 0
    assert {one["answer"] for one in result.document["findings"]} == {"proved"}
    assert result.document["invariants"] in str(result.text[0])
    mutants = result.document["mutants"]
    assert mutants["counted"] == mutants["caught"] + len(mutants["survivors"])
    assert mutants["caught"] >= 0.8 * mutants["counted"] > 40


def test_a_broken_invariant_is_refused_with_the_transaction_that_breaks_it(tmp_path: Path) -> None:
    path = changed_treasury(tmp_path, "  - name: cold-pays-only-warm\n", "  - name: cold-sweeps-nothing\n")
    path.write_text(path.read_text().replace("kinds: [transfer, sweep]", "kinds: [sweep]"))

    result = invoke("policy", "prove", str(path), "--invariants", str(INVARIANTS))

    broken = {one["invariant"]: one for one in result.document["findings"] if one["answer"] == "broken"}
    assert result.code == 1
    assert broken["cold-pays-nobody-else"]["transaction"]["tier"] == "cold"
    assert broken["cold-pays-nobody-else"]["verdict"]["outcome"] == "allow"
    assert any("from wallet cold to 0x" in str(line) for line in result.text)


def test_without_invariants_nothing_is_proved(tmp_path: Path) -> None:
    path = tmp_path / "alone.yaml"
    path.write_text(TREASURY.read_text())

    with pytest.raises(Misuse, match="no invariants beside"):
        invoke("policy", "prove", str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value_max: 1000000 usd", "value_max: 1000000 eur", r"yaml:\d+:\d+: .* is in eur"),
        ("{never: true}", "{never: perhaps}", "must be true or false"),
        ("delay_min: 24 h", "delay_min: 24", r"yaml:\d+:\d+: "),
        ("tiers: [cold], kinds", "tiers: [frozen], kinds", "unknown tier 'frozen'"),
    ],
)
def test_a_mistake_in_the_invariants_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "treasury.invariants.yaml"
    path.write_text(INVARIANTS.read_text().replace(old, new, 1))

    with pytest.raises(OperationalError, match=message):
        read_invariants(path, read_policy(TREASURY).policy)


def test_invariants_in_canonical_json_are_the_same(tmp_path: Path) -> None:
    policy = read_policy(TREASURY).policy
    found, body = read_invariants(INVARIANTS, policy)
    path = tmp_path / "treasury.invariants.json"
    path.write_text(json.dumps(body))

    assert read_invariants(path, policy) == (found, body)


def test_the_diff_of_a_policy_with_itself_is_nothing() -> None:
    result = invoke("policy", "diff", str(TREASURY), str(TREASURY))

    assert (result.code, result.document["same"], result.document["differences"]) == (0, True, [])


def test_the_diff_names_what_is_newly_allowed_with_a_transaction(tmp_path: Path) -> None:
    path = changed_treasury(tmp_path, "amount_max: 1 eth,", "amount_max: 2 eth,")

    result = invoke("policy", "diff", str(TREASURY), str(path))

    assert result.code == 1
    first = result.document["differences"][0]
    assert (first["change"], first["new"]["rule"]) == ("allowed", "small")
    assert 10**18 < int(first["transaction"]["amount"]) <= 2 * 10**18
    assert any(str(line).startswith("newly allowed: ") for line in result.text)


@pytest.mark.parametrize("rules", [10, pytest.param(PROOF_RULES, marks=pytest.mark.slow)])
def test_every_rule_of_the_sample_decides_and_its_change_is_found(rules: int) -> None:
    old, new = parse_policy(sample_document(rules)), parse_policy(changed_document(rules))

    reached = prove(old, ())
    found = compare(old, new)

    assert [(one.invariant, one.answer) for one in reached] == [(UNREACHABLE, Answer.PROVED)]
    assert not found.same


@pytest.mark.slow
def test_three_hundred_rules_are_proved_in_a_second_and_compared_in_five() -> None:
    assert (prove_s(PROOF_RULES) < 1, diff_s(PROOF_RULES) < 5) == (True, True)


def test_the_bench_prints_one_object_with_every_figure() -> None:
    figures = invoke("bench", "policy", "--quick").document

    assert set(figures) == {"verdicts_per_s", "prove_s", "diff_s", "fold_million_s", "start_s"}
    assert list(figures["verdicts_per_s"]) == [str(rules) for rules in RULES]
    assert all(rate > 0 for rate in figures["verdicts_per_s"].values())
    assert all(figures[name] > 0 for name in ("prove_s", "diff_s", "fold_million_s", "start_s"))


def test_a_policy_that_breaks_an_invariant_is_no_genesis(tmp_path: Path) -> None:
    from cli.policies.invariants import proved

    body: Json = {"version": 1, "invariants": [never({})]}
    path = tmp_path / "sample.json"
    (tmp_path / "sample.invariants.json").write_text(json.dumps(body))

    with pytest.raises(OperationalError, match=r"invariant nothing of .* is broken: allowed by 'rule-"):
        proved(path, "", policy=parse_policy(sample_document(10)))


def never(when: dict[str, Any]) -> Json:
    return {"name": "nothing", "when": when, "must": {"never": True}}
