"""Runs in real worker processes: what comes out, what ends them, and what never is inside them."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy import schnorr
from policy.errors import CallerError, FaultyParticipant, MalformedError, OperationalError, UnknownFault
from policy.schnorr import SchnorrTask
from policy.suites import FROST_ED25519, FROST_TAPROOT
from signer_nodes import worker_frames as frames
from signer_nodes import worker_wire as wire
from signer_nodes.adapters.worker import WorkerSession, WorkerTemplate, start_template
from signer_nodes.backup import parse_backup
from signer_nodes.backup_wire import BackupJob, BackupOutcome
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.mpc.curve import base_mul
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.officers import Officer
from signer_nodes.ports import WorkerRun, Workers
from signer_nodes.rebuild import recover
from signer_nodes.schnorr_wire import FinishItem, FinishJob, FinishOutcome, NonceJob, Unsigned
from signer_nodes.worker_frames import FileSealed, Holding
from signer_nodes.worker_wire import KeyJob, KeyOutcome, PresignJob, PresignOutcome
from tests.simulation.machines import Machines
from tests.waiting import WAIT_S

ROOT = Path(__file__).parents[2]
NAMES = ("node-a", "node-b", "node-c")
Alter = Callable[[int, int, bytes], bytes]


@pytest.fixture
async def template() -> AsyncIterator[WorkerTemplate]:
    template = start_template()
    yield template
    template.close()


@pytest.fixture(params=["processes", "machines"])
def workers(request: pytest.FixtureRequest) -> Workers:
    """The real workers, and the ones in a test's own process, which other tests build on."""
    if request.param == "machines":
        return Machines()
    real: Workers = request.getfixturevalue("template")
    return real


def keygen_job(index: int, *, session: bytes = b"k" * 32) -> KeyJob:
    return KeyJob(
        session=session,
        change="generate",
        suite="dkls23-secp256k1",
        key_id="key-1",
        epoch=0,
        min_signers=2,
        participants=NAMES,
        parties=NAMES,
        party=index,
        dealers=NAMES,
    )


def share_of(outcome: KeyOutcome) -> FileSealed:
    assert outcome.share is not None
    return outcome.share


def presign_job(outcome: KeyOutcome, index: int, *, signers: tuple[int, ...] = (1, 3)) -> PresignJob:
    pairs = {peer: outcome.pairs[peer] for peer in signers if peer != index}
    return PresignJob(b"p" * 32, 4, index, signers, Holding(outcome.context, share_of(outcome)), pairs)


def as_port(template: WorkerTemplate) -> Workers:
    """mypy checks here that workers are what the node asks for."""
    return template


def as_sent(_sender: int, _receiver: int, payload: bytes) -> bytes:
    return payload


async def carry(sessions: Mapping[int, WorkerRun], alter: Alter = as_sent) -> list[Any]:
    """Carry all messages between ``sessions``; the results or errors in order of index."""

    async def send(me: int) -> None:
        async for peer, payload in sessions[me].outgoing():
            await sessions[peer].deliver(me, alter(me, peer, payload))

    async def end(session: WorkerRun) -> Any:
        try:
            return await session.result()
        except (FaultyParticipant, UnknownFault, OperationalError) as error:
            if isinstance(error, FaultyParticipant | UnknownFault):
                for other in sessions.values():
                    other.cancel()
            return error

    sending = [asyncio.create_task(send(me)) for me in sessions]
    results = await asyncio.gather(*(end(sessions[me]) for me in sorted(sessions)))
    await asyncio.gather(*sending)
    return list(results)


async def generate(workers: Workers) -> list[KeyOutcome]:
    sessions = {
        index: await workers.start(keygen_job(index), randomness=bytes(32), timeout_s=30)
        for index in (1, 2, 3)
    }
    return await carry(sessions)


async def presign(workers: Workers, jobs: list[PresignJob], alter: Alter = as_sent) -> list[PresignOutcome]:
    sessions = {job.index: await workers.start(job, randomness=bytes(32), timeout_s=30) for job in jobs}
    return await carry(sessions, alter)


async def test_key_is_generated_and_presigned_with_what_was_sealed(workers: Workers) -> None:
    outcomes = await generate(workers)
    batches = await presign(workers, [presign_job(outcomes[0], 1), presign_job(outcomes[2], 3)])

    first, second = ([Presignature.from_bytes(item) for item in batch.presignatures] for batch in batches)
    assert len({(o.group_key, o.chain_code, o.transcript, o.public_shares) for o in outcomes}) == 1
    assert [o.context.node for o in outcomes] == list(NAMES)
    assert [sorted(o.pairs) for o in outcomes] == [[2, 3], [1, 3], [1, 2]]
    assert [item.presign_id for item in first] == [item.presign_id for item in second]
    assert [item.R for item in first] == [item.R for item in second]
    assert all(item.group_key == outcomes[0].group_key for item in first)
    assert len(first) == 4


