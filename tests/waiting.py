"""Waiting for what nobody tells of: long enough for a busy machine, and no longer than it can still come.

A test that may fail because a machine is slow is not one: nothing here gives up before a minute, but where a
test shows that something does *not* come.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

WAIT_S: Final = 60.0
LOOK_S: Final = 0.01

T = TypeVar("T")

_workers: list["asyncio.Task[None]"] = []


@contextlib.contextmanager
def working(task: "asyncio.Task[None]") -> Iterator[None]:
    """For as long as the context lasts, what is awaited comes of this task: its failure ends the waiting."""
    _workers.append(task)
    try:
        yield
    finally:
        _workers.remove(task)


async def until(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Once it holds; the failure of a worker, or TimeoutError, when it does not."""

    async def look() -> object:
        return holds()

    await found(look, wait_s=wait_s)


async def found(
    look: Callable[[], Awaitable[T]], wanted: Callable[[T], object] = bool, *, wait_s: float = WAIT_S
) -> T:
    """What ``look`` finds, once it is as wanted; the failure of a worker, or TimeoutError, when it is not."""
    last: object = None
    try:
        async with asyncio.timeout(wait_s):
            while not wanted(one := await look()):
                last = one
                _fail_with_workers()
                await asyncio.sleep(LOOK_S)
            return one
    except TimeoutError:
        raise TimeoutError(f"not within {wait_s:g} s; last seen: {last!r}") from None


def seen(
    look: Callable[[], T],
    wanted: Callable[[T], object] = bool,
    *,
    otherwise: Callable[[], object] = str,
    every_s: float = LOOK_S,
) -> T:
    """The same for a test of real processes; ``otherwise`` tells what there is instead."""
    ends_s = time.monotonic() + WAIT_S
    while not wanted(one := look()):
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not within {WAIT_S:g} s; last seen: {one!r} {otherwise()}")
        time.sleep(every_s)
    return one


def _fail_with_workers() -> None:
    for task in _workers:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
