"""The HTTP door: a real client and a real server over TLS, over a coordinator in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened, submission


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