async def test_nonces_and_partial_signatures_of_schnorr_add_up(template: WorkerTemplate) -> None:
    sessions = {
        index: await template.start(
            replace(keygen_job(index), suite=FROST_ED25519), randomness=bytes(32), timeout_s=30
        )
        for index in (1, 2, 3)
    }
    keys: list[KeyOutcome] = await carry(sessions)
    held = {index: Holding(keys[index - 1].context, share_of(keys[index - 1])) for index in (1, 3)}

    made = {
        index: await alone(template, NonceJob(b"n" * 32, 4, index, (1, 3), held[index])) for index in held
    }
    pairs = {index: [NoncePair.from_bytes(data) for data in made[index].nonces] for index in held}
    openings = {index: pairs[index][2].opening for index in held}
    task = SchnorrTask(FROST_ED25519, b"a message", keys[0].group_key, 0, None, b"j" * 32, 0)
    item = {index: FinishItem(pairs[index][2].to_bytes(), openings, task) for index in held}
    altered = {index: replace(item[index], openings={**openings, 3: pairs[3][1].opening}) for index in held}
    answers = {
        index: (
            await alone(template, FinishJob(b"f" * 32, held[index], (item[index], altered[index])))
        ).answers
        for index in held
    }

    public = {index: keys[0].public_shares[index - 1] for index in held}
    partials = {index: answers[index][0] for index in held}
    signature = schnorr.combine(partials, openings=openings, public_shares=public, task=task)
    Ed25519PublicKey.from_public_bytes(keys[0].group_key).verify(signature, b"a message")
    assert [pairs[1][b].presign_id for b in range(4)] == [pairs[3][b].presign_id for b in range(4)]
    assert answers[3][1] == Unsigned(0, "the opening relayed as ours is not ours")


async def alone(template: WorkerTemplate, job: NonceJob | FinishJob | BackupJob) -> Any:
    """What comes of a job that needs no peer."""
    return await (await template.start(job, randomness=bytes(32), timeout_s=10)).result()


async def test_backups_of_enough_nodes_give_the_key_off_line(template: WorkerTemplate) -> None:
    outcomes = await generate(template)
    key = X25519PrivateKey.generate()
    officers = (Officer("olga", key.public_key().public_bytes_raw()),)

    made: list[BackupOutcome] = [
        await alone(template, BackupJob(b"b" * 32, Holding(outcome.context, share_of(outcome)), officers, 1))
        for outcome in outcomes[:2]
    ]
    backups = {str(number): parse_backup(outcome.backup) for number, outcome in enumerate(made)}
    found = recover(backups, {"olga": key})

    assert base_mul(int.from_bytes(found.private_key, "big")) == outcomes[0].group_key
    assert [backup.public.node for backup in backups.values()] == list(NAMES[:2])


async def test_a_blob_under_another_context_is_not_backed_up(template: WorkerTemplate) -> None:
    outcome = (await generate(template))[0]
    officers = (Officer("olga", X25519PrivateKey.generate().public_key().public_bytes_raw()),)
    holding = Holding(replace(outcome.context, epoch=1), share_of(outcome))

    with pytest.raises(OperationalError, match="does not open"):
        await alone(template, BackupJob(b"b" * 32, holding, officers, 1))


async def test_share_leaves_the_worker_sealed_only(workers: Workers) -> None:
    outcome = (await generate(workers))[1]

    share = KeyShare.from_bytes(
        open_blob(share_of(outcome).file_key, share_of(outcome).blob, context=outcome.context)
    )

    secret = share.share.to_bytes(32, "big")
    assert (share.group_key, share.index) == (outcome.group_key, 2)
    assert all(secret not in part for part in outcome.to_parts())
    keys = [share_of(outcome).file_key, *(pair.file_key for pair in outcome.pairs.values())]
    assert len(set(keys)) == 3
    assert all(repr(key)[2:-1] not in repr(outcome) for key in keys)


async def test_same_randomness_of_the_node_never_repeats_a_key(template: WorkerTemplate) -> None:
    first, second = await generate(template), await generate(template)

    assert first[0].group_key != second[0].group_key


