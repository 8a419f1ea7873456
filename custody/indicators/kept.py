"""What a coordinator keeps for its indicators: what the log said of late, failed logins, the scorecard.

The writer of the log only puts what it wrote into a queue; reading it is for later, a little at a time.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from custody.candidates import Folded
from custody.indicators.scoring import DEFAULTS, Level, Scorecard, Threshold
from custody.indicators.window import LogWindow, is_looked_at
from policy.encoding import Json
from policy.entries import parse_entry
from policy.errors import MalformedError

AT_ONCE: Final = 64
QUEUE_MAX: Final = 20_000
FAILURES_MAX: Final = 10_000
HOUR_MS: Final = 3600 * 1000


class Indicators:
    """One coordinator's. Without thresholds of its own it goes by the defaults."""

    def __init__(self, thresholds: Mapping[str, Threshold] = DEFAULTS) -> None:
        self.thresholds = thresholds
        self.window = LogWindow()
        self.scorecard: Scorecard | None = None
        self.since: dict[str, tuple[Level, int]] = {}
        self.epoch_began_ms: dict[tuple[str, int], int] = {}
        self._written: deque[bytes] = deque(maxlen=QUEUE_MAX)
        self._failures: deque[int] = deque(maxlen=FAILURES_MAX)

    def keep(self, scorecard: Scorecard, now_ms: int) -> None:
        """Take in what was just read, and since when each is at its level."""
        self.scorecard = scorecard
        for line in scorecard.lines:
            name, level = line.indicator.name, line.level
            if self.since.get(name, (None, 0))[0] is not level:
                self.since[name] = (level, now_ms)

    def to_json(self) -> dict[str, Json] | None:
        """As the status shows it; None before the first reading."""
        if self.scorecard is None:
            return None
        lines: list[Json] = [
            {**line.to_json(), "since_ms": self.since[line.indicator.name][1]}
            for line in self.scorecard.lines
        ]
        return {"score": self.scorecard.score, "lines": lines}

    def written(self, folded: Folded) -> None:
        """An entry is in the log."""
        if is_looked_at(folded.entry):
            self._written.append(folded.entry)

    def login_failed(self, now_ms: int) -> None:
        """Somebody whom the roster does not know called, or logged in."""
        self._failures.append(now_ms)

    def failures(self, now_ms: int) -> int:
        """Of the last hour."""
        while self._failures and self._failures[0] <= now_ms - HOUR_MS:
            self._failures.popleft()
        return len(self._failures)

    def batches(self) -> int:
        """How often ``take_some`` is needed for what was written until now."""
        return -(-len(self._written) // AT_ONCE)

    def take_some(self) -> None:
        """Read some of what was written."""
        for _ in range(min(AT_ONCE, len(self._written))):
            self.take_in(self._written.popleft())

    def take_in(self, data: bytes) -> None:
        """Read one entry; one that no node takes in counts for nothing."""
        try:
            self.window.take_in(parse_entry(data))
        except MalformedError:
            return
