"""The cluster of the other end-to-end tests, with each cosigner and its SoftHSM in a container of its own.

It is the compose file that ships, provisioned as docs/containers.md says. A test cannot tell the two
kinds of cluster apart: it kills and starts cosigners by name and calls them on loopback ports.
"""

import json
import secrets
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.log.merkle import leaf_hash
from signer_nodes.api.card import Card, parse_card
from signer_nodes.provisioning import Pinned
from tests.e2e.cluster import Cluster, Process, free_port
from tests.e2e.deployment import NODES, ORIGIN, WITNESS

ROOT = Path(__file__).parents[3]
COMPOSE_FILE = ROOT / "deploy/containers/compose.yaml"
PORT = 7700
INSIDE = "/var/lib/quorumkeep"
PUBLIC = "/etc/quorumkeep"
COMMAND_S = 900.0
BOTH_CORES = 2
LOOK_S = 0.5
"""Each look is two programs of the engine's."""


@dataclass(frozen=True, slots=True)
class Compose:
    """One compose project: the command that reaches it, its folder, and the loopback ports it publishes."""

    command: tuple[str, ...]
    project: str
    folder: Path
    ports: dict[str, int]

    @classmethod
    def project_in(cls, folder: Path, build: Path, command: tuple[str, ...]) -> "Compose":
        """Write the variables of a new project into ``folder``; nothing is started."""
        ports = {name: free_port() for name in (*NODES, WITNESS)}
        variables = {"BUILD": str(build), "PUBLIC": str(folder / "public"), "PINS": str(folder / "pins")}
        variables |= {f"{name.replace('-', '_').upper()}_PORT": str(port) for name, port in ports.items()}
        settings = folder / "compose.env"
        settings.write_text("".join(f"QUORUMKEEP_{name}={value}\n" for name, value in variables.items()))
        project = "".join(letter for letter in folder.name.lower() if letter.isalnum())
        return cls((*command, "--env-file", str(settings)), project, folder, ports)

    def run(self, *arguments: str) -> str:
        return ran(*self.command, "-f", str(COMPOSE_FILE), "-p", self.project, *arguments)

    def down(self) -> None:
        """Remove all containers, volumes and the network of the project."""
        self.run("down", "-v", "--remove-orphans")


def ran(*command: str) -> str:
    """What the command printed; its complaint is in the error when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


def logs_of(container: str, *options: str) -> str:
    """What a container wrote to both of its streams."""
    command = ["docker", "logs", *options, container]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout.decode()


@dataclass
class ContainerProcess(Process):
    """One cosigner in its container; ``port`` is the published one."""

    compose: Compose | None = None
    container: str = ""

    def start(self) -> None:
        ran("docker", "start", self.container)

    def wait_listening(self) -> None:
        """Wait for the line that this run of the container prints when it listens.

        As with a local process nothing but its end ends the wait: a container that gets little of a busy
        machine needs a minute for what takes a second elsewhere.
        """
        assert self.compose is not None
        self.container = self.container or self.compose.run("ps", "-q", self.name).strip()
        while not self._has_said({"listening": PORT}):
            assert self._is_running(), f"{self.name} ended: {self.logs()[-2000:]}"
            time.sleep(LOOK_S)

    def kill(self) -> None:
        if self.container and self._is_running():
            ran("docker", "kill", self.container)

    def stop(self) -> int:
        ran("docker", "stop", self.container)
        return self.wait_ended()

    def wait_ended(self) -> int:
        """The exit code, once the container has ended by itself."""
        return int(ran("docker", "wait", self.container))

    def hand_over(self, pin: str) -> None:
        """Write the PIN into the file that the container has as its credential, keeping the file itself."""
        path = self.folder / "pins" / self.name
        path.touch(mode=0o444)
        path.chmod(0o644)
        path.write_text(pin)
        path.chmod(0o444)

    def logs(self, *options: str) -> str:
        """What the container wrote in all its runs."""
        return logs_of(self.container, *options)

    def described(self) -> dict[str, Any]:
        """What the engine tells everybody who may ask it about the container."""
        description: dict[str, Any] = json.loads(ran("docker", "inspect", self.container))[0]
        return description

    def _has_said(self, line: dict[str, int]) -> bool:
        said = self.logs("--since", self.described()["State"]["StartedAt"])
        return json.dumps(line) in said.splitlines()

    def _is_running(self) -> bool:
        return bool(self.described()["State"]["Running"])


class ContainerCluster(Cluster):
    """Provisioned and joined, not yet started: ``up`` is the next thing to do with its project."""

    def __init__(self, compose: Compose) -> None:
        self.compose = compose
        self.public, self.pins = compose.folder / "public", compose.folder / "pins"
        self.public.mkdir(mode=0o755)
        self.pins.mkdir(mode=0o700)  # guards the files: these are readable, as the node has another user id
        super().__init__(compose.folder)

    def provision(self, **roles: str) -> None:
        for key, role in roles.items():
            name, pin = key.replace("_", "-"), secrets.token_hex(16)
            port = self.compose.ports[name]
            process = ContainerProcess(name, self.folder, port, pin, role, compose=self.compose)
            process.hand_over(pin)
            self.processes[name] = process
        self.compose.run("build", NODES[0])  # one image for all
        self.compose.run("up", "--no-start")  # the network and volumes, before two commands race for them
        with ThreadPoolExecutor(BOTH_CORES) as together:
            cards = list(together.map(self._provision_in_container, self.processes))
        self.cards = {card.name: card for card in cards}

    def _provision_in_container(self, name: str) -> Card:
        role = self.processes[name].role
        arguments = ("--dir", INSIDE, "--name", name, "--role", role, "--origin", ORIGIN)
        container = f"{self.compose.project}-provision-{name}"
        self.compose.run("run", "-T", "--name", container, name, "provision", *arguments)
        card = self.public / f"{name}.json"
        ran("docker", "cp", f"{container}:{INSIDE}/card.json", str(card))
        ran("docker", "rm", container)
        return parse_card(card.read_bytes())

    def join_all(self, roster: Pinned | None = None) -> None:
        (self.public / "genesis.json").write_bytes(self.genesis)
        (self.public / "coordinator.pem").write_bytes((self.folder / "coordinator.pem").read_bytes())
        fixed = ["--dir", INSIDE, "--genesis", f"{PUBLIC}/genesis.json"]
        fixed += ["--fingerprint", leaf_hash(self.genesis).hex()]
        fixed += ["--coordinator", f"{PUBLIC}/coordinator.pem", "--listen", f"0.0.0.0:{PORT}"]
        if roster is not None:
            shutil.copyfile(roster.path, self.public / "roster.json")
            fixed += ["--roster", f"{PUBLIC}/roster.json", "--roster-fingerprint", roster.fingerprint]
        with ThreadPoolExecutor(BOTH_CORES) as together:
            list(together.map(lambda name: self._join_in_container(name, fixed), self.processes))

    def _join_in_container(self, name: str, fixed: list[str]) -> None:
        others = [other for other in self.processes if other != name]
        peers = [f"--peer={other}={other}:{PORT}={PUBLIC}/{other}.json" for other in others]
        self.compose.run("run", "-T", "--rm", name, "join", *fixed, *peers)
