"""Who hangs up while a request is written down has it taken in all the same: it goes its way to the end."""

import asyncio
import contextlib
from pathlib import Path

from tests.unit.custody_cluster import ETHER, make_request
from tests.unit.custody_house import House
from tests.waiting import found

MOMENTS = 40


async def test_a_request_whose_call_was_given_up_meanwhile_reaches_its_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        for moment in range(MOMENTS):
            _, body, signature = make_request(f"{moment}", amount=ETHER // 1000, now_ms=house.now_ms())
            call = asyncio.create_task(running.service.submit(body, signature))
            for _ in range(moment % 8):
                await asyncio.sleep(0)
            await asyncio.sleep((moment // 8) / 1000)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call

        counts = await found(running.parts.database.counts, lambda counts: set(counts) == {"settled"})
        assert counts["settled"] > 1
