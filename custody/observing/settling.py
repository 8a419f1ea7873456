"""Which of our signed transactions observers have not seen settled yet, as the log has it."""

from collections.abc import Iterable
from dataclasses import dataclass

from custody.chains.families import FAMILIES, transactions
from policy.entries import SignatureEntry
from policy.fact_entries import ObservationEntry
from policy.ids import family
from policy.replay import Step
from policy.state import JobStatus


@dataclass(frozen=True, slots=True)
class Sent:
    """A signed transaction of a request."""

    request: bytes
    job: bytes
    chain: str
    tx: bytes


class Settling:
    """Hears of every entry of a log."""

    def __init__(self) -> None:
        self._open: dict[bytes, list[Sent]] = {}

    def hear(self, step: Step) -> None:
        """One entry."""
        if not step.outcome.accepted:
            return
        match step.timed.entry:
            case SignatureEntry() as entry:
                self._signed(step, entry.job)
            case ObservationEntry() as entry if step.after.requests[entry.request].observed:
                self._open.pop(entry.request, None)
            case _:
                pass

    def open(self, chain: str) -> Iterable[Sent]:
        """What may be mined on a chain."""
        return [one for sent in self._open.values() for one in sent if one.chain == chain]

    def _signed(self, step: Step, job_id: bytes) -> None:
        job = step.after.jobs[job_id]
        chain = job.anchor.chain
        if job.status is not JobStatus.SIGNED or not job.anchor.on_chain or family(chain) not in FAMILIES:
            return
        if step.after.requests[job.request_id].observed:
            return
        _, tx = transactions(chain).finished(job)
        sent = Sent(job.request_id, job_id, chain, tx)
        if sent not in (known := self._open.setdefault(job.request_id, [])):
            known.append(sent)
