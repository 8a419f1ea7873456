"""From nothing to a genesis entry: fingerprints decide who is enrolled, the quorum decides what begins."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.connection import client_document, read_connection
from cli.demo.policy import ADMINISTRATORS, KEY, NODES, OBSERVERS, OPERATORS, WALLET, WITNESS, demo_policy
from cli.deployment import coordinator_config, load_draft
from cli.files import load_key
from cli.main import invoke
from cli.results import Misuse
from custody.config_reading import load_config
from policy.audit import parse_trust
from policy.errors import OperationalError
from policy.ledger import fold, initial
from policy.log.merkle import leaf_hash
from signer_nodes.api.card import Card
from signer_nodes.api.issuing import make_identity_certificate
from tests.unit.policy_documents import as_yaml, written

ORIGIN = "log.example.com/test"


def identity_certificate(name: str, key: Ed25519PrivateKey) -> bytes:
    return make_identity_certificate(name, key.public_key().public_bytes_raw(), sign=key.sign)


class Place:
    """A deployment under construction in one folder, by the commands themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *argv: str) -> dict[str, Any]:
        return invoke(*argv, "--dir", str(self.folder / "deployment")).document

    def init(self, *more: str) -> None:
        self.run("init", "--origin", ORIGIN, "--chain", "evm:31337=http://127.0.0.1:8545", *more)

    def node(self, name: str, role: str = "node") -> tuple[Path, str]:
        key = Ed25519PrivateKey.generate()
        certificate = identity_certificate(name, key)
        card = Card(name, role, ORIGIN, key.public_key().public_bytes_raw(), certificate)
        path = self.folder / f"{name}.json"
        path.write_bytes(card.to_bytes())
        return path, card.fingerprint

    def enroll_node(self, name: str, role: str = "node") -> None:
        path, said = self.node(name, role)
        self.run("enroll", "node", str(path), "--fingerprint", said, "--address", "127.0.0.1:7701")

    def person(self, kind: str, name: str, *more: str) -> None:
        made = invoke("identity", "create", kind, name, "--dir", str(self.folder / name)).document
        self.run("enroll", kind, made["card"], "--fingerprint", made["fingerprint"], *more)

    def enroll_all(self) -> None:
        self.init()
        for name in NODES:
            self.enroll_node(name)
        self.enroll_node(WITNESS, "witness")
        for name in ADMINISTRATORS:
            self.person("administrator", name)
        for name in OPERATORS:
            self.person("operator", name, "--groups", "treasury")
        self.person("backend", "payments")
        self.person("backend", "desk", "--people", "alice")
        self.person("backend", "rebalancer", "--groups", "rebalancer")
        for name in OBSERVERS:
            self.person("observer", name)

    def draft(self, w: int = 3, f: int = 1, *, policy: str = "") -> dict[str, Any]:
        path = self.folder / "policy"
        path.write_text(policy or json.dumps(demo_policy("0x" + "11" * 20)))
        numbers = ("--w", str(w), "--f", str(f), "--quorum", "2")
        return self.run("genesis", "draft", "--policy", str(path), *numbers)

    def sign(self, name: str) -> dict[str, Any]:
        return self.run("genesis", "sign", "--key", str(self.folder / name / "key.pem"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_quorums_signatures_make_an_entry_that_every_node_takes(place: Place) -> None:
    place.enroll_all()
    drafted = place.draft()
    first, second = place.sign("anna"), place.sign("berta")

    entry = (place.folder / "deployment" / "genesis.json").read_bytes()
    state, outcome = fold(initial(), entry)
    assert outcome.accepted and state.origin == ORIGIN
    assert (first["missing"], second["missing"]) == (1, 0)
    assert (
        second["fingerprint"] == leaf_hash(entry).hex() == place.run("genesis", "fingerprint")["fingerprint"]
    )
    assert "limits are exact while at most 1" in drafted["cosigners"]


def test_a_policy_in_yaml_becomes_the_same_entry_as_its_canonical_form(place: Place) -> None:
    place.enroll_all()
    in_json = place.draft()["hash"]
    policy: Any = demo_policy("0x" + "11" * 20)
    body = json.loads((place.folder / "deployment" / "genesis.draft.json").read_text())["body"]
    in_yaml = place.draft(policy=as_yaml(written(policy)))["hash"]

    assert body["policy"] == policy
    assert in_yaml == in_json


def test_a_policy_with_a_rule_that_nothing_reaches_begins_no_log(place: Place) -> None:
    place.enroll_all()
    policy: Any = demo_policy("0x" + "11" * 20)
    (small,) = (rule for rule in policy["rules"] if rule["name"] == "small")
    policy["rules"].append({**small, "name": "again"})

    with pytest.raises(
        OperationalError, match=r"policy:\d+:\d+: .*'again' is never reached: 'small' before it"
    ):
        place.draft(policy=as_yaml(written(policy)))
    assert not (place.folder / "deployment" / "genesis.draft.json").exists()


def test_clients_and_auditors_get_what_the_administrators_signed(place: Place) -> None:
    place.enroll_all()
    place.draft()
    place.sign("anna")
    place.sign("berta")

    folder = place.folder / "deployment"
    connection = read_connection(folder / "client.json")
    trust = parse_trust(json.loads((folder / "trust.json").read_text()))
    state, _ = fold(initial(), (folder / "genesis.json").read_bytes())
    assert connection.policy_hash == state.policy_hash
    assert WALLET in connection.policy.wallets and KEY in connection.policy.keys
    assert (trust.genesis, trust.w) == (leaf_hash((folder / "genesis.json").read_bytes()), 3)


def test_the_coordinators_configuration_says_what_was_enrolled(place: Place) -> None:
    chain = "evm:1=http://127.0.0.1:1/?a='b'\"c\""
    place.run("init", "--origin", ORIGIN, "--chain", chain, "--log-dir", 'a "log"')
    place.enroll_node("node-a")
    deployment = place.folder / "deployment"
    (deployment / "coordinator" / "config.toml").write_text(coordinator_config(load_draft(deployment)))

    config = load_config(deployment / "coordinator" / "config.toml")
    assert config.chains["evm:1"].urls == (chain.partition("=")[2],)
    assert config.publish_dir == deployment / "coordinator" / ".." / 'a "log"'
    assert config.chains["evm:1"].confirmations == 12
    assert config.nodes["node-a"].address == "127.0.0.1:7701"
    assert config.nodes["node-a"].certificate.exists()


def test_a_cluster_of_solana_has_a_section_that_lacks_its_nonce_accounts_alone(place: Place) -> None:
    chain = "solana:devnet=http://127.0.0.1:8899"
    place.run("init", "--origin", ORIGIN, "--chain", chain, "--confirmations", "6")
    place.enroll_node("node-a")
    deployment = place.folder / "deployment"
    config = deployment / "coordinator" / "config.toml"
    config.write_text(coordinator_config(load_draft(deployment)))

    assert "quorumkeep solana-nonce" in config.read_text()
    found = load_config(config).chains["solana:devnet"]
    assert found.solana is not None and found.solana.nonce_accounts == ()
    assert found.confirmations == 3  # final


def test_a_second_door_is_in_the_configuration_and_in_what_clients_get(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.init("--http", "127.0.0.1:7601")
    place.enroll_node("node-a")
    draft = load_draft(tmp_path / "deployment")
    (tmp_path / "config.toml").write_text(coordinator_config(draft))
    http = load_config(tmp_path / "config.toml").http

    assert http is not None and http.listen == "127.0.0.1:7601"
    assert client_document(draft, b"certificate", policy={})["http"] == "127.0.0.1:7601"
    assert "http" not in client_document({**draft, "http": ""}, b"certificate", policy={})


def test_one_signature_below_the_quorum_begins_nothing(place: Place) -> None:
    place.enroll_all()
    place.draft()
    place.sign("anna")
    again = place.sign("anna")

    assert again["missing"] == 1
    assert not (place.folder / "deployment" / "genesis.json").exists()


def test_a_card_with_another_fingerprint_is_not_enrolled(place: Place) -> None:
    place.init()
    path, _ = place.node("node-a")
    before = (place.folder / "deployment" / "deployment.json").read_bytes()

    with pytest.raises(OperationalError, match="do not enrol it"):
        place.run("enroll", "node", str(path), "--fingerprint", "0" * 64, "--address", "127.0.0.1:7701")
    assert (place.folder / "deployment" / "deployment.json").read_bytes() == before


def test_a_fingerprint_is_the_same_in_capitals_and_groups(place: Place) -> None:
    place.init()
    path, said = place.node("node-a")
    spoken = " ".join(said.upper()[at : at + 4] for at in range(0, 64, 4))

    enrolled = place.run("enroll", "node", str(path), "--fingerprint", spoken, "--address", "127.0.0.1:7701")
    assert enrolled["enrolled"] is True


@pytest.mark.parametrize("said", ["", "abc", "x" * 64])
def test_half_a_fingerprint_is_misuse(place: Place, said: str) -> None:
    place.init()
    path, _ = place.node("node-a")

    with pytest.raises(Misuse, match="fingerprint"):
        place.run("enroll", "node", str(path), "--fingerprint", said, "--address", "127.0.0.1:7701")


def test_a_node_of_another_deployment_is_not_enrolled(place: Place) -> None:
    place.run("init", "--origin", "log.example.com/other", "--chain", "evm:1=http://127.0.0.1:8545")
    path, said = place.node("node-a")

    with pytest.raises(OperationalError, match="provisioned for"):
        place.run("enroll", "node", str(path), "--fingerprint", said, "--address", "127.0.0.1:7701")


def test_a_name_is_taken_once(place: Place) -> None:
    place.init()
    place.person("backend", "alice")

    path, said = place.node("alice")
    with pytest.raises(OperationalError, match="taken"):
        place.run("enroll", "node", str(path), "--fingerprint", said, "--address", "127.0.0.1:7701")


def test_numbers_that_make_limits_inexact_are_refused_with_the_bound(place: Place) -> None:
    place.enroll_all()

    with pytest.raises(OperationalError, match="2w - c must be above f"):
        place.draft(w=2, f=1)


def test_a_policy_that_the_roster_cannot_carry_out_is_refused(place: Place) -> None:
    place.init()
    for name in NODES:
        place.enroll_node(name)
    for name in ADMINISTRATORS:
        place.person("administrator", name)

    with pytest.raises(OperationalError, match="enrol who is missing"):
        place.draft(w=3, f=1)


def test_a_strangers_key_does_not_sign_the_genesis(place: Place) -> None:
    place.enroll_all()
    place.draft()

    with pytest.raises(OperationalError, match="no administrator"):
        place.sign("alice")


def test_secret_files_are_their_owners_alone_and_are_refused_otherwise(place: Place) -> None:
    place.init()
    invoke("identity", "create", "operator", "alice", "--dir", str(place.folder / "alice"))
    secrets = [
        place.folder / "deployment" / "coordinator" / "log.key",
        place.folder / "deployment" / "coordinator" / "identity.key",
        place.folder / "alice" / "key.pem",
        place.folder / "alice" / "passkey",
    ]

    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    secrets[0].chmod(0o644)
    with pytest.raises(OperationalError, match="chmod 600"):
        load_key(secrets[0])


def test_nothing_is_made_over_what_is_there(place: Place) -> None:
    place.init()

    with pytest.raises(OperationalError, match="exists already"):
        place.init()


def test_a_cold_node_is_enrolled_without_an_address_and_is_no_cosigner(place: Place) -> None:
    place.enroll_all()
    path, said = place.node("cold-a", "cold")

    with pytest.raises(Misuse, match="give no --address"):
        place.run("enroll", "node", str(path), "--fingerprint", said, "--address", "127.0.0.1:7701")
    place.run("enroll", "node", str(path), "--fingerprint", said)
    with pytest.raises(OperationalError, match="is taken"):
        place.run("enroll", "node", str(path), "--fingerprint", said)
    place.draft()

    body = json.loads((place.folder / "deployment" / "genesis.draft.json").read_text())["body"]
    assert [one["name"] for one in body["roster"]["cold"]] == ["cold-a"]
    assert "cold-a" not in [one["name"] for one in body["roster"]["cosigners"]]
