"""A coordinator gone bad: it holds everything the coordinator holds, and gets no signature for it.

What it has is real: the coordinator's TLS identity and log key, a request that a backend signed and two
operators approved, fresh presignatures, and the nodes' own API. What it wants is a signature on other
bytes: the same payment to an address of its own. Nothing here is a hook of the product: the client is
``signer_nodes.api`` as anybody can use it, and the nodes run as they always do.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.certificates import tls_credentials
from custody.chains.evm_transaction import payment
from custody.ports import Fees
from policy import ledger
from policy.approval import Approval
from policy.encoding import Json
from policy.entries import job_id, make_entry
from policy.errors import InvariantError, OperationalError
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    log_signature,
    log_signature_message,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import COORDINATOR
from policy.state import State
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.client import NodeClient, PinnedIdentity, Service, Target

T = TypeVar("T")
BATCH = 4
PRESIGN_S, CONNECT_S = 30.0, 5.0
PRESIGNATURE_ID_BYTES = 32
NOTE_BYTES_MAX = 64 * 1024
FEES = Fees(fee_per_gas=3 * 10**9, priority_per_gas=10**9, gas=21_000)


@dataclass(frozen=True, slots=True)
class Loot:
    """What a thief of the coordinator's machine has: its keys, and where every cosigner is."""

    origin: str
    log_key: Ed25519PrivateKey = field(repr=False)
    identity: Ed25519PrivateKey = field(repr=False)
    cosigners: Mapping[str, tuple[str, PinnedIdentity]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A payment that was asked for and approved, and where the thief would rather have it go."""

    approval: Approval
    assertion: Json
    key: str
    path: str
    signers: tuple[str, ...]
    rule: str
    destination: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the nodes' verdict, what each signer answered, and anything they gave away."""

    rule: str
    reason: str
    declined: Mapping[str, str]
    cosigned_by: tuple[str, ...]
    openings: int
    partials: int
    size: int

    @property
    def refused(self) -> bool:
        """Whether the nodes gave nothing that helps to sign, and each signer said why."""
        return self.openings == 0 and self.partials == 0 and len(self.declined) > 0


def attack(loot: Loot, plot: Plot) -> Outcome:
    """Try to have other bytes signed than were approved."""
    return asyncio.run(_attack(loot, plot))


async def _attack(loot: Loot, plot: Plot) -> Outcome:
    async with _connected(loot) as clients:
        tip = await _catch_up(clients)
        presignature = await _presignature(clients, plot)
        entries = _entries(tip.state, plot, presignature)
        before = tip.state.size
        for entry in entries:
            tip = tip.extended(entry)
        note = _signed(
            loot, Checkpoint(loot.origin, tip.frontier.size, tip.frontier.root(), tip.state.digest)
        )
        append = pb.Append(start=before, entries=entries, checkpoint=note.to_bytes())
        answers = dict(
            zip(clients, await _all(client.append(append) for client in clients.values()), strict=True)
        )
        quorum = _cosigned(note, answers)
        job = job_id(loot.origin, tip.state.size - 1, entries[-1])
        finish = _finish(quorum, job, plot)
        finished = await _all(clients[name].finish(finish) for name in plot.signers)
        if tip.verdict is None:
            raise InvariantError("the fold gave no verdict on the reservation")
        return Outcome(
            rule=tip.verdict[0],
            reason=tip.verdict[1],
            declined={
                name: refused.reason
                for name, answer in zip(plot.signers, finished, strict=True)
                for refused in answer.declined
            },
            cosigned_by=tuple(sorted(verify_cosignatures(quorum, tip.state.roster.cosigner_keys()))),
            openings=sum(len(answer.openings) for answer in answers.values()),
            partials=sum(len(answer.partials) for answer in finished),
            size=tip.state.size,
        )


@dataclass(frozen=True, slots=True)
class _Tip:
    state: State
    frontier: Frontier
    verdict: tuple[str, str] | None = None

    def extended(self, entry: bytes) -> "_Tip":
        state, outcome = ledger.fold(self.state, entry)
        verdict = (outcome.verdict.rule, outcome.verdict.reason) if outcome.verdict else None
        return _Tip(state, self.frontier.append(leaf_hash(entry)), verdict)


@contextlib.asynccontextmanager
async def _connected(loot: Loot) -> AsyncIterator[dict[str, NodeClient]]:
    credentials = tls_credentials(COORDINATOR, loot.identity)
    clients = {
        name: NodeClient(Target(address, identity, loot.origin), credentials, service=Service.COORDINATE)
        for name, (address, identity) in loot.cosigners.items()
    }
    try:
        await _all(client.wait_connected(CONNECT_S) for client in clients.values())
        yield clients
    finally:
        await _all(client.close() for client in clients.values())


async def _catch_up(clients: Mapping[str, NodeClient]) -> _Tip:
    """The longest log that a cosigner has, folded: every rule of it is public to whoever can read it."""
    heads = dict(zip(clients, await _all(client.head() for client in clients.values()), strict=True))
    holder = max(heads, key=lambda name: heads[name].size)
    tip = _Tip(ledger.initial(), Frontier())
    while tip.frontier.size < heads[holder].size:
        for entry in await clients[holder].entries(tip.frontier.size, heads[holder].size):
            tip = tip.extended(entry)
    head = parse_checkpoint(parse_note(heads[holder].head, NOTE_BYTES_MAX).body)
    if (head.root, head.state) != (tip.frontier.root(), tip.state.digest):
        raise OperationalError(f"{holder}'s entries do not lead to its head: run the demo again")
    return tip


async def _presignature(clients: Mapping[str, NodeClient], plot: Plot) -> bytes:
    """The id of a fresh presignature: the nodes make them for whoever holds the coordinator's key."""
    batch_id = time.time_ns() // 1_000_000
    ask = pb.Presign(key_id=plot.key, signers=plot.signers, batch_id=batch_id, batch=BATCH)
    answers = await _all(clients[name].presign(ask, timeout_s=PRESIGN_S) for name in plot.signers)
    return bytes(answers[0].presignatures[0][:PRESIGNATURE_ID_BYTES])


def _entries(state: State, plot: Plot, presignature: bytes) -> list[bytes]:
    """The true approval, and the reservation of other bytes that claims the policy allows them."""
    time_ms = max(state.time_ms, time.time_ns() // 1_000_000)
    approval = make_entry("approval", time_ms, plot.approval.body(), assertion=plot.assertion)
    intent = replace(plot.approval.intent, destination=plot.destination)
    tx = payment(intent, contract=None, nonce=plot.approval.slot.nonce, fees=FEES)
    body: Json = {
        "request": plot.approval.request.hex(),
        "purpose": "payment",
        "tx": tx.hex(),
        "key": plot.key,
        "epoch": state.keys[plot.key].epoch,
        "path": plot.path,
        "signers": list(plot.signers),
        "presignatures": [presignature.hex()],
    }
    claim: Json = {"outcome": "allow", "rule": plot.rule}
    return [approval, make_entry("reserve", time_ms, body, verdict=claim)]


def _signed(loot: Loot, checkpoint: Checkpoint) -> Note:
    body = checkpoint.body()
    signature = loot.log_key.sign(log_signature_message(body))
    public_key = loot.log_key.public_key().public_bytes_raw()
    return Note(body).with_signatures(log_signature(loot.origin, public_key, signature))


def _cosigned(note: Note, answers: Mapping[str, pb.AppendReply]) -> Note:
    lines = [
        parse_note(note.body + b"\n" + answer.cosignature, NOTE_BYTES_MAX).signatures[0]
        for answer in answers.values()
    ]
    return note.with_signatures(*lines)


def _finish(note: Note, job: bytes, plot: Plot) -> pb.Finish:
    """Round 2 all the same, with openings made up: nobody gave any."""
    opened = [pb.Opened(index=0, signer=name, rho=secrets.token_bytes(32)) for name in plot.signers]
    return pb.Finish(note=note.to_bytes(), jobs=[pb.FinishJob(job=job, opened=opened)])


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*calls))
