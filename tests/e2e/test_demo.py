"""The demo, as a user runs it: real processes, real tokens, a real chain.

What it claims is checked against the chain and by libraries that are not ours: eth_account and eth_keys
recover who signed, ecdsa derives the account and verifies the signatures in the log.
"""

import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from functools import partial
from operator import ne
from pathlib import Path
from typing import Any

import ecdsa
import httpx
import pytest
import rlp
from eth_account import Account
from eth_keys.datatypes import PublicKey, Signature
from eth_utils.crypto import keccak

from cli.connection import read_connection
from cli.demo.policy import CUSTOMER, STRANGER
from cli.drills.own import look_at_own
from cli.drills.run import tell
from cli.drills.steps import Steps
from cli.identities import load_identity
from cli.parser import build_parser
from custody.indicators.notes import DrillNote
from tests.e2e.demos import PROGRAM, STOPPED_S, Demo, heeding_ctrl_c, played
from tests.e2e.processes import none_left, running_with
from tests.waiting import WAIT_S, seen

pytestmark = pytest.mark.timeout(300)  # the fixture plays the whole demo; a busy machine is slower
EXPECTED = {
    "small_withdrawal": "settled",
    "large_withdrawal": "settled",
    "erc20_withdrawal": "settled",
    "unknown_destination": "denied",
    "over_daily_limit": "denied",
    "self_approval": "denied",
    "tampered_bytes": "refused_by_nodes",
    "node_down": "settled",
    "node_restart": "settled",
    "hot_to_cold": "settled",
    "cold_to_hot": "settled",
    "warm_to_hot": "settled",
    "hot_maximum": "denied",
    "replayed_request": "settled",
}
ETHER = 10**18
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "spec" / "examples"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with played(tmp_path_factory.mktemp("demo") / "deployment") as demo:
        yield demo


def test_every_scene_comes_out_as_it_should(demo: Demo) -> None:
    assert demo.seen() == EXPECTED
    assert demo.document["ok"] is True


def test_while_it_is_served_it_has_a_console(demo: Demo) -> None:
    config = tomllib.loads((demo.folder / "coordinator" / "config.toml").read_text())
    site = config["console"]["origin"]
    page = httpx.get(f"{site}/enrol", trust_env=False).text
    said = demo.folder.with_name("stderr").read_text()

    assert "Make passkey and card" in page
    assert f"the console is {site}." in said


def test_while_it_is_served_a_backend_is_given_new_addresses_though_its_coordinator_was_behind(
    demo: Demo,
) -> None:
    connection = read_connection(demo.folder / "client.json")
    with connection.open(load_identity(demo.folder / "people" / "payments")) as client:
        given = client.give_address("hot", "a customer")

    assert given.address in derived_accounts(demo)


def test_what_is_denied_or_refused_has_no_transaction(demo: Demo) -> None:
    refused = [row for row in demo.document["scenes"] if row["status"] != "settled"]

    assert len(refused) == 5
    assert all(row["tx_hash"] is None and row["block"] is None for row in refused)


def test_the_document_says_what_ran_and_what_the_audit_found(demo: Demo) -> None:
    document, log = demo.document, demo.document["log"]

    assert (document["nodes"], document["min_signers"]) == (3, 2)
    assert "SoftHSM" in document["hsm"] and "anvil" in document["chain"]
    assert (log["verified"], log["mismatches"]) == (True, 0)
    assert log["cosigners"] >= 3 and log["replayed_verdicts"] >= 10 and len(log["root"]) == 64


def test_the_chain_has_each_payment_from_the_wallet_by_another_librarys_word(demo: Demo) -> None:
    wallet = derived_accounts(demo)
    sent = {name: demo.raw(name) for name, status in EXPECTED.items() if status == "settled"}

    senders = {name: Account.recover_transaction(raw).lower() for name, raw in sent.items()}
    for tier in ("warm", "cold"):
        assert [senders.pop(f"{tier}_to_hot")] == derived_accounts(demo, tier)
    assert set(senders.values()) <= set(wallet)
    assert senders["small_withdrawal"] == wallet[0] == demo.document["key"]["address"]
    assert senders["large_withdrawal"] in wallet[1:]


