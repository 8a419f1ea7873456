"""Threshold Schnorr through the same log, rounds and tokens: Ed25519 for Solana, taproot for Bitcoin.

Signatures are checked by libraries that are not ours.
"""

import asyncio
import json
from collections.abc import Mapping

import pytest
from coincurve import PublicKeyXOnly
from solders.hash import Hash
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Transaction

from policy import base58, schnorr
from policy.accounts import Account, account_at
from policy.encoding import Json
from policy.entries import make_entry
from policy.errors import FaultyParticipant
from policy.schnorr import SchnorrTask
from policy.state import Job, Outcome
from signer_nodes.api import node_pb2 as pb
from tests.e2e.cluster import Cluster, ScriptedCoordinator, now_ms
from tests.e2e.deployment import BTC_CUSTOMER, SOL_CUSTOMER
from tests.unit.schnorr_house import SATOSHI, psbt
from tests.unit.solana_house import advance, pay, priority

NONCE_ACCOUNT, NONCE = b"\x0a" * 32, b"\x0b" * 32
PAIRS = (("node-a", "node-b"), ("node-b", "node-c"))


async def with_key(coordinator: ScriptedCoordinator, key: str) -> None:
    """The key, made once for all tests of this file."""
    if key not in coordinator.state.keys:
        assert (await coordinator.change_key("generate", key=key, attempt=now_ms())).accepted
        await coordinator.commit()


def account(coordinator: ScriptedCoordinator, wallet: str, path: str) -> Account:
    chain = coordinator.state.policy.wallets[wallet].chain
    return account_at(coordinator.state.keys[wallet], path, chain=chain)


async def reserved(
    coordinator: ScriptedCoordinator,
    request: bytes,
    tx: bytes,
    *,
    paths: tuple[str, ...],
    signers: tuple[str, ...],
    claim: Json | None = None,
) -> Outcome:
    """Fresh nonce pairs, and a reservation that names them; ``claim`` is a verdict that is invented."""
    wallet = coordinator.state.requests[request].request.intent.wallet
    made = await coordinator.presign(*signers, key=wallet)
    body: Json = {
        "request": request.hex(),
        "purpose": "payment",
        "tx": tx.hex(),
        "key": wallet,
        "epoch": coordinator.state.keys[wallet].epoch,
        "paths": list(paths),
        "signers": list(signers),
        "presignatures": [one.hex() for one in made[: len(paths)]],
    }
    if claim is None:
        return coordinator.add_judged("reserve", body)
    return coordinator.add(make_entry("reserve", coordinator.state.time_ms, body=body, verdict=claim))


def openings_of(
    coordinator: ScriptedCoordinator, job: Job, replies: Mapping[str, pb.AppendReply]
) -> list[dict[int, bytes]]:
    key = coordinator.state.keys[job.key]
    found: list[dict[int, bytes]] = [{} for _ in job.signings]
    for name in job.signers:
        for opening in replies[name].openings:
            if opening.job == job.job_id:
                found[opening.index][key.index_of(name)] = opening.rho
    return found


def combined(
    coordinator: ScriptedCoordinator,
    job: Job,
    replies: Mapping[str, pb.AppendReply],
    finished: Mapping[str, pb.FinishReply],
) -> list[bytes]:
    """The signatures of a job, one an index."""
    key, openings = coordinator.state.keys[job.key], openings_of(coordinator, job, replies)
    public = dict(enumerate(key.public_shares, start=1))
    made = []
    for index, signing in enumerate(job.signings):
        partials = {
            key.index_of(name): one.partial
            for name, reply in finished.items()
            for one in reply.partials
            if one.index == index
        }
        task = SchnorrTask(
            job.suite, signing.message, key.group_key, signing.tweak, signing.merkle_root, job.job_id, index
        )
        made.append(schnorr.combine(partials, openings=openings[index], public_shares=public, task=task))
    return made


async def signed(coordinator: ScriptedCoordinator, job_id: bytes) -> list[bytes]:
    """Both rounds, and the signatures in the log."""
    replies = await coordinator.commit()
    finished = await coordinator.finish(job_id, replies)
    signatures = combined(coordinator, coordinator.state.jobs[job_id], replies, finished)
    for index, signature in enumerate(signatures):
        body: Json = {"job": job_id.hex(), "index": index, "signature": signature.hex()}
        time_ms = max(now_ms(), coordinator.state.time_ms)
        assert coordinator.add(coordinator.entry("signature", time_ms, body)).accepted
    await coordinator.commit()
    return signatures


def solana_message(
    coordinator: ScriptedCoordinator, lamports: int, *, nonce: bytes, price: int = 0
) -> Message:
    payer = account(coordinator, "sol", "m").public_key
    made = [advance(NONCE_ACCOUNT, payer), *priority(1_000, price)]
    made.append(pay(payer, base58.decode(SOL_CUSTOMER), lamports))
    return Message.new_with_blockhash(made, Pubkey(payer), Hash(nonce))


@pytest.mark.parametrize("signers", PAIRS)
async def test_a_solana_payment_is_signed_by_two_nodes(
    coordinator: ScriptedCoordinator, signers: tuple[str, ...]
) -> None:
    await with_key(coordinator, "sol")
    request = coordinator.request(amount=1000, destination=SOL_CUSTOMER, wallet="sol")
    message = solana_message(coordinator, 1000, nonce=bytes([now_ms() % 256]) * 32)
    job = await reserved(coordinator, request.subject, bytes(message), paths=("m",), signers=signers)

    (signature,) = await signed(coordinator, job.subject)

    Transaction.populate(message, [Signature(signature)]).verify()


