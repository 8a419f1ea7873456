"""The deployment of both compose files: nodes, coordinators on PostgreSQL, Prometheus, a test chain.

It is set up by the commands of docs/containers.md, in their order.
"""

import json
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cli.demo.chain import CHAIN, ETHER, DemoChain
from cli.demo.supervisor import free_ports
from deploy.containers.assemble import USER
from signer_nodes.api.card import parse_card
from tests.e2e.containers.beside import SERVICES
from tests.e2e.containers.cluster import COMPOSE_FILE, INSIDE, LOOK_S, PORT, PUBLIC, ROOT, logs_of, ran
from tests.e2e.demos import PROGRAM
from tests.e2e.deployment import NODES, ORIGIN, WITNESS

FILES = (COMPOSE_FILE, COMPOSE_FILE.parent / "service.yaml", Path(__file__).parent / "chain.yaml")
COSIGNERS = (*NODES, WITNESS)
COORDINATORS = ("coordinator-1", "coordinator-2")
BESIDE = ("rebalancer", "sweeper", "observe", "risk")
BUILDS = {"node": "BUILD", "coordinator": "COORDINATOR_BUILD", "service": "SERVICE_BUILD"}
ONE_OF_EACH = ("node-a", "coordinator-1", "rebalancer")
PUBLISHED = (*COSIGNERS, *COORDINATORS, "prometheus", "chain")
PATIENCE_S = 900.0
SERVERS_USER = 999  # PostgreSQL's in its image
CUSTOMER = "0x8ba1f109551bd432803012645ac136ddd64dba72"
POLICY = """\
version: 1
name: treasury
chains:
  evm:31337: {native: eth, fee_ceiling: 0.01 eth}
assets:
  eth: {kind: native, chain: evm:31337, decimals: 18}
keys:
  deposits: {suite: dkls23-secp256k1, min_signers: 2, participants: [node-a, node-b, node-c]}
  main: {suite: dkls23-secp256k1, min_signers: 2, participants: [node-a, node-b, node-c]}
  vault: {suite: dkls23-secp256k1, min_signers: 2, participants: [node-a, node-b, node-c]}
wallets:
  deposits: {tier: deposits, key: deposits, chain: evm:31337, paths: [m/0/0]}
  hot: {tier: hot, key: main, chain: evm:31337, paths: [m/0/0]}
  vault: {tier: vault, key: vault, chain: evm:31337, paths: [m/0/0]}
holdings: {max_age: 1 h}
tiers:
  - {name: deposits, role: hot}
  - {name: hot, role: hot, target_min: 5 eth, target_max: 15 eth}
  - {name: vault, role: warm}
lists: {customers: ["0x8ba1f109551bD432803012645Ac136ddd64DBA72"]}
forbids:
  - {name: unknown-destination, when: {kinds: [transfer], not_destinations: [customers]}}
  - {name: sanctioned, when: {initiators: [desk], screenings: [sanctioned]}}
rules:
  - name: collect
    when: {initiators: [sweeper], wallets: [deposits], destination_tiers: [hot], kinds: [tier_move]}
    then: allow
  - name: to-safety
    when: {initiators: [rebalancer], kinds: [tier_move], exposure: [lowers]}
    then: allow
  - name: small
    when: {wallets: [hot], assets: [eth], amount_max: 1 eth, kinds: [transfer]}
    then: allow
limits:
  - {name: daily, asset: eth, amount_max: 40 eth, window: 24 h, per: [wallet]}
cancel: {fee_ceiling: 0.01 eth}
"""
IN_A_CONTAINER = {
    "listen": "0.0.0.0:7600",
    "data_dir": "/var/lib/quorumkeep/data",
    "publish_dir": "/var/lib/quorumkeep/log",
    "genesis": "genesis.json",
    "identity_key": "/run/secrets/identity.key",
    "log_key": "/run/secrets/log.key",
    "database": "postgresql+psycopg://quorumkeep@postgres/quorumkeep?password_file=/run/secrets/database-password",
    "metrics_address": "0.0.0.0",  # noqa: S104 - inside a container
}

T = TypeVar("T")