async def test_faulty_peer_is_named_with_its_ban(workers: Workers) -> None:
    outcomes = await generate(workers)

    def alter(sender: int, _receiver: int, payload: bytes) -> bytes:
        middle = len(payload) // 2  # of round 1, where it is the OT extension's matrix
        flipped = payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :]
        return flipped if sender == 3 and payload[0] == 1 else payload

    def shorten(sender: int, _receiver: int, payload: bytes) -> bytes:
        return payload[:-1] if sender == 3 else payload

    jobs = [presign_job(outcomes[0], 1), presign_job(outcomes[2], 3)]
    cut = (await presign(workers, jobs, shorten))[0]
    flipped = (await presign(workers, jobs, alter))[0]

    assert isinstance(cut, FaultyParticipant)
    assert (cut.participant, cut.ban) == (3, False)
    assert isinstance(flipped, FaultyParticipant)
    assert (flipped.participant, flipped.ban) == (3, True)


async def test_a_fault_is_told_before_the_run_ends_or_to_who_asks_late(
    template: WorkerTemplate,
) -> None:
    session = await template.start(keygen_job(1), randomness=bytes(32), timeout_s=30)
    told: list[tuple[str, bool]] = []
    result = asyncio.create_task(session.result())
    session.on_fault(lambda error: told.append((error.reason, result.done())))

    await session.deliver(2, b"")
    with pytest.raises(FaultyParticipant):
        await result
    session.on_fault(lambda error: told.append((error.reason, result.done())))

    assert told == [("sent an empty payload", False), ("sent an empty payload", True)]


async def test_a_message_to_a_worker_that_has_ended_does_not_swallow_its_last_word(
    template: WorkerTemplate,
) -> None:
    """Else a peer could send one message too many and keep its ban from the node."""
    session = await template.start(keygen_job(1), randomness=bytes(32), timeout_s=30)
    await anext(session.outgoing())

    await session.deliver(2, b"")
    time.sleep(0.5)  # noqa: ASYNC251 - the worker ends while the node's loop is busy with something else
    for _ in range(3):
        await session.deliver(3, bytes(100_000))

    with pytest.raises(FaultyParticipant, match="empty payload"):
        await session.result()


async def test_a_node_that_waits_to_write_to_a_worker_is_let_go_when_the_run_ends(
    template: WorkerTemplate,
) -> None:
    session = await template.start(keygen_job(1), randomness=bytes(32), timeout_s=10 * WAIT_S)
    os.kill(_pid_of(session), signal.SIGSTOP)
    writing = asyncio.create_task(session.deliver(2, bytes(4 << 20)))
    await asyncio.sleep(0.05)

    session.cancel()

    await asyncio.wait_for(writing, WAIT_S)
    with pytest.raises(OperationalError, match="without a result"):
        await session.result()


def _pid_of(session: WorkerSession) -> int:
    text = Path(f"/proc/self/fdinfo/{session._pidfd}").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:"))


def test_ban_of_a_fault_survives_the_pipe() -> None:
    fault = wire.parse_fault(b'{"ban":true,"participant":2,"reason":"a check failed"}')

    assert (fault.participant, fault.ban, fault.reason) == (2, True, "a check failed")


async def test_stranger_is_refused_and_the_run_goes_on(workers: Workers) -> None:
    outcomes = await generate(workers)
    jobs = [presign_job(outcomes[0], 1), presign_job(outcomes[2], 3)]
    sessions = {job.index: await workers.start(job, randomness=bytes(32), timeout_s=30) for job in jobs}

    with pytest.raises(FaultyParticipant):
        await sessions[1].deliver(2, b"\x01")

    assert all(isinstance(result, PresignOutcome) for result in await carry(sessions))


async def test_wrong_file_key_and_swapped_blobs_do_not_open(workers: Workers) -> None:
    outcome = (await generate(workers))[0]
    good = presign_job(outcome, 1)
    held = good.holding
    wrong_key = replace(good, holding=replace(held, share=replace(held.share, file_key=bytes(32))))
    swapped = replace(good, pairs={3: outcome.pairs[2]})
    not_a_share = replace(good, holding=replace(held, share=outcome.pairs[2]))
    other_node = replace(good, holding=replace(held, context=replace(held.context, node="node-b")))

    for job, message in [
        (wrong_key, "does not open"),
        (other_node, "does not open"),
        (swapped, "CallerError"),
        (not_a_share, "MalformedError"),
    ]:
        session = await workers.start(job, randomness=bytes(32), timeout_s=10)
        with pytest.raises(OperationalError, match=message):
            await session.result()


