"""The steps of a drill: each says what must be so, and a drill ends at the first that is not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cli.results import Document
from policy.errors import OperationalError, QuorumkeepError

Say = Callable[[str], None]


class Unlike(QuorumkeepError):
    """Something is not as the runbook says it is."""


@dataclass(slots=True)
class Steps:
    """What was seen, in order; ``say`` tells whoever watches."""

    say: Say
    rows: list[Document] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def must(self, says: str, holds: bool, *, seen: object = "") -> None:
        """Take down that ``says`` holds. Raises ``Unlike`` when it does not."""
        now = time.monotonic()
        row: Document = {"says": says, "ok": bool(holds), "seconds": round(now - self._since, 1)}
        if not holds:
            row["seen"] = str(seen)[:500]
        self.rows.append(row)
        self._since = now
        self.say(f"  {'ok   ' if holds else 'WRONG'} {says}" + ("" if holds else f": {row['seen']}"))
        if not holds:
            raise Unlike(f"not so: {says} ({row['seen']})")

    def refused(self, says: str, call: Callable[[], object], *, reason: str) -> None:
        """Take down that a call is refused, for a reason that has these words in it."""
        try:
            found: object = call()
        except (OperationalError, QuorumkeepError) as error:
            self.must(says, reason in str(error), seen=error)
        else:
            self.must(says, False, seen=f"it was done: {found}")

    @property
    def ok(self) -> bool:
        """Whether there was anything to see, and all of it was as it must be."""
        return bool(self.rows) and all(row["ok"] for row in self.rows)
