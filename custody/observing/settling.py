"""Which of our signed transactions observers have not seen settled yet, as the log has it."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from policy.entries import SignatureEntry
from policy.fact_entries import ObservationEntry
from policy.replay import Step
from policy.state import JobStatus
from policy.transaction_names import transaction_name

SENT_MAX: Final = 16_384
_LOG = logging.getLogger(__name__)


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
    are watched, and did not settle before the ``observer`` was in the roster. Of more than ``SENT_MAX`` the
    oldest are ``given_up``: they never get into a block, or too few others say that they have.
    """

    def __init__(self, sent: Iterable[Sent] = (), *, observer: str, chains: Collection[str]) -> None:
        self._observer, self._chains = observer, chains
        self._open: dict[bytes, list[Sent]] = {}
        self._count = self.given_up = 0
        for one in sent:
            if one.chain in chains:
                self._add(one)

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
                self._drop(entry.request)
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
        self._add(Sent(job.request_id, job_id, chain, transaction_name(job)))

    def _add(self, sent: Sent) -> None:
        known = self._open.setdefault(sent.request, [])
        if sent in known:
            return
        known.append(sent)
        self._count += 1
        while self._count > SENT_MAX and len(self._open) > 1:
            oldest = next(iter(self._open))
            if not self.given_up:
                _LOG.error(
                    "%d payments wait to be observed, the oldest are given up: look at others", SENT_MAX
                )
            self.given_up += self._drop(oldest)

    def _drop(self, request: bytes) -> int:
        dropped = len(self._open.pop(request, ()))
        self._count -= dropped
        return dropped


def sent_document(sent: Iterable[Sent]) -> list[list[str]]:
    """As JSON."""
    return [[one.request.hex(), one.job.hex(), one.chain, one.tx.hex()] for one in sent]


def read_sent(found: Iterable[Any]) -> list[Sent]:
    """Read ``sent_document``. Raises ``TypeError`` or ``ValueError`` for anything else."""
    return [
        Sent(bytes.fromhex(request), bytes.fromhex(job), chain, bytes.fromhex(tx))
        for request, job, chain, tx in found
    ]
