"""A node's workers without processes: the worker program's own code, run in here.

A run is a pure function of its job, its seed and what it received. The seed follows from the session and the
party here, so equal runs do the same; each of their steps is computed once and remembered, which lets a test
go through the same change of a key hundreds of times.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant, OperationalError, UnknownFault
from signer_nodes.adapters import worker_child, worker_keys
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.mpc.rounds import Progress, Rounds
from signer_nodes.worker_frames import FileSealed
from signer_nodes.worker_wire import Job, KeyJob, Outcome, PresignJob, parse_job, parse_outcome

Told = Callable[[FaultyParticipant], None]
PeerJob = KeyJob | PresignJob


class Machines:
    """The port ``Workers``, for runs with peers."""

    def __init__(self) -> None:
        self._known: dict[bytes, Progress] = {}

    async def start(self, job: Job, *, randomness: bytes, timeout_s: float) -> "MachineRun":
        if len(randomness) != worker_child.RANDOMNESS_BYTES:
            raise CallerError(f"a worker takes 32 random bytes, got {len(randomness)}")
        parsed = parse_job(job.to_parts())
        if not isinstance(parsed, KeyJob | PresignJob):
            raise NotImplementedError
        return MachineRun(parsed, _Steps(parsed, self._known), timeout_s)


class MachineRun:
    """One run. Each peer's messages are taken in turn, so that equal runs meet them in the same order."""

    def __init__(self, job: PeerJob, steps: "_Steps", timeout_s: float) -> None:
        self._job, self._steps = job, steps
        self._inbox: dict[int, deque[bytes]] = {peer: deque() for peer in job.peers}
        self._outbox: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._told: Told | None = None
        self._ending = False
        self._end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        late = f"the worker took more than {timeout_s} s: a peer is silent"
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(timeout_s, lambda: self._fail(OperationalError(late)))
        self._take(0, b"")

    async def outgoing(self) -> AsyncIterator[tuple[int, bytes]]:
        while (message := await self._outbox.get()) is not None:
            yield message
        self._outbox.put_nowait(None)

    async def deliver(self, sender: int, payload: bytes) -> None:
        if sender not in self._inbox:
            raise FaultyParticipant(sender, f"is not one of the peers {self._job.peers} of this run")
        self._inbox[sender].append(payload)
        while all(self._inbox.values()) and not self._end.done():
            for peer in sorted(self._inbox):
                self._take(peer, self._inbox[peer].popleft())

    async def result(self) -> Outcome:
        return await asyncio.shield(self._end)

    def on_fault(self, call: Told) -> None:
        self._told = call
        error = self._end.exception() if self._end.done() else None
        if isinstance(error, FaultyParticipant):
            call(error)

    def cancel(self) -> None:
        if not self._ending:
            self._fail(OperationalError("the worker ended without a result: run it again"))

    def _take(self, sender: int, payload: bytes) -> None:
        if self._end.done():
            return
        try:
            progress = self._steps.take(sender, payload)
            for message in progress.outgoing:
                self._outbox.put_nowait(message)
            if progress.result is not None:
                self._end.set_result(_outcome(self._job, progress.result))
                self._close()
        except FaultyParticipant as error:
            self._ending = True
            if self._told is not None:
                self._told(error)
            self._fail(error)
        except (UnknownFault, OperationalError) as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - as the worker program does, which then ends
            self._fail(OperationalError(f"the worker failed by {type(error).__name__}: report it"))

    def _fail(self, error: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(error)
            self._end.exception()  # whoever asks for the result hears of it; nobody has to
            self._close()

    def _close(self) -> None:
        self._timer.cancel()
        self._outbox.put_nowait(None)


class _Steps:
    """One party's machine, made and brought up to date when a step comes that is not known yet."""

    def __init__(self, job: PeerJob, known: dict[bytes, Progress]) -> None:
        self._job, self._known = job, known
        self._machine: Rounds | None = None
        self._behind: list[tuple[int, bytes]] = []
        self._past = b""

    def take(self, sender: int, payload: bytes) -> Progress:
        """The first step, or the one that a message brings about."""
        if not self._past:
            self._past = tagged_hash("test machine", *_plain(self._job))
        self._past = tagged_hash("test step", self._past, bytes([sender]), payload)
        self._behind.append((sender, payload))
        if self._past not in self._known:
            self._known[self._past] = self._catch_up()
        return self._known[self._past]

    def _catch_up(self) -> Progress:
        progress = Progress()
        for sender, payload in self._behind:
            if self._machine is None:
                self._machine = _machine(self._job)
                progress = self._machine.start()
            else:
                progress = self._machine.receive(sender, payload)
        self._behind.clear()
        return progress


def _machine(job: PeerJob) -> Rounds:
    me = job.party if isinstance(job, KeyJob) else job.index
    randomness = tagged_hash("test randomness", job.session, bytes([me]))
    if isinstance(job, KeyJob):
        return worker_keys.start_change(job, randomness)
    return worker_child._presigning(job, randomness)


def _outcome(job: PeerJob, result: object) -> Outcome:
    if isinstance(job, KeyJob):
        return parse_outcome(job, worker_keys.sealed_outcome(job, result).to_parts())
    return parse_outcome(job, worker_child._presigned(result).to_parts())


def _plain(job: PeerJob) -> list[bytes]:
    """All that a run starts from, opened: what is sealed is sealed anew each time."""
    return [job.to_parts()[1], *_opened(job)]


def _opened(job: PeerJob) -> Iterator[bytes]:
    if job.holding is None:
        return
    yield job.holding.context.canonical_bytes()
    sealed: list[FileSealed] = [job.holding.share]
    if isinstance(job, PresignJob):
        sealed += [job.pairs[peer] for peer in sorted(job.pairs)]
    for one in sealed:
        with suppress(OperationalError):  # the run itself fails by it
            yield open_blob(one.file_key, one.blob, context=job.holding.context)
