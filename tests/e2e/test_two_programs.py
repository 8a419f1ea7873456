"""Nodes are upgraded one at a time while payments are signed; then the log switches to the newer rules.

The next program is a copy of this one with one more version of the rules. Real processes, real tokens.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from policy.encoding import Json, canonical
from policy.entries import make_entry, signature_list
from policy.governance import change_hash
from policy.log.checkpoint import Checkpoint, Note, log_signature, log_signature_message
from policy.log.merkle import leaf_hash
from signer_nodes.api.client import Refused, Unreachable
from tests.architecture.planting import REPOSITORY
from tests.e2e.cluster import Cluster, Process, ScriptedCoordinator, now_ms, raw_public
from tests.e2e.deployment import NODES, ORIGIN, WITNESS
from tests.e2e.test_nodes import sign_payment
from tests.simulation.test_two_programs import HAS, NEXT, folded_by
from tests.waiting import WAIT_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FIRST = (NODES[0], NODES[1], WITNESS)


@pytest.fixture(scope="module")
def next_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("next")
    for package in ("policy", "signer_nodes"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "policy" / "governance.py"
    file.write_text(file.read_text().replace(HAS, f"RULES_SUPPORTED = {NEXT}\n"))
    return folder


def run_by(program: Path, process: Process, *arguments: str, log: Path) -> "subprocess.Popen[bytes]":
    """A command of a node, with its PIN, by another program."""
    read, write = os.pipe()
    os.write(write, process.pin.encode())
    os.close(write)
    command = [sys.executable, "-m", "signer_nodes.main", *arguments, "--pin-fd", str(read)]
    env = {**os.environ, "PYTHONPATH": str(program)}
    try:
        with log.open("ab") as errors:
            return subprocess.Popen(
                command, pass_fds=(read,), cwd=program, env=env, stdout=subprocess.PIPE, stderr=errors
            )
    finally:
        os.close(read)


def start_by(program: Path, process: Process) -> None:
    config = ("run", "--config", str(process.folder / "config.toml"))
    process.popen = run_by(program, process, *config, log=process.folder / "stderr.log")
    process.wait_listening()


def ready_by(program: Path, process: Process, folder: Path) -> bytes:
    """Its operator has it sign that it has the next rules."""
    body: Json = {"origin": ORIGIN, "rules": NEXT}
    change = folder / "version.json"
    change.write_bytes(canonical({"kind": "version", "body": body, "signatures": [], "replaces": ""}))
    said = ("--fingerprint", change_hash("version", body).hex(), "--json")
    accept = ("accept", "ready", "--dir", str(process.folder), "--change", str(change))
    running = run_by(program, process, *accept, *said, log=folder / "accept.log")
    found, _ = running.communicate(timeout=60)
    return bytes.fromhex(json.loads(found)["signature"])


async def rules_of(coordinator: ScriptedCoordinator, name: str) -> int:
    return int(json.loads(await coordinator.clients[name].status())["rules_supported"])


def beyond(coordinator: ScriptedCoordinator, cluster: Cluster, program: Path) -> tuple[bytes, bytes]:
    """An entry under the next rules, and the checkpoint that the next program comes to with it."""
    entry = b'{"under":"the next rules"}'
    frontier = coordinator.frontier.append(leaf_hash(entry))
    digest = bytes.fromhex(folded_by(program, [*coordinator.entries, entry])[-1][0])
    body = Checkpoint(ORIGIN, frontier.size, frontier.root(), digest).body()
    signature = cluster.log_key.sign(log_signature_message(body))
    line = log_signature(ORIGIN, raw_public(cluster.log_key), signature=signature)
    return entry, Note(body).with_signatures(line).to_bytes()


async def test_an_upgrade_and_a_switch_of_rules_stop_only_the_node_that_was_forgotten(
    coordinator: ScriptedCoordinator, cluster: Cluster, next_program: Path, tmp_path: Path
) -> None:
    forgotten = cluster.processes[NODES[2]]
    for number, name in enumerate(FIRST):
        others = [other for other in NODES if other != name][:2]
        assert cluster.processes[name].stop() == 0
        left = tuple(other for other in cluster.processes if other != name)
        await sign_payment(coordinator, *others, nonce=number, committers=left)
        start_by(next_program, cluster.processes[name])
        await coordinator.ready(name)
        assert await rules_of(coordinator, name) == NEXT
    await coordinator.commit()
    await sign_payment(coordinator, NODES[0], NODES[2], nonce=len(FIRST))

    signed = {name: ready_by(next_program, cluster.processes[name], tmp_path) for name in FIRST}
    body: Json = {"origin": ORIGIN, "rules": NEXT}
    switched = coordinator.add(
        make_entry(
            "version", max(now_ms(), coordinator.state.time_ms), body=body, signatures=signature_list(signed)
        )
    )
    await coordinator.commit()
    size = coordinator.frontier.size
    entry, note = beyond(coordinator, cluster, next_program)
    coordinator.entries.append(entry)
    coordinator.note = note
    await asyncio.gather(*(coordinator.append_to(name) for name in FIRST))
    with pytest.raises((Refused, Unreachable)):
        await coordinator.append_to(forgotten.name)
    assert forgotten.popen is not None
    code = forgotten.popen.wait(timeout=WAIT_S)
    start_by(next_program, forgotten)
    await coordinator.ready(forgotten.name)
    caught_up = (await coordinator.clients[forgotten.name].head()).size

    assert switched.accepted
    assert code == 1
    assert f"under rules {NEXT}, this program has" in (forgotten.folder / "stderr.log").read_text()
    assert caught_up == size + 1