async def test_no_node_opens_anything_for_a_second_message_of_a_solana_request(
    coordinator: ScriptedCoordinator,
) -> None:
    """Though the coordinator says that it is allowed."""
    await with_key(coordinator, "sol")
    request = coordinator.request(amount=11, destination=SOL_CUSTOMER, wallet="sol")
    first, second = (
        bytes(solana_message(coordinator, 11, nonce=b"\x0e" * 32, price=price)) for price in (0, 1)
    )
    job = await reserved(coordinator, request.subject, first, paths=("m",), signers=PAIRS[0])
    assert job.accepted and job.verdict is not None
    claim: Json = {"outcome": "allow", "rule": job.verdict.rule}
    lie = await reserved(coordinator, request.subject, second, paths=("m",), signers=PAIRS[0], claim=claim)

    replies = await coordinator.commit()

    assert lie.verdict is not None and lie.verdict.rule == "message-fixed"
    assert {one.job for name in PAIRS[0] for one in replies[name].openings} == {job.subject}


async def test_both_inputs_of_a_bitcoin_payment_are_signed_together(coordinator: ScriptedCoordinator) -> None:
    await with_key(coordinator, "btc")
    paths = ("m/0/0", "m/0/1")
    accounts = [account(coordinator, "btc", path) for path in paths]
    request = coordinator.request(amount=30_000, destination=BTC_CUSTOMER, wallet="btc")
    change = 2 * SATOSHI - 30_000 - 500
    tx = psbt(
        [one.address for one in accounts], [(BTC_CUSTOMER, 30_000), (accounts[1].address, change)], first=0
    )
    job = await reserved(coordinator, request.subject, tx, paths=paths, signers=PAIRS[1])
    assert job.accepted, job.reason

    signatures = await signed(coordinator, job.subject)

    signings = coordinator.state.jobs[job.subject].signings
    for signature, signing, one in zip(signatures, signings, accounts, strict=True):
        assert PublicKeyXOnly(one.public_key).verify(signature, signing.message)
    assert coordinator.state.jobs[job.subject].status.value == "signed"


async def test_asked_again_the_same_partial_signature_goes_out_and_a_bad_one_names_its_sender(
    coordinator: ScriptedCoordinator,
) -> None:
    await with_key(coordinator, "sol")
    request = coordinator.request(amount=7, destination=SOL_CUSTOMER, wallet="sol")
    message = solana_message(coordinator, 7, nonce=NONCE)
    job = await reserved(coordinator, request.subject, bytes(message), paths=("m",), signers=PAIRS[0])
    replies = await coordinator.commit()

    first = await coordinator.finish(job.subject, replies)
    second = await coordinator.finish(job.subject, replies)

    made = coordinator.state.jobs[job.subject]
    assert [r.partials[0].partial for r in first.values()] == [r.partials[0].partial for r in second.values()]
    wrong = bytearray(first["node-b"].partials[0].partial)
    wrong[0] ^= 1
    first["node-b"].partials[0].partial = bytes(wrong)
    with pytest.raises(FaultyParticipant) as caught:
        combined(coordinator, made, replies, first)
    assert caught.value.participant == coordinator.state.keys["sol"].index_of("node-b")


async def test_openings_swapped_by_the_coordinator_give_no_partial_signature(
    coordinator: ScriptedCoordinator,
) -> None:
    await with_key(coordinator, "sol")
    request = coordinator.request(amount=8, destination=SOL_CUSTOMER, wallet="sol")
    message = solana_message(coordinator, 8, nonce=b"\x0c" * 32)
    job = await reserved(coordinator, request.subject, bytes(message), paths=("m",), signers=PAIRS[0])
    replies = await coordinator.commit()
    mine, other = replies["node-a"].openings[0], replies["node-b"].openings[0]
    mine.rho, other.rho = other.rho, mine.rho

    finished = await coordinator.finish(job.subject, replies)

    assert not any(reply.partials for reply in finished.values())
    assert all("is not ours" in reply.declined[0].reason for reply in finished.values())


async def test_a_restart_forgets_all_nonces(coordinator: ScriptedCoordinator, cluster: Cluster) -> None:
    await with_key(coordinator, "sol")
    request = coordinator.request(amount=9, destination=SOL_CUSTOMER, wallet="sol")
    message = solana_message(coordinator, 9, nonce=b"\x0d" * 32)
    job = await reserved(coordinator, request.subject, bytes(message), paths=("m",), signers=PAIRS[0])
    cluster.processes["node-a"].kill()
    cluster.start("node-a")
    await coordinator.ready("node-a")

    replies = await coordinator.commit()

    assert [one.reason for one in replies["node-a"].declined] == [
        "this node does not hold the presignature: it restarted or never made it"
    ]
    stock = json.loads(await coordinator.clients["node-b"].status())["pools"]
    assert not any(pool["key"] == "sol" and "node-a" in pool["signers"] for pool in stock)
    assert job.accepted


async def test_a_refreshed_schnorr_key_signs(coordinator: ScriptedCoordinator) -> None:
    await with_key(coordinator, "sol")
    before = coordinator.state.keys["sol"]
    assert (await coordinator.change_key("refresh", key="sol", attempt=now_ms())).accepted
    await coordinator.commit()
    await coordinator.tell_quorum()
    await asyncio.sleep(0)
    request = coordinator.request(amount=10, destination=SOL_CUSTOMER, wallet="sol")
    message = solana_message(coordinator, 10, nonce=b"\x2e" * 32)
    job = await reserved(coordinator, request.subject, bytes(message), paths=("m",), signers=PAIRS[1])
    assert job.accepted, job

    (signature,) = await signed(coordinator, job.subject)

    Transaction.populate(message, [Signature(signature)]).verify()
    after = coordinator.state.keys["sol"]
    assert (after.epoch, after.group_key) == (before.epoch + 1, before.group_key)
