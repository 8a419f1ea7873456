"""Every finding of the doctor is provoked here, and stands in its page."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cli.demo.policy import demo_policy
from cli.doctor import folder as folders
from cli.doctor.findings import BROKEN, CATALOGUE, Finding
from cli.doctor.standing import down, examine_client, examine_losses, examine_standing, in_quarantine
from cli.main import invoke
from cli.results import Misuse, Result
from policy.document import parse_policy, policy_hash
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.roster import Roster, parse_roster
from tests.architecture.planting import REPOSITORY
from tests.unit.test_cli_deployment import Place, identity_certificate

NOW_MS = 1_800_000_000_000
PAGE = (REPOSITORY / "docs" / "doctor.md").read_text()


def two_eyes() -> dict[str, Json]:
    """The demo's policy, but no rule takes the word of one person."""
    document: Any = demo_policy("0x" + "11" * 20)
    for rule in document["rules"]:
        for need in rule["then"].get("approvals", ()):
            need["count"] = 2
    return dict(document)


POLICY = parse_policy(two_eyes())
POLICY_HASH = policy_hash(two_eyes()).hex()
KEYS = ("main", "warm", "cold")
PLACES = ("node-a", "node-b", "node-c", "witness")
INVARIANT = """
version: 1
invariants:
  - {name: nobody-pays-alone, when: {tiers: [hot]}, must: {approvals_min: 1}}
"""


class Standing:
    """A deployment in a folder, and how its coordinator says it is doing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.more: list[str] = []
        self.status = healthy()

    @property
    def roster(self) -> Roster:
        return parse_roster(json.loads((self.folder / "genesis.json").read_text())["body"]["roster"])

    def edit(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.folder / name
        document = json.loads(path.read_text())
        change(document)
        path.write_bytes(canonical(document))

    def people(self, **persons: list[str]) -> None:
        path = self.folder / "people.toml"
        lines = [f"{person} = {json.dumps(names)}" for person, names in persons.items()]
        path.write_text("\n".join(["[people]", *lines]))
        self.more += ["--people", str(path)]

    def backup(self, node: str, *, epoch: int = 0, days: int = 1) -> None:
        """A file as ``key backup`` writes it, as far as it is in the clear: the example of its page."""
        path = self.folder / f"{node}.{epoch}.backup"
        nodes = ["node-a", "node-b", "node-c"]
        public = json.loads((REPOSITORY / "docs" / "spec" / "examples" / "backup-public.json").read_text())
        public |= {"key": "main", "epoch": epoch, "index": nodes.index(node) + 1, "participants": nodes}
        path.write_text(json.dumps({"public": public, "pieces": [], "sealed_share": ""}))
        made = datetime.now(UTC).timestamp() - days * 86400
        os.utime(path, (made, made))
        self.more += ["--backup", *(str(one) for one in sorted(self.folder.glob("*.backup")))]

    def result(self) -> Result:
        return invoke("doctor", "--dir", str(self.folder), *self.more)

    def codes(self) -> set[str]:
        """What both ways of looking find."""
        found = {str(one["code"]) for one in self.result().document["findings"]}
        standing = [
            *examine_client(self.status, bytes.fromhex(POLICY_HASH)),
            *examine_standing(self.status, self.roster, policy=POLICY, now_ms=NOW_MS),
            *examine_losses(
                self.roster,
                POLICY.keys,
                gone=down(self.status, self.roster),
                unsigning=in_quarantine(self.status),
            ),
        ]
        return found | {one.code for one in standing}


def healthy() -> dict[str, Any]:
    keys = [
        {
            "key": name,
            "epoch": 1,
            "gap": "",
            "min_signers": 2,
            "participants": ["node-a", "node-b", "node-c"],
            "destroyed_by": ["node-a", "node-b", "node-c"],
        }
        for name in KEYS
    ]
    node = {"live": True, "size": 100, "problem": "", "clock_off_ms": 0, "disk_free_bytes": 2**40}
    return {
        "time_ms": NOW_MS,
        "size": 100,
        "quorum_size": 100,
        "policy": POLICY_HASH,
        "frozen": False,
        "freeze": "",
        "nodes": [{"name": name, **node} for name in PLACES],
        "keys": keys,
        "pools": [{"key": name, "signers": ["node-a", "node-b"], "stock": 9} for name in KEYS],
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set up by the commands: cosigners on machines of their own, one more of each kind of person."""
    place = Place(tmp_path_factory.mktemp("sound"))
    place.enroll_all()
    place.person("administrator", "carla")
    place.person("operator", "dora", "--groups", "treasury")
    place.person("observer", "watch-c")
    path = place.folder / "deployment" / "deployment.json"
    draft = json.loads(path.read_text())
    for number, node in enumerate(draft["nodes"]):
        node["address"] = f"10.0.{number}.1:7700"
    path.write_text(json.dumps(draft))
    place.draft(policy=json.dumps(two_eyes()))
    for name in ("anna", "berta"):
        place.sign(name)
    return place.folder / "deployment"


