"""Webhooks: a coordinator in memory tells a real receiver on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.adapters.database import StoreThread
from custody.adapters.store import Store
from custody.api.webhook_signing import TIME_MS, verify_webhook
from custody.metrics import Metrics
from custody.records import NewRequest
from custody.webhooks import Deliverer, Hooks, Webhook
from policy.errors import InvalidSignatureError
from tests.unit.custody_cluster import ETHER, ORIGIN, make_request, public
from tests.unit.custody_cluster import identity as key_of
from tests.unit.custody_house import Clock, House
from tests.unit.http_house import HttpDoor, http_opened, submission
from tests.waiting import found, until

KEY: Ed25519PrivateKey = key_of("webhooks")
NAME = "orders"


@dataclass
class Receiver:
    """Keeps what it is told, and answers as it is set to; speaks just enough HTTP."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    raw: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    usual: int = 200
    answers: dict[str, int] = field(default_factory=dict)
    location: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
                }
                body = await reader.readexactly(int(headers["content-length"]))
                event = verify_webhook(headers, body, origin=ORIGIN, key=public("webhooks"), now_ms=Clock()())
                status = self.answers.get(event.get("request", ""), self.usual)
                if status == 200:
                    self.told.append(event)
                    self.raw.append((headers, body))
                moved = f"Location: {self.location}\r\n" if self.location else ""
                writer.write(f"HTTP/1.1 {status} x\r\n{moved}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()

    def of(self, request: str) -> list[int]:
        """The numbers of the events of a request, as they were told."""
        return [event["sequence"] for event in self.told if event.get("request") == request]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/custody"
    try:
        yield receiver
    finally:
        server.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
def house(tmp_path: Path, receiver: Receiver) -> House:
    found = House(tmp_path)
    found.hooks = Hooks({NAME: Webhook(NAME, "shop", receiver.url)}, KEY)
    return found


async def submitted(door: HttpDoor, key: str) -> str:
    _, body, signature = make_request(key, amount=5, now_ms=door.house.now_ms())
    return str((await door.ask("POST", "/v1/requests", submission(body, signature))).json()["id"])


async def paid(door: HttpDoor, key: str) -> str:
    request = await submitted(door, key)
    await door.running.until(bytes.fromhex(request), "settled")
    return request


async def events_of(door: HttpDoor, request: str) -> list[int]:
    page = (await door.ask("GET", f"/v1/events?request={request}")).json()
    return [event["sequence"] for event in page["events"]]


async def test_every_event_is_told_in_order_and_signed(house: House, receiver: Receiver) -> None:
    async with http_opened(house) as door:
        one, two = await paid(door, "one"), await paid(door, "two")
        expected = {request: await events_of(door, request) for request in (one, two)}
        await until(lambda: all(receiver.of(request) == expected[request] for request in expected))
        backlog = (await door.ask("GET", "/v1/webhooks")).json()["webhooks"]

    assert receiver.told[-1]["state"] == "settled"
    assert backlog == [
        {"name": NAME, "url": receiver.url, "key": public("webhooks").hex(), "waiting": 0, "error": None}
    ]


async def test_a_request_that_waits_for_approval_is_told(house: House, receiver: Receiver) -> None:
    async with http_opened(house) as door:
        _, body, signature = make_request("large", amount=5 * ETHER, now_ms=door.house.now_ms())
        answer = await door.ask("POST", "/v1/requests", submission(body, signature))
        request = str(answer.json()["id"])
        await until(lambda: any(one["state"] == "waiting" for one in receiver.told))

    (told,) = (one for one in receiver.told if one["state"] == "waiting")
    assert (told["request"], told["approvals"], told["rule"]) == (request, 0, "large")


async def test_what_is_not_taken_holds_up_its_own_request_alone(house: House, receiver: Receiver) -> None:
    async with http_opened(house) as door:
        receiver.usual = 500
        stuck = await paid(door, "stuck")
        receiver.usual, receiver.answers[stuck] = 200, 500
        other = await paid(door, "other")
        expected = {request: await events_of(door, request) for request in (stuck, other)}
        await until(lambda: receiver.of(other) == expected[other])
        untold = receiver.of(stuck)
        (shown,) = (await door.ask("GET", "/v1/webhooks")).json()["webhooks"]
        receiver.answers[stuck] = 200
        await until(lambda: receiver.of(stuck) == expected[stuck])

    assert untold == []
    assert (shown["waiting"], shown["error"]) == (len(expected[stuck]), "it answered 500")


async def test_a_coordinator_that_ends_forgets_nothing_that_it_owes(house: House, receiver: Receiver) -> None:
    async with http_opened(house) as door:
        receiver.usual = 503
        request = await paid(door, "one")
        expected = await events_of(door, request)
    receiver.usual = 200

    async with http_opened(house):
        await until(lambda: receiver.of(request) == expected)


async def test_events_are_told_again_when_asked_for_by_id_or_range(house: House, receiver: Receiver) -> None:
    async with http_opened(house) as door:
        request = await paid(door, "one")
        expected = await events_of(door, request)
        await until(lambda: receiver.of(request) == expected)
        ids = [event["id"] for event in receiver.told]
        place = f"/v1/webhooks/{NAME}/resend"
        single = await door.ask("POST", place, {"first": ids[1]})
        await until(lambda: len(receiver.told) == len(expected) + 1)
        several = await door.ask("POST", place, {"first": ids[0], "last": ids[2]})
        await until(lambda: len(receiver.told) == len(expected) + 4)
        others = await door.ask("POST", place, {"first": ids[1]}, name="desk")

    assert (single.status_code, single.json()) == (202, {"count": 1})
    assert several.json() == {"count": 3}
    assert receiver.of(request) == [*expected, expected[1], *expected[:3]]
    assert others.json()["code"] == "unknown-webhook"


def error_of(listed: httpx.Response) -> str | None:
    (shown,) = listed.json()["webhooks"]
    return shown["error"] or None


async def test_a_redirect_is_not_followed(house: House, receiver: Receiver) -> None:
    async with receiving() as elsewhere, http_opened(house) as door:
        receiver.location = elsewhere.url
        receiver.usual = 307
        await paid(door, "one")
        listed = await found(lambda: door.ask("GET", "/v1/webhooks"), lambda told: error_of(told) is not None)

    assert error_of(listed) == "it answered 307"
    assert elsewhere.told == []


async def test_another_backends_requests_are_not_told(house: House, receiver: Receiver) -> None:
    house.hooks = Hooks({NAME: Webhook(NAME, "desk", receiver.url)}, KEY)
    async with http_opened(house) as door:
        await paid(door, "one")
        await asyncio.sleep(0.3)

    assert receiver.told == []


async def test_what_was_altered_or_is_old_or_for_another_is_not_believed(
    house: House, receiver: Receiver
) -> None:
    async with http_opened(house) as door:
        await paid(door, "one")
        await until(lambda: bool(receiver.raw))
    headers, body = receiver.raw[0]
    told = int(headers[TIME_MS.lower()])
    honest: dict[str, Any] = {"origin": ORIGIN, "key": public("webhooks"), "now_ms": told}
    false: list[tuple[dict[str, str], bytes, dict[str, Any]]] = [
        (headers, body.replace(b"received", b"settled_"), honest),
        (headers | {"quorumkeep-webhook": "other"}, body, honest),
        (headers | {"quorumkeep-time-ms": str(told + 1)}, body, honest),
        (headers | {"quorumkeep-signature": "zz"}, body, honest),
        (headers, body, honest | {"now_ms": told + 300_001}),
        (headers, body, honest | {"origin": "log.example.com/other"}),
        (headers, body, honest | {"key": public("mallory")}),
        ({}, body, honest),
    ]

    assert verify_webhook(headers, body, **honest)["state"] == "received"
    for wrong, altered, expected in false:
        with pytest.raises(InvalidSignatureError):
            verify_webhook(wrong, altered, **expected)


class Unforeseen:
    """A poster that fails as none should, once for each event."""

    def __init__(self) -> None:
        self.tried: list[bytes] = []

    async def post(self, webhook: Webhook, body: bytes, *, headers: Mapping[str, str]) -> int:
        self.tried.append(body)
        if self.tried.count(body) == 1:
            raise ValueError("a library's defect")
        return 204


async def test_a_defect_in_calling_a_webhook_ends_nothing(tmp_path: Path) -> None:
    poster, webhook = Unforeseen(), Webhook(NAME, "shop", "http://127.0.0.1:1/")
    feeds = StoreThread(Store(f"sqlite:///{tmp_path / 'custody.db'}"))
    hooks = Hooks({NAME: webhook}, KEY)
    await feeds.take_lease(0, 1_000)
    await feeds.queue_deliveries(NAME, "shop", now_ms=1)
    await feeds.submit(NewRequest(bytes(32), "shop", "key", b"{}", bytes(64), 1_000), 2)
    deliverer = Deliverer(feeds, hooks, poster=poster, now_ms=Clock(), metrics=Metrics())

    running = asyncio.create_task(deliverer.run(ORIGIN))
    await until(lambda: len(poster.tried) == 2)
    await found(lambda: feeds.backlog(NAME), lambda backlog: not backlog.waiting)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    feeds.close()
