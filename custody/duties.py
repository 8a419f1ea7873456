"""The outbox at work: every effect a request owes is done, and done again until its event is durable.

Start-up and normal run are one path: what the database says is owed is scheduled, whether a transition
of this process put it there or one before a crash.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from custody.metrics import Metrics
from custody.records import Applied, Change, Duty, RequestRecord
from custody.requests import START, TRANSITIONS, Effect, Event, State
from custody.storage import Database
from policy.errors import OperationalError, ProtocolError

BACK_OFF_FIRST_MS, BACK_OFF_MAX_MS = 100, 5_000
SWEEP_S = 1.0
CONCURRENT_MAX = 256
_LOG = logging.getLogger(__name__)
_OWED: dict[State, frozenset[Effect]] = {
    state: frozenset(
        effect for step in (START, *TRANSITIONS.values()) if step.state is state for effect in step.effects
    )
    for state in State
}


@dataclass(frozen=True, slots=True)
class Errand:
    """A duty, and its request as it is now."""

    record: RequestRecord
    duty: Duty


Handler: TypeAlias = Callable[[Errand], Awaitable[None]]


class NotYet(Exception):
    """Nothing failed, but there is nothing to do before ``due_ms``."""

    def __init__(self, due_ms: int, reason: str = "") -> None:
        super().__init__(reason)
        self.due_ms = due_ms


class Duties:
    """Runs the handlers. ``on_changed`` hears of every request that changed."""

    def __init__(self, database: Database, *, now_ms: Callable[[], int], metrics: Metrics) -> None:
        self._database = database
        self._now_ms = now_ms
        self._metrics = metrics
        self._handlers: Mapping[Effect, Handler] = {}
        self._running: dict[tuple[bytes, Effect], asyncio.Task[None]] = {}
        self._again: set[tuple[bytes, Effect]] = set()
        self._slots = asyncio.Semaphore(CONCURRENT_MAX)
        self._failed: asyncio.Future[None] | None = None
        self._stopped = self._unsure = False
        self.on_changed: list[Callable[[RequestRecord], None]] = []

    def use(self, handlers: Mapping[Effect, Handler]) -> None:
        """What does each effect."""
        self._handlers = handlers

    async def run(self) -> None:
        """Take up what is owed, then expire what is overdue, until cancelled."""
        self._failed = asyncio.get_running_loop().create_future()
        try:
            await self._take_up()
            while True:
                if self._unsure:
                    await self._take_up()
                await self._expire()
                await asyncio.wait([self._failed], timeout=SWEEP_S)
                if self._failed.done():
                    self._failed.result()
        finally:
            self._stopped = True
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def apply(self, change: Change) -> RequestRecord | None:
        """Make an event durable and schedule what it asks for; None when it changed nothing."""
        try:
            applied = await self._database.apply(change, self._now_ms())
        except (OperationalError, asyncio.CancelledError):
            self.look_again()
            raise
        if applied is None:
            return None
        self.applied(applied)
        return applied.record

    def applied(self, applied: Applied) -> None:
        """Schedule what a transition asks for, and tell whoever watches."""
        self._metrics.transitions.labels(state=applied.record.state).inc()
        for effect in applied.effects:
            self._schedule(Duty(applied.record.request, effect, 0, self._now_ms()), applied.record)
        for tell in self.on_changed:
            tell(applied.record)

    def submitted(self, record: RequestRecord) -> None:
        """A new request is durable."""
        self.applied(Applied(record, START.effects))

    def look_again(self) -> None:
        """A write failed that may be done all the same: take up soon what the database says is owed."""
        self._unsure = True

    async def _take_up(self) -> None:
        """Schedule what is owed and not under way."""
        self._unsure = False
        for duty in await self._database.duties():
            if (duty.request, duty.effect) not in self._running:
                self._schedule(duty)

    def _schedule(self, duty: Duty, record: RequestRecord | None = None) -> None:
        key = (duty.request, duty.effect)
        if self._stopped:
            return  # the database keeps it
        if key in self._running:
            self._again.add(key)  # it is owed anew: run once more when the present run ends
            return
        task = asyncio.create_task(self._fulfil(duty, record), name=f"{duty.effect} {duty.request.hex()[:8]}")
        self._running[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: tuple[bytes, Effect], task: "asyncio.Task[None]") -> None:
        del self._running[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
        elif key in self._again:
            self._again.discard(key)
            self._schedule(Duty(*key, 0, self._now_ms()))

    async def _fulfil(self, duty: Duty, record: RequestRecord | None) -> None:
        """``record`` is what the transition left a moment ago: without one, or later, it is looked up."""
        while True:
            wait_ms = duty.due_ms - self._now_ms()
            if wait_ms > 0:
                await asyncio.sleep(wait_ms / 1000)
            if wait_ms > 0 or self._slots.locked():
                record = None
            async with self._slots:
                next_duty = await self._try(duty, record)
            if next_duty is None:
                return
            duty, record = next_duty, None

    async def _try(self, duty: Duty, record: RequestRecord | None) -> Duty | None:
        """Do it once; the duty as it is to be tried again, or None when it is done."""
        record = record or await self._database.get(duty.request)
        if record is None or duty.effect not in _OWED[record.state]:
            return None
        try:
            await self._handlers[duty.effect](Errand(record, duty))
        except NotYet as wait:
            return await self._postpone(duty, wait.due_ms, str(wait))
        except (OperationalError, ProtocolError) as error:
            _LOG.info("%s of %s: %s", duty.effect, duty.request.hex(), error)
            back_off = min(BACK_OFF_FIRST_MS << min(duty.attempts, 10), BACK_OFF_MAX_MS)
            return await self._postpone(duty, self._now_ms() + back_off, str(error))
        return None

    async def _postpone(self, duty: Duty, due_ms: int, error: str) -> Duty:
        await self._database.postpone(duty, due_ms=due_ms, error=error)
        return Duty(duty.request, duty.effect, duty.attempts + 1, due_ms)

    async def _expire(self) -> None:
        for record in await self._database.overdue(self._now_ms()):
            error = f"expired at {record.expires_ms} in state {record.state}: ask anew"
            await self.apply(Change(record.request, Event.TIME_OVER, {"error": error}))
