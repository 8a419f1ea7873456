"""The page of a request shows what observers stated of its risk, and the shares that it is made of."""

import asyncio
from pathlib import Path
from typing import Any, cast

from custody.storage import Database
from policy.encoding import Json
from policy.fact_entries import Basis
from tests.unit.custody_cluster import ORIGIN
from tests.unit.custody_house import Running
from tests.unit.test_console_pages import reading
from tests.unit.test_custody_statements import OBSERVERS, house_with, rule, signed, submit


async def stated(running: Running, request: bytes, *, risk: int, **more: Json) -> None:
    state = running.parts.sequencer.state
    known = state.requests[request].screening
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "request": request.hex(),
        "result": "clear",
        "risk": risk,
        "observed_ms": known.observed_ms + 1 if known else state.requests[request].logged_ms,
        **more,
    }
    await running.service.enact("watch-a", signed("screening", body, *OBSERVERS))


async def test_a_request_shows_its_newest_risk_with_shares_and_who_stated_it(tmp_path: Path) -> None:
    house = house_with(tmp_path, rule({"outcome": "allow", "delay_ms": 600_000}))
    async with house.with_key() as running:
        request = await submit(running, house, "first")
        await running.until(request, "ready")
        async with reading(running, "otto") as client:
            page = f"/requests/{request.hex()}"
            before = (await client.get(page)).text
            await stated(running, request, risk=7)
            by_hand = (await client.get(page)).text
            basis = Basis("open-1", bytes(32), (("first-use", 25), ("lookalike", 60), ("future", 40)))
            await stated(running, request, risk=100, basis=basis.to_json())
            scored = (await client.get(page)).text
            index = running.parts.sequencer.state.size - 1

    assert 'id="risk"' not in before
    assert "7 / 100" in by_hand
    assert "by hand" in by_hand
    assert "100 / 100" in scored
    assert "watch-a, watch-b, by the model open-1" in scored
    assert "Looks like a known address, and is another</dt><dd>+60" in scored
    assert "<dt>future</dt><dd>+40" in scored
    assert f'href="/log/{index}"' in scored
    assert "second look" in scored


class Slow:
    """A database that gives no entries for reading while it is ``held``; all else at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.go = asyncio.Event()
        self.go.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def entries(self, start: int, stop: int, **more: int) -> tuple[bytes, ...]:
        if "bytes_max" in more:
            await self.go.wait()
        return await self._database.entries(start, stop, **more)


async def test_a_long_log_keeps_nobody_waiting_for_the_shares(tmp_path: Path) -> None:
    house = house_with(tmp_path, rule({"outcome": "allow", "delay_ms": 600_000}))
    slow: list[Slow] = []

    def around(database: Database) -> Database:
        slow.append(Slow(database))
        return cast("Database", slow[-1])

    house.around_database = around
    async with house.with_key() as running:
        request = await submit(running, house, "first")
        await running.until(request, "ready")
        await stated(running, request, risk=64)
        async with reading(running, "otto") as client:
            page = f"/requests/{request.hex()}"
            slow[-1].go.clear()
            soon = (await client.get(page)).text
            slow[-1].go.set()
            later = (await client.get(page)).text

    assert "64 / 100" in soon
    assert "still being read" in soon
    assert "by hand" in later
