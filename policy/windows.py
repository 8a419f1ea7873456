"""Rolling windows of a limit: what counts now, in time that does not grow with history.

A request counts in a window from the moment a transaction for it is reserved, for as long as its
newest transaction is unsigned, and then until the window has passed since the signature was
logged. Its amount is the largest of its live transactions, since they conflict on chain; where they do not,
the sum (``policy.conflicts``).
"""

from immutables import Map
from msgspec import Struct, field

from policy.stored.layered import Table
from policy.values import replace


class Counted(Struct, frozen=True, gc=False):
    """What one request adds to a window; ``signed_ms`` is None while it is held unsigned."""

    amount: int
    signed_ms: int | None


class Window(Struct, frozen=True):
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
        head, gone = self._due(now_ms - window_ms)
        if head == self.head:
            return self
        queue, counted = self.queue, self.counted
        for position in range(self.head, head):
            queue = queue.delete(position)
        for request in gone:
            counted = counted.delete(request)
        return replace(self, total=self.total - sum(gone.values()), head=head, queue=queue, counted=counted)

    def used_by_others(self, request: bytes, now_ms: int, *, window_ms: int) -> int:
        """What counts at ``now_ms``, apart from ``request`` itself."""
        _, gone = self._due(now_ms - window_ms)
        mine = self.counted.get(request)
        if mine is not None:
            gone[request] = mine.amount
        return self.total - sum(gone.values())

    def of_others(self, request: bytes) -> int:
        """All that counts, however old, apart from ``request`` itself."""
        mine = self.counted.get(request)
        return self.total - (mine.amount if mine else 0)

    def _due(self, last_ms: int) -> tuple[int, dict[bytes, int]]:
        """Where the queue goes on after ``last_ms``; and what counts until then, by request."""
        head, tail, queue = self.head, self.tail, self.queue
        gone: dict[bytes, int] = {}
        while head < tail:
            time_ms, request = queue[head]
            if time_ms > last_ms:
                break
            item = self.counted.get(request)
            if item is not None and item.signed_ms == time_ms:
                gone[request] = item.amount
            head += 1
        return head, gone

    def with_request(self, request: bytes, counted: Counted) -> "Window":
        """This window with ``request`` counted so, instead of however it was counted."""
        before = self.counted.get(request)
        total = self.total + counted.amount - (before.amount if before else 0)
        counts = self.counted.set(request, counted)
        if counted.signed_ms is None:
            return replace(self, total=total, counted=counts)
        queue = self.queue.set(self.tail, (counted.signed_ms, request))
        return replace(self, total=total, counted=counts, queue=queue, tail=self.tail + 1)

    def signed(self, request: bytes, signed_ms: int) -> "Window":
        """This window with ``request`` counted as it is, until the window has passed ``signed_ms``."""
        return self.with_request(request, Counted(self.counted[request].amount, signed_ms))

    def without(self, request: bytes) -> "Window":
        """This window with ``request`` no longer counted."""
        mine = self.counted.get(request)
        if mine is None:
            return self
        return replace(self, total=self.total - mine.amount, counted=self.counted.delete(request))
