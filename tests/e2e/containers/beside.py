"""What runs beside the coordinators in containers, set up by the commands of docs/containers.md."""

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.demo.chain import CHAIN
from deploy.containers.assemble import USER
from tests.e2e.containers.cluster import ran

if TYPE_CHECKING:
    from tests.e2e.containers.whole import Whole

IDENTITY = "/var/lib/quorumkeep/identity"
MEASURED = 'every_s = 1\nmetrics_port = 7690\nmetrics_address = "0.0.0.0"\n'
ROUTES = '[routes.eth]\nwallet = "hot"\nsource = "vault"\nprice = 2500.0\n'
SWEEPS = '[sweeps.eth]\nwallet = "deposits"\nto = "hot"\nminimum = "0.05 eth"\nfee = "0.001 eth"\n'
CHAINS = f'[chains."{CHAIN}"]\nurl = "http://chain:8545"\nconfirmations = 1\nstart = 0\n'
SCREENING = 'exchange = "/srv/observers"\n[screening]\nfile = "/etc/quorumkeep/sanctions.json"\n'
MOVER = ("backend", "rebalancer", "--groups", "rebalancer")
SWEEPER = ("backend", "sweeper", "--groups", "sweeper")
STRANGER = "0x00000000000000000000000000000000000000aa"


@dataclass(frozen=True)
class Beside:
    """A service of a profile: who it is in the roster, and what its identity's folder says that it does."""

    service: str
    profile: str
    who: tuple[str, ...]
    file: str
    assignment: str

    def enrol(self, whole: "Whole") -> None:
        """Make its identity in a container, and take its card out."""
        kind, name, *groups = self.who
        container = f"{whole.project}-setup-{self.service}"
        created = ("identity", "create", kind, name, "--dir", IDENTITY, "--json")
        said = whole.compose("run", "-T", "--no-deps", "--name", container, self.service, *created)
        card = whole.folder / f"{self.service}.json"
        ran("docker", "cp", f"{container}:{IDENTITY}/card.json", str(card))
        told = ("--fingerprint", json.loads(said)["fingerprint"], *groups, "--dir", "treasury")
        whole.cli("enroll", kind, str(card), *told)
        given = whole.folder / self.file
        given.write_text(MEASURED + self.assignment)
        given.chmod(0o400)
        shutil.chown(given, USER, USER)
        ran("docker", "cp", str(given), f"{container}:{IDENTITY}/")
        ran("docker", "rm", container)


SERVICES = (
    Beside("rebalancer", "rebalancer", MOVER, "rebalance.toml", ROUTES),
    Beside("sweeper", "sweeper", SWEEPER, "sweep.toml", SWEEPS),
    Beside("observe", "observe", ("observer", "observer-1"), "observe.toml", CHAINS),
    Beside("observe-2", "observe", ("observer", "observer-2"), "observe.toml", CHAINS),
    Beside("risk", "risk", ("observer", "scorer-1"), "risk.toml", SCREENING),
    Beside("risk-2", "risk", ("observer", "scorer-2"), "risk.toml", SCREENING),
)


def hand_out(whole: "Whole") -> None:
    """What each is given to read: the deployment, with its address inside, and what it trusts."""
    client = json.loads((whole.folder / "treasury/client.json").read_text())
    for profile in {one.profile for one in SERVICES}:
        folder = whole.folder / profile
        (folder / "client.json").write_text(json.dumps({**client, "address": "coordinator:7600"}))
        shutil.copy(whole.folder / "treasury/trust.json", folder)
    screened = {
        "source": "a list",
        "as_of": time.strftime("%Y-%m-%d", time.gmtime()),
        "addresses": [STRANGER],
    }
    (whole.folder / "risk/sanctions.json").write_text(json.dumps(screened))


def start(whole: "Whole") -> None:
    """Start all of them by their profiles, which the project keeps from then on."""
    hand_out(whole)
    for key in ("deposits", "vault"):
        whole.cli("key", "create", key, "--as", "people/anna")
    profiles = ",".join(sorted({one.profile for one in SERVICES}))
    with (whole.folder / "compose.env").open("a") as file:
        file.write(f"COMPOSE_PROFILES={profiles}\n")
    whole.compose("up", "-d")
