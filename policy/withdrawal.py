"""All that the log has of one request, with proofs: for somebody who has neither the log nor our word.

``docs/verify_withdrawal.py`` checks such a file by itself; docs/spec/withdrawal.md says what it may conclude.
"""

from policy.encoding import Json
from policy.entries import (
    ApprovalEntry,
    BurnEntry,
    RequestEntry,
    ReserveEntry,
    SignatureEntry,
)
from policy.errors import CallerError
from policy.fact_entries import ObservationEntry, RejectEntry, ScreeningEntry
from policy.intent import request_id
from policy.log.tiles import Read
from policy.proven import Origins, proven_entries
from policy.replay import Step, judged

FORMAT = "quorumkeep/withdrawal/1"
GENESIS, KEY = "genesis", "key"


class Withdrawal:
    """Hears of every entry of a log, for ``policy.audit.audit``, and keeps what is about one request."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._jobs: set[bytes] = set()
        self._found: dict[int, dict[str, Json]] = {}
        self._origins = Origins()
        self._receipts: list[Json] = []

    def __call__(self, step: Step) -> None:
        """Hear of one entry."""
        self._origins.follow(step)
        if not step.outcome.accepted or not self._is_about(step):
            return
        if isinstance(step.timed.entry, ReserveEntry):
            self._jobs.add(step.outcome.subject)
            self._keep(step.after.keys[step.timed.entry.key].index, KEY)
        for document, index in self._origins.at.items():
            self._keep(index, document)
        self._keep(step.index, step.timed.kind)
        self._found[step.index] |= {f"{name}_at": index for name, index in self._origins.at.items()}
        verdict = judged(step)
        if verdict is not None:
            self._receipts.append(verdict.to_json())

    @property
    def admitted(self) -> bool:
        """Whether the log took the request in."""
        return any(part["kind"] == "request" for part in self._found.values())

    @property
    def signed(self) -> bool:
        """Whether a signature of it is in the log."""
        return any(part["kind"] == "signature" for part in self._found.values())

    def to_json(self, read: Read, *, note: bytes, size: int) -> dict[str, Json]:
        """The file, from the log of ``size`` entries that ``read`` gives and ``note`` is the checkpoint of.

        Raises ``CallerError`` when the log has no such request.
        """
        if not self.admitted:
            raise CallerError(f"the log has no request {self._request.hex()}")
        return {
            "format": FORMAT,
            "request": self._request.hex(),
            "checkpoint": note.decode(),
            "entries": [
                {**part, **self._found[index]}
                for index, part in zip(
                    sorted(self._found), proven_entries(read, self._found, size=size), strict=True
                )
            ],
            "receipts": self._receipts,
        }

    def _keep(self, index: int, kind: str) -> None:
        self._found.setdefault(index, {"kind": kind if index else GENESIS})

    def _is_about(self, step: Step) -> bool:
        match step.timed.entry:
            case RequestEntry() as entry:
                return request_id(entry.body) == self._request
            case ApprovalEntry() as entry:
                return entry.approval.request == self._request
            case ReserveEntry() | ObservationEntry() | ScreeningEntry() | RejectEntry() as entry:
                return entry.request == self._request
            case SignatureEntry() | BurnEntry() as entry:
                return entry.job in self._jobs
            case _:
                return False
