"""The pages for people say what works: their blocks are run as they stand, one page after the other."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from policy.encoding import document_hash
from tests.e2e.pages import Played, page_script, playing, text_of
from tests.e2e.processes import running_with, secrets_shown

pytestmark = pytest.mark.timeout(900)  # the fixture runs the whole pages; a busy machine is slower
NAMES = ("setup", "administration", "explaining", "runbook-lost-cosigner", "keys", "runbook-lost-node")
PAGES_S = 840


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with playing(page_script(text_of(NAMES)), tmp_path_factory.mktemp("setup"), PAGES_S) as found:
        yield found


def status(played: Played) -> dict[str, Any]:
    """How the deployment is doing."""
    shown = played.run("quorumkeep", "status", "--as", "people/anna", "--json")
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def states(played: Played, label: str) -> dict[str, str]:
    """What became of the requests whose idempotency key begins so."""
    listed = played.run("quorumkeep", "request", "list", "--as", "people/bob", "--limit", "1000", "--json")
    found = {r["body"]["idempotency_key"]: r["state"] for r in json.loads(listed.stdout)["requests"]}
    return {name: state for name, state in found.items() if name.startswith(label)}


def test_the_pages_end_with_six_payments_settled_and_one_denied(played: Played) -> None:
    expected = {f"order-{n}": "denied" if n == 3 else "settled" for n in range(1, 8)}

    assert states(played, "order-") == expected


def test_a_freeze_said_why_nothing_was_signed_and_its_unfreeze_ended_it(played: Played) -> None:
    assert "signing is frozen until the administrators' quorum unfreezes it" in played.output
    assert status(played)["frozen"] is False


def test_the_policy_of_the_quorum_is_in_force_and_the_vetoed_one_is_not(played: Played) -> None:
    changed = json.loads((played.folder / "policy-change.json").read_bytes())
    vetoed = json.loads((played.folder / "generous-change.json").read_bytes())
    client = json.loads((played.folder / "treasury" / "client.json").read_bytes())

    followed = json.loads((played.folder / "with-old-change.json").read_bytes())
    in_force = json.loads((played.folder / "with-node-d-change.json").read_bytes())

    assert followed["body"]["previous"] == document_hash("policy", changed["body"]["policy"]).hex()
    assert status(played)["policy"] == document_hash("policy", in_force["body"]["policy"]).hex()
    assert status(played)["pending"] == []
    assert client["policy"] == in_force["body"]["policy"]
    assert vetoed["body"]["previous"] == followed["body"]["previous"] and len(vetoed["signatures"]) == 2


def test_an_address_of_two_administrators_was_paid_once_it_was_on_the_list(played: Played) -> None:
    (customers,) = status(played)["lists"]

    assert "0x71c7656ec7ab88b098defb751b7401b5f6d8976f (a new customer) to customers" in played.output
    assert [one["label"] for one in customers["added"]] == ["a new customer"]
    assert states(played, "new-customer") == {"new-customer": "settled"}


def test_a_shadow_policy_said_on_a_payment_what_it_would_have_been(played: Played) -> None:
    (heading,) = [line for line in played.output.splitlines() if line.startswith("shadow policy careful")]
    flips = [line for line in played.output.splitlines() if "allow by small" in line and "0.2 eth" in line]

    assert "without a verdict on 0 entries" in heading
    assert states(played, "watched") == {"watched": "settled"}
    assert [line.split()[4] for line in flips] == ["reserve", "request"]
    assert all("wait by large" in line and "stricter" in line for line in flips)


def test_people_keep_their_names_and_nobody_leaves_who_is_needed(played: Played) -> None:
    roster = json.loads((played.folder / "treasury" / "roster.json").read_bytes())
    alice = json.loads((played.folder / "people" / "alice" / "card.json").read_bytes())
    shop = json.loads((played.folder / "people" / "shop" / "card.json").read_bytes())
    keys = {one["name"]: one["key"] for one in (*roster["operators"], *roster["initiators"])}

    assert (keys["alice"], keys["shop"]) == (alice["key"], shop["key"])
    assert "does not verify under the initiator's key" in played.output
    assert "needs 2 of group treasury, which has 1 members" in played.output
    assert states(played, "old-key") == {}


def test_the_key_is_in_its_next_epoch_and_another_is_taken_in(played: Played) -> None:
    keys = {key["key"]: key for key in status(played)["keys"]}

    assert (keys["main"]["epoch"], keys["main"]["imported"]) == (2, False)
    assert (keys["old"]["epoch"], keys["old"]["imported"]) == (1, True)
    assert "key old, epoch 0: any 2 of node-a, node-b, node-c sign with it" in played.output


def test_the_successor_follows_the_log_in_the_place_of_the_lost_witness(played: Played) -> None:
    nodes = {node["name"]: node for node in status(played)["nodes"]}
    pinned = json.loads((played.folder / "treasury" / "trust.json").read_bytes())

    assert nodes["witness-2"]["live"] and nodes["witness-2"]["size"] == status(played)["size"]
    assert "not in the roster" in nodes["witness"]["problem"]
    assert {one["name"] for one in pinned["cosigners"]} == {"node-a", "node-b", "node-d", "witness-2"}


def test_a_resharing_has_brought_every_key_to_the_node_in_the_place_of_the_lost_one(played: Played) -> None:
    keys = status(played)["keys"]

    assert [key["participants"] for key in keys] == [["node-a", "node-b", "node-d"]] * 2
    assert [key["gap"] for key in keys] == ["", ""]
    assert all({"node-a", "node-b"} <= set(key["destroyed_by"]) for key in keys)


def test_payments_went_on_while_the_lost_node_was_replaced(played: Played) -> None:
    meanwhile = states(played, "meanwhile-")

    assert len(meanwhile) > 10
    assert set(meanwhile.values()) == {"settled"}


def test_the_page_says_what_the_cosigner_numbers_give(played: Played) -> None:
    assert "3 of 4 cosigners: limits are exact while at most 1 of them are corrupt" in played.output


def test_no_pin_stands_in_a_command_line_or_an_environment(played: Played) -> None:
    pins = (played.folder / "pins").read_text().split()

    assert len(pins) == 6
    assert len(running_with("signer_nodes") | running_with("quorumkeep-node")) >= 3
    assert secrets_shown(pins) == []


def test_a_wrong_fingerprint_is_refused_and_nothing_is_enrolled(played: Played) -> None:
    before = (played.folder / "treasury" / "deployment.json").read_bytes()
    card = "people/shop/card.json"
    refused = played.run(
        "quorumkeep", "enroll", "backend", card, "--fingerprint", "0" * 64, "--dir", "treasury"
    )

    assert refused.returncode == 1
    assert "do not enrol it" in refused.stderr
    assert (played.folder / "treasury" / "deployment.json").read_bytes() == before


def test_the_test_sees_a_page_that_does_not_work() -> None:
    script = page_script("```sh\nquorumkeep enrol everybody\n```\n" + text_of(NAMES[:1]))
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, env={"PATH": "/usr/bin:/bin"}, timeout=30, check=False
    )

    assert ran.returncode != 0
