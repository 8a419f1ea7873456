"""Runs between nodes: each in a worker of its own, fed by the peer links.

The worker alone sees a share. This part starts it, carries its messages both ways, keeps what peers send of
runs that this node has not been told to start yet, and ends the runs that a banned or restarted peer is in.

A fault is told in the moment in which the worker's word is read: the node does nothing else before whoever
hears of it has acted. A peer cannot put that off by not taking a message.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from policy.errors import FaultyParticipant, OperationalError
from signer_nodes.api.errors import Refused
from signer_nodes.ports import Peers, SealingHsm, WorkerRun, Workers
from signer_nodes.worker_wire import Job, Outcome

EARLY_BYTES_MAX: Final = 64 << 20
EARLY_SESSIONS_MAX: Final = 64
EARLY_COST_BYTES: Final = 128  # what keeping a message costs beyond its bytes: many empty ones count too
RANDOMNESS_BYTES: Final = 32
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """One run under way: its worker, and the names of its parties by number."""

    worker: WorkerRun
    names: Mapping[int, str]
    stopped: bool = False

    def stop(self) -> None:
        """End it, and send nothing more of it: what its worker has said already included."""
        self.stopped = True
        self.worker.cancel()

    def number_of(self, name: str) -> int | None:
        """The party number of a peer in this run."""
        return next((number for number, party in self.names.items() if party == name), None)


@dataclass(slots=True)
class _Early:
    """One peer's messages of runs that this node has not been told to start yet, bounded."""

    messages: dict[bytes, list[bytes]] = field(default_factory=dict)
    size: int = 0

    def put(self, session: bytes, payload: bytes) -> None:
        """Keep a message; the oldest sessions make room. Raises ``Refused`` where one takes all of it."""
        cost = len(payload) + EARLY_COST_BYTES
        while session not in self.messages and len(self.messages) >= EARLY_SESSIONS_MAX:
            self.take(next(iter(self.messages)))
        while self.size + cost > EARLY_BYTES_MAX:
            oldest = next((key for key in self.messages if key != session), None)
            if oldest is None:
                raise Refused("early", "too much of a session that has not begun here: wait for its start")
            self.take(oldest)
        self.messages.setdefault(session, []).append(payload)
        self.size += cost

    def take(self, session: bytes) -> list[bytes]:
        messages = self.messages.pop(session, [])
        self.size -= sum(len(payload) + EARLY_COST_BYTES for payload in messages)
        return messages


@dataclass(frozen=True, slots=True)
class Guard:
    """The owner of a run: ``check`` may refuse it, ``fault`` acts on a participant's fault."""

    check: Callable[[], None]
    fault: Callable[[FaultyParticipant], None]


@dataclass(slots=True)
class ProtocolRuns:
    """The runs of one node."""

    hsm: SealingHsm
    peers: Peers
    workers: Workers
    _running: dict[bytes, _Run] = field(default_factory=dict)
    _early: dict[str, _Early] = field(default_factory=dict)

    async def run(self, job: Job, names: Mapping[int, str], *, timeout_s: float, guard: Guard) -> Outcome:
        """Run a worker to its end; ``guard`` may refuse it once it can be stopped, and hears of a fault."""
        if job.session in self._running:
            raise Refused("session", "this session runs already")
        worker = await self._start(job, timeout_s)
        running = self._running[job.session] = _Run(worker, names)
        worker.on_fault(guard.fault)
        try:
            guard.check()
            return await self._carry(job.session, running)
        finally:
            del self._running[job.session]
            worker.cancel()

    async def deliver(self, sender: str, session: bytes, *, payload: bytes) -> None:
        """Take in a peer's message; one that comes before its run starts is kept a while."""
        running = self._running.get(session)
        if running is None:
            self._early.setdefault(sender, _Early()).put(session, payload)
            return
        number = running.number_of(sender)
        if number is None:
            raise Refused("session", f"{sender} takes no part in this session")
        await running.worker.deliver(number, payload)

    def cancel_with(self, name: str) -> None:
        """End every run in which ``name`` takes part."""
        for running in self._running.values():
            if running.number_of(name) is not None:
                running.stop()

    async def _carry(self, session: bytes, running: _Run) -> Outcome:
        """Carry a run's messages both ways until it ends."""
        sending = asyncio.create_task(self._send_all(session, running))
        try:
            for sender, early in tuple(self._early.items()):  # others may send while we deliver
                number = running.number_of(sender)
                for payload in early.take(session):
                    if number is not None:
                        await running.worker.deliver(number, payload)
            return await running.worker.result()
        finally:
            running.worker.cancel()
            if running.stopped:
                sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def alone(self, job: Job, *, timeout_s: float) -> Outcome:
        """Run a worker that needs no peer."""
        worker = await self._start(job, timeout_s)
        try:
            return await worker.result()
        finally:
            worker.cancel()

    async def _start(self, job: Job, timeout_s: float) -> WorkerRun:
        randomness = await asyncio.to_thread(self._randomness, job.session)
        return await self.workers.start(job, randomness=randomness, timeout_s=timeout_s)

    def _randomness(self, session: bytes) -> bytes:
        """Fresh and hedged: a weak generator alone, or a repeated session alone, repeats nothing."""
        return self.hsm.prf("worker", session + self.hsm.random(RANDOMNESS_BYTES))

    async def _send_all(self, session: bytes, running: _Run) -> None:
        async for number, payload in running.worker.outgoing():
            name = running.names[number]
            if running.stopped:
                return
            try:
                await self.peers.send_protocol(name, session, payload=payload)
            except (OperationalError, Refused) as error:
                _LOG.warning("a protocol message to %s was not taken: %s", name, error)
                return
