"""Real cosigner processes with real tokens, and a scripted coordinator that speaks their wire.

The scripted coordinator holds every key a coordinator holds, so it can do whatever a hostile one can:
tests use it to send what the real one never would, and to stop between any two steps.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cli.authenticator import SoftwareAuthenticator
from cli.demo.supervisor import free_ports
from policy.ecdsa import Partial, SigningTask, combine
from policy.encoding import Json, statement
from policy.entries import make_entry, signature_list
from policy.ledger import claim_verdict, fold
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    log_signature,
    log_signature_message,
    parse_note,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.state import Job, Outcome, State
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.card import Card, parse_card
from signer_nodes.api.certificates import PinnedIdentity
from signer_nodes.api.client import NodeClient, Service, Target, Unreachable
from signer_nodes.api.issuing import issue_credentials, make_identity_certificate
from signer_nodes.provisioning import PeerAddress, Pinned, join
from tests.e2e.deployment import CUSTOMER, ETH, NODES, ORIGIN, policy_document
from tests.waiting import WAIT_S


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def free_port() -> int:
    return free_ports(1)[0]


def node_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "signer_nodes.main", *arguments]


@dataclass
class Process:
    """One cosigner: its folder, port, PIN, and its process while it runs."""

    name: str
    folder: Path
    port: int
    pin: str = field(repr=False)
    role: str
    popen: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        read, write = os.pipe()
        os.write(write, self.pin.encode())
        os.close(write)
        with (self.folder / "stderr.log").open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "signer_nodes.main",
                    "run",
                    "--config",
                    str(self.folder / "config.toml"),
                    "--pin-fd",
                    str(read),
                ],
                pass_fds=(read,),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        os.close(read)

    def doctor(self) -> "subprocess.CompletedProcess[bytes]":
        """What its doctor says of token and disk."""
        read, write = os.pipe()
        os.write(write, self.pin.encode())
        os.close(write)
        command = node_command("doctor", "--config", str(self.folder / "config.toml"), "--pin-fd", str(read))
        try:
            return subprocess.run(command, pass_fds=(read,), capture_output=True, timeout=60, check=False)
        finally:
            os.close(read)

    def wait_listening(self) -> None:
        assert self.popen is not None and self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"{self.name} ended: {(self.folder / 'stderr.log').read_text()[-2000:]}"
        assert json.loads(line)["listening"] == self.port

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()
            self.popen = None

    def stop(self) -> int:
        assert self.popen is not None
        self.popen.terminate()
        code = self.popen.wait(timeout=WAIT_S)
        self.popen = None
        return code


class Cluster:
    """Three nodes and a witness on loopback, with everything around them that a test needs."""

    def __init__(self, folder: Path, *, policy: Json | None = None, cold: list[Json] | None = None) -> None:
        self.folder = folder
        self.cold: dict[str, Json] = {"cold": cold} if cold else {}
        self.log_key = Ed25519PrivateKey.generate()
        self.admin = Ed25519PrivateKey.generate()
        self.backend = Ed25519PrivateKey.generate()
        self.operators = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob")}
        self.passkeys = {
            name: SoftwareAuthenticator.create(
                "localhost", "http://localhost", randomness=secrets.token_bytes(48)
            )
            for name in self.operators
        }
        self.processes: dict[str, Process] = {}
        self.cards: dict[str, Card] = {}
        self.provision(node_a="node", node_b="node", node_c="node", witness_1="witness")
        self.genesis = self._genesis(policy or policy_document())
        self._identity()
        self.join_all()

    def start(self, *names: str) -> None:
        chosen = [self.processes[name] for name in names or self.processes]
        for process in chosen:
            process.start()
        for process in chosen:
            process.wait_listening()

    def kill_all(self) -> None:
        for process in self.processes.values():
            process.kill()

    def targets(self) -> dict[str, Target]:
        return {
            name: Target(
                f"127.0.0.1:{process.port}",
                PinnedIdentity.of(name, self.cards[name].certificate),
                ORIGIN,
            )
            for name, process in self.processes.items()
        }

    def provision(self, **roles: str) -> None:
        """Make cosigners, by name with ``_`` for ``-``, all at once."""
        running = []
        for key, role in roles.items():
            name = key.replace("_", "-")
            process = Process(name, self.folder / name, free_port(), secrets.token_hex(16), role)
            self.processes[name] = process
            running.append(self._provision_one(process))
        assert [popen.wait(timeout=60) for popen in running] == [0] * len(running)
        for name, process in self.processes.items():
            self.cards[name] = parse_card((process.folder / "card.json").read_bytes())

    def _provision_one(self, process: Process) -> "subprocess.Popen[bytes]":
        read, write = os.pipe()
        os.write(write, process.pin.encode())
        os.close(write)
        try:
            return subprocess.Popen(
                node_command(
                    *(
                        "provision",
                        "--dir",
                        str(process.folder),
                        "--name",
                        process.name,
                        "--role",
                        process.role,
                    ),
                    *("--origin", ORIGIN, "--pin-fd", str(read)),
                ),
                pass_fds=(read,),
                stdout=subprocess.DEVNULL,
            )
        finally:
            os.close(read)

    def _genesis(self, policy: Json) -> bytes:
        operators: list[Json] = []
        for name, key in self.operators.items():
            credential = self.passkeys[name].credential()
            described: Json = {
                "id": credential.id.hex(),
                "public_key": credential.public_key.hex(),
                "rp_id": credential.rp_id,
                "origins": list(credential.origins),
            }
            operators.append(
                {"name": name, "key": raw_public(key).hex(), "groups": ["treasury"], "credential": described}
            )
        roster: Json = {
            "cosigners": [
                {"name": card.name, "key": card.key.hex(), "role": card.role} for card in self.cards.values()
            ],
            "w": 3,
            "f": 1,
            "log_key": raw_public(self.log_key).hex(),
            "administrators": {
                "quorum": 1,
                "members": [{"name": "admin", "key": raw_public(self.admin).hex()}],
            },
            "initiators": [{"name": "payments", "key": raw_public(self.backend).hex(), "people": []}],
            "operators": operators,
            "observers": [],
            "policy_delay_ms": 0,
            **self.cold,
        }
        body: Json = {"origin": ORIGIN, "rules": 1, "roster": roster, "policy": policy}
        signature = self.admin.sign(statement("genesis", body))
        return make_entry("genesis", now_ms(), body=body, signatures=signature_list({"admin": signature}))

    def _identity(self) -> None:
        self.identity = key = Ed25519PrivateKey.generate()
        certificate = make_identity_certificate("coordinator", raw_public(key), sign=key.sign)
        (self.folder / "coordinator.pem").write_bytes(certificate)
        self.credentials = issue_credentials(
            "coordinator", key, not_before=datetime.now(UTC), serial=secrets.randbits(100) + 1
        )

    def join_all(self, roster: Pinned | None = None) -> None:
        """Configure every cosigner for the deployment, or for a newer roster of it."""
        genesis = self.folder / "genesis.json"
        genesis.write_bytes(self.genesis)
        for process in self.processes.values():
            others = [other for other in self.processes.values() if other is not process]
            join(
                process.folder,
                genesis=Pinned(genesis, leaf_hash(self.genesis).hex()),
                roster=roster,
                coordinator=self.folder / "coordinator.pem",
                listen=f"127.0.0.1:{process.port}",
                peers=[
                    PeerAddress(other.name, f"127.0.0.1:{other.port}", other.folder / "card.json")
                    for other in others
                ],
            )


class ScriptedCoordinator:
    """Orders entries and drives both rounds, one step at a time, as the test says."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clients = {
            name: NodeClient(target, cluster.credentials, service=Service.COORDINATE)
            for name, target in cluster.targets().items()
        }
        self.state = State()
        self.frontier = Frontier()
        self.entries: list[bytes] = []
        self.note = b""
        self.quorum_note = b""
        self.points: dict[bytes, bytes] = {}
        self.batch_id = 0

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self.clients.values()))

    def add(self, entry: bytes) -> Outcome:
        """Append an entry to this coordinator's own log."""
        self.state, outcome = fold(self.state, entry)
        self.frontier = self.frontier.append(leaf_hash(entry))
        self.entries.append(entry)
        return outcome

    def add_judged(self, kind: str, body: Json, **proof: Json) -> Outcome:
        """Append a request or reservation with the verdict that the fold will find."""
        time_ms = max(now_ms(), self.state.time_ms)
        verdict = claim_verdict(self.state, kind, body=body, time_ms=time_ms)
        return self.add(make_entry(kind, time_ms, body=body, verdict=verdict, **proof))

    def checkpoint(self) -> bytes:
        """Sign a checkpoint over everything added so far."""
        checkpoint = Checkpoint(ORIGIN, self.frontier.size, self.frontier.root(), self.state.digest)
        body = checkpoint.body()
        key = self.cluster.log_key
        line = log_signature(ORIGIN, raw_public(key), signature=key.sign(log_signature_message(body)))
        self.note = Note(body).with_signatures(line).to_bytes()
        return self.note

    async def append_to(self, name: str, *, start: int | None = None) -> pb.AppendReply:
        """Round 1 with one cosigner, from its own size on."""
        if start is None:
            start = (await self.clients[name].head()).size
        call = pb.Append(start=start, entries=self.entries[start:], checkpoint=self.note)
        return await self.clients[name].append(call)

    async def commit(self, *names: str) -> dict[str, pb.AppendReply]:
        """Round 1 with the cosigners named (all if none), and the note with their cosignatures."""
        self.checkpoint()
        chosen = names or tuple(self.clients)
        replies = dict(
            zip(chosen, await asyncio.gather(*(self.append_to(name) for name in chosen)), strict=True)
        )
        note = parse_note(self.note, 65536)
        for reply in replies.values():
            line = parse_note(note.body + b"\n" + reply.cosignature, 65536).signatures[0]
            note = note.with_signatures(line)
        self.quorum_note = note.to_bytes()
        return replies

    async def ready(self, *names: str, within_s: float = WAIT_S) -> None:
        """Wait until the cosigners have compared heads and are open."""
        deadline = time.monotonic() + within_s
        for name in names or tuple(self.clients):
            while True:
                with suppress(Unreachable):  # a connection to the killed process may not have ended yet
                    await self.clients[name].wait_connected(within_s)
                    if json.loads(await self.clients[name].status())["ready"]:
                        break
                assert time.monotonic() < deadline, f"{name} is not ready after {within_s} s"
                await asyncio.sleep(0.05)

    async def change_key(
        self,
        change: str,
        *parties: str,
        key: str = "hot",
        attempt: int = 1,
        dealers: tuple[str, ...] = (),
    ) -> Outcome:
        """Have the parties (all nodes if none) begin the key's next epoch, and log it."""
        names = parties or NODES
        call = pb.ChangeKey(key_id=key, attempt=attempt, change=change, dealers=dealers)
        replies = await asyncio.gather(*(self.clients[name].change_key(call, timeout_s=60) for name in names))
        assert len({reply.body for reply in replies}) == 1
        signatures = {name: reply.signature for name, reply in zip(names, replies, strict=True)}
        time_ms = max(now_ms(), self.state.time_ms)
        body = json.loads(replies[0].body)
        return self.add(make_entry("key", time_ms, body=body, signatures=signature_list(signatures)))

    async def presign(self, *signers: str, batch: int = 4, key: str = "hot") -> list[bytes]:
        self.batch_id += 1
        epoch = self.state.keys[key].epoch
        call = pb.Presign(key_id=key, signers=signers, batch_id=self.batch_id, batch=batch, epoch=epoch)
        replies = await asyncio.gather(*(self.clients[name].presign(call, timeout_s=30) for name in signers))
        assert len({tuple(reply.presignatures) for reply in replies}) == 1
        self.points |= dict(zip(replies[0].presignatures, replies[0].nonce_points, strict=True))
        return list(replies[0].presignatures)

    def request(
        self, *, amount: int, destination: str = CUSTOMER, key: str = "", wallet: str = "hot", **changed: Json
    ) -> Outcome:
        chain, asset = self.state.policy.wallets[wallet].chain, {"hot": "eth"}.get(wallet, wallet)
        body: Json = {
            "origin": ORIGIN,
            "initiator": "payments",
            "chain": chain,
            "wallet": wallet,
            "asset": asset,
            "amount": str(amount),
            "destination": destination,
            "fee_ceiling": str(min(ETH // 100, self.state.policy.chains[chain].fee_ceiling)),
            "idempotency_key": key or secrets.token_hex(8),
            "created_ms": now_ms(),
            "expires_ms": now_ms() + 3_600_000,
            **changed,
        }
        signature = self.cluster.backend.sign(statement("request", body))
        return self.add_judged("request", body, signature=signature.hex())

    def reserve(self, request: bytes, tx: bytes, presignature: bytes, *signers: str) -> Outcome:
        epoch = self.state.keys["hot"].epoch
        return self.add_judged("reserve", _reservation(request, tx, presignature, signers, epoch=epoch))

    def reserve_claiming(
        self, outcome: str, rule: str, request: bytes, tx: bytes, presignature: bytes, *signers: str
    ) -> Outcome:
        """A reservation whose claimed verdict is this coordinator's invention."""
        body = _reservation(request, tx, presignature, signers)
        time_ms = max(now_ms(), self.state.time_ms)
        return self.add(make_entry("reserve", time_ms, body=body, verdict={"outcome": outcome, "rule": rule}))

    async def recover(self) -> None:
        """Take the longest branch that any cosigner has cosigned, as a coordinator does that starts."""
        heads = {name: await client.head() for name, client in self.clients.items()}
        await self.recover_from(max(heads, key=lambda name: heads[name].size))
        if self.entries:
            await self.commit()

    async def recover_from(self, name: str) -> None:
        """Take the log as one cosigner has it."""
        self.batch_id = now_ms()
        size = (await self.clients[name].head()).size
        while len(self.entries) < size:
            for entry in await self.clients[name].entries(len(self.entries), size):
                self.add(entry)

    async def tell_quorum(self) -> None:
        """Tell every cosigner of the newest note with w cosignatures."""
        await asyncio.gather(*(client.quorum(self.quorum_note) for client in self.clients.values()))

    async def finish(self, job_id: bytes, replies: dict[str, pb.AppendReply]) -> dict[str, pb.FinishReply]:
        """Round 2 with the job's signers."""
        job: Job = self.state.jobs[job_id]
        opened = [
            pb.Opened(index=opening.index, signer=name, rho=opening.rho)
            for name in job.signers
            for opening in replies[name].openings
            if opening.job == job_id
        ]
        call = pb.Finish(note=self.quorum_note, jobs=[pb.FinishJob(job=job_id, opened=opened)])
        answers = await asyncio.gather(*(self.clients[name].finish(call) for name in job.signers))
        return dict(zip(job.signers, answers, strict=True))

    def combine(
        self, job_id: bytes, replies: dict[str, pb.AppendReply], finished: dict[str, pb.FinishReply]
    ) -> bytes:
        """The 65-byte signature of a job."""
        job, key = self.state.jobs[job_id], self.state.keys["hot"]
        rhos = {
            key.index_of(name): opening.rho
            for name in job.signers
            for opening in replies[name].openings
            if opening.job == job_id
        }
        partials = {
            key.index_of(name): Partial.from_bytes(reply.partials[0].partial)
            for name, reply in finished.items()
        }
        (signing,) = job.signings
        task = SigningTask(signing.message, signing.tweak, signing.public_key, job_id, 0)
        signature = combine(partials, R=self.points[job.presignatures[0]], rhos=rhos, task=task)
        return signature.to_bytes() + bytes([signature.recovery_id])

    def entry(self, kind: str, time_ms: int, body: Json) -> bytes:
        """The bytes of an entry that nobody signs."""
        return make_entry(kind, time_ms, body=body)

    def sign_entry(self, job_id: bytes, signature: bytes) -> Outcome:
        body: Json = {"job": job_id.hex(), "index": 0, "signature": signature.hex()}
        return self.add(make_entry("signature", max(now_ms(), self.state.time_ms), body=body))

    def burn_entry(self, job_id: bytes, signatures: dict[str, bytes]) -> Outcome:
        body: Json = {"origin": ORIGIN, "job": job_id.hex()}
        time_ms = max(now_ms(), self.state.time_ms)
        return self.add(make_entry("burn", time_ms, body=body, signatures=signature_list(signatures)))


async def found(cluster: Cluster) -> None:
    """The genesis entry and the key, so that the deployment can sign."""
    coordinator = ScriptedCoordinator(cluster)
    await coordinator.ready()
    assert coordinator.add(cluster.genesis).accepted
    await coordinator.commit()
    assert (await coordinator.change_key("generate")).accepted
    await coordinator.commit()
    await coordinator.close()


def scratch_folder() -> Path:
    """A new folder in memory where there is one, as tokens write often."""
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a new folder inside it
    return Path(tempfile.mkdtemp(prefix="quorumkeep-", dir=root))


def _reservation(
    request: bytes, tx: bytes, presignature: bytes, signers: tuple[str, ...], *, epoch: int = 0
) -> Json:
    return {
        "request": request.hex(),
        "purpose": "payment",
        "tx": tx.hex(),
        "key": "hot",
        "epoch": epoch,
        "paths": ["m/0/0"],
        "signers": [*sorted(signers)],
        "presignatures": [presignature.hex()],
    }
