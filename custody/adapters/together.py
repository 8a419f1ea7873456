"""Calls for one thread, in their order: those that wait together are one transaction of the database.

A disk takes its time for each commit, and not much more for a larger one. What a call gives is told when its
transaction is durable. If one of them fails, all are taken back and each is carried out by itself, as if it
had come alone. A patient call waits a moment for one that welcomes it. An urgent one comes next, and alone.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

TOGETHER_MAX, PATIENCE_S = 64, 0.05


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    welcomes: bool = False
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class _Answered:
    call: _Call
    value: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Hand it over, unless whoever asked is gone."""
        if self.call.answer.done():
            return
        if self.error is None:
            self.call.answer.set_result(self.value)
        else:
            self.call.answer.set_exception(self.error)


class _TakenBack(Exception):
    """A call of several failed before anything was durable."""


class CallsTogether:
    """``transaction`` opens a scope in which the calls of its thread are one transaction."""

    def __init__(
        self, thread: ThreadPoolExecutor, transaction: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._thread = thread
        self._transaction = transaction
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._patient: list[_Call] = []
        self._running = False

    async def ask(self, work: Callable[[], Any], *, welcomes: bool = False) -> Any:
        """Have ``work`` carried out, with patient ones if it welcomes them; what it gives, once durable."""
        loop = asyncio.get_running_loop()
        call = _Call(work, loop.create_future(), welcomes)
        self._begin(loop, call)
        return await call.answer

    async def ask_urgently(self, work: Callable[[], Any]) -> Any:
        """Have ``work`` carried out before all that waits, whose order it must not depend on."""
        loop = asyncio.get_running_loop()
        call = _Call(work, loop.create_future(), urgent=True)
        self._begin(loop, call)
        return await call.answer

    async def ask_patiently(self, work: Callable[[], Any]) -> Any:
        """Have ``work`` carried out with what comes next and welcomes it, or after a moment."""
        loop = asyncio.get_running_loop()
        call = _Call(work, loop.create_future())
        with self._lock:
            self._patient.append(call)
        loop.call_later(PATIENCE_S, self._lose_patience, loop, call)
        return await call.answer

    def finish(self) -> None:
        """Carry out what waits, and take nothing more."""
        with self._lock:
            patient, self._patient = self._patient, []
        if patient:
            self._thread.submit(self._carry_out, patient)
        self._thread.shutdown(wait=True)

    def _lose_patience(self, loop: asyncio.AbstractEventLoop, call: _Call) -> None:
        with self._lock:
            if call not in self._patient:
                return
            self._patient.remove(call)
        self._begin(loop, call)

    def _begin(self, loop: asyncio.AbstractEventLoop, call: _Call) -> None:
        with self._lock:
            if call.urgent:
                self._waiting.appendleft(call)
            else:
                self._waiting.append(call)
            begins, self._running = not self._running, True
        if begins:
            self._thread.submit(self._carry_out_all, loop)

    def _carry_out_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while calls := self._next():
            answers = self._carry_out(calls)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, answers)

    def _next(self) -> list[_Call]:
        with self._lock:
            count = 1 if self._waiting and self._waiting[0].urgent else TOGETHER_MAX
            calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), count))]
            if any(call.welcomes for call in calls):
                calls += self._patient
                self._patient = []
            self._running = bool(calls)
            return calls

    def _carry_out(self, calls: list[_Call]) -> list[_Answered]:
        if len(calls) == 1:
            return [_alone(calls[0])]
        try:
            with self._transaction():
                return _all(calls)
        except _TakenBack:
            return [_alone(call) for call in calls]
        except Exception as error:  # noqa: BLE001 - whether it was made durable nobody knows: all are told
            return [_Answered(call, error=error) for call in calls]


def _all(calls: list[_Call]) -> list[_Answered]:
    try:
        return [_Answered(call, call.work()) for call in calls]
    except Exception as error:
        raise _TakenBack from error


def _alone(call: _Call) -> _Answered:
    try:
        return _Answered(call, call.work())
    except Exception as error:  # noqa: BLE001 - it is the caller's
        return _Answered(call, error=error)


def _tell(answers: list[_Answered]) -> None:
    for answered in answers:
        answered.tell()
