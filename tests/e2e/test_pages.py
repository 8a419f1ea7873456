"""The pages for people say what works: their blocks are run as they stand, one page after the other.

Other are the ports, the delay of changes, which is a day in earnest, and the cool-down of an address.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.demo.supervisor import free_ports
from policy.encoding import document_hash
from tests.e2e.processes import running_with, secrets_shown

pytestmark = pytest.mark.timeout(500)  # the fixture runs the whole pages; a busy machine is slower
REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("setup", "administration", "explaining", "runbook-lost-cosigner", "keys", "runbook-lost-node")
PAGES = [REPOSITORY / "docs" / f"{name}.md" for name in NAMES]
DELAY_MS, COOL_DOWN_MS = 6000, 3000
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+")
PAGES_S = 440


@dataclass(frozen=True, slots=True)
class Played:
    """What the pages' commands left behind and printed."""

    folder: Path
    output: str
    environment: dict[str, str]
    port_of: dict[str, int]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def status(self) -> dict[str, Any]:
        """How the deployment is doing."""
        shown: dict[str, Any] = json.loads(
            self.run("quorumkeep", "status", "--as", "people/anna", "--json").stdout
        )
        return shown


def page_script(page: str) -> tuple[str, dict[str, int]]:
    """All blocks of a text in one script, with ports that are free here; and which port became which."""
    blocks = BLOCK.findall(page)
    script = (
        "\n".join(blocks).replace("port=7700", "port=$BASE").replace("/path/to/checkout", str(REPOSITORY))
    )
    written = sorted(set(PORT.findall(script)))
    ports = dict(zip(written, free_ports(len(written)), strict=True))
    nodes = [str(number) for number in range(7701, 7705)]
    script = PORT.sub(lambda match: str(ports[match[0]]), script)
    # The page counts the nodes' ports up; here each has its own.
    listed = " ".join(str(ports[node]) for node in nodes)
    script = script.replace("port=$BASE", f"free=({listed}); at_port=-1")
    script = script.replace("port=$((port + 1))", "at_port=$((at_port + 1)); port=${free[$at_port]}")
    script = script.replace("--quorum 2\n", f"--quorum 2 --policy-delay-ms {DELAY_MS}\n")
    script = script.replace('"cool_down_ms": 3600000', f'"cool_down_ms": {COOL_DOWN_MS}')
    show = 'printf "%s\\n" "${pin[@]}" >pins'  # for the test that nobody else can see them
    return f"set -euo pipefail\n{script}\n{show}", ports


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("setup")
    script, ports = page_script("\n".join(page.read_text() for page in PAGES))
    programs = (Path(sys.executable).parent, REPOSITORY / "node_modules" / ".bin")
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "QUORUMKEEP_CLIENT": "treasury/client.json"}
    log = folder / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(PAGES_S)
            assert code == 0, log.read_text()[-3000:]
            yield Played(folder, log.read_text(), environment, ports)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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
    assert played.status["frozen"] is False


def test_the_policy_of_the_quorum_is_in_force_and_the_vetoed_one_is_not(played: Played) -> None:
    changed = json.loads((played.folder / "policy-change.json").read_bytes())
    vetoed = json.loads((played.folder / "generous-change.json").read_bytes())
    client = json.loads((played.folder / "treasury" / "client.json").read_bytes())

    followed = json.loads((played.folder / "with-old-change.json").read_bytes())
    in_force = json.loads((played.folder / "with-node-d-change.json").read_bytes())

    assert followed["body"]["previous"] == document_hash("policy", changed["body"]["policy"]).hex()
    assert played.status["policy"] == document_hash("policy", in_force["body"]["policy"]).hex()
    assert played.status["pending"] == []
    assert client["policy"] == in_force["body"]["policy"]
    assert vetoed["body"]["previous"] == followed["body"]["previous"] and len(vetoed["signatures"]) == 2


def test_an_address_of_two_administrators_was_paid_once_it_was_on_the_list(played: Played) -> None:
    (customers,) = played.status["lists"]

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
    keys = {key["key"]: key for key in played.status["keys"]}

    assert (keys["main"]["epoch"], keys["main"]["imported"]) == (2, False)
    assert (keys["old"]["epoch"], keys["old"]["imported"]) == (1, True)
    assert "key old, epoch 0: any 2 of node-a, node-b, node-c sign with it" in played.output


def test_the_successor_follows_the_log_in_the_place_of_the_lost_witness(played: Played) -> None:
    nodes = {node["name"]: node for node in played.status["nodes"]}
    pinned = json.loads((played.folder / "treasury" / "trust.json").read_bytes())

    assert nodes["witness-2"]["live"] and nodes["witness-2"]["size"] == played.status["size"]
    assert "not in the roster" in nodes["witness"]["problem"]
    assert {one["name"] for one in pinned["cosigners"]} == {"node-a", "node-b", "node-d", "witness-2"}


def test_a_resharing_has_brought_every_key_to_the_node_in_the_place_of_the_lost_one(played: Played) -> None:
    keys = played.status["keys"]

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
    script, _ = page_script("```sh\nquorumkeep enrol everybody\n```\n" + PAGES[0].read_text())
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, env={"PATH": "/usr/bin:/bin"}, timeout=30, check=False
    )

    assert ran.returncode != 0
