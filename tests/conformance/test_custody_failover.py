"""PostgreSQL fails over to a standby under a coordinator: nothing is lost or doubled."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from custody.adapters.store import Store
from custody.storage import LeaseLost
from policy.errors import OperationalError
from tests.fixtures_postgres import Pair, server_pair
from tests.unit.custody_cluster import ETHER, make_request
from tests.unit.custody_house import FakeChain, House, Running
from tests.waiting import WAIT_S

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with server_pair(synchronous=request.param) as made:
        yield made


async def ask(running: Running, now_ms: int, name: str) -> bytes:
    _, body, signature = make_request(name, amount=ETHER // 1000, now_ms=now_ms)
    return (await running.service.submit(body, signature)).request


async def asked_until_it_ends(running: Running, house: House) -> list[bytes]:
    """Ask for one payment after the other until the coordinator does not take one in any more."""
    accepted: list[bytes] = []
    with contextlib.suppress(OperationalError, LeaseLost):
        while not running.task.done():
            accepted.append(await ask(running, house.now_ms(), f"under load {len(accepted)}"))
    return accepted


def mined(house: House) -> int:
    assert isinstance(house.chain, FakeChain)
    return len(house.chain.mined)


@pytest.mark.parametrize("pair", [True], indirect=True)
async def test_with_a_synchronous_standby_all_that_was_acknowledged_is_there(
    tmp_path: Path, pair: Pair
) -> None:
    house = House(tmp_path)
    house.database = pair.url
    with contextlib.suppress(ExceptionGroup):  # by what finds the database away first
        async with house.with_key() as running:
            load = asyncio.create_task(asked_until_it_ends(running, house))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(pair.fail_over)
            accepted = await load
            await asyncio.wait_for(asyncio.wait([running.task]), WAIT_S)
    async with house.running() as running:
        for request in accepted:
            await running.until(request, "settled")
        counts = await running.parts.database.counts()

    assert len(accepted) > 2
    assert sum(counts.values()) - len(accepted) in (0, 1)  # one may be durable whose answer was lost
    assert mined(house) == counts["settled"] == sum(counts.values())


@pytest.mark.parametrize("pair", [False], indirect=True)
async def test_with_a_standby_that_was_behind_the_log_comes_from_the_cosigners_and_nothing_is_paid_twice(
    tmp_path: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path)
    house.database = pair.url
    now_ms = house.now_ms()
    names = [f"payment {number}" for number in range(8)]
    with contextlib.suppress(ExceptionGroup):
        async with house.with_key() as running:
            for name in names[:3]:
                await running.until(await ask(running, now_ms, name), "settled")
            feed = (await running.parts.feeds.feed())[0]
            pair.servers[1].stop_hard()
            for name in names[3:]:
                await running.until(await ask(running, now_ms, name), "settled")
            await running.cosigned()
            size = running.parts.sequencer.state.size
            await asyncio.to_thread(pair.fail_over)
            await asyncio.wait_for(asyncio.wait([running.task]), WAIT_S)
    with caplog.at_level(logging.WARNING):
        async with house.running() as running:
            behind = running.parts.sequencer.state.size
            for name in names:
                await running.until(await ask(running, now_ms, name), "settled")
            after = await ask(running, now_ms, "after")
            await running.until(after, "settled")
            doubt = await running.parts.feeds.addresses_in_doubt()
            renamed = (await running.parts.feeds.feed())[0]

    assert "the database is older than the log" in caplog.text
    assert behind >= size
    assert mined(house) == len(names) + 1
    assert renamed != feed
    assert doubt


@pytest.mark.parametrize("pair", [True], indirect=True)
def test_a_writer_notices_the_promotion_at_its_next_connection_and_one_that_starts_does_not_mind(
    pair: Pair,
) -> None:
    store = Store(pair.url, holder="first")
    store.take_lease(1_000, 500)
    assert store.promoted_ms() == 0
    pair.fail_over()

    with pytest.raises((OperationalError, LeaseLost)):
        store.renew_lease(1_100, 500)  # by the connection that was cut, maybe
    with pytest.raises(LeaseLost, match="failed over"):
        store.renew_lease(1_200, 500)
    with pytest.raises(LeaseLost, match="failed over"):
        store.head()
    store.close()
    again = Store(pair.url, holder="first")
    assert again.take_lease(1_300, 500) == 2
    assert again.promoted_ms() == 1_300, "what was signed before may have used a nonce that is lost"
    again.renew_lease(1_400, 500)
    again.close()
