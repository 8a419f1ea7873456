"""The demo's own judgement: it can say no, and its policy says what the scenes rely on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.demo import policy as names
from cli.demo.chain import TOKEN, anvil_program
from cli.demo.hostile import Outcome
from cli.demo.report import Report
from cli.demo.scenes import SCENES, Scene, Seen
from cli.main import main
from policy.document import parse_policy
from policy.errors import OperationalError
from policy.model import Allow

REFUSED = Outcome(
    rule="intent-mismatch",
    reason="other bytes",
    lie_refused={"node-a": "state", "node-b": "state"},
    declined={"node-a": "no job", "node-b": "no job"},
    openings=0,
    partials=0,
    size=9,
)


def test_a_refusal_by_all_with_nothing_given_away_is_one() -> None:
    assert REFUSED.refused_by(cosigners=2, signers=2)


@pytest.mark.parametrize(
    "leak",
    [{"openings": 1}, {"partials": 1}, {"lie_refused": {"node-a": "state"}}, {"declined": {}}],
    ids=["an opening", "a partial signature", "a lie cosigned", "a signer silent"],
)
def test_anything_less_is_no_refusal(leak: "dict[str, object]") -> None:
    assert not replace(REFUSED, **leak).refused_by(cosigners=2, signers=2)  # type: ignore[arg-type]


def played(*, verified: bool = True, wrong: str = "") -> Report:
    report = Report(log={"verified": verified})
    for scene in SCENES:
        seen = Seen("failed" if scene.name == wrong else scene.expected, rule="r")
        report.scene(scene, seen, seconds=0.1)
    return report


def test_a_demo_is_ok_when_all_came_out_and_the_log_verifies() -> None:
    result = played().result(nodes=3, min_signers=2)

    assert (result.document["ok"], result.code) == (True, 0)
    assert json.loads(json.dumps(result.document)) == result.document


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_one_scene_that_came_out_otherwise_spoils_it(scene: Scene) -> None:
    result = played(wrong=scene.name).result(nodes=3, min_signers=2)

    assert (result.document["ok"], result.code) == (False, 1)


def test_a_log_that_does_not_verify_spoils_it() -> None:
    assert not played(verified=False).ok


def test_a_demo_that_played_nothing_is_not_ok() -> None:
    assert not Report(log={"verified": True}).ok


def test_the_policy_is_valid_and_pays_customers_only() -> None:
    policy = parse_policy(names.demo_policy("0x" + "11" * 20))

    assert policy.lists["customers"] == {names.CUSTOMER}
    assert names.STRANGER not in policy.lists["customers"]
    assert [rule.name for rule in policy.rules if isinstance(rule.then, Allow)] == [
        "to-safety",
        "small",
        "token",
    ]
    assert {wallet.tier: wallet.key for wallet in policy.wallets.values()} == {
        "hot": "main",
        "warm": "warm",
        "cold": "cold",
    }


def test_a_large_payment_can_exceed_the_day_while_each_is_within_its_rule() -> None:
    policy = parse_policy(names.demo_policy("0x" + "11" * 20))
    largest = max(rule.when.bound("amount_max") or 0 for rule in policy.rules if rule.name == "large")

    assert largest < policy.limits[0].maximum < 2 * largest


def test_a_folder_that_holds_a_deployment_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deployment.json").write_text("{}")
    code = main(["demo", "--dir", str(tmp_path)])

    assert code == 2
    assert "holds a deployment already" in capsys.readouterr().err
    assert (tmp_path / "deployment.json").read_text() == "{}"


def test_a_checkout_without_anvil_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="make setup"):
        anvil_program(tmp_path)


def test_the_token_on_the_chain_is_the_compiled_contract() -> None:
    token = json.loads(TOKEN.read_text())

    assert {"transfer", "balanceOf"} <= {item.get("name") for item in token["abi"]}
    assert bytes.fromhex(token["bytecode"].removeprefix("0x"))
