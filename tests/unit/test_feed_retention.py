"""A feed that is trimmed: what is gone is refused by its number, and nothing is passed over in silence."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from custody import trimming
from custody.api.errors import CallRefused
from custody.config import RetentionConfig
from custody.listening import Asked
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened, submission
from tests.waiting import found


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


async def paid(door: HttpDoor, key: str) -> str:
    _, body, signature = make_request(key, amount=5, now_ms=door.house.now_ms())
    request = str((await door.ask("POST", "/v1/requests", submission(body, signature))).json()["id"])
    await door.running.until(bytes.fromhex(request), "settled")
    return request


async def trim(door: HttpDoor, *held: str) -> None:
    """Forget everything up to now, but for what is held."""
    parts = door.running.parts
    kept = RetentionConfig(-1, tuple(map(bytes.fromhex, held)))
    task = asyncio.create_task(trimming.run(parts, kept))
    _, newest = await parts.feeds.feed()
    await found(parts.feeds.trimmed, lambda trimmed: trimmed >= newest)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_who_was_away_for_longer_than_events_are_kept_is_told(door: HttpDoor) -> None:
    await paid(door, "one")
    first, *_ = (await door.ask("GET", "/v1/events")).json()["events"]
    await trim(door)

    refused = await door.ask("GET", f"/v1/events?after={first['id']}")
    again = await door.ask("POST", "/v1/webhooks/none/resend", {"first": first["id"]})

    assert (refused.status_code, refused.json()["code"]) == (404, "unknown-event")
    assert again.status_code == 404


@pytest.mark.parametrize("initiator", ["", "shop"])
async def test_a_listener_so_slow_that_events_are_gone_under_it_is_told(
    door: HttpDoor, initiator: str
) -> None:
    await paid(door, "one")
    feed = door.running.service.feed
    async with contextlib.aclosing(feed.stream(Asked("", b"", initiator, 1), every_ms=2000)) as stream:
        assert len(await anext(stream)) == 1
        await trim(door)
        await paid(door, "two")

        with pytest.raises(CallRefused) as refused:
            await anext(stream)

    assert refused.value.code == "unknown-event"


async def test_a_listener_hears_of_all_that_comes_each_once(door: HttpDoor) -> None:
    feed = door.running.service.feed
    heard: list[str] = []
    async with contextlib.aclosing(feed.stream(Asked("", b"", "shop", 2), every_ms=2000)) as stream:
        paying = asyncio.create_task(paid(door, "one"))
        async for found in stream:
            heard += [event.id for event in found]
            if found and found[-1].state == "settled":
                break
        await paying

    everything = await feed.events(Asked("", b"", "shop", 100))
    assert heard == [event.id for event in everything]


async def test_the_feed_goes_on_from_what_is_kept(door: HttpDoor) -> None:
    await paid(door, "one")
    await trim(door)
    beginning = (await door.ask("GET", "/v1/events")).json()
    second = await paid(door, "two")
    following = (await door.ask("GET", f"/v1/events?after={beginning['next']}")).json()["events"]

    assert beginning["events"] == []
    assert {one["request"] for one in following} == {second}
    assert following[0]["state"] == "received"


async def test_a_request_is_waited_for_by_its_event_however_old(door: HttpDoor) -> None:
    request = await paid(door, "one")
    shown = (await door.ask("GET", f"/v1/requests/{request}")).json()
    await paid(door, "two")
    await trim(door)

    waited = await door.ask("GET", f"/v1/requests/{request}?after={shown['event']}&wait_ms=1")

    assert (waited.status_code, waited.json()) == (200, shown)


async def test_nothing_is_forgotten_of_a_request_on_hold(door: HttpDoor) -> None:
    held, other = await paid(door, "one"), await paid(door, "two")
    events = door.running.parts.feeds.events
    before = await events(0, request=bytes.fromhex(held))
    await trim(door, held)

    assert await events(0, request=bytes.fromhex(held)) == before
    assert len(before) > 1
    assert len(await events(0, request=bytes.fromhex(other))) == 1


async def test_the_log_is_never_trimmed(door: HttpDoor) -> None:
    await paid(door, "one")
    size = door.running.parts.sequencer.state.size
    await trim(door)

    assert len(await door.running.parts.database.entries(0, size)) == size
