"""What a process does while nobody asks it for anything."""

import asyncio
from collections.abc import Awaitable, Callable


class IdleWork:
    """Work in parts between calls: a call waits for no more than the part that is under way.

    ``part`` does one, and says whether there is more to do. It begins ``after_s`` seconds after an answer.
    """

    def __init__(self, part: Callable[[], Awaitable[bool]], *, after_s: float) -> None:
        self._part, self._after_s = part, after_s
        self._calls = 0
        self._timer: asyncio.TimerHandle | None = None
        self._working: asyncio.Task[None] | None = None

    def pause(self) -> None:
        """A call came: no part begins until one is answered."""
        self._calls += 1
        if self._timer is not None:
            self._timer.cancel()

    def resume(self) -> None:
        """A call was answered, and the answer goes first."""
        self.pause()
        self._timer = asyncio.get_running_loop().call_later(self._after_s, self._begin)

    async def stop(self) -> None:
        """Begin nothing more, and wait for the part that is under way."""
        self.pause()
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)

    def _begin(self) -> None:
        self._working = asyncio.create_task(self._work(self._calls))

    async def _work(self, calls: int) -> None:
        while self._calls == calls and await self._part():
            pass