@pytest.fixture
def standing(sound: Path, tmp_path: Path) -> Standing:
    shutil.copytree(sound, tmp_path / "deployment")
    return Standing(tmp_path / "deployment")


def test_a_sound_deployment_has_nothing_broken_and_no_risk(standing: Standing) -> None:
    assert standing.codes() <= {"losses", "several-roles", "policy-remark"}
    assert standing.result().code == 0


def certificate(path: Path, *, ends: datetime) -> None:
    key, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node-a")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    path.write_bytes(builder.not_valid_after(ends).sign(key, None).public_bytes(Encoding.PEM))


def pem(standing: Standing, name: str = "node-a") -> Path:
    return standing.folder / "coordinator" / "nodes" / f"{name}.pem"


def node(standing: Standing, **changed: Any) -> None:
    standing.status["nodes"][1].update(changed)


def roster(standing: Standing, change: Callable[[dict[str, Any]], None]) -> None:
    """What ``admin hand-out`` writes once another roster is in force."""
    document = json.loads((standing.folder / "genesis.json").read_text())["body"]["roster"]
    change(document)
    (standing.folder / "roster.json").write_text(json.dumps(document))


def addresses(standing: Standing, *hosts: str) -> None:
    def change(draft: dict[str, Any]) -> None:
        for one, host in zip(draft["nodes"], hosts, strict=True):
            one["address"] = f"{host}:7700"

    standing.edit("deployment.json", change)


def policy(standing: Standing, change: Callable[[dict[str, Any]], None]) -> None:
    standing.edit("client.json", lambda document: change(document["policy"]))


def old_genesis(standing: Standing) -> None:
    standing.edit("genesis.json", lambda entry: entry.update(time_ms=1))


def invariant(standing: Standing) -> None:
    path = standing.folder / "invariants.yaml"
    path.write_text(INVARIANT)
    standing.more += ["--invariants", str(path)]


def write(standing: Standing, name: str, text: str) -> None:
    (standing.folder / name).write_text(text)


def with_another_witness(document: dict[str, Any]) -> None:
    document["cosigners"].append({"name": "witness-2", "key": "ab" * 32, "role": "witness"})
    document["w"] = 4


def needed_by_some(standing: Standing) -> None:
    standing.people(bob=["bob", "carol", "dora"])
    policy(standing, lambda p: p["rules"][5]["then"]["approvals"][0].update(count=1))


def backups_of_two_epochs(standing: Standing) -> None:
    standing.backup("node-a")
    standing.backup("node-b", epoch=1)


def readable_database(standing: Standing) -> None:
    data = standing.folder / "coordinator" / "data"
    data.mkdir()
    (data / "custody.db").touch(mode=0o644)
    for one in (data, data.parent):
        one.chmod(0o755)


