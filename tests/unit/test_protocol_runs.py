"""What a node keeps of runs it has not been told to start: bounded, whatever a peer sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from policy.errors import FaultyParticipant
from signer_nodes.api.errors import Refused
from signer_nodes.protocol_runs import (
    EARLY_BYTES_MAX,
    EARLY_COST_BYTES,
    EARLY_SESSIONS_MAX,
    Guard,
    ProtocolRuns,
)
from signer_nodes.worker_wire import KeyJob
from tests.waiting import WAIT_S

SESSION = bytes(32)
MIB = bytes(1 << 20)
DONE = object()


@dataclass
class Script:
    """A worker that does something whenever a message is delivered, and ends at the first end of them."""

    then: Callable[[], Any]
    delivered: list[bytes] = field(default_factory=list)

    def on_fault(self, _call: Callable[[FaultyParticipant], None]) -> None: ...

    def cancel(self) -> None: ...

    async def deliver(self, _sender: int, payload: bytes) -> None:
        self.delivered.append(payload)
        await self.then()

    async def outgoing(self) -> AsyncIterator[tuple[int, bytes]]:
        return
        yield

    async def result(self) -> object:
        return DONE


@dataclass
class House:
    worker: Script

    def prf(self, _name: str, data: bytes) -> bytes:
        return data[:32]

    def random(self, length: int) -> bytes:
        return bytes(length)

    async def start(self, _job: object, *, randomness: bytes, timeout_s: float) -> Script:
        return self.worker


def runs_with(worker: Script) -> ProtocolRuns:
    house = cast("Any", House(worker))
    return ProtocolRuns(house, house, house)


async def nothing() -> None: ...


def kept(runs: ProtocolRuns, sender: str) -> int:
    early = runs._early[sender]
    return sum(len(payload) for messages in early.messages.values() for payload in messages)


async def test_one_session_that_never_begins_takes_no_more_than_the_bound() -> None:
    runs = runs_with(Script(nothing))

    with pytest.raises(Refused, match="has not begun here"):
        for _ in range(EARLY_BYTES_MAX // len(MIB) + 1):
            await runs.deliver("mallory", SESSION, payload=MIB)

    assert kept(runs, "mallory") < EARLY_BYTES_MAX


async def test_empty_messages_count_too() -> None:
    runs = runs_with(Script(nothing))

    with pytest.raises(Refused, match="has not begun here"):
        for _ in range(EARLY_BYTES_MAX // EARLY_COST_BYTES + 1):
            await runs.deliver("mallory", SESSION, payload=b"")


async def test_a_further_message_of_a_kept_session_drives_no_other_out() -> None:
    runs = runs_with(Script(nothing))
    sessions = [number.to_bytes(32, "big") for number in range(EARLY_SESSIONS_MAX)]
    for session in (*sessions, sessions[-1]):
        await runs.deliver("node-b", session, payload=b"x")

    assert kept(runs, "node-b") == EARLY_SESSIONS_MAX + 1


async def test_a_stranger_who_sends_while_a_run_takes_in_its_early_messages_does_not_end_it() -> None:
    worker = Script(nothing)
    runs = runs_with(worker)

    async def somebody_else() -> None:
        await runs.deliver("node-c", bytes([1]) * 32, payload=b"of another run")

    worker.then = somebody_else
    await runs.deliver("node-b", SESSION, payload=b"early")
    job = KeyJob(SESSION, "generate", "suite", "hot", 0, 2, ("a", "b"), ("a", "b"), 1, ("a", "b"))
    guard = Guard(lambda: None, lambda _error: None)
    async with asyncio.timeout(WAIT_S):
        outcome = await runs.run(job, {2: "node-b"}, timeout_s=1, guard=guard)

    assert cast("object", outcome) is DONE
    assert worker.delivered == [b"early"]
