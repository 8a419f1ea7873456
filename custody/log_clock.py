"""The coordinator's clock: the wall clock, until it is set to what the cosigners do not go along with.

An entry is for ever, log time never goes back, and no cosigner takes an entry from its future: one entry that
was dated by a clock an hour ahead would hold the log up for an hour. So (1) a step of the wall clock beyond
``STEP_MS`` is not followed by itself: time goes on from before by a clock that nobody can set; (2) once as
many cosigners as make a quorum have said what time it is, the middle of them counts wherever it is further
away than that. The steady clock stands still while a machine sleeps: that is such a step, too, which the
cosigners confirm. Nothing rests on any of this but that the log goes on: cosigners go by their own clocks.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

STEP_MS: Final = 1_000
_LOG = logging.getLogger(__name__)


class LogClock:
    """Milliseconds since 1970, when it is called."""

    def __init__(self, wall_ms: Callable[[], int], steady_ms: Callable[[], int]) -> None:
        self._wall_ms, self._steady_ms = wall_ms, steady_ms
        self._ahead_ms = wall_ms() - steady_ms()
        self._told = False

    def __call__(self) -> int:
        """What time it is."""
        steady_ms = self._steady_ms()
        ahead_ms = self._wall_ms() - steady_ms
        step_ms = ahead_ms - self._ahead_ms
        if abs(step_ms) <= STEP_MS:
            self._ahead_ms, self._told = ahead_ms, False
        elif not self._told:
            self._told = True
            _LOG.error("this machine's clock is %d ms off: set it by NTP; time goes on without it", step_ms)
        return steady_ms + self._ahead_ms

    def hear(self, off_ms: Sequence[int]) -> None:
        """How far the clocks of a quorum of cosigners are ahead of the wall clock."""
        middle_ms = sorted(off_ms)[(len(off_ms) - 1) // 2]
        ahead_ms = self._wall_ms() + middle_ms - self._steady_ms()
        if abs(ahead_ms - self._ahead_ms) > STEP_MS:
            _LOG.warning("time goes on %d ms later: so the cosigners say", ahead_ms - self._ahead_ms)
            self._ahead_ms = ahead_ms