SOON = datetime.now(UTC) + timedelta(days=9)
PROVOKED: dict[str, Callable[[Standing], Any]] = {
    "file-missing": lambda s: (s.folder / "trust.json").unlink(),
    "file-broken": lambda s: write(s, "client.json", "{"),
    "key-readable": lambda s: (s.folder / "coordinator" / "log.key").chmod(0o640),
    "folder-open": lambda s: (s.folder / "coordinator").chmod(0o777),
    "data-readable": readable_database,
    "certificate-over": lambda s: certificate(pem(s), ends=datetime(2021, 1, 1, tzinfo=UTC)),
    "certificate-ends-soon": lambda s: certificate(pem(s), ends=SOON),
    "certificate-foreign": lambda s: pem(s).write_bytes(
        identity_certificate("node-a", Ed25519PrivateKey.generate())
    ),
    "genesis-foreign": lambda s: s.edit("trust.json", lambda trust: trust.update(genesis="00" * 32)),
    "cosigner-unconfigured": lambda s: roster(s, with_another_witness),
    "log-key-old": old_genesis,
    "disk-full": lambda s: node(s, disk_free_bytes=2**20),
    "disk-filling": lambda s: node(s, disk_free_bytes=2**30),
    "signing-stopped": lambda s: [one.update(live=False) for one in s.status["nodes"][:2]],
    "none-to-spare": lambda s: node(s, live=False),
    "losses": lambda s: None,
    "host-signs": lambda s: addresses(s, "10.0.0.1", "10.0.0.1", "10.0.2.1", "10.0.3.1"),
    "one-host": lambda s: addresses(s, "10.0.0.1", "10.0.1.1", "10.0.2.1", "10.0.2.1"),
    "own-request-approved": lambda s: s.people(alice=["alice", "bob", "carol"]),
    "one-person-approves": lambda s: s.people(bob=["bob", "carol"]),
    "person-in-every-quorum": lambda s: s.people(bob=["bob", "carol", "dora"]),
    "person-needed-by-rule": needed_by_some,
    "several-roles": lambda s: s.people(anna=["anna", "node-a"]),
    "administrator-alone": lambda s: s.people(anna=["anna", "berta"]),
    "administrators-all-needed": lambda s: roster(s, lambda r: r["administrators"].update(quorum=3)),
    "observer-alone": lambda s: s.people(wanda=["watch-a", "watch-b"]),
    "observers-none-spare": lambda s: roster(s, lambda r: r["observers"].pop()),
    "observers-too-few": lambda s: roster(s, lambda r: r.update(observers=r["observers"][:1])),
    "policy-fault": lambda s: policy(s, lambda p: p["rules"].append({**p["rules"][4], "name": "again"})),
    "policy-remark": lambda s: policy(s, lambda p: p["keys"].update(spare=p["keys"]["main"])),
    "invariant-broken": invariant,
    "client-stale": lambda s: s.status.update(policy="ab" * 32),
    "coordinator-unreachable": lambda s: s.more.extend(
        ["--as", str(s.folder.parent / "anna"), "--client", str(s.folder / "client.json")]
    ),
    "cosigner-down": lambda s: node(s, live=False, problem="no answer"),
    "cosigner-behind": lambda s: node(s, size=1),
    "log-not-cosigned": lambda s: s.status.update(quorum_size=1),
    "frozen": lambda s: s.status.update(frozen=True, freeze="ab" * 32),
    "quarantine": lambda s: node(s, quarantine="its disk is looked at"),
    "clock-off": lambda s: node(s, clock_off_ms=-1500),
    "presignatures-none": lambda s: s.status["pools"].pop(),
    "key-committee-differs": lambda s: s.status["keys"][0].update(gap="the policy wants node-d"),
    "key-missing": lambda s: s.status["keys"].pop(),
    "epoch-not-destroyed": lambda s: s.status["keys"][0]["destroyed_by"].pop(),
    "backup-missing": lambda s: s.backup("node-a"),
    "backup-of-old-epoch": backups_of_two_epochs,
    "backup-old": lambda s: s.backup("node-a", days=200),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_every_finding_is_found_when_it_is_so(code: str, standing: Standing) -> None:
    if code == "coordinator-unreachable":
        invoke("identity", "create", "administrator", "anna", "--dir", str(standing.folder.parent / "anna"))
    PROVOKED[code](standing)

    assert code in standing.codes()


@pytest.mark.parametrize(
    ("name", "value"),
    [("origin", "log.example.com/other"), ("log_key", "00" * 32), ("w", 1), ("cosigners", [])],
)
def test_a_trust_file_that_says_anything_else_than_the_genesis_entry_is_found(
    name: str, value: Json, standing: Standing
) -> None:
    standing.edit("trust.json", lambda trust: trust.update({name: value}))

    assert "genesis-foreign" in standing.codes()


def test_a_certificate_of_another_name_is_foreign_though_it_is_one(standing: Standing) -> None:
    certificate(pem(standing), ends=datetime(2100, 1, 1, tzinfo=UTC))

    assert "certificate-foreign" in standing.codes()


def test_a_database_in_a_folder_that_others_cannot_enter_is_no_finding(standing: Standing) -> None:
    readable_database(standing)
    (standing.folder / "coordinator").chmod(0o700)

    assert "data-readable" not in standing.codes()


def test_every_code_is_provoked_and_stands_in_the_page() -> None:
    explained = dict(re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", PAGE, re.MULTILINE))

    assert set(PROVOKED) == set(CATALOGUE)
    assert explained == {code: gravity.value for code, (gravity, _) in CATALOGUE.items()}


def test_a_node_in_quarantine_is_lost_to_its_keys_and_not_to_the_log(standing: Standing) -> None:
    node(standing, quarantine="its disk is looked at")
    found = examine_losses(
        standing.roster, POLICY.keys, gone=frozenset(), unsigning=in_quarantine(standing.status)
    )

    assert {one.about: one.code for one in found} == {
        "log": "losses",
        "main": "none-to-spare",
        "cold": "none-to-spare",
        "warm": "none-to-spare",
    }


def test_a_wrong_word_in_a_file_of_people_says_how_to_write_it(standing: Standing) -> None:
    standing.people(anna=["anna"], berta=["anna"])

    with pytest.raises(OperationalError, match="stands twice"):
        standing.result()


def test_the_doctor_says_what_it_was_not_shown(standing: Standing) -> None:
    document = standing.result().document

    assert any("--as" in one for one in document["left_out"])
    assert any("--backup" in one for one in document["left_out"])


def test_a_doctor_who_is_shown_nothing_says_how_to_call_it() -> None:
    with pytest.raises(Misuse):
        invoke("doctor")


def test_risks_are_refused_by_the_strict_alone(standing: Standing) -> None:
    addresses(standing, "10.0.0.1", "10.0.0.1", "10.0.2.1", "10.0.3.1")

    assert standing.result().code == 0
    standing.more.append("--strict")
    assert standing.result().code == 1


def test_no_key_and_no_pin_is_in_what_the_doctor_says(standing: Standing) -> None:
    secret = (standing.folder / "coordinator" / "log.key").read_text().splitlines()[1]
    (standing.folder / "coordinator" / "config.toml").write_text(f'log_key = "{secret}')

    said = json.dumps(standing.result().document) + "".join(map(str, standing.result().text))

    assert "file-broken" in said and secret not in said


def test_the_gravest_comes_first(standing: Standing) -> None:
    standing.edit("trust.json", lambda trust: trust.update(genesis="00" * 32))
    addresses(standing, "10.0.0.1", "10.0.0.1", "10.0.2.1", "10.0.3.1")

    gravities = [one["gravity"] for one in standing.result().document["findings"]]

    assert gravities == sorted(gravities, key=["broken", "risk", "note"].index)
    assert gravities[0] == BROKEN.value


def test_a_nearly_full_disk_under_the_folder_is_found_too() -> None:
    found: Iterable[Finding] = folders.room("coordinator", folders.FREE_BYTES_MIN - 1)

    assert [one.code for one in found] == ["disk-full"]
    assert list(folders.room("coordinator", folders.FREE_BYTES_FEW)) == []
