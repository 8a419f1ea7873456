"""A whole deployment: nodes, a witness and two coordinators in networks of their own, a database, a chain."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import ETHER
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS
from cli.demo.supervisor import Program, Supervisor, free_ports
from cli.programs import COORDINATOR, program
from policy.encoding import Json
from tests.chaos.databases import DATABASES, Pair, running_pair
from tests.chaos.endpoint import Endpoint
from tests.chaos.network import OUTSIDE, Network
from tests.e2e.cluster import scratch_folder

SECOND, ENDPOINT = "coordinator-2", "endpoint"
COORDINATORS: Final = (COORDINATOR_NAME, SECOND)
EVERYBODY: Final = (*COSIGNERS, *COORDINATORS)
SMALL_DISK = names.NODES[2]
DISK_BYTES = 512 * 1024 * 1024
CONFIRMATIONS, BLOCK_S = 3, 1
LIMIT_WINDOW_MS, LIMIT_AMOUNT = 60_000, 500 * 10**names.TOKEN_DECIMALS
POLICY_DELAY_MS = 1000
NANOSECONDS = 10**9


@dataclass(frozen=True)
class Networked(scenario.Deployment):
    """A deployment whose processes have addresses of their own."""

    network: Network = field(kw_only=True)

    @property
    def clock(self) -> Path:
        """Where the clocks of the processes are."""
        return self.folder / "clock"

    def address(self, name: str) -> str:
        """Where a process listens; those of chains stay outside the network."""
        if name in {family.process for family in self.families}:
            return scenario.Deployment.address(self, name)
        return f"{self.network.address(name)}:{self.ports[name]}"

    def node_program(self, name: str, action: str, *arguments: str, pin: bool = True) -> Program:
        """The program of a node or witness, which runs in its own network and by its own clock."""
        made = scenario.Deployment.node_program(self, name, action, *arguments, pin=pin)
        return self.inside(made) if action == "run" else made

    def inside(self, made: Program) -> Program:
        """The program in its own network and by its own clock."""
        clock = {"LD_PRELOAD": str(self.clock / "clock.so"), "CHAOS_CLOCK": str(self.clock / made.name)}
        command = ["env", *(f"{name}={value}" for name, value in clock.items()), *made.command]
        return Program(made.name, self.network.inside(made.name, command), made.log, pin=made.pin)


@dataclass(frozen=True)
class House:
    """Everything that a fault can be done to."""

    deployment: Networked
    network: Network
    endpoint: Endpoint
    database: Pair

    @property
    def supervisor(self) -> Supervisor:
        """Which starts again what dies."""
        return self.deployment.supervisor

    def leader(self) -> str:
        """The coordinator that said last that it has the lease."""
        with_it = [name for name in COORDINATORS if "has the lease" in self.supervisor.output(name)]
        return max(with_it, key=self._newest, default=COORDINATOR_NAME)

    def standby(self) -> str:
        """The other one."""
        return next(name for name in COORDINATORS if name != self.leader())

    def set_clock(self, name: str, ahead_s: int) -> None:
        """From now on the wall clock of a process is off by so much."""
        with (self.deployment.clock / name).open("r+b") as file:
            file.write(struct.pack("q", ahead_s * NANOSECONDS))

    def resize_disk(self, size: int) -> None:
        """Give the node with a small disk one of so many bytes."""
        folder = self.deployment.node_folder(SMALL_DISK)
        _run("mount", "-o", f"remount,size={size}", str(folder))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process, if it runs just now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.supervisor.process_ids()[name], number)

    def workers(self, name: str) -> list[int]:
        """The processes that a node has started."""
        parent = self.supervisor.process_ids()[name]
        children = Path(f"/proc/{parent}/task/{parent}/children")
        with contextlib.suppress(OSError):  # it does not run just now
            return [int(one) for one in children.read_text().split()]
        return []

    def call(self, name: str) -> None:
        """Have commands call this coordinator."""
        path = self.deployment.folder / "client.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({**found, "address": self.deployment.address(name)}))

    def _newest(self, name: str) -> str:
        lines = [line for line in self.supervisor.output(name).splitlines() if "has the lease" in line]
        return lines[-1]


@contextlib.contextmanager
def running_house(seed: int, logs: Path | None = None) -> Iterator[House]:
    """The deployment with funded keys; all that it started is stopped at the end, ``logs`` are kept."""
    folder = scratch_folder()
    try:
        with contextlib.ExitStack() as stack:
            network = Network(folder / "net", (*EVERYBODY, *DATABASES))
            stack.callback(network.stop)
            network.start(seed)
            database = stack.enter_context(running_pair(network))
            supervisor = stack.enter_context(Supervisor())
            deployment = _prepared(folder, supervisor, network)
            house = House(deployment, network, _endpoint(deployment), database)
            stack.enter_context(house.endpoint.serving())
            _begin(house)
            yield house
    finally:
        _unmount(folder)
        if logs is not None and (folder / "logs").exists():
            shutil.copytree(folder / "logs", logs, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def chaos_policy(token: str) -> dict[str, Json]:
    """The demo's policy with a limit that is small enough to be run into all the time."""
    document = names.demo_policy(token)
    limit: dict[str, Json] = {
        "name": "tight",
        "asset": names.TOKEN,
        "window_ms": LIMIT_WINDOW_MS,
        "amount_max": str(LIMIT_AMOUNT),
        "per": ["wallet"],
        "tiers": ["hot"],
    }
    limits: Any = document["limits"]
    return {**document, "limits": [*limits, limit]}


