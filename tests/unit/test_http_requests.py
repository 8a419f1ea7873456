"""The HTTP door: a real client and a real server over TLS, over a coordinator in memory."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from custody.listening import LISTENERS_EACH_MAX
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened, submission
from tests.waiting import until


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


async def test_a_request_is_accepted_at_once_and_can_be_looked_at(door: HttpDoor) -> None:
    _, body, signature = make_request("one", amount=5, now_ms=door.house.now_ms())

    accepted = await door.ask("POST", "/v1/requests", submission(body, signature))
    again = await door.ask("POST", "/v1/requests", submission(body, signature))
    await door.running.until(bytes.fromhex(accepted.json()["id"]), "settled")
    shown = await door.ask("GET", accepted.headers["Location"])

    assert (accepted.status_code, again.status_code) == (202, 202)
    assert accepted.json()["id"] == again.json()["id"]
    assert (shown.status_code, shown.json()["state"], shown.json()["over"]) == (200, "settled", True)
    assert shown.json()["tx_hash"].startswith("0x")
    assert (await door.ask("GET", "/v1/requests")).json() == {"requests": [shown.json()]}


async def test_a_long_poll_tells_of_every_change_and_of_none_twice(door: HttpDoor) -> None:
    view = await submitted(door, "one")
    states = [(view["state"], view["substate"])]
    while not view["over"]:
        after = f"?after={view['event']}&wait_ms=5000"
        view = (await door.ask("GET", f"/v1/requests/{view['id']}{after}")).json()
        states.append((view["state"], view["substate"]))
    told = (await door.ask("GET", f"/v1/events?request={view['id']}")).json()["events"]

    assert len(states) == len(set(states))
    assert states[-1] == ("settled", "idle")
    assert (told[0]["state"], told[0]["substate"]) == ("received", "logging")
    assert set(states) <= {(event["state"], event["substate"]) for event in told}
    assert told[-1]["id"] == view["event"]


async def test_a_long_poll_without_a_change_ends_with_what_there_is(door: HttpDoor) -> None:
    view = await settled(door, "one")
    began = time.monotonic()

    same = await door.ask("GET", f"/v1/requests/{view['id']}?after={view['event']}&wait_ms=300")

    assert same.json() == view
    assert 0.3 <= time.monotonic() - began < 3


async def test_the_feed_has_every_change_of_the_callers_requests_alone(door: HttpDoor) -> None:
    view = await settled(door, "one")
    page = (await door.ask("GET", "/v1/events?limit=2")).json()
    rest = (await door.ask("GET", f"/v1/events?after={page['next']}")).json()
    end = (await door.ask("GET", f"/v1/events?after={rest['next']}")).json()
    newest = (await door.ask("GET", "/v1/events?after=newest")).json()
    others = (await door.ask("GET", "/v1/events", name="desk")).json()
    hidden = await door.ask("GET", f"/v1/events?request={view['id']}", name="desk")

    sequences = [event["sequence"] for event in (*page["events"], *rest["events"])]
    assert sequences == sorted(set(sequences))
    assert rest["events"][-1]["state"] == "settled"
    assert (end["events"], newest["events"], others["events"]) == ([], [], [])
    assert end["next"] == newest["next"] == rest["next"]
    assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown-request")


async def test_an_event_of_another_feed_is_none_of_this_one(door: HttpDoor) -> None:
    strange = await door.ask("GET", "/v1/events?after=00000000-1")
    feed = (await door.ask("GET", "/v1/events?after=newest")).json()["next"].partition("-")[0]
    future = await door.ask("GET", f"/v1/events?after={feed}-99")

    assert [answer.json()["code"] for answer in (strange, future)] == ["unknown-event"] * 2


async def test_a_stream_goes_on_where_its_reader_was_cut_off(door: HttpDoor) -> None:
    view = await settled(door, "one")
    page = (await door.ask("GET", "/v1/events?limit=3")).json()

    told = [event async for event in streamed(door, last_event_id=page["next"], until="settled")]

    assert told[0]["sequence"] == page["events"][-1]["sequence"] + 1
    assert told[-1]["id"] == view["event"]


async def test_a_stream_tells_what_comes_while_it_is_open(door: HttpDoor) -> None:
    async def listen() -> list[dict[str, Any]]:
        return [event async for event in streamed(door, last_event_id="newest", until="settled")]

    await settled(door, "before")
    listening = asyncio.create_task(listen())
    await until(lambda: door.running.service.feed._bells)
    view = await settled(door, "one")

    told = await listening
    assert {event["request"] for event in told} == {view["id"]}
    assert (told[0]["state"], told[-1]["state"]) == ("received", "settled")


async def test_too_many_who_wait_are_refused_and_the_others_are_served(door: HttpDoor) -> None:
    waits = "/v1/events?after=newest&wait_ms=1500"
    answers = await asyncio.gather(*(door.ask("GET", waits) for _ in range(LISTENERS_EACH_MAX + 3)))
    desk = await door.ask("GET", "/v1/events", name="desk")

    refused = [answer for answer in answers if answer.status_code != 200]
    assert [answer.json()["code"] for answer in refused] == ["too-many"] * 3
    assert all(answer.headers["Retry-After"] for answer in refused)
    assert desk.status_code == 200


async def streamed(door: HttpDoor, *, last_event_id: str, until: str) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream up to one with this state."""
    path = "/v1/events/stream"
    headers = door.signed("GET", path) | {"Last-Event-ID": last_event_id}
    names = {"sni_hostname": "coordinator"}
    async with door.client.stream("GET", door.url + path, headers=headers, extensions=names) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        identifier = ""
        async for line in answer.aiter_lines():
            identifier = line.removeprefix("id: ") if line.startswith("id: ") else identifier
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                assert event["id"] == identifier
                yield event
                if event["state"] == until:
                    return


async def submitted(door: HttpDoor, key: str) -> dict[str, Any]:
    """A small payment, just handed in."""
    _, body, signature = make_request(key, amount=5, now_ms=door.house.now_ms())
    answer = await door.ask("POST", "/v1/requests", submission(body, signature))
    assert answer.status_code == 202
    return dict(answer.json())


async def settled(door: HttpDoor, key: str) -> dict[str, Any]:
    """A small payment that has settled."""
    view = await submitted(door, key)
    await door.running.until(bytes.fromhex(view["id"]), "settled")
    return dict((await door.ask("GET", f"/v1/requests/{view['id']}")).json())