@dataclass
class Whole:
    """One compose project; ``images`` names the images that are not ours, ``builds`` ours by their kind."""

    command: tuple[str, ...]
    folder: Path
    builds: Mapping[str, Path]
    images: Mapping[str, str]
    anvil: Path
    ports: dict[str, int] = field(default_factory=dict)
    tree: Path | None = None
    built: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.ports = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
        self.project = "".join(letter for letter in self.folder.name.lower() if letter.isalnum())
        for name in ("public", "treasury", "people", *COORDINATORS, *BESIDE):
            (self.folder / name).mkdir(mode=0o755)
        for name in ("pins", "secrets"):
            (self.folder / name).mkdir(mode=0o711)
        self.set_variables(self._variables())

    def compose(self, *arguments: str) -> str:
        chosen = [part for path in FILES for part in ("-f", str(path))]
        settings = ("--env-file", str(self.folder / "compose.env"))
        return ran(*self.command, *settings, *chosen, "-p", self.project, *arguments)

    def cli(self, *arguments: str) -> dict[str, Any]:
        """What the operator's command line answers, on this machine."""
        done = self.asked(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def asked(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The same, whatever it says; ``tree`` has the program where it is not this one."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "QUORUMKEEP_CLIENT": str(self.folder / "treasury/client.json"),
            **({"PYTHONPATH": str(self.tree)} if self.tree else {}),
        }
        return subprocess.run(
            [str(PROGRAM), *arguments, "--json"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def set_up(self) -> None:
        """From nothing to containers that run."""
        self._write_secrets()
        self.compose("--profile", "rebalancer", "build", *ONE_OF_EACH)
        for name in COSIGNERS:
            self._provision(name)
        self._enrol()
        for name in COSIGNERS:
            self._join(name)
        for name in COORDINATORS:
            self._configure(name)
        self.compose("up", "-d")

    def wait_healthy(self, *names: str) -> None:
        for name in names:
            until(partial(self._is_healthy, name), partial(self.logs, name))

    def build(self, builds: Mapping[str, Path], tag: str) -> None:
        """Other images from now on, of these contexts; containers are what they were."""
        named = {f"{kind.upper()}_IMAGE": f"quorumkeep-{kind}:{tag}" for kind in builds}
        contexts = {BUILDS[kind]: folder for kind, folder in builds.items()}
        self.set_variables({**named, **contexts})
        self.compose("--profile", "rebalancer", "build", *ONE_OF_EACH)
        self.built = (*self.built, *named.values())

    def set_variables(self, variables: Mapping[str, object]) -> None:
        """The last line of a name counts."""
        with (self.folder / "compose.env").open("a") as file:
            file.writelines(f"QUORUMKEEP_{name}={value}\n" for name, value in variables.items())

    def container(self, name: str) -> str:
        return self.compose("ps", "-q", name).strip()

    def described(self, name: str) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(ran("docker", "inspect", self.container(name)))[0]
        return description

    def _is_healthy(self, name: str) -> bool:
        state = self.described(name)["State"]
        assert state["Status"] != "exited", f"{name} ended: {self.logs(name)}"
        return bool(state["Health"]["Status"] == "healthy")

    def logs(self, name: str) -> str:
        return logs_of(self.container(name), "--tail", "30")

    def address(self, wallet: str) -> str:
        return str(self.cli("address", wallet, "--as", "people/shop")["address"])

    def holds(self, wallet: str) -> int:
        return self.chain().balance(self.address(wallet))

    def chain(self) -> DemoChain:
        return DemoChain(self.ports["chain"])

    def pay(self, order: str, who: str = "shop") -> dict[str, Any]:
        """A withdrawal that has settled."""
        paid = ("--wallet", "hot", "--asset", "eth", "--amount", "0.5 eth", "--to", CUSTOMER)
        named = ("--idempotency-key", order, "--wait", "600")
        return self.cli("request", "send", "--as", f"people/{who}", *paid, *named)

    def scraped(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus has of a query."""
        where = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query?query={query}"
        try:
            with urllib.request.urlopen(where, timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except (urllib.error.URLError, OSError):
            return []
        return found

    def down(self) -> None:
        self.compose("down", "-v", "--remove-orphans")
        for image in self.built:
            ran("docker", "rmi", image)

    def _variables(self) -> dict[str, object]:
        folders = {name.upper().replace("-", "_"): self.folder / name for name in (*COORDINATORS, *BESIDE)}
        ports = {f"{name.upper().replace('-', '_')}_PORT": port for name, port in self.ports.items()}
        return {
            **{BUILDS[kind]: folder for kind, folder in self.builds.items()},
            "ANVIL": self.anvil,
            "FILES": COMPOSE_FILE.parent,
            **{name.upper(): self.folder / name for name in ("public", "pins", "secrets")},
            **{f"{name.upper()}_IMAGE": image for name, image in self.images.items()},
            **folders,
            **ports,
        }

    def _write_secrets(self) -> None:
        for name in COSIGNERS:
            hand_over(self.folder / "pins" / name, secrets.token_hex(16), mode=0o444)
        password = secrets.token_hex(16)
        hand_over(self.folder / "secrets/database-password", password, user=USER)
        hand_over(self.folder / "secrets/postgres-password", password, user=SERVERS_USER)

    def _provision(self, name: str) -> None:
        role = "witness" if name == WITNESS else "node"
        container = f"{self.project}-setup-{name}"
        asked = ("provision", "--dir", INSIDE, "--name", name, "--role", role, "--origin", ORIGIN)
        self.compose("run", "-T", "--no-deps", "--name", container, name, *asked)
        ran("docker", "cp", f"{container}:{INSIDE}/card.json", str(self.folder / f"public/{name}.json"))
        ran("docker", "rm", container)

    def _enrol(self) -> None:
        where = ("--listen", "0.0.0.0:7600", "--address", f"127.0.0.1:{self.ports['coordinator-1']}")
        chain = ("--chain", f"{CHAIN}=http://chain:8545", "--confirmations", "1")
        self.cli("init", "--dir", "treasury", "--origin", ORIGIN, *where, *chain)
        for name in COSIGNERS:
            card = self.folder / f"public/{name}.json"
            told = ("--fingerprint", parse_card(card.read_bytes()).fingerprint, "--address", f"{name}:{PORT}")
            self.cli("enroll", "node", str(card), *told, "--dir", "treasury")
        for kind, name in (("administrator", "anna"), ("backend", "shop"), ("backend", "desk")):
            made = self.cli("identity", "create", kind, name, "--dir", f"people/{name}")
            told = ("--fingerprint", made["fingerprint"], "--dir", "treasury")
            self.cli("enroll", kind, f"people/{name}/card.json", *told)
        for one in SERVICES:
            one.enrol(self)
        (self.folder / "policy.yaml").write_text(POLICY)
        numbers = ("--w", "3", "--f", "1", "--quorum", "1")
        self.cli("genesis", "draft", "--dir", "treasury", "--policy", "policy.yaml", *numbers)
        self.cli("genesis", "sign", "--dir", "treasury", "--key", "people/anna/key.pem")
        for source in ("genesis.json", "coordinator/identity.pem"):
            to = source.replace("coordinator/identity", "coordinator")
            shutil.copy(self.folder / "treasury" / source, self.folder / "public" / to)

    def _join(self, name: str) -> None:
        fingerprint = self.cli("genesis", "fingerprint", "--dir", "treasury")["fingerprint"]
        others = [other for other in COSIGNERS if other != name]
        peers = [f"--peer={other}={other}:{PORT}={PUBLIC}/{other}.json" for other in others]
        log = ("--genesis", f"{PUBLIC}/genesis.json", "--fingerprint", fingerprint)
        known = ("--coordinator", f"{PUBLIC}/coordinator.pem", "--listen", f"0.0.0.0:{PORT}")
        self.compose("run", "-T", "--rm", "--no-deps", name, "join", "--dir", INSIDE, *log, *known, *peers)

    def _configure(self, name: str) -> None:
        """A coordinator's folder: what ``genesis sign`` wrote, with the paths of a container."""
        made, folder = self.folder / "treasury/coordinator", self.folder / name
        changed = {**IN_A_CONTAINER, "advertise": name}
        kept = [line for line in (made / "config.toml").read_text().splitlines() if not is_of(line, changed)]
        ours = ["metrics_port = 7690", *(f"{key} = {json.dumps(value)}" for key, value in changed.items())]
        (folder / "config.toml").write_text("\n".join([*ours, *kept]) + "\n")
        shutil.copy(self.folder / "treasury/genesis.json", folder)
        shutil.copytree(made / "nodes", folder / "nodes")
        for key in ("identity.key", "log.key"):
            hand_over(self.folder / "secrets" / key, (made / key).read_text(), user=USER)


def is_of(line: str, changed: Mapping[str, str]) -> bool:
    return line.partition(" = ")[0] in (*changed, "listen_file")


def hand_over(path: Path, text: str, *, user: int = 0, mode: int = 0o400) -> None:
    """A secret's file; ``user`` in the container alone may read it."""
    path.write_text(text)
    path.chmod(mode)
    shutil.chown(path, user, user)


def until(holds: Callable[[], T], said: Callable[[], str] = str) -> T:
    """What it says once it holds. It raises where it cannot come any more; the time is for the unforeseen."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not after {PATIENCE_S:g} s: {said()[-3000:]}"
        time.sleep(LOOK_S)
    return found


def anvil_program() -> Path | None:
    return next(iter(sorted(ROOT.glob("node_modules/@foundry-rs/anvil-linux-*/bin/anvil"))), None)


def fund(whole: Whole) -> None:
    """The key, and what the wallet pays from."""
    whole.wait_healthy("coordinator-1")
    whole.cli("key", "create", "main", "--as", "people/anna")
    whole.chain().pay(whole.address("hot"), 20 * ETHER)
