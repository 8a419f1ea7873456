"""``IdleWork``: between calls, and never in the way of more than one part."""

import asyncio

from signer_nodes.idle import IdleWork
from tests.waiting import until

AFTER_S = 0.01


class Parts:
    """So many parts of work; each can be held up."""

    def __init__(self, count: int) -> None:
        self.left, self.done = count, 0
        self.free = asyncio.Event()
        self.free.set()
        self.under_way = asyncio.Event()

    async def one(self) -> bool:
        self.under_way.set()
        await self.free.wait()
        self.left, self.done = self.left - 1, self.done + 1
        return self.left > 0


async def test_all_parts_are_done_after_an_answer() -> None:
    parts = Parts(3)
    idle = IdleWork(parts.one, after_s=AFTER_S)
    await asyncio.sleep(2 * AFTER_S)
    assert parts.done == 0, "nobody was answered yet"
    idle.resume()

    await until(lambda: parts.left == 0)
    await idle.stop()
    assert parts.done == 3


async def test_a_call_waits_for_the_part_under_way_and_no_other_begins() -> None:
    parts = Parts(100)
    parts.free.clear()
    idle = IdleWork(parts.one, after_s=AFTER_S)
    idle.resume()
    await parts.under_way.wait()
    idle.pause()
    parts.free.set()
    await asyncio.sleep(3 * AFTER_S)

    assert parts.done == 1
    idle.resume()
    await until(lambda: parts.left == 0)


async def test_a_call_that_comes_soon_after_an_answer_puts_it_off() -> None:
    parts = Parts(1)
    idle = IdleWork(parts.one, after_s=AFTER_S)
    idle.resume()
    idle.pause()
    await asyncio.sleep(3 * AFTER_S)

    assert parts.done == 0


async def test_stopping_waits_for_the_part_under_way() -> None:
    parts = Parts(100)
    parts.free.clear()
    idle = IdleWork(parts.one, after_s=AFTER_S)
    idle.resume()
    await parts.under_way.wait()
    stopping = asyncio.create_task(idle.stop())
    await asyncio.sleep(AFTER_S)
    assert not stopping.done()
    parts.free.set()
    await stopping

    assert parts.done == 1