@pytest.mark.parametrize(
    ("scene", "amount"),
    [("small_withdrawal", ETHER // 2), ("large_withdrawal", 40 * ETHER), ("node_down", ETHER // 5)],
)
def test_a_payment_moves_what_was_asked_for_to_whom_it_was_asked(demo: Demo, scene: str, amount: int) -> None:
    fields = rlp.decode(demo.raw(scene)[1:])
    receipt = demo.chain.call("eth_getTransactionReceipt", demo.scene(scene)["tx_hash"])

    assert ("0x" + fields[5].hex(), int.from_bytes(fields[6], "big")) == (CUSTOMER, amount)
    assert (int(receipt["status"], 16), int(receipt["blockNumber"], 16)) == (1, demo.scene(scene)["block"])


def test_the_warm_wallet_has_what_the_scenes_left_it(demo: Demo) -> None:
    (warm,) = derived_accounts(demo, "warm")
    spent = 300 * ETHER - 10 * ETHER - demo.chain.balance(warm)

    assert 0 < spent < ETHER // 100  # its own fee, and nothing else


def test_the_cold_wallet_has_what_the_scenes_left_it(demo: Demo) -> None:
    (cold,) = derived_accounts(demo, "cold")
    spent = 1000 * ETHER + 1 * ETHER - 5 * ETHER - demo.chain.balance(cold)

    assert 0 < spent < ETHER // 100
    assert demo.scene("hot_maximum")["rule"] == "tier-maximum"


def test_nobody_else_got_anything(demo: Demo) -> None:
    assert demo.chain.balance(STRANGER) == 0


def test_the_doctor_finds_one_machine_under_everything_and_nothing_broken(demo: Demo) -> None:
    asked = demo.ask("anna", "doctor", "--dir", str(demo.folder), "--json")
    findings = {one["code"]: one for one in json.loads(asked.stdout)["findings"]}

    assert asked.returncode == 0, asked.stdout
    assert findings["host-signs"]["about"] == "127.0.0.1"
    assert not {"client-stale", "cosigner-down", "clock-off", "key-missing"} & set(findings)


def test_the_indicators_read_what_the_scenes_did(demo: Demo, tmp_path: Path) -> None:
    page = tmp_path / "indicators.html"
    asked = demo.ask("anna", "indicators", "--html", str(page), "--json")
    card = json.loads(asked.stdout)
    lines = {one["name"]: one for one in card["lines"]}

    assert lines["denied_share_bp"]["reading"] > 0
    assert lines["cosigners_down"]["reading"] == lines["share_age_d"]["reading"] == 0
    assert lines["clock_off_ms"]["reading"] < 1000
    assert lines["drill_age_d"]["missing"] == "unknown"
    assert f">{card['score']}<" in page.read_text()


def test_the_log_is_told_of_backups_by_what_their_files_say(demo: Demo, tmp_path: Path) -> None:
    public = json.loads((EXAMPLES / "backup-public.json").read_text())
    nodes = ["node-a", "node-b", "node-c"]
    for key, index in ((key, index) for key in ("main", "warm", "cold") for index in (1, 2)):
        body = {**public, "key": key, "epoch": 0, "index": index, "min_signers": 2, "participants": nodes}
        (tmp_path / f"{key}-{index}.backup").write_text(json.dumps({"public": body}))
    files = [str(path) for path in sorted(tmp_path.glob("*.backup"))]
    told = demo.ask("rebalancer", "key", "backed-up", *files, "--json")
    refused = demo.ask("anna", "key", "backed-up", *files)
    line = once_read(demo, "backup_age_d")

    assert told.returncode == 0, told.stderr
    assert refused.returncode == 2 and "notes are theirs" in refused.stderr
    assert line["reading"] == 0


def test_how_a_drill_went_is_in_the_log_and_the_age_of_the_last_good_one_is_read(demo: Demo) -> None:
    who = ("--as", str(demo.folder / "people" / "rebalancer"), "--client", str(demo.folder / "client.json"))
    arguments = build_parser().parse_args(["drill", "lost-node", *who])

    assert tell(arguments, DrillNote("lost-node", True, 46))
    assert once_read(demo, "drill_age_d")["reading"] == 0


def test_a_drill_finds_that_another_coordinator_could_go_on_from_copies(demo: Demo) -> None:
    steps = Steps(lambda text: None)
    arguments = build_parser().parse_args(["drill", "lost-coordinator", "--dir", str(demo.folder)])
    look_at_own("lost-coordinator", arguments, steps=steps)

    assert steps.ok and len(steps.rows) == 2


def once_read(demo: Demo, name: str) -> dict[str, Any]:
    """An indicator, once there is something to read."""

    def look() -> dict[str, Any]:
        lines = json.loads(demo.ask("anna", "indicators", "--json").stdout)["lines"]
        return next(one for one in lines if one["name"] == name)

    return seen(look, lambda line: "missing" not in line, every_s=0.2)


def test_a_replayed_request_is_the_same_payment(demo: Demo) -> None:
    first, again = demo.scene("small_withdrawal"), demo.scene("replayed_request")

    assert (first["tx_hash"], first["block"]) == (again["tx_hash"], again["block"])


def test_every_signature_of_the_log_verifies_under_ecdsa_and_eth_keys(demo: Demo) -> None:
    keys = [*derived_keys(demo), *derived_keys(demo, "warm"), *derived_keys(demo, "cold")]
    accounts = {point_address(key): key for key in keys}
    reserved = [entry["body"] for entry in demo.entries() if entry["kind"] == "reserve"]
    signatures = [entry["body"]["signature"] for entry in demo.entries() if entry["kind"] == "signature"]

    messages = {keccak(bytes.fromhex(body["tx"])) for body in reserved}
    assert len(signatures) >= 6
    for signature in map(bytes.fromhex, signatures):
        signers = {
            message: Signature(signature).recover_public_key_from_msg_hash(message).to_address()
            for message in messages
        }
        message, address = next((m, a) for m, a in signers.items() if a in accounts)
        key = ecdsa.VerifyingKey.from_string(accounts[address], curve=ecdsa.SECP256k1)
        assert key.verify_digest(signature[:64], message)


def test_a_signature_by_another_key_is_seen(demo: Demo) -> None:
    accounts = {point_address(key) for key in derived_keys(demo)}
    other = Account.create().sign_transaction(
        {"to": "0x" + "11" * 20, "value": 1, "gas": 21000, "gasPrice": 1, "nonce": 0, "chainId": 31337}
    )

    assert Account.recover_transaction(other.raw_transaction).lower() not in accounts


def test_the_node_that_came_back_is_among_the_signers(demo: Demo) -> None:
    reserved = [entry["body"] for entry in demo.entries() if entry["kind"] == "reserve"]

    assert "node-a" in demo.scene("node_restart")["reason"]
    assert "node-a" not in demo.scene("node_down")["reason"]
    assert any("node-a" in body["signers"] for body in reserved[-4:])


def test_the_audit_fails_on_a_log_with_one_byte_changed(demo: Demo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shutil.copytree(demo.folder / "log", log)
    size = int((log / "checkpoint").read_text().splitlines()[1])
    bundle = log / "tile" / "entries" / "000.p" / str(size)
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1

    audits = [audit(log, demo.folder / "trust.json")]
    bundle.write_bytes(bytes(data))
    audits.append(audit(log, demo.folder / "trust.json"))
    assert [ran.returncode for ran in audits] == [0, 1]


KILLED = {
    "coordinator": "custody.main --config {folder}/coordinator/",
    "node": "signer_nodes.main run --config {folder}/nodes/node-b/",
    "witness": "signer_nodes.main run --config {folder}/nodes/witness/",
    "chain": "--state {folder}/chain.json",
}


@pytest.mark.parametrize("victim", KILLED)
def test_a_request_survives_kill_9_of_any_process_and_is_paid_once(demo: Demo, victim: str) -> None:
    arguments = ("--wallet", "hot", "--asset", "eth", "--amount", "0.01 eth", "--to", CUSTOMER)
    order = ("request", "send", *arguments, "--idempotency-key", f"killed-{victim}", "--json")
    process = min(running_with(KILLED[victim].format(folder=demo.folder)))
    before = demo.chain.balance(CUSTOMER)
    if victim == "chain":
        hold_still(demo, process)
    request = json.loads(demo.ask("payments", *order).stdout)["request"]
    os.kill(process, signal.SIGKILL)

    deadline = time.monotonic() + WAIT_S
    while (ended := demo.ask("payments", "request", "wait", request, "--timeout", "20", "--json")).returncode:
        assert time.monotonic() < deadline, ended
    again = demo.ask("payments", *order)
    assert json.loads(again.stdout)["tx_hash"] == json.loads(ended.stdout)["tx_hash"] is not None
    assert demo.chain.balance(CUSTOMER) - before == ETHER // 100
    assert process not in running_with(KILLED[victim].format(folder=demo.folder))


@pytest.mark.slow
def test_a_witness_that_hangs_is_missed_though_nothing_is_signed_and_payments_go_on(demo: Demo) -> None:
    order = ("--wallet", "hot", "--asset", "eth", "--amount", "0.01 eth", "--to", CUSTOMER, "--wait", "30")
    process = min(running_with(KILLED["witness"].format(folder=demo.folder)))
    os.kill(process, signal.SIGSTOP)
    try:
        away = findings_once(demo, "cosigner-down", there=True)
        paid = demo.ask("payments", "request", "send", *order, "--idempotency-key", "without-a-witness")
        card = json.loads(demo.ask("anna", "indicators", "--json").stdout)
    finally:
        os.kill(process, signal.SIGCONT)
    back = findings_once(demo, "cosigner-down", there=False)

    assert away["cosigner-down"]["about"] == "witness" and "none-to-spare" in away
    assert paid.returncode == 0, paid.stderr
    assert next(one["reading"] for one in card["lines"] if one["name"] == "cosigners_down") == 1
    assert not {"cosigner-down", "none-to-spare"} & back.keys()


def findings_once(demo: Demo, code: str, *, there: bool) -> dict[str, Any]:
    """What the doctor finds, once a finding is among it, or none of it any more."""

    def look() -> dict[str, Any]:
        asked = json.loads(demo.ask("anna", "doctor", "--json").stdout)
        return {one["code"]: one for one in asked["findings"]}

    return seen(look, lambda found: (code in found) is there, every_s=0.5)


def hold_still(demo: Demo, chain: int) -> None:
    """Stop the chain's process once it has written down all it has: killed then, it loses nothing it told."""
    state = demo.folder / "chain.json"
    for _ in range(2):
        written = state.stat().st_mtime_ns
        seen(lambda: state.stat().st_mtime_ns, partial(ne, written), every_s=0.05)
    time.sleep(0.3)
    os.kill(chain, signal.SIGSTOP)


def test_ctrl_c_in_the_middle_stops_everything_and_removes_what_it_made(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [str(PROGRAM), "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heeding_ctrl_c,  # noqa: PLW1509 - no thread of ours runs here
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "starting the nodes" in line:
            break
    seen(lambda: running_with(f"signer_nodes.main run --config {tmp_path}"))
    process.send_signal(signal.SIGINT)
    code = process.wait(STOPPED_S)

    assert code == 1
    assert not none_left(str(tmp_path))
    assert not list(tmp_path.iterdir())


def audit(log: Path, trust: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(PROGRAM), "audit", "verify", str(log), "--trust", str(trust), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def derived_accounts(demo: Demo, wallet: str = "hot") -> list[str]:
    """The wallet's addresses in the order of its paths."""
    return [point_address(key) for key in derived_keys(demo, wallet)]


def derived_keys(demo: Demo, wallet: str = "hot") -> list[bytes]:
    """The wallet's public keys, derived from the logged group key by BIP 32 as ``ecdsa`` computes it."""
    bodies = [(entry["kind"], entry["body"]) for entry in demo.entries()]
    policy = next(body["policy"] for kind, body in bodies if kind == "genesis")
    keys = {body["key"]: body for kind, body in bodies if kind == "key"}
    key = keys[policy["wallets"][wallet]["key"]]
    assert keys["main"]["group_key"] == demo.document["key"]["group_key"] != keys["cold"]["group_key"]
    derived = []
    for path in policy["wallets"][wallet]["paths"]:
        point, chain_code = bytes.fromhex(key["group_key"]), bytes.fromhex(key["chain_code"])
        for step in path.split("/")[1:]:
            point, chain_code = child(point, chain_code, int(step))
        uncompressed = ecdsa.VerifyingKey.from_string(point, curve=ecdsa.SECP256k1).to_string("uncompressed")
        derived.append(uncompressed[1:])
    return derived


def child(point: bytes, chain_code: bytes, index: int) -> tuple[bytes, bytes]:
    digest = hmac.new(chain_code, point + index.to_bytes(4, "big"), hashlib.sha512).digest()
    curve = ecdsa.SECP256k1
    parent = ecdsa.VerifyingKey.from_string(point, curve=curve).pubkey.point
    shifted = parent + curve.generator * int.from_bytes(digest[:32], "big")
    made = ecdsa.VerifyingKey.from_public_point(shifted, curve=curve)
    return made.to_string("compressed"), digest[32:]


def point_address(key: bytes) -> str:
    return str(PublicKey(key).to_address())