def _prepared(folder: Path, supervisor: Supervisor, network: Network) -> Networked:
    plain = scenario.prepare(folder, supervisor, say=lambda _: None)
    made = Networked(folder, plain.ports, supervisor, plain.say, plain.pins, network=network)
    made.ports[SECOND], made.ports[ENDPOINT] = free_ports(2)
    made.clock.mkdir()
    for name in EVERYBODY:
        (made.clock / name).write_bytes(bytes(8))
    source = Path(__file__).parent / "clock.c"
    _run("gcc", "-shared", "-fPIC", "-O2", "-o", str(made.clock / "clock.so"), str(source), "-ldl")
    return made


def _endpoint(deployment: Networked) -> Endpoint:
    return Endpoint(deployment.ports[ENDPOINT], deployment.ports[scenario.ANVIL])


def _begin(house: House) -> None:
    deployment = house.deployment
    small = deployment.node_folder(SMALL_DISK)
    small.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(small))
    scenario.lay_out(deployment, chaos_policy, policy_delay_ms=POLICY_DELAY_MS)
    _configure(house)
    for name in COSIGNERS:
        config = str(deployment.node_folder(name) / "config.toml")
        house.supervisor.start(deployment.node_program(name, "run", "--config", config))
    for name in COORDINATORS:
        config = str(deployment.folder / name / "config.toml")
        log = deployment.folder / "logs" / f"{name}.log"
        house.supervisor.start(
            deployment.inside(Program(name, program(COORDINATOR, "--config", config), log))
        )
    scenario.wait_live(deployment, COSIGNERS)
    scenario.make_key(deployment, names.KEY)
    _fund(deployment)


def _configure(house: House) -> None:
    """Two coordinators on one database, which see the chain through the endpoint."""
    deployment = house.deployment
    first, second = (deployment.folder / name for name in COORDINATORS)
    text = (first / "config.toml").read_text()
    endpoint = f"http://{house.network.address(OUTSIDE)}:{deployment.ports[ENDPOINT]}"
    text = text.replace(deployment.chain.url, endpoint)
    text = text.replace("confirmations = 1\n", f"confirmations = {CONFIRMATIONS}\n")
    assert endpoint in text and f"confirmations = {CONFIRMATIONS}" in text
    shutil.copytree(first, second)
    for name, folder, published in ((COORDINATOR_NAME, first, "../log"), (SECOND, second, "../log-2")):
        host = f'advertise = "{house.network.address(name)}"\n'
        changed = text.replace(deployment.address(COORDINATOR_NAME), deployment.address(name))
        changed = changed.replace('publish_dir = "../log"', f'publish_dir = "{published}"')
        (folder / "config.toml").write_text(f'database = "{house.database.url}"\n{host}{changed}')


def _fund(deployment: Networked) -> None:
    chain, hot = deployment.chain, scenario.account(deployment, names.PATH_PLAIN)
    chain.pay(hot, 100 * ETHER)
    contract = deployment.connection().policy.assets[names.TOKEN].contract or ""
    chain.pay_token(contract, hot, amount=200 * LIMIT_AMOUNT)
    chain.call("evm_setAutomine", False)
    chain.call("evm_setIntervalMining", BLOCK_S)


def _unmount(folder: Path) -> None:
    """Give up what is mounted below a folder, so that it can be removed."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([one for one in mounted if one.startswith(f"{folder}/")]):
        _run("umount", "--lazy", place)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
