"""A split that no count resolves, among real processes: the administrators' commands of ADR 0003 end it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cli.deployment import coordinator_config
from cli.files import write_bytes
from cli.identities import PersonCard
from cli.main import invoke
from policy.encoding import canonical
from policy.errors import QuorumkeepError
from tests.e2e.cluster import Cluster, ScriptedCoordinator, free_port, raw_public
from tests.e2e.deployment import CHAIN, CUSTOMER, ETH, ORIGIN, WITNESS
from tests.e2e.transactions import unsigned_transfer

STUCK, LIVING = ("node-a", "node-b"), ("node-c", WITNESS)


async def test_a_split_in_two_halves_ends_by_the_commands_of_the_page(
    cluster: Cluster, coordinator: ScriptedCoordinator
) -> None:
    job = await split(coordinator)
    folder = cluster.folder / "treasury"
    with running(cluster, folder) as ask:
        before = await asyncio.to_thread(until, ask, lambda shown: stuck(shown) == set(STUCK))
        drafted = ask("admin", "draft", "fork", "--cosigner", "node-a", "--out", str(folder / "fork.json"))
        invoke("admin", "sign", drafted["file"], *_as(folder), "--fingerprint", drafted["fingerprint"])
        outcome = ask("admin", "submit", drafted["file"])
        after = await asyncio.to_thread(until, ask, all_live)

    assert drafted["body"]["abandoned"] == [job.hex()]
    assert outcome["left"] == dict.fromkeys(STUCK, "")
    assert before["quorum_size"] < before["size"], "neither half is a quorum"
    assert after["quorum_size"] == after["size"]


async def split(first: ScriptedCoordinator) -> bytes:
    """Node-a and node-b on a branch with a job they have bound, the others on a longer one; the job."""
    presignatures = await first.presign(*STUCK)
    await first.commit()
    await first.tell_quorum()
    request = first.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=0, to=CUSTOMER, value=ETH // 100)
    second = ScriptedCoordinator(first.cluster)
    await second.ready()
    await second.recover_from("node-c")
    job = first.reserve(request.subject, tx, presignatures[0], *STUCK)
    first.checkpoint()
    for name in STUCK:
        assert (await first.append_to(name)).openings
    for amount in (1, 2, 3):
        assert second.request(amount=ETH // 100 + amount).accepted
    await second.commit(*LIVING)
    await second.close()
    return job.subject


@contextmanager
def running(cluster: Cluster, folder: Path) -> "Iterator[Any]":
    """The real coordinator, without a database, over the cluster's cosigners; how to ask it."""
    listen = f"127.0.0.1:{free_port()}"
    make_deployment(cluster, folder, listen)
    config = folder / "coordinator" / "config.toml"
    with (folder / "coordinator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "custody.main", "--config", str(config)], stdout=log, stderr=log
        )
    try:
        yield lambda *argv: invoke(*argv, *_as(folder), "--client", str(folder / "client.json")).document
    finally:
        process.kill()
        process.wait()


def make_deployment(cluster: Cluster, folder: Path, listen: str) -> None:
    """What the set-up commands make, from the keys that the cluster has."""
    nodes = [
        {"name": name, "address": f"127.0.0.1:{process.port}"} for name, process in cluster.processes.items()
    ]
    chains = {CHAIN: "http://127.0.0.1:1"}  # nothing is paid here
    draft = {"origin": ORIGIN, "listen": listen, "log_dir": "log", "nodes": nodes, "chains": chains}
    certificate = (cluster.folder / "coordinator.pem").read_bytes()
    card = PersonCard("administrator", "admin", raw_public(cluster.admin), None)
    client = {
        "origin": ORIGIN,
        "address": listen,
        "certificate": certificate.decode(),
        "policy": json.loads(cluster.genesis)["body"]["policy"],
    }
    for name, data in {
        "genesis.json": cluster.genesis,
        "coordinator/config.toml": coordinator_config({**draft, "confirmations": 1}).encode(),
        "coordinator/identity.key": pem(cluster.identity),
        "coordinator/log.key": pem(cluster.log_key),
        **{f"coordinator/nodes/{name}.pem": card.certificate for name, card in cluster.cards.items()},
        "client.json": canonical(client),
        "admin/card.json": canonical(card.body()),
        "admin/key.pem": pem(cluster.admin),
    }.items():
        write_bytes(folder / name, data, mode=0o600)


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def stuck(shown: dict[str, Any]) -> set[str]:
    """Whom status says to need the administrators' fork entry."""
    return {one["name"] for one in shown["nodes"] if "the administrators' fork entry" in one["problem"]}


def all_live(shown: dict[str, Any]) -> bool:
    return bool(all(one["live"] for one in shown["nodes"]) and shown["quorum_size"] == shown["size"])


def until(ask: Any, holds: Any, *, timeout_s: float = 60) -> dict[str, Any]:
    """The status once it is as wanted."""
    deadline, shown, said = time.monotonic() + timeout_s, {}, ""
    while time.monotonic() < deadline:
        try:
            shown = ask("status")
            if holds(shown):
                return dict(shown)
        except QuorumkeepError as error:  # the coordinator is not there yet
            said = str(error)
        time.sleep(0.1)
    raise AssertionError(f"after {timeout_s} s: {shown or said}")


def _as(folder: Path) -> tuple[str, str]:
    return "--as", str(folder / "admin")
