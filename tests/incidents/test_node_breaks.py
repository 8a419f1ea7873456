"""Broken before by others, around the protocols. docs/spec/pitfalls.md says by whom and how."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy.errors import OperationalError
from signer_nodes.adapters.worker import WorkerTemplate, start_template
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import COORDINATOR_CALLS, PEER_CALLS
from signer_nodes.hsm.device import Pkcs11Hsm
from tests.simulation.node_faults import CALLER, PARTNER, WORLD, Machine, dealt
from tests.simulation.victim import ATTACKER, Victim
from tests.simulation.world import Book
from tests.waiting import until

pytest_plugins = ("tests.fixtures_softhsm",)
SIGNING = {
    "Finish": {"note", "jobs"},
    "FinishJob": {"job", "opened"},
    "Opened": {"index", "signer", "rho"},
}


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[WorkerTemplate]:
    template = start_template()
    yield template
    template.close()


@pytest.fixture
async def victim(tmp_path: Path, hsm: Pkcs11Hsm, workers: WorkerTemplate) -> AsyncIterator[Victim]:
    victim = Victim(tmp_path, hsm, workers)
    await victim.make_key()
    yield victim
    victim.down()


def test_no_call_of_a_node_takes_what_it_signs() -> None:
    """A call names a job of the log; the message is computed from the job's bytes, and nothing else is."""
    messages = pb.DESCRIPTOR.message_types_by_name
    calls = {field.name for field in messages["Call"].oneofs_by_name["what"].fields}

    assert calls == COORDINATOR_CALLS | PEER_CALLS
    assert {name: set(messages[name].fields_by_name) for name in SIGNING} == SIGNING


async def test_a_presignature_that_was_tried_is_gone_whatever_came_of_it(tmp_path: Path) -> None:
    """A failed attempt is not repeated with other inputs: a retry is a new job and a new presignature."""
    machine = Machine(tmp_path, Book(WORLD))
    await machine.send(machine.book)
    number = machine.pair()
    presignature = dealt(number)[PARTNER].presign_id
    job = machine.book.reserve(machine.book.request(7), nonce=0, presignatures=[presignature.hex()])
    note = await machine.send(machine.book)
    rhos = {name: one.rho for name, one in dealt(number).items()}

    async def finish(rhos: dict[str, bytes]) -> pb.FinishReply:
        runtime = await machine.up()
        opened = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in rhos.items()]
        return await runtime.finish(CALLER, pb.Finish(note=note, jobs=[pb.FinishJob(job=job, opened=opened)]))

    failed = await finish(rhos | {PARTNER: bytes(32)})
    again = await finish(rhos)

    assert "commitment" in failed.declined[0].reason
    assert "does not hold the job's presignature" in again.declined[0].reason
    assert not failed.partials and not again.partials
    machine.down()


async def test_a_message_of_another_session_is_silence_and_no_cheat(victim: Victim) -> None:
    """Two honest nodes that disagree on the session, after a restart that one has not seen, ban nobody."""
    own = victim.session
    victim.session = lambda batch_id, peer=ATTACKER: own(batch_id + 100, peer)  # type: ignore[method-assign]
    victim.honest(ATTACKER, 1)
    run = asyncio.create_task(victim.presign(1))
    await until(lambda: bool(victim.wire.sent))
    await asyncio.sleep(0.1)
    waiting = not run.done()
    victim.sessions.peer_restarted(ATTACKER)
    with pytest.raises(OperationalError):
        await run

    assert waiting
    assert victim.store.bans() == []


async def test_a_stranger_to_a_session_is_refused_and_a_peer_speaks_for_itself_alone(victim: Victim) -> None:
    """The sender is who the channel authenticated; a message has no field for it."""
    run = asyncio.create_task(victim.presign(1))
    await until(lambda: bool(victim.wire.sent))

    with pytest.raises(Refused, match="takes no part"):
        await victim.sessions.deliver("node-3", victim.session(1), payload=b"\x01")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    assert set(pb.Protocol.DESCRIPTOR.fields_by_name) == {"session", "payload"}
    assert victim.store.bans() == []
