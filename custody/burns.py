"""Releasing jobs that will not be signed: burn statements of all their signers, then the entry.

Which jobs those are follows from the log's state alone, so a start needs nothing else. A signer that refuses
has its partial signature out, for good: it is asked more and more seldom, for another start may have lost it.
So are all of them when the log refuses what they stated.
"""

import asyncio
import logging

from custody.candidates import Candidate, Folded
from custody.parts import Parts
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError, ProtocolError
from policy.state import Job, JobStatus, State

SWEEP_S = 2.0
WAIT_MS, WAIT_MS_MAX = 2_000, 64_000
_LOG = logging.getLogger(__name__)


class Burns:
    """The jobs that are reserved and unsigned, and the errands to release those nobody needs."""

    def __init__(self, *, sweep_s: float = SWEEP_S) -> None:
        self._sweep_s = sweep_s
        self._open: dict[bytes, Job] = {}
        self._statements: dict[bytes, dict[str, bytes]] = {}
        self._refused: dict[bytes, tuple[int, int]] = {}

    def load(self, state: State) -> None:
        """Start from the whole state."""
        self._open = {job: state.jobs[job] for job in state.reserved}

    def written(self, folded: Folded) -> None:
        """An entry is durable: a reservation opens a job, its signature or burn closes it."""
        if not folded.outcome.accepted or folded.outcome.kind not in ("reserve", "signature", "burn"):
            return
        job = folded.state.jobs[folded.outcome.subject]
        if job.status is JobStatus.RESERVED:
            self._open[job.job_id] = job
        else:
            self._open.pop(job.job_id, None)
            self._statements.pop(job.job_id, None)
            self._refused.pop(job.job_id, None)

    async def run(self, parts: Parts) -> None:
        """Ask for burns until cancelled."""
        while True:
            for job in self._needless(parts.sequencer.state, parts.now_ms()):
                await self._burn(parts, job)
            await asyncio.sleep(self._sweep_s)

    def _needless(self, state: State, now_ms: int) -> list[Job]:
        """Jobs that a later one supersedes, or whose request can no longer be paid."""
        found = []
        for job in self._open.values():
            if self._refused.get(job.job_id, (0, 0))[1] > now_ms:
                continue
            request = state.requests[job.request_id]
            expired = job.purpose == "payment" and request.request.expires_ms <= now_ms
            if request.jobs[-1] != job.job_id or request.closed or expired:
                found.append(job)
        return found

    async def _burn(self, parts: Parts, job: Job) -> None:
        statements = self._statements.setdefault(job.job_id, {})
        missing = [name for name in job.signers if name not in statements]
        answers = await asyncio.gather(*(_ask(parts, name, job.job_id) for name in missing))
        statements.update({name: answer for name, answer in zip(missing, answers, strict=True) if answer})
        if None in answers:
            self._put_off(job, parts.now_ms())
        if len(statements) < len(job.signers):
            return
        body: Json = {"origin": parts.sequencer.state.origin, "job": job.job_id.hex()}
        proof: dict[str, Json] = {"signatures": signature_list(statements)}
        outcome = await parts.sequencer.log(Candidate("burn", body, proof))
        if not outcome.accepted:
            _LOG.warning("job %s is not released: %s", job.job_id.hex(), outcome.reason)
            self._statements.pop(job.job_id, None)
            self._put_off(job, parts.now_ms())

    def _put_off(self, job: Job, now_ms: int) -> None:
        """Try it again later, and each time later than that."""
        times = self._refused.get(job.job_id, (0, 0))[0]
        wait_ms = min(WAIT_MS << min(times, 10), WAIT_MS_MAX)
        self._refused[job.job_id] = times + 1, now_ms + wait_ms


async def _ask(parts: Parts, name: str, job: bytes) -> bytes | None:
    """The node's statement, nothing for now, or None if it refuses."""
    try:
        if name not in parts.nodes:
            return parts.ceremonies.burned.get((job, name), b"")
        return await parts.nodes[name].burn(job)
    except (OperationalError, ProtocolError) as error:
        _LOG.info("%s does not burn %s yet: %s", name, job.hex(), error)
        return None if isinstance(error, ProtocolError) else b""
