"""The two rounds of a job, seen from the coordinator: gather openings, ask for partials, add them up.

Everything here is in memory only: a job whose gathering a crash interrupted is retried as a new job.
Jobs that are ready together are finished together, one call a signer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from custody.candidates import Folded
from custody.ports import Appended, FinishJob, Node
from custody.replication import Replication
from policy import ecdsa
from policy.errors import OperationalError, ProtocolError
from policy.state import Job

_LOG = logging.getLogger(__name__)


class SigningFailed(OperationalError):
    """A job got no signature; ``silent`` are the signers that did not do their part."""

    def __init__(self, reason: str, silent: frozenset[str]) -> None:
        super().__init__(reason)
        self.silent = silent


@dataclass(slots=True)
class _Run:
    job: Job
    parties: Mapping[str, int]
    nonce_point: bytes
    rhos: dict[str, bytes] = field(default_factory=dict)
    partials: dict[str, bytes] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def missing(self, given: Mapping[str, bytes]) -> frozenset[str]:
        return frozenset(self.job.signers) - set(given)


class Signing:
    """The jobs under way in this process."""

    def __init__(self, nodes: Mapping[str, Node], *, timeout_s: float) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._runs: dict[bytes, _Run] = {}
        self._points: dict[bytes, bytes] = {}
        self._ready: list[_Run] = []
        self._wake = asyncio.Event()

    def promise(self, presignature: bytes, nonce_point: bytes) -> None:
        """Remember R of a presignature that is about to be reserved."""
        self._points[presignature] = nonce_point

    def written(self, folded: Folded) -> None:
        """Expect openings of a job; called before any cosigner is sent its reservation."""
        if folded.outcome.kind != "reserve" or not folded.outcome.accepted:
            return
        job = folded.state.jobs[folded.outcome.subject]
        key = folded.state.keys[job.key]
        parties = {name: key.index_of(name) for name in job.signers}
        self._runs[job.job_id] = _Run(job, parties, self._points.pop(job.presignatures[0]))

    def knows(self, job: bytes) -> bool:
        """Whether the job began in this process and has not ended."""
        return job in self._runs

    def answered(self, name: str, answer: Appended) -> None:
        """Take in a signer's openings and refusals."""
        for opening in answer.openings:
            run = self._runs.get(opening.job)
            if run is not None and name in run.parties and opening.index == 0:
                run.rhos.setdefault(name, opening.rho)
                run.wake()
        for declined in answer.declined:
            self._decline(declined.job, name, declined.reason)

    async def sign(self, job: bytes, replication: Replication) -> ecdsa.Signature:
        """The signature of a job that began here. Raises ``SigningFailed``; the job has ended then."""
        run = self._runs[job]
        try:
            await self._wait(run, run.rhos, "opened")
            await replication.wait_quorum(run.job.index + 1, self._timeout_s)
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
                    mine = [run for run in ready if name in run.parties]
                    calls.create_task(self._finish(name, note(), mine))

    async def _finish(self, name: str, note: bytes, runs: list[_Run]) -> None:
        jobs = tuple(FinishJob(run.job.job_id, tuple(sorted(run.rhos.items()))) for run in runs)
        try:
            answer = await self._nodes[name].finish(note, jobs)
        except (OperationalError, ProtocolError) as error:
            for run in runs:
                self._decline(run.job.job_id, name, str(error))
            return
        for partial in answer.partials:
            found = self._runs.get(partial.job)
            if found is not None and name in found.parties and partial.index == 0:
                found.partials.setdefault(name, partial.partial)
                found.wake()
        for declined in answer.declined:
            self._decline(declined.job, name, declined.reason)

    async def _wait(self, run: _Run, given: Mapping[str, bytes], done: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                while run.missing(given):
                    if run.declined:
                        raise SigningFailed(_reasons(run), frozenset(run.declined))
                    await run.changed.wait()
        except TimeoutError as error:
            silent = run.missing(given)
            names = ", ".join(sorted(silent))
            raise SigningFailed(f"{names} have not {done} within {self._timeout_s} s", silent) from error

    def _decline(self, job: bytes, name: str, reason: str) -> None:
        run = self._runs.get(job)
        if run is not None and name in run.parties:
            run.declined.setdefault(name, reason)
            run.wake()


def _combine(run: _Run) -> ecdsa.Signature:
    job = run.job
    task = ecdsa.SigningTask(job.signing_hash, job.tweak, job.derived_key, job.job_id, 0)
    try:
        partials = {run.parties[name]: ecdsa.Partial.from_bytes(data) for name, data in run.partials.items()}
        rhos = {run.parties[name]: rho for name, rho in run.rhos.items()}
        return ecdsa.combine(partials, R=run.nonce_point, rhos=rhos, task=task)
    except ProtocolError as error:
        raise SigningFailed(f"the partial signatures do not add up: {error}", frozenset()) from error


def _reasons(run: _Run) -> str:
    return "; ".join(f"{name} declined: {reason}" for name, reason in sorted(run.declined.items()))
