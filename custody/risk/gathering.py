"""How often an address is paid while it is new: a leak is one that is paid as no other new one was.

Of one initiator. An address is new for ``NEW_MS`` from its first payment. Only what was signed counts. Kept
are the addresses that were paid again while they were new, and for each day the two that were ahead on it.
"""

from collections import deque
from typing import Final, TypeAlias

DAY_MS: Final = 86_400_000
NEW_MS: Final = 30 * DAY_MS
DAYS_KEPT: Final = 60
AGAIN_MAX: Final = 4096
Place: TypeAlias = tuple[str, str]
Ahead: TypeAlias = tuple[int, Place, int, int]
"""A day, the address that was ahead on it, how often it had been paid, and how often the next best."""


class Gathering:
    """The payments to addresses that are new. ``again`` has when each was paid first, and how often."""

    def __init__(self) -> None:
        self.again: dict[Place, tuple[int, int]] = {}
        self.ahead: deque[Ahead] = deque(maxlen=DAYS_KEPT)

    def signed(self, place: Place, first_ms: int | None, *, time_ms: int) -> None:
        """Count a payment to an address; ``first_ms`` is when it was paid first, None if that is now."""
        count = 1
        if first_ms is not None:
            if time_ms - first_ms >= NEW_MS:
                return
            count = self.count(place) + 1
            self.again[place] = first_ms, count
        if not self.ahead or self.ahead[-1][0] != time_ms // DAY_MS:
            self._forget(time_ms)
        self._lead(time_ms // DAY_MS, place, count=count)

    def count(self, place: Place) -> int:
        """How often a new address was paid that was paid at all."""
        return self.again.get(place, (0, 1))[1]

    def most(self, place: Place, time_ms: int) -> tuple[int, int]:
        """How many of the last days are known, and how often at most another new address was paid by then."""
        today = time_ms // DAY_MS
        earlier = [one for one in self.ahead if today - DAYS_KEPT <= one[0] < today]
        others = (other if first == place else most for _, first, most, other in earlier)
        return len(earlier), max(others, default=0)

    def _forget(self, time_ms: int) -> None:
        new = [(place, one) for place, one in self.again.items() if time_ms - one[0] < NEW_MS]
        self.again = dict(new[-AGAIN_MAX:])

    def _lead(self, day: int, place: Place, *, count: int) -> None:
        first, most, other = place, 0, 0
        if self.ahead and self.ahead[-1][0] == day:
            _, first, most, other = self.ahead.pop()
        if place == first:
            most = count
        elif count > most:
            first, most, other = place, count, most
        else:
            other = max(other, count)
        self.ahead.append((day, first, most, other))