async def test_cancelled_killed_and_silent_runs_end_as_operational_errors(workers: Workers) -> None:
    cancelled = await workers.start(keygen_job(1), randomness=bytes(32), timeout_s=30)
    silent = await workers.start(keygen_job(1), randomness=bytes(32), timeout_s=0.3)
    cancelled.cancel()

    with pytest.raises(OperationalError, match="without a result"):
        await cancelled.result()
    with pytest.raises(OperationalError, match=r"more than 0\.3 s"):
        await silent.result()
    await silent.deliver(2, b"late")
    silent.cancel()
    assert [message async for message in silent.outgoing()] != []


async def test_nonsense_ends_its_own_run_only(template: WorkerTemplate) -> None:
    session = await template.start(
        replace(keygen_job(1), key_id="NOT A KEY"), randomness=bytes(32), timeout_s=10
    )

    with pytest.raises(OperationalError):
        await session.result()
    with pytest.raises(CallerError):
        await template.start(keygen_job(1), randomness=b"", timeout_s=10)
    assert len(await generate(template)) == 3


async def test_workers_do_not_outlive_the_template() -> None:
    template = start_template()
    session = await template.start(keygen_job(1), randomness=bytes(32), timeout_s=10 * WAIT_S)
    await anext(session.outgoing())

    template.close()

    with pytest.raises(OperationalError):
        await asyncio.wait_for(session.result(), WAIT_S)
    with pytest.raises(OperationalError, match="restart the node"):
        await template.start(keygen_job(1), randomness=bytes(32), timeout_s=5)


async def test_a_template_that_was_killed_is_said_to_be_gone() -> None:
    with contextlib.closing(start_template()) as template:
        gone = asyncio.create_task(template.gone())
        await asyncio.sleep(0)
        early = gone.done()
        os.kill(template.process_id, signal.SIGKILL)

        assert "restart the node" in str(await asyncio.wait_for(gone, WAIT_S))
        assert not early


def probe(*imports: str) -> "subprocess.CompletedProcess[str]":
    lines = [f"import {name}" for name in imports]
    program = "\n".join(
        [*lines, "from signer_nodes.adapters.worker_child import check_modules", "check_modules()"]
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_worker_has_neither_pkcs11_nor_grpc_loaded() -> None:
    assert probe().returncode == 0


@pytest.mark.parametrize("module", ["pkcs11", "grpc", "sqlite3"])
def test_worker_with_a_forbidden_module_does_not_run(module: str) -> None:
    outcome = probe(module)

    assert outcome.returncode != 0
    assert re.search(rf"the worker has loaded [a-z0-9, ]*{module}", outcome.stderr)


def test_jobs_and_outcomes_survive_the_pipe() -> None:
    sealed = FileSealed(b"f" * 32, b"blob")
    context = frames.parse_context(
        b'{"epoch":0,"group_key":"' + b"02" * 33 + b'","key_id":"key-1","min_signers":2,'
        b'"node":"node-a","participants":3,"suite":"dkls23"}'
    )
    job = PresignJob(b"s" * 32, 8, 1, (1, 2), Holding(context, sealed), {2: sealed})
    task = SchnorrTask(FROST_ED25519, b"message", b"\x02" * 32, 0, None, b"j" * 32, 0)
    taproot = SchnorrTask(FROST_TAPROOT, b"m" * 32, b"\x02" * 33, 7, b"", b"j" * 32, 1)
    items = tuple(FinishItem(b"nonces", {1: b"o" * 64, 3: b"p" * 64}, one) for one in (task, taproot))
    finish = FinishJob(b"s" * 32, Holding(context, sealed), items)
    nonces = NonceJob(b"s" * 32, 200, 1, (1, 2), Holding(context, sealed))
    finished = FinishOutcome((b"z" * 32, Unsigned(3, "a reason")))
    outcome = KeyOutcome(context, (b"\x02" * 33,), b"c" * 32, b"t" * 32, sealed, {2: sealed, 3: sealed})

    assert wire.parse_job(job.to_parts()) == job
    assert wire.parse_job(keygen_job(2).to_parts()) == keygen_job(2)
    assert wire.parse_outcome(keygen_job(2), outcome.to_parts()) == outcome
    assert wire.parse_job(finish.to_parts()) == finish
    assert wire.parse_job(nonces.to_parts()) == nonces
    assert wire.parse_outcome(finish, finished.to_parts()) == finished
    assert "b'f" not in repr(job)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00\x00\x05ab", b"\x00\x00", b"\x00\x00\x00\x01a\x00\x00\x00\x02b"]
)
def test_torn_frames_are_malformed(content: bytes) -> None:
    with pytest.raises(MalformedError):
        frames.split(content)
    with pytest.raises(MalformedError):
        frames.frame_length(b"\xff\xff\xff\xff")
