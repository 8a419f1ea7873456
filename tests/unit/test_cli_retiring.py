"""A key is retired by a policy under which its accounts can be emptied, and do nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.demo.policy import demo_policy
from cli.main import invoke
from cli.results import Misuse
from policy.document import parse_policy
from policy.errors import OperationalError

OLD = ["hot-main-0", "hot-main-1", "hot-main-2"]
INVARIANTS = """
version: 1
invariants:
  - {name: old-accounts-pay-nobody, when: {wallets: [hot-main-0, hot-main-1, hot-main-2], kinds: [KINDS]},
     must: {never: true}}
  - {name: old-accounts-are-emptied-by-two, when: {wallets: [hot-main-0, hot-main-1, hot-main-2]},
     must: {approvals_min: 2}}
"""


def retire(folder: Path, *more: str, **changed: Any) -> dict[str, Any]:
    """What came of ``policy retire-key`` on the demo's policy."""
    path = folder / "policy.json"
    path.write_text(json.dumps(demo_policy("0x" + "11" * 20) | changed))
    given = more or ("--key", "main", "--to", "main-2", "--approval", "2 of treasury")
    return invoke("policy", "retire-key", str(path), *given, "--out", str(folder / "new.json")).document


def test_wallets_keep_their_names_on_the_new_key_and_old_accounts_get_names_of_their_own(
    tmp_path: Path,
) -> None:
    found = retire(tmp_path)
    policy = parse_policy(json.loads((tmp_path / "new.json").read_text()))

    assert found["to_empty"] == OLD
    assert policy.wallets["hot"].key == "main-2" and len(policy.wallets["hot"].paths) == 3
    assert [policy.wallets[name].paths for name in OLD] == [("m/0/0",), ("m/0/1",), ("m/0/2",)]
    assert {policy.wallets[name].key for name in OLD} == {"main"}
    assert policy.keys["main-2"].participants == policy.keys["main"].participants
    assert policy.wallets["cold"].key == "cold"
    assert invoke("policy", "check", str(tmp_path / "new.json")).code == 0


@pytest.mark.parametrize("kinds", ["transfer", "tier_move"])
def test_a_solver_proves_that_old_accounts_do_nothing_but_be_emptied(kinds: str, tmp_path: Path) -> None:
    retire(tmp_path)
    invariants = tmp_path / "invariants.yaml"
    invariants.write_text(INVARIANTS.replace("KINDS", kinds))

    proved = invoke("policy", "prove", str(tmp_path / "new.json"), "--invariants", str(invariants))

    assert proved.code == 0, proved.document["findings"]


def test_without_its_forbid_the_solver_finds_a_payment_of_an_old_account(tmp_path: Path) -> None:
    retire(tmp_path)
    document = json.loads((tmp_path / "new.json").read_text())
    document["forbids"].pop(0)
    (tmp_path / "new.json").write_text(json.dumps(document))
    invariants = tmp_path / "invariants.yaml"
    invariants.write_text(INVARIANTS.replace("KINDS", "transfer"))

    assert invoke("policy", "prove", str(tmp_path / "new.json"), "--invariants", str(invariants)).code == 1


def test_a_forbid_that_stands_before_the_sweep_is_named(tmp_path: Path) -> None:
    any_kind = [{"name": "unknown", "when": {"not_destinations": ["customers"]}}]

    assert retire(tmp_path)["forbids_before"] == []
    assert retire(tmp_path, forbids=any_kind)["forbids_before"] == ["unknown"]


@pytest.mark.parametrize(
    "given",
    [
        ("--key", "none", "--to", "main-2", "--approval", "2 of treasury"),
        ("--key", "main", "--to", "cold", "--approval", "2 of treasury"),
        ("--key", "main", "--to", "Main 2", "--approval", "2 of treasury"),
        ("--key", "main", "--to", "main-2"),
        ("--key", "main", "--to", "main-2", "--approval", "two of treasury"),
    ],
)
def test_what_cannot_be_meant_writes_nothing(given: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(Misuse):
        retire(tmp_path, *given)
    assert not (tmp_path / "new.json").exists()


def test_a_key_is_retired_once(tmp_path: Path) -> None:
    retire(tmp_path)
    again = (str(tmp_path / "new.json"), "--key", "main", "--to", "main-3", "--approval", "1 of treasury")

    with pytest.raises((Misuse, OperationalError)):
        invoke("policy", "retire-key", *again, "--out", str(tmp_path / "third.json"))
