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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.transaction import payment
from policy import ledger
from policy.approval import Approval
from policy.encoding import Json, canonical, tagged_hash
from policy.entries import job_id, make_entry
from policy.errors import OperationalError
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    log_signature,
    log_signature_message,
    parse_checkpoint,
    parse_note,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import COORDINATOR
from policy.state import State
from policy.values import replace
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.client import NodeClient, PinnedIdentity, Refused, Service, Target
from signer_nodes.api.issuing import issue_credentials

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
    """What came of it.

    ``lie_refused`` is what each cosigner said to a checkpoint that pretends the reservation was admitted;
    ``declined`` what each signer said when asked to finish all the same. ``openings`` and ``partials``
    count what the nodes gave away.
    """

    rule: str
    reason: str
    lie_refused: Mapping[str, str]
    declined: Mapping[str, str]
    openings: int
    partials: int
    size: int

    def refused_by(self, cosigners: int, signers: int) -> bool:
        """Whether all of them refused, and nothing was given away that helps to sign."""
        said = (len(self.lie_refused), len(self.declined)) == (cosigners, signers)
        return said and self.openings == 0 and self.partials == 0


def attack(loot: Loot, plot: Plot) -> Outcome:
    """Try to have other bytes signed than were approved."""
    return asyncio.run(_attack(loot, plot))


async def _attack(loot: Loot, plot: Plot) -> Outcome:
    async with _connected(loot) as clients:
        tip = await _catch_up(clients)
        presignature = await _presignature(clients, plot, epoch=tip.state.keys[plot.key].epoch)
        approved = tip.extended(_approval(tip.state, plot))
        lie_refused = await _lie(loot, plot, clients, tips=(tip, approved), presignature=presignature)
        body = _reserve_body(approved.state, plot, presignature)
        time_ms = approved.state.time_ms
        verdict = ledger.judge(approved.state, "reserve", body=body, time_ms=time_ms)
        entry = make_entry("reserve", time_ms, body=body, verdict=verdict.to_json())
        ended = approved.extended(entry)
        note = _signed(loot, ended.checkpoint())
        append = pb.Append(
            start=tip.state.size, entries=[_approval(tip.state, plot), entry], checkpoint=note.to_bytes()
        )
        answers = dict(zip(clients, await _all(c.append(append) for c in clients.values()), strict=True))
        job = job_id(loot.origin, approved.state.size, data=entry)
        finish = _finish(_cosigned(note, answers), job, plot)
        finished = await _all(clients[name].finish(finish) for name in plot.signers)
        return Outcome(
            rule=verdict.rule,
            reason=verdict.reason,
            lie_refused=lie_refused,
            declined={
                name: refused.reason
                for name, answer in zip(plot.signers, finished, strict=True)
                for refused in answer.declined
            },
            openings=sum(len(answer.openings) for answer in answers.values()),
            partials=sum(len(answer.partials) for answer in finished),
            size=ended.state.size,
        )


@dataclass(frozen=True, slots=True)
class _Tip:
    state: State
    frontier: Frontier

    def extended(self, entry: bytes) -> "_Tip":
        state, _ = ledger.fold(self.state, entry)
        return _Tip(state, self.frontier.append(leaf_hash(entry)))

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.state.origin, self.frontier.size, self.frontier.root(), self.state.digest)


async def _lie(
    loot: Loot, plot: Plot, clients: Mapping[str, NodeClient], *, tips: tuple[_Tip, _Tip], presignature: bytes
) -> dict[str, str]:
    """Claim that the policy allows the other bytes, in a checkpoint as if it did; who refused, and why."""
    tip, approved = tips
    body = _reserve_body(approved.state, plot, presignature)
    claim: Json = {"outcome": "allow", "rule": plot.rule}
    entry = make_entry("reserve", approved.state.time_ms, body=body, verdict=claim)
    frontier = approved.frontier.append(leaf_hash(entry))
    checkpoint = Checkpoint(
        loot.origin, frontier.size, frontier.root(), _as_if_admitted(approved.state, entry, claim)
    )
    append = pb.Append(
        start=tip.state.size,
        entries=[_approval(tip.state, plot), entry],
        checkpoint=_signed(loot, checkpoint).to_bytes(),
    )
    refused: dict[str, str] = {}
    for name, client in clients.items():
        try:
            await client.append(append)
        except Refused as refusal:
            refused[name] = str(refusal)
    return refused


def _as_if_admitted(state: State, entry: bytes, claim: Json) -> bytes:
    """The state's digest had every node's fold admitted the reservation."""
    job = job_id(state.origin, state.size, data=entry)
    outcome: Json = {"kind": "reserve", "accepted": True, "subject": job.hex(), "verdict": claim}
    size = state.size.to_bytes(8, "big")
    return tagged_hash("state", state.digest, size, leaf_hash(entry), canonical(outcome), state.policy_hash)


@contextlib.asynccontextmanager
async def _connected(loot: Loot) -> AsyncIterator[dict[str, NodeClient]]:
    credentials = issue_credentials(
        COORDINATOR, loot.identity, not_before=datetime.now(UTC), serial=secrets.randbits(158) + 1
    )
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


async def _presignature(clients: Mapping[str, NodeClient], plot: Plot, *, epoch: int) -> bytes:
    """The id of a fresh presignature: the nodes make them for whoever holds the coordinator's key."""
    batch_id = time.time_ns() // 1_000_000
    ask = pb.Presign(key_id=plot.key, signers=plot.signers, batch_id=batch_id, batch=BATCH, epoch=epoch)
    answers = await _all(clients[name].presign(ask, timeout_s=PRESIGN_S) for name in plot.signers)
    return bytes(answers[0].presignatures[0][:PRESIGNATURE_ID_BYTES])


def _approval(state: State, plot: Plot) -> bytes:
    """The entry of the true approval, which the thief has intercepted."""
    return make_entry("approval", state.time_ms, body=plot.approval.body(), assertion=plot.assertion)


def _reserve_body(state: State, plot: Plot, presignature: bytes) -> dict[str, Json]:
    """A reservation of the same payment to another address."""
    intent = replace(plot.approval.intent, destination=plot.destination)
    return {
        "request": plot.approval.request.hex(),
        "purpose": "payment",
        "tx": payment(intent, contract=None, nonce=plot.approval.slot.nonce, fees=FEES).hex(),
        "key": plot.key,
        "epoch": state.keys[plot.key].epoch,
        "paths": [plot.path],
        "signers": list(plot.signers),
        "presignatures": [presignature.hex()],
    }


def _signed(loot: Loot, checkpoint: Checkpoint) -> Note:
    body = checkpoint.body()
    signature = loot.log_key.sign(log_signature_message(body))
    public_key = loot.log_key.public_key().public_bytes_raw()
    return Note(body).with_signatures(log_signature(loot.origin, public_key, signature=signature))


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
