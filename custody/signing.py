"""The two rounds of a job, seen from the coordinator: gather openings, ask for partials, add them up.

Everything here is in memory only: a job whose gathering a crash interrupted is retried as a new job.
Jobs that are ready together are finished together, one call a signer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from custody.candidates import Folded
from custody.combining import combine
from custody.ports import Appended, FinishJob, Node
from custody.replication import Replication
from policy.errors import FaultyParticipant, OperationalError, ProtocolError
from policy.state import Job, KeyRecord

_LOG = logging.getLogger(__name__)
Place: TypeAlias = tuple[int, str]
"""Index of a signature of the job, and a signer."""


class SigningFailed(OperationalError):
    """A job got no signature; ``silent`` are the signers that did not do their part.

    ``not_before_ms`` is from when on one of them says that it would, 0 if none does.
    """

    def __init__(self, reason: str, silent: frozenset[str], *, not_before_ms: int = 0) -> None:
        super().__init__(reason)
        self.silent = silent
        self.not_before_ms = not_before_ms


@dataclass(slots=True)
class _Run:
    job: Job
    key: KeyRecord
    nonce_points: tuple[bytes, ...]
    rhos: dict[Place, bytes] = field(default_factory=dict)
    partials: dict[Place, bytes] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    not_before_ms: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def missing(self, given: Mapping[Place, bytes]) -> frozenset[str]:
        places = [(index, name) for index in range(len(self.job.signings)) for name in self.job.signers]
        return frozenset(name for index, name in places if (index, name) not in given)

    def take(self, given: dict[Place, bytes], index: int, *, name: str, data: bytes) -> None:
        if name in self.job.signers and index < len(self.job.signings):
            given.setdefault((index, name), data)
            self.wake()


class Signing:
    """The jobs under way in this process."""

    def __init__(self, nodes: Mapping[str, Node], *, timeout_s: float) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._runs: dict[bytes, _Run] = {}
        self._points: dict[bytes, bytes] = {}
        self._ready: list[_Run] = []
        self._postponed: dict[bytes, int] = {}
        self._wake = asyncio.Event()

    def promise(self, presignature: bytes, nonce_point: bytes) -> None:
        """Remember R of a presignature that is about to be reserved; empty for a nonce pair of FROST."""
        self._points[presignature] = nonce_point

    def written(self, folded: Folded) -> None:
        """Expect openings of a job; called before any cosigner is sent its reservation."""
        if folded.outcome.kind != "reserve" or not folded.outcome.accepted:
            return
        job = folded.state.jobs[folded.outcome.subject]
        key = folded.state.keys[job.key]
        if not self._points.keys() >= set(job.presignatures):
            return  # of a cold key: its ceremony gathers what it needs
        points = tuple(self._points.pop(presignature) for presignature in job.presignatures)
        self._runs[job.job_id] = _Run(job, key, points)

    def postpone(self, request: bytes, until_ms: int) -> None:
        """Remember not to reserve a request again before then."""
        self._postponed[request] = until_ms

    def postponed_until(self, request: bytes, now_ms: int) -> int:
        """Until when a request is postponed; 0 if it is not any more."""
        if self._postponed.get(request, 0) <= now_ms:
            self._postponed.pop(request, None)
        return self._postponed.get(request, 0)

    def knows(self, job: bytes) -> bool:
        """Whether the job began in this process and has not ended."""
        return job in self._runs

    def answered(self, name: str, answer: Appended) -> None:
        """Take in a signer's openings and refusals."""
        for opening in answer.openings:
            run = self._runs.get(opening.job)
            if run is not None:
                run.take(run.rhos, opening.index, name=name, data=opening.rho)
        for declined in answer.declined:
            self._decline(declined.job, name, declined.reason, not_before_ms=declined.not_before_ms)

    async def sign(self, job: bytes, replication: Replication) -> tuple[bytes, ...]:
        """The signatures of a job that began here. Raises ``SigningFailed``; the job has ended then."""
        run = self._runs[job]
        try:
            await self._wait(run, run.rhos, "opened")
            await replication.wait_binding(run.job.index + 1, self._timeout_s)
            self._ready.append(run)
            self._wake.set()
            await self._wait(run, run.partials, "signed")
            return _combine(run)
        finally:
            del self._runs[job]

    async def run(self, note: Callable[[], bytes]) -> None:
        """Send finishes until cancelled; ``note`` gives the newest checkpoint with w cosignatures."""
        async with asyncio.TaskGroup() as calls:
            while True:
                await self._wake.wait()
                self._wake.clear()
                ready, self._ready = self._ready, []
                for name in sorted({name for run in ready for name in run.job.signers}):
                    mine = [run for run in ready if name in run.job.signers]
                    calls.create_task(self._finish(name, note(), mine))

    async def _finish(self, name: str, note: bytes, runs: list[_Run]) -> None:
        jobs = tuple(_finish_job(run) for run in runs)
        try:
            answer = await self._nodes[name].finish(note, jobs)
        except (OperationalError, ProtocolError) as error:
            for run in runs:
                self._decline(run.job.job_id, name, str(error))
            return
        for partial in answer.partials:
            found = self._runs.get(partial.job)
            if found is not None:
                found.take(found.partials, partial.index, name=name, data=partial.partial)
        for declined in answer.declined:
            self._decline(declined.job, name, declined.reason, not_before_ms=declined.not_before_ms)

    async def _wait(self, run: _Run, given: Mapping[Place, bytes], done: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                while run.missing(given):
                    if run.declined:
                        raise SigningFailed(
                            _reasons(run), frozenset(run.declined), not_before_ms=run.not_before_ms
                        )
                    await run.changed.wait()
        except TimeoutError as error:
            silent = run.missing(given)
            names = ", ".join(sorted(silent))
            raise SigningFailed(f"{names} have not {done} within {self._timeout_s} s", silent) from error

    def _decline(self, job: bytes, name: str, reason: str, *, not_before_ms: int = 0) -> None:
        run = self._runs.get(job)
        if run is not None and name in run.job.signers:
            run.declined.setdefault(name, reason)
            run.not_before_ms = max(run.not_before_ms, not_before_ms)
            run.wake()


def _finish_job(run: _Run) -> FinishJob:
    openings = tuple((index, name, rho) for (index, name), rho in sorted(run.rhos.items()))
    return FinishJob(run.job.job_id, openings)


def _combine(run: _Run) -> tuple[bytes, ...]:
    return tuple(_combine_one(run, index) for index in range(len(run.job.signings)))


def _combine_one(run: _Run, index: int) -> bytes:
    openings = {run.key.index_of(name): data for (at, name), data in run.rhos.items() if at == index}
    partials = {run.key.index_of(name): data for (at, name), data in run.partials.items() if at == index}
    try:
        return combine(
            run.job,
            index,
            key=run.key,
            nonce_point=run.nonce_points[index],
            openings=openings,
            partials=partials,
        )
    except FaultyParticipant as error:
        name = run.key.participants[int(error.participant) - 1]
        raise SigningFailed(f"{name}: {error.reason}", frozenset({name})) from error
    except ProtocolError as error:
        raise SigningFailed(f"the partial signatures do not add up: {error}", frozenset()) from error


def _reasons(run: _Run) -> str:
    return "; ".join(f"{name} declined: {reason}" for name, reason in sorted(run.declined.items()))
