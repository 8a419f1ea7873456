"""The delay of a change, held by a cosigner's own clock as well as by the log's time.

The log may run behind the clock, and its writer chooses how far. So by the log's time alone a change could be
entered in the past and take effect with the next entry. A cosigner therefore remembers since when it has had
each change that waits, and cosigns no head in which one took effect before it had it for its delay, less
``LAG_MS_MAX``. That refusal passes with time, as that of an entry from the future does: no branch is stuck by
it. A head that w cosigners have cosigned is taken as it is, for honest ones among them have held the delay;
and their times prove since when a change has been public. See docs/adr/0020-a-delay-is-held-by-clocks-too.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from policy.state import State

LAG_MS_MAX: Final = 60 * 1000  # as old as a reservation may be: an honest log is never that far behind


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the entry ``index``; entry ``enacted_at`` put it into effect, if one has.

    ``since_ms`` is when this cosigner had it or, if that is proved, when an honest one had it.
    """

    index: int
    delay_ms: int
    since_ms: int | None = None
    enacted_at: int | None = None

    def due_ms(self, now_ms: int) -> int:
        """From when on this cosigner takes it in effect."""
        since_ms = now_ms if self.since_ms is None else self.since_ms
        return since_ms + self.delay_ms - LAG_MS_MAX


@dataclass(frozen=True, slots=True)
class Delays:
    """The changes that wait, and those in effect above the last head that w are known to have cosigned."""

    changes: tuple[Change, ...] = ()

    @property
    def held(self) -> dict[int, int]:
        """Since when each change has been had, by the place of its entry: what must outlast a restart."""
        return {change.index: change.since_ms for change in self.changes if change.since_ms is not None}

    def folded(self, before: State, after: State) -> "Delays":
        """These after one entry, which led from one state to the other."""
        if before.pending is after.pending:
            return self
        due = {change.index for change in before.pending if change.effective_ms <= after.time_ms}
        waiting = {change.index: change for change in after.pending}
        kept = [
            replace(change, enacted_at=before.size) if change.index in due else change
            for change in self.changes
            if change.enacted_at is not None or change.index in due or change.index in waiting
        ]
        if before.size in waiting:
            kept.append(Change(before.size, waiting[before.size].effective_ms - after.time_ms))
        return Delays(tuple(kept))

    def seen(self, now_ms: int) -> "Delays":
        """All of them are had from now on, if they were not before."""
        return Delays(tuple(replace(c, since_ms=now_ms) if c.since_ms is None else c for c in self.changes))

    def proved(self, size: int, time_ms: int) -> "Delays":
        """Under a head of ``size`` entries that w cosigned, an honest one of them by ``time_ms``."""
        return Delays(
            tuple(
                replace(change, since_ms=min(change.since_ms, time_ms))
                if change.index < size and change.since_ms is not None
                else change
                for change in self.changes
                if change.enacted_at is None or change.enacted_at >= size
            )
        )

    def resumed(self, held: Mapping[int, int], *, quorum_size: int) -> "Delays":
        """These, folded anew, with what was known of them: when each was had, and the last quorum head."""
        return Delays(
            tuple(
                replace(change, since_ms=held.get(change.index))
                for change in self.changes
                if change.enacted_at is None or change.enacted_at >= quorum_size
            )
        )

    def objection(self, now_ms: int) -> str:
        """Why a head with all of this is not cosigned yet; empty if there is no reason."""
        for change in self.changes:
            early_ms = change.due_ms(now_ms) - now_ms
            if change.enacted_at is not None and early_ms > 0:
                return (
                    f"entry {change.enacted_at} puts the change of entry {change.index} into effect "
                    f"{early_ms} ms before this cosigner has had it for its delay of {change.delay_ms} ms: "
                    "wait, or send the first note of a quorum over that entry"
                )
        return ""
