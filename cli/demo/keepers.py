"""The programs beside a demo on several chains: two observers that watch, and a sweeper that collects."""

import json
import subprocess

from cli.demo import policy as names
from cli.demo.chains.family import Family
from cli.demo.scenario import Deployment, endpoint
from cli.demo.supervisor import Program
from cli.files import write_bytes
from cli.programs import ITSELF, program
from cli.results import Document
from policy.errors import OperationalError

LOOK_S = 60.0
MEMORY = "observe.json"
OBSERVED = """
[chains."{chain}"]
url = "{url}"
{observing}"""
SWEPT = """
[sweeps.{asset}]
wallet = "{wallet}"
to = "{to}"
minimum = "{minimum}"
fee = "{fee}"
"""


def start_observers(deployment: Deployment) -> None:
    """Have both observers watch the chains, each by a program of its own."""
    chains = [
        OBSERVED.format(chain=one.chain, url=endpoint(deployment, one), observing=one.observing)
        for one in deployment.families
    ]
    for name in names.OBSERVERS:
        _write(deployment, name, "observe.toml", "every_s = 1\n", *chains)
        trust = str(deployment.folder / "trust.json")
        deployment.supervisor.start(_program(deployment, name, "observe", "run", "--trust", trust))
    for name in names.OBSERVERS:  # what only one of them has begun to watch is not logged
        _wait_watching(deployment, name)


def _wait_watching(deployment: Deployment, name: str) -> None:
    """Wait until an observer knows from which block on it watches every chain."""
    memory = deployment.person_folder(name) / MEMORY

    def begun(_: str) -> bool:
        known = json.loads(memory.read_bytes())["chains"] if memory.exists() else {}
        begun_at = [one["next"] for one in known.values()]
        return len(begun_at) == len(deployment.families) and None not in begun_at

    deployment.supervisor.wait_for(name, begun, timeout_s=LOOK_S)


def assign_sweeps(deployment: Deployment) -> None:
    """Say what the sweeper collects: what deposits hold, into the hot wallet of their chain."""
    _write(deployment, names.SWEEPER, "sweep.toml", "every_s = 1\n", *map(_swept, deployment.families))


def start_sweeper(deployment: Deployment) -> None:
    """Have it look until it is stopped."""
    deployment.supervisor.start(_program(deployment, names.SWEEPER, "sweep", "run"))


def sweep_once(deployment: Deployment) -> list[Document]:
    """One look of the sweeper; the moves that it asked for. Raises ``OperationalError``."""
    command = [*_program(deployment, names.SWEEPER, "sweep", "run").command, "--once", "--json"]
    ran = subprocess.run(command, capture_output=True, timeout=LOOK_S, check=False)
    try:
        found: list[Document] = json.loads(ran.stdout)["moves"]
    except (ValueError, KeyError) as error:
        said = ran.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise OperationalError(f"the sweeper gave no answer: {' | '.join(said)}") from error
    return found


def _swept(family: Family) -> str:
    return SWEPT.format(
        asset=family.asset,
        wallet=family.deposits.wallet,
        to=family.hot.wallet,
        minimum=family.amounts.deposited // 2,
        fee=family.amounts.kept,
    )


def _write(deployment: Deployment, who: str, name: str, *parts: str) -> None:
    write_bytes(deployment.person_folder(who) / name, "".join(parts).encode())


def _program(deployment: Deployment, who: str, *action: str) -> Program:
    folder, client = str(deployment.person_folder(who)), str(deployment.folder / "client.json")
    command = program(ITSELF, *action, "--as", folder, "--client", client)
    return Program(who, command, deployment.folder / "logs" / f"{who}.log")
