"""Real nodes sign P2WPKH inputs by threshold ECDSA, and Bitcoin Core's own code takes the transaction."""

import json

import pytest

from cli.demo.chains.bitcoin.core import COINBASE_MATURITY
from custody.chains.bitcoin.transaction import (
    Coin,
    finished,
    outpoint,
    script_of,
    unsigned,
    without_witnesses,
)
from policy.accounts import account_at
from policy.decode.psbt import Output
from policy.ecdsa import Partial, SigningTask, combine
from policy.encoding import Json
from policy.state import JobStatus
from signer_nodes.api import node_pb2 as pb
from tests.chains.bitcoin_house import fresh_core
from tests.e2e.cluster import ScriptedCoordinator, now_ms
from tests.e2e.deployment import BITCOIN, BTC_CUSTOMER

PATHS, PAIR = ("m/0/0", "m/0/1"), ("node-a", "node-b")


@pytest.mark.slow
async def test_two_inputs_are_signed_together_and_the_transaction_is_valid(
    coordinator: ScriptedCoordinator,
) -> None:
    key, core = coordinator.state.keys["hot"], fresh_core()
    scripts = [script_of(BITCOIN, account_at(key, path, chain=BITCOIN).address) for path in PATHS]
    for script in scripts:
        core.mine(1, script, amount=60_000)
    core.mine(COINBASE_MATURITY)
    coins = [
        Coin(outpoint(txid, place), Output(one.amount, one.script), one.height, one.coinbase)
        for (txid, place), one in core.unspent.items()
        if one.script in scripts
    ]
    proofs = {coin.outpoint: without_witnesses(core.transaction(coin.txid).serialize()) for coin in coins}
    paid = Output(112_000, script_of(BITCOIN, BTC_CUSTOMER))
    tx = unsigned(coins, [paid], proofs=proofs)
    request = coordinator.request(amount=112_000, destination=BTC_CUSTOMER, wallet="key-hash", asset="btc")
    presignatures = await coordinator.presign(*PAIR)
    body: Json = {
        "request": request.subject.hex(),
        "purpose": "payment",
        "tx": tx.hex(),
        "key": "hot",
        "epoch": key.epoch,
        "paths": list(PATHS),
        "signers": list(PAIR),
        "presignatures": [one.hex() for one in presignatures[:2]],
    }
    outcome = coordinator.add_judged("reserve", body)
    assert outcome.accepted, outcome.reason

    replies = await coordinator.commit()
    answers = await coordinator.finish(outcome.subject, replies)
    for index in range(2):
        signature = _combined(coordinator, outcome.subject, index, replies=replies, answers=answers)
        entry: Json = {"job": outcome.subject.hex(), "index": index, "signature": signature.hex()}
        time_ms = max(now_ms(), coordinator.state.time_ms)
        assert coordinator.add(coordinator.entry("signature", time_ms, entry)).accepted, json.dumps(entry)
    await coordinator.commit()

    job = coordinator.state.jobs[outcome.subject]
    raw, tx_hash = finished(job)
    assert job.status is JobStatus.SIGNED
    assert core.accept(raw) == tx_hash.hex()
    core.mine()
    assert tx_hash.hex() in core.mined


def _combined(
    coordinator: ScriptedCoordinator,
    job_id: bytes,
    index: int,
    *,
    replies: dict[str, pb.AppendReply],
    answers: dict[str, pb.FinishReply],
) -> bytes:
    """One signature of the job, from its signers' openings and partial signatures."""
    job, key = coordinator.state.jobs[job_id], coordinator.state.keys["hot"]
    rhos = {
        key.index_of(name): one.rho
        for name in PAIR
        for one in replies[name].openings
        if one.job == job_id and one.index == index
    }
    partials = {
        key.index_of(name): Partial.from_bytes(one.partial)
        for name in PAIR
        for one in answers[name].partials
        if one.index == index
    }
    signing = job.signings[index]
    task = SigningTask(signing.message, signing.tweak, signing.public_key, job_id, index)
    made = combine(partials, R=coordinator.points[job.presignatures[index]], rhos=rhos, task=task)
    return made.to_bytes() + bytes([made.recovery_id])
