"""Numbers for what must never come twice: the time in milliseconds, or one more than the last."""

from collections.abc import Callable


class Rising:
    """Each number is above those before it, also of an earlier process whose clock was right."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms, self._last = now_ms, 0

    def __call__(self) -> int:
        """The next one."""
        self._last = max(self._last + 1, self._now_ms())
        return self._last
