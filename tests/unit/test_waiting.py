"""The tests' own waiting: it ends when what is awaited comes, and at once when it cannot come any more."""

import asyncio
import time
from pathlib import Path

import pytest

from policy.errors import OperationalError
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House
from tests.waiting import found, seen, until, working


async def test_what_comes_late_is_found() -> None:
    numbers = iter(range(10))

    async def look() -> int:
        return next(numbers)

    assert await found(look, lambda number: number > 2) == 3
    assert seen(lambda: next(numbers), lambda number: number > 6) == 7


async def test_what_does_not_come_in_time_is_told_with_what_was_there_instead() -> None:
    async def look() -> str:
        return "waiting"

    with pytest.raises(TimeoutError, match="waiting"):
        await found(look, lambda state: state == "settled", wait_s=0.05)


async def test_a_worker_that_fails_ends_the_waiting_for_what_it_would_have_done() -> None:
    async def fail() -> None:
        raise OperationalError("it broke")

    with working(asyncio.create_task(fail())), pytest.raises(OperationalError, match="it broke"):
        await until(lambda: False)


async def test_a_request_that_is_denied_is_not_waited_for(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        _, body, signature = make_request("much", amount=10**30, now_ms=house.now_ms())
        request = (await running.service.submit(body, signature)).request
        began_s = time.monotonic()
        with pytest.raises(AssertionError, match="denied"):
            await running.until(request, "settled")

    assert time.monotonic() - began_s < 30
