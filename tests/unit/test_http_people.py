"""People at the HTTP door: the same yes, no and reading as over gRPC, by their key of the roster."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from custody.adapters.http.models import Status
from custody.service import Service
from policy.approval import approval_digest
from policy.document import policy_hash
from policy.encoding import Json, canonical, statement
from policy.statements import rejection_digest
from tests.unit.custody_cluster import (
    ETHER,
    ORIGIN,
    WALLET,
    authenticator,
    identity,
    make_request,
    policy_document,
)
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened, submission


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


async def waiting(door: HttpDoor, key: str = "large") -> str:
    """The id of a request that waits for an operator."""
    _, body, signature = make_request(key, amount=5 * ETHER, now_ms=door.house.now_ms())
    request = str((await door.ask("POST", "/v1/requests", submission(body, signature))).json()["id"])
    await door.running.until(bytes.fromhex(request), "waiting")
    return request


def completed(draft: dict[str, Any], operator: str) -> dict[str, Any]:
    """An operator's yes, as the door takes it."""
    body = {**draft, "operator": operator, "approval_id": hashlib.sha256(canonical(draft)).hexdigest()}
    return {"approval": body, "assertion": authenticator(operator).assert_(approval_digest(body)).body()}


async def test_an_operator_approves_over_http(door: HttpDoor) -> None:
    request = await waiting(door)
    drafts = (await door.ask("GET", "/v1/approvals", name="otto")).json()["drafts"]
    given = completed(drafts[0], "otto")

    answer = await door.ask("POST", f"/v1/requests/{request}/approval", given, name="otto")
    await door.running.until(bytes.fromhex(request), "settled")

    assert (answer.status_code, answer.json()["id"]) == (200, request)
    assert (await door.ask("GET", "/v1/approvals", name="otto")).json() == {"drafts": []}


async def test_an_approval_counts_by_its_passkey_and_for_its_request_alone(door: HttpDoor) -> None:
    first, second = await waiting(door, "one"), await waiting(door, "two")
    drafts = (await door.ask("GET", "/v1/approvals", name="otto")).json()["drafts"]
    (draft,) = [one for one in drafts if one["request"] == first]
    given = completed(draft, "otto")
    forged = given | {"assertion": completed(draft, "clerk")["assertion"]}
    moved = given | {"approval": given["approval"] | {"request": second}}

    codes = [
        (await door.ask("POST", f"/v1/requests/{place}/approval", one, name="otto")).json()["code"]
        for place, one in ((first, forged), (second, given), (second, moved))
    ]

    assert codes == ["bad-signature", "malformed", "bad-signature"]
    assert (await door.ask("GET", f"/v1/requests/{first}", name="otto")).json()["state"] == "waiting"


async def test_who_stands_behind_the_backend_is_shown_no_draft_and_approves_nothing(door: HttpDoor) -> None:
    request = await waiting(door)
    drafts = (await door.ask("GET", "/v1/approvals", name="otto")).json()["drafts"]

    mine = await door.ask("GET", "/v1/approvals", name="olga")
    answer = await door.ask(
        "POST", f"/v1/requests/{request}/approval", completed(drafts[0], "olga"), name="olga"
    )

    assert mine.json() == {"drafts": []}
    assert (answer.status_code, answer.json()["code"]) == (403, "initiator-cannot-approve")


@pytest.mark.parametrize("who", ["otto", "admin", "shop"])
async def test_a_no_by_a_key_of_the_roster_stops_a_request(door: HttpDoor, who: str) -> None:
    request = await waiting(door)
    body: Json = {"origin": ORIGIN, "request": request, "by": who, "reason": "not confirmed"}
    given = {"rejection": body, "signature": identity(who).sign(statement("reject", body)).hex()}

    answer = await door.ask("POST", f"/v1/requests/{request}/rejection", given, name=who)
    again = await door.ask("POST", f"/v1/requests/{request}/rejection", given, name=who)

    assert [one.status_code for one in (answer, again)] == [200, 200]
    assert again.json()["state"] == "denied"


async def test_a_no_by_passkey_stops_a_request_and_anothers_signature_does_not(door: HttpDoor) -> None:
    request = await waiting(door)
    body: Json = {"origin": ORIGIN, "request": request, "by": "otto", "reason": "not confirmed"}
    forged = {"rejection": body, "signature": identity("shop").sign(statement("reject", body)).hex()}
    given = {"rejection": body, "assertion": authenticator("otto").assert_(rejection_digest(body)).body()}
    path = f"/v1/requests/{request}/rejection"

    refused = await door.ask("POST", path, forged, name="otto")
    taken = await door.ask("POST", path, given, name="otto")

    assert (refused.status_code, refused.json()["code"]) == (409, "change-refused")
    assert (taken.status_code, taken.json()["state"]) == (200, "denied")


async def test_the_policy_is_read_as_administrators_signed_it(door: HttpDoor) -> None:
    found = (await door.ask("GET", "/v1/policy", name="otto")).json()
    document = await door.ask("GET", f"/v1/documents/{found['hash']}", name="admin")

    assert found["document"] == policy_document()
    assert policy_hash(found["document"]).hex() == found["hash"]
    assert json.loads(document.json()["text"]) == found["document"]
    assert any("large" in json.dumps(one) or "10 eth" in json.dumps(one) for one in found["sentences"])


async def test_the_log_is_read_by_people_to_the_byte(door: HttpDoor) -> None:
    size = door.running.parts.sequencer.state.size
    found = (await door.ask("GET", "/v1/log/entries?limit=1000", name="otto")).json()
    note = (await door.ask("GET", "/v1/log", name="otto")).json()["note"]

    entries = await door.running.parts.database.entries(0, size)
    assert [one.encode() for one in found["entries"]] == list(entries)
    assert note.startswith(f"{ORIGIN}\n")


async def test_both_doors_show_people_the_same(door: HttpDoor) -> None:
    service: Service = door.running.service
    status = (await door.ask("GET", "/v1/status", name="otto")).json()
    shadow = (await door.ask("GET", "/v1/shadow", name="admin")).json()
    address = (await door.ask("GET", f"/v1/wallets/{WALLET}/address", name="otto")).json()

    mine: Any = await service.status()
    moving: dict[str, Any] = {"pools": [], "nodes": [], "indicators": {}, "time_ms": 0}
    assert {**status, **moving} == {**mine, **moving}
    assert set(mine) <= set(Status.model_fields)
    assert shadow == await service.shadow(flips=False, limit=100)
    assert address["address"] == service.address(WALLET, "")[0].address


async def test_what_is_signed_by_nobody_who_may_goes_into_no_log(door: HttpDoor) -> None:
    size = door.running.parts.sequencer.state.size
    body = {"origin": ORIGIN, "reason": "I say so"}
    frozen = {"kind": "freeze", "body": body, "proof": {"signatures": []}}

    by_operator = await door.ask("POST", "/v1/statements", frozen, name="otto")
    unknown = await door.ask("POST", "/v1/statements", frozen | {"kind": "gift"}, name="otto")

    assert (by_operator.status_code, by_operator.json()["code"]) == (403, "forbidden")
    assert unknown.json()["code"] == "forbidden"
    assert door.running.parts.sequencer.state.size == size
