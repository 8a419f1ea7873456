"""What the log says of its last day: how much was denied, how long approvals took, and of drills and backups.

Pure. Entries may come in any order: new ones as they are written, and those of before from the newest back.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Final, TypeVar

from custody.indicators.notes import BackupNote, DrillNote, read_note
from custody.indicators.scoring import Missing, Reading
from policy.entries import ApprovalEntry, RequestEntry, TimedEntry
from policy.fact_entries import NoteEntry
from policy.intent import request_id
from policy.state import KeyRecord

DAY_MS: Final = 24 * 3600 * 1000
REQUESTS_MAX: Final = 10_000
T = TypeVar("T")
WHOLE_BP: Final = 10_000
NOTE: Final = b'"kind":"note"'
LOOKED_AT: Final = (b'"kind":"request"', b'"kind":"approval"', NOTE)


def is_looked_at(entry: bytes) -> bool:
    """Whether an entry may be one of those that count here; most are not, and are not read for it."""
    return any(mark in entry for mark in LOOKED_AT)


def may_be_note(entry: bytes) -> bool:
    """Whether it may be one of those that count however old they are."""
    return NOTE in entry


class LogWindow:
    """A day of requests and approvals, at most ``requests_max`` of each, and the newest notes of all time."""

    def __init__(self, *, requests_max: int = REQUESTS_MAX) -> None:
        self._requests_max = requests_max
        self._asked: dict[bytes, tuple[int, bool]] = {}
        self._approved: dict[bytes, int] = {}
        self.drilled_ms: int | None = None
        self._backed_up: dict[tuple[str, int], dict[str, int]] = {}

    def take_in(self, timed: TimedEntry) -> None:
        """Count an entry, if it is one of those that count here."""
        match timed.entry:
            case RequestEntry() as entry:
                self._asked[request_id(entry.body)] = (timed.time_ms, entry.claim.outcome == "deny")
            case ApprovalEntry() as entry:
                of = entry.approval.request
                self._approved[of] = max(timed.time_ms, self._approved.get(of, 0))
            case NoteEntry() as entry:
                self._take_note(timed.time_ms, read_note(entry))
            case _:
                return

    def forget(self, now_ms: int, keys: Mapping[str, KeyRecord]) -> None:
        """Drop what is older than a day, the oldest beyond what is kept, and backups of no share of now."""
        since = now_ms - DAY_MS
        self._asked = self._newest({key: one for key, one in self._asked.items() if one[0] > since})
        self._approved = self._newest({key: one for key, one in self._approved.items() if one > since})
        self._backed_up = {
            (name, key.epoch): {node: at for node, at in times.items() if node in key.participants}
            for name, key in keys.items()
            if (times := self._backed_up.get((name, key.epoch)))
        }

    def denied_share_bp(self) -> Reading:
        """Of the requests of the day."""
        if not self._asked:
            return Missing.NOT_APPLICABLE
        return WHOLE_BP * sum(denied for _, denied in self._asked.values()) // len(self._asked)

    def approval_wait_s(self) -> Reading:
        """The median of those that were approved."""
        waits = sorted(
            at_ms - self._asked[request][0]
            for request, at_ms in self._approved.items()
            if request in self._asked
        )
        return max(0, waits[len(waits) // 2]) // 1000 if waits else Missing.NOT_APPLICABLE

    def backed_up_ms(self, key: str, epoch: int, *, nodes_min: int) -> int | None:
        """When ``nodes_min`` nodes of a key had been backed up in an epoch; None if they were not."""
        times = sorted(self._backed_up.get((key, epoch), {}).values(), reverse=True)
        return times[nodes_min - 1] if len(times) >= nodes_min else None

    @property
    def is_full(self) -> bool:
        """Whether a request or an approval that is older than all it has would not be kept."""
        return max(len(self._asked), len(self._approved)) >= self._requests_max

    @property
    def backups_kept(self) -> int:
        """How many shares of keys it knows a backup of."""
        return sum(map(len, self._backed_up.values()))

    def knows_all(self, epochs: Mapping[str, int]) -> bool:
        """Whether there is nothing older to look for."""
        return self.drilled_ms is not None and all(
            (key, epoch) in self._backed_up for key, epoch in epochs.items()
        )

    def _newest(self, table: dict[bytes, T]) -> dict[bytes, T]:
        if len(table) <= self._requests_max:
            return table
        in_order = sorted(table.items(), key=itemgetter(1))
        return dict(in_order[-self._requests_max :])

    def _take_note(self, time_ms: int, note: DrillNote | BackupNote | None) -> None:
        if isinstance(note, DrillNote) and note.ok:
            self.drilled_ms = max(time_ms, self.drilled_ms or 0)
        elif isinstance(note, BackupNote):
            times = self._backed_up.setdefault((note.key, note.epoch), {})
            for node in note.nodes:
                times[node] = max(time_ms, times.get(node, 0))
