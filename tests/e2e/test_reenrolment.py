"""A cosigner whose token is lost is replaced: a new identity, w of the old and w of the new cosigners."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from policy.encoding import Json, canonical, document_hash, statement
from policy.entries import make_entry, signature_list
from policy.errors import MalformedError, OperationalError
from signer_nodes.api.client import Refused
from signer_nodes.provisioning import Pinned, acceptable
from tests.e2e.cluster import Cluster, Process, ScriptedCoordinator, node_command, now_ms
from tests.e2e.deployment import NODES, ORIGIN, WITNESS

NEWCOMER = "witness-2"


async def test_a_lost_witness_is_replaced_by_a_new_identity(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    cluster.processes.pop(WITNESS).kill()
    cluster.provision(witness_2="witness")
    roster = _with_newcomer(cluster)
    changed = _change(coordinator, cluster, roster, signers=(*NODES, NEWCOMER))
    await coordinator.commit(*NODES)
    (cluster.folder / "roster.json").write_bytes(canonical(roster))
    pinned = Pinned(cluster.folder / "roster.json", document_hash("roster", roster).hex())
    cluster.join_all(pinned)
    for name in NODES:
        cluster.processes[name].kill()

    cluster.start(*NODES, NEWCOMER)
    successor = ScriptedCoordinator(cluster)
    await successor.ready(within_s=30)
    await successor.recover()
    heads = {name: (await client.head()).size for name, client in successor.clients.items()}
    with pytest.raises(Refused, match="head"):
        await successor.append_to(NEWCOMER, start=0)
    await successor.close()

    assert changed
    assert set(heads.values()) == {coordinator.frontier.size}


async def test_w_minus_one_cosigners_cannot_change_the_cosigners(coordinator: ScriptedCoordinator) -> None:
    cluster = coordinator.cluster
    roster: Any = json.loads(json.dumps(coordinator.state.roster_document))
    roster["cosigners"] = roster["cosigners"][:3]
    roster["w"], roster["f"] = 2, 0

    assert not _change(coordinator, cluster, roster, signers=NODES[:2])


def _with_newcomer(cluster: Cluster) -> Json:
    roster: Any = json.loads(cluster.genesis)["body"]["roster"]
    card = cluster.cards[NEWCOMER]
    roster["cosigners"] = [row for row in roster["cosigners"] if row["name"] != WITNESS]
    roster["cosigners"].append({"name": card.name, "key": card.key.hex(), "role": card.role})
    changed: Json = roster
    return changed


def _change(
    coordinator: ScriptedCoordinator, cluster: Cluster, roster: Json, *, signers: tuple[str, ...]
) -> bool:
    """An entry signed by the administrators' quorum and, in their tokens, by ``signers``."""
    body: Json = {
        "origin": ORIGIN,
        "roster": roster,
        "previous": document_hash("roster", coordinator.state.roster_document).hex(),
    }
    file = cluster.folder / "change.json"
    file.write_bytes(canonical(body))
    signatures = {name: _accepted(cluster.processes[name], file) for name in signers}
    signatures["admin"] = cluster.admin.sign(statement("roster", body))
    time_ms = max(now_ms(), coordinator.state.time_ms)
    entry = make_entry("roster", time_ms, body=body, signatures=signature_list(signatures))
    return coordinator.add(entry).accepted


def _accepted(process: Process, body: Path) -> bytes:
    read, write = os.pipe()
    os.write(write, process.pin.encode())
    os.close(write)
    made = subprocess.run(
        node_command(
            *("accept", "roster", "--body", str(body), "--json"),
            *("--dir", str(process.folder), "--pin-fd", str(read)),
        ),
        pass_fds=(read,),
        check=True,
        capture_output=True,
    )
    os.close(read)
    return bytes.fromhex(json.loads(made.stdout)["signature"])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("roster", {"origin": "log.example.com/other", "roster": {}, "previous": "00" * 32}),
        ("roster", {"origin": ORIGIN, "roster": {}, "previous": "00" * 32}),
        ("ready", {"origin": ORIGIN, "rules": 2, "more": 1}),
    ],
)
def test_a_cosigner_accepts_only_a_change_of_its_own_log(kind: str, body: Json) -> None:
    with pytest.raises((OperationalError, MalformedError)):
        acceptable(kind, body, origin=ORIGIN)
