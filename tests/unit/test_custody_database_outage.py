"""A PostgreSQL that is torn down under a coordinator and comes back: nothing is lost or paid twice."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from custody.adapters.leased import PATIENCE, engine_of
from policy.errors import OperationalError
from tests.fixtures_postgres import OwnServer, own_server
from tests.unit.custody_cluster import ETHER, make_request
from tests.unit.custody_house import FakeChain, House, Running

REQUESTS, LIVES_MAX = 12, 20


@pytest.fixture
def server() -> Iterator[OwnServer]:
    """A server of this test alone."""
    with own_server() as made:
        yield made


Signed = tuple[bytes, bytes]


async def live(house: House, requests: list[Signed]) -> int:
    """One coordinator's life: all requests are handed in (again), as unsure backends do, and settle."""
    async with house.with_key() as running:
        for body, signature in requests:
            await running.service.submit(body, signature)
        settled = asyncio.create_task(_all_settled(running, len(requests)))
        await asyncio.wait((settled, running.task), return_when=asyncio.FIRST_COMPLETED)
        if running.task.done():
            settled.cancel()
            await running.task
        return await settled


async def _all_settled(running: Running, count: int) -> int:
    while (await running.parts.database.counts()).get("settled", 0) < count:  # noqa: ASYNC110 - by no event
        await asyncio.sleep(0.02)
    return count


async def test_a_database_that_goes_away_loses_and_doubles_nothing(tmp_path: Path, server: OwnServer) -> None:
    house = House(tmp_path)
    house.database = server.url
    async with house.with_key():
        pass
    now = house.now_ms()
    requests = [make_request(f"r{i}", amount=ETHER // 100, now_ms=now)[1:] for i in range(REQUESTS)]
    torn = asyncio.create_task(asyncio.to_thread(server.tear_down_after, 0.3))
    settled = failures = 0
    while not settled and failures < LIVES_MAX:
        try:
            settled = await live(house, requests)
        except* OperationalError:
            failures += 1
            await asyncio.sleep(0.3)
    await torn

    assert failures
    assert settled == REQUESTS
    assert isinstance(house.chain, FakeChain) and len(house.chain.mined) == REQUESTS


def test_a_server_whose_machine_is_lost_in_a_commit_is_not_waited_for_for_hours(server: OwnServer) -> None:
    def said(url: str) -> dict[str, str]:
        engine = engine_of(url)
        with contextlib.closing(engine.raw_connection()) as db:
            found: dict[str, str] = db.driver_connection.info.get_parameters()  # type: ignore[union-attr]
        engine.dispose()
        return found

    assert said(server.url).items() >= {name: str(value) for name, value in PATIENCE.items()}.items()
    assert said(f"{server.url}&keepalives_idle=60")["keepalives_idle"] == "60", "the URL comes first"
