"""A failed secret check bans the pair: an attacker learns the outcome of its first wrong guess, no more.

``tests/protocols/test_selective_failure.py`` shows the attack against a victim that bans nobody. Here the
victim is a node with its key sessions, its store, its token and its worker processes.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from policy.errors import FaultyParticipant, OperationalError
from signer_nodes.adapters.store import NodeStore
from signer_nodes.adapters.worker import WorkerTemplate, start_template
from signer_nodes.api.errors import Refused
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.ports import Ban
from tests.protocols.selective import bit
from tests.simulation.victim import ATTACKER, BYSTANDER, ScriptedRun, ScriptedWorkers, Victim
from tests.simulation.world import KEY, Book, World
from tests.waiting import until

pytest_plugins = ("tests.fixtures_softhsm",)


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


def guess(victim: Victim, column: int, *, right: bool) -> dict[int, int]:
    """A guess of one bit of Δ."""
    return {column: bit(victim.true_pair().delta, column) ^ (not right)}


async def refused_as(victim: Victim, batch_id: int, peer: str = ATTACKER) -> str:
    with pytest.raises(Refused) as caught:
        await victim.presign(batch_id, peer)
    return caught.value.code


async def test_an_honest_session_bans_nobody(victim: Victim) -> None:
    victim.honest(ATTACKER, 1)

    made = await victim.presign(1)

    assert len(made) == 4
    assert victim.store.bans() == []


async def test_a_right_guess_goes_unnoticed_and_a_wrong_one_is_the_last(victim: Victim) -> None:
    sessions = [victim.session(batch) for batch in (1, 2, 3)]
    victim.guess({session: guess(victim, 5, right=session != sessions[1]) for session in sessions})

    first = asyncio.create_task(victim.presign(1))
    await until(lambda: (sessions[0], 2) in victim.wire.sent)
    with pytest.raises(FaultyParticipant) as caught:
        await victim.presign(2)
    with pytest.raises(Exception, match="worker ended"):
        await first
    third = await refused_as(victim, 3)

    assert (caught.value.participant, caught.value.ban) == (2, True)
    assert third == "banned"
    assert victim.wire.sent == [(sessions[0], 1), (sessions[0], 2), (sessions[1], 1)]
    assert [(ban.peer, ban.key_id, ban.epoch) for ban in victim.store.bans()] == [(ATTACKER, KEY, 0)]
    assert victim.store.get_sealed(victim.blob_name()) is None


async def test_a_ban_outlives_a_restart_and_is_between_two_only(victim: Victim) -> None:
    victim.guess({victim.session(1): guess(victim, 0, right=False)})
    with pytest.raises(FaultyParticipant):
        await victim.presign(1)
    victim.down()

    victim.up()
    code = await refused_as(victim, 2)
    victim.honest(BYSTANDER, 3)
    made = await victim.presign(3, BYSTANDER)

    assert code == "banned"
    assert len(made) == 4
    assert all(session != victim.session(2) for session, _ in victim.wire.sent)


async def test_presignatures_made_with_a_banned_peer_are_gone(victim: Victim) -> None:
    victim.honest(ATTACKER, 1)
    made = await victim.presign(1)
    victim.guess({victim.session(2): guess(victim, 0, right=False)})

    with pytest.raises(FaultyParticipant):
        await victim.presign(2)

    assert all(victim.pool.find(identifier) is None for identifier, _ in made)


async def test_of_sessions_in_parallel_none_says_anything_after_the_first_failure(victim: Victim) -> None:
    batches = range(1, 9)
    sessions = {batch: victim.session(batch) for batch in batches}
    wrong = 3
    victim.guess({sessions[b]: guess(victim, b, right=b != wrong) for b in batches})
    said_after_ban: list[tuple[bytes, int]] = []
    hear = victim.wire.hear[ATTACKER]

    def listen(session: bytes, payload: bytes) -> None:
        if victim.store.bans():
            said_after_ban.append((session, payload[0]))
        hear(session, payload)

    victim.wire.hear[ATTACKER] = listen
    runs = [asyncio.create_task(victim.presign(batch)) for batch in batches]
    ends = await asyncio.gather(*runs, return_exceptions=True)

    assert not [end for end in ends if not isinstance(end, Exception)]
    assert [end.participant for end in ends if isinstance(end, FaultyParticipant)] == [2]
    assert said_after_ban == []
    assert victim.store.get_sealed(victim.blob_name()) is None


async def test_a_peer_that_goes_on_sending_does_not_drown_its_ban(victim: Victim) -> None:
    victim.guess({victim.session(1): guess(victim, 0, right=False)}, repeated=50)

    with pytest.raises(FaultyParticipant):
        await victim.presign(1)

    assert [ban.peer for ban in victim.store.bans()] == [ATTACKER]


async def test_a_peer_that_takes_no_message_does_not_put_its_ban_off(victim: Victim) -> None:
    """Else it would hold back one answer, and run session after session until that times out."""
    victim.wire.stalled = True
    victim.guess({victim.session(1): guess(victim, 0, right=False)})

    run = asyncio.create_task(victim.presign(1))
    await until(lambda: bool(victim.store.bans()))
    code = await refused_as(victim, 2)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    assert code == "banned"
    assert victim.wire.sent == [(victim.session(1), 1)]
    assert victim.store.bans() == [Ban(ATTACKER, KEY, 0, "the OT extension's consistency check failed")]


# With workers that a test scripts: the orders of events that real ones hit once in a while.

FAULT = FaultyParticipant(2, "the OT extension's consistency check failed", ban=True)


class FullDisk:
    """The store, while the disk is full and after."""

    def __init__(self, store: NodeStore) -> None:
        self._store, self.full = store, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def add_ban(self, ban: Ban) -> None:
        if self.full:
            raise OperationalError("no space left: free some")
        self._store.add_ban(ban)


async def scripted(victim: Victim, count: int, store: Any = None) -> tuple[list[ScriptedRun], list[Any]]:
    """Sessions of the victim with scripted runs, under way."""
    runs = [ScriptedRun() for _ in range(count)]
    victim.sessions = victim.with_parts(store or victim.store, ScriptedWorkers(*runs))
    calls = []
    for batch, run in enumerate(runs, 1):
        calls.append(asyncio.create_task(victim.presign(batch)))
        await run.started.wait()
    return runs, calls


async def test_what_another_session_was_about_to_say_is_not_said_after_the_fault(victim: Victim) -> None:
    runs, calls = await scripted(victim, 2)

    runs[1].say(b"\x02 its guess was right")
    runs[0].fault(FAULT)
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert victim.wire.sent == []
    assert [type(end) for end in ends] == [FaultyParticipant, OperationalError]


async def test_a_call_given_up_at_the_moment_of_the_fault_still_bans(victim: Victim) -> None:
    runs, calls = await scripted(victim, 1)

    runs[0].fault(FAULT)
    calls[0].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    victim.down()
    victim.up()

    assert await refused_as(victim, 2) == "banned"
    assert victim.store.get_sealed(victim.blob_name()) is None


async def test_a_ban_that_the_disk_refuses_holds_and_is_written_when_it_can_be(victim: Victim) -> None:
    disk = FullDisk(victim.store)
    runs, calls = await scripted(victim, 1, disk)
    runs[0].fault(FAULT)
    await asyncio.gather(*calls, return_exceptions=True)

    while_full = await refused_as(victim, 2), victim.store.bans()
    disk.full = False
    after = await refused_as(victim, 3), [ban.peer for ban in victim.store.bans()]

    assert while_full == ("banned", [])
    assert after == ("banned", [ATTACKER])
    assert victim.store.get_sealed(victim.blob_name()) is None


async def test_a_fault_without_a_ban_bans_nobody(victim: Victim) -> None:
    runs, calls = await scripted(victim, 1)

    runs[0].fault(FaultyParticipant(2, "a body is too short"))
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(ends[0], FaultyParticipant)
    assert victim.store.bans() == []
    assert victim.store.get_sealed(victim.blob_name()) is not None


async def test_a_batch_id_serves_once_also_after_an_abort_and_an_attempt_too(victim: Victim) -> None:
    victim.honest(ATTACKER, 5)
    await victim.presign(5)
    runs, calls = await scripted(victim, 6)
    runs[5].fault(FaultyParticipant(2, "a body is too short"))
    for run in runs:
        run.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    again = [await refused_as(victim, batch) for batch in (6, 5, 1)]
    other_key = Book(World(), start=False)
    other_key.genesis()
    victim.book = other_key
    with pytest.raises(NotImplementedError):
        await victim.generate(7)
    attempts = []
    for attempt in (7, 6):
        with pytest.raises(Refused) as caught:
            await victim.generate(attempt)
        attempts.append(caught.value.code)

    assert again == ["batch"] * 3
    assert attempts == ["attempt"] * 2
