"""Which of our signed transactions observers have not seen settled yet, as the log has it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from custody.chains.families import transactions
from policy.entries import SignatureEntry
from policy.fact_entries import ObservationEntry
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
    """Hears of every entry of a log; what it knows of some chains outlives the process, as ``sent``.

    An entry may be heard again. Only what is going to be stated is kept: what was sent on the ``chains`` that
    are watched, and did not settle before the ``observer`` was in the roster.
    """

    def __init__(self, sent: Iterable[Sent] = (), *, observer: str, chains: Collection[str]) -> None:
        self._observer, self._chains = observer, chains
        self._open: dict[bytes, list[Sent]] = {}
        for one in sent:
            if one.chain in chains:
                self._open.setdefault(one.request, []).append(one)

    @property
    def sent(self) -> list[Sent]:
        """What is not observed yet."""
        return [one for sent in self._open.values() for one in sent]

    def hear(self, step: Step) -> None:
        """One entry."""
        if not step.outcome.accepted:
            return
        match step.timed.entry:
            case SignatureEntry() as entry:
                self._signed(step, entry.job)
            case ObservationEntry() as entry if (
                step.after.requests[entry.request].observed
                or self._observer not in step.after.roster.observers
            ):
                self._open.pop(entry.request, None)
            case _:
                pass

    def open(self, chain: str) -> Sequence[Sent]:
        """What may be mined on a chain."""
        return [one for one in self.sent if one.chain == chain]

    def _signed(self, step: Step, job_id: bytes) -> None:
        job = step.after.jobs[job_id]
        chain = job.anchor.chain
        if job.status is not JobStatus.SIGNED or not job.anchor.on_chain or chain not in self._chains:
            return
        if step.after.requests[job.request_id].observed:
            return
        _, tx = transactions(chain).finished(job)
        sent = Sent(job.request_id, job_id, chain, tx)
        if sent not in (known := self._open.setdefault(job.request_id, [])):
            known.append(sent)


def sent_document(sent: Iterable[Sent]) -> list[list[str]]:
    """As JSON."""
    return [[one.request.hex(), one.job.hex(), one.chain, one.tx.hex()] for one in sent]


def read_sent(found: Iterable[Any]) -> list[Sent]:
    """Read ``sent_document``. Raises ``TypeError`` or ``ValueError`` for anything else."""
    return [
        Sent(bytes.fromhex(request), bytes.fromhex(job), chain, bytes.fromhex(tx))
        for request, job, chain, tx in found
    ]
