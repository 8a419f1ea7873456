"""Rolling windows of a limit: what counts now, in time that does not grow with history.

A request counts in a window from the moment a transaction for it is reserved, for as long as its
newest transaction is unsigned, and then until the window has passed since the signature was
logged. Its amount is the largest of its live transactions, since they conflict on chain.
"""

from dataclasses import dataclass, field, replace

from immutables import Map

from policy.stored.layered import Table


@dataclass(frozen=True, slots=True)
class Counted:
    """What one request adds to a window; ``signed_ms`` is None while it is held unsigned."""

    amount: int
    signed_ms: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """One limit in one scope. ``queue`` holds signed requests in time order from ``head`` to ``tail``.

    An item of the queue whose time is no longer the request's is stale and is skipped.
    """

    total: int = 0
    head: int = 0
    tail: int = 0
    queue: Table[int, tuple[int, bytes]] = field(default_factory=Map)
    counted: Table[bytes, Counted] = field(default_factory=Map)

    def expired(self, now_ms: int, *, window_ms: int) -> "Window":
        """This window without the requests whose last signature is ``window_ms`` old or older."""
        window = self
        while window.head < window.tail:
            time_ms, request = window.queue[window.head]
            if time_ms > now_ms - window_ms:
                break
            item = window.counted.get(request)
            if item is not None and item.signed_ms == time_ms:
                window = window.without(request)
            window = replace(window, head=window.head + 1, queue=window.queue.delete(window.head))
        return window

    def used_by_others(self, request: bytes) -> int:
        """What counts now, apart from ``request`` itself."""
        mine = self.counted.get(request)
        return self.total - (mine.amount if mine else 0)

    def with_request(self, request: bytes, counted: Counted) -> "Window":
        """This window with ``request`` counted so, instead of however it was counted."""
        window = self.without(request)
        window = replace(
            window,
            total=window.total + counted.amount,
            counted=window.counted.set(request, counted),
        )
        if counted.signed_ms is None:
            return window
        queue = window.queue.set(window.tail, (counted.signed_ms, request))
        return replace(window, queue=queue, tail=window.tail + 1)

    def without(self, request: bytes) -> "Window":
        """This window with ``request`` no longer counted."""
        mine = self.counted.get(request)
        if mine is None:
            return self
        return replace(self, total=self.total - mine.amount, counted=self.counted.delete(request))
