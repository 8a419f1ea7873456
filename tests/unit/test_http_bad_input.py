"""What is wrong with a call is said clearly, by the same code at both doors, and nothing is lost by it."""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.http.app import skeleton
from custody.adapters.http.server import HEAD_S, REFUSED_MAX, start_http_server
from custody.adapters.identity import boot_credentials
from custody.api.errors import MEANINGS, Code
from custody.bodies import BODY_BYTES_MAX
from custody.client import Caller, CallRefused, CustodyClient, Endpoint
from custody.listening import Asked
from policy.encoding import canonical
from policy.intent import request_message
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ORIGIN, identity, make_request
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, encoded, http_opened, submission, trusting
from tests.waiting import WAIT_S

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
BITCOIN = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


def changed(**fields: Any) -> Change:
    return lambda document: document | fields


def without(name: str) -> Change:
    return lambda document: {key: value for key, value in document.items() if key != name}


BAD: list[tuple[str, Change]] = [
    ("unknown-wallet", changed(wallet="cold")),
    ("unknown-wallet", changed(chain="evm:1")),
    ("clock-skew", lambda document: document | {"created_ms": document["created_ms"] + 120_000}),
    ("unknown-asset", changed(asset="doge")),
    ("malformed", changed(wallet="Hot Wallet")),
    ("malformed", changed(chain="ethereum")),
    ("malformed", changed(asset="")),
    ("malformed", changed(destination=CHECKSUMMED)),
    ("malformed", changed(destination=CHECKSUMMED.replace("5aA", "5aa"))),
    ("malformed", changed(destination=BITCOIN)),
    ("malformed", changed(destination="0x1234")),
    ("malformed", changed(amount=5)),
    ("malformed", changed(amount="-5")),
    ("malformed", changed(amount="0")),
    ("malformed", changed(amount="0.5")),
    ("malformed", changed(amount="1e18")),
    ("malformed", changed(amount="05")),
    ("malformed", changed(amount=str(2**256))),
    ("malformed", changed(fee_ceiling="1.0")),
    ("malformed", changed(idempotency_key="")),
    ("malformed", changed(idempotency_key="k" * 65)),
    ("malformed", changed(idempotency_key="a\u202eb")),
    ("malformed", changed(created_ms="now")),
    ("malformed", changed(expires_ms=0)),
    ("malformed", changed(surprise=True)),
    ("malformed", without("amount")),
    ("foreign-origin", changed(origin="log.example.com/other")),
    ("request-expired", lambda document: document | {"created_ms": 1, "expires_ms": 2}),
]


@pytest.mark.parametrize("at", ["http", "grpc"])
async def test_a_bad_request_has_the_same_code_at_both_doors(door: HttpDoor, at: str) -> None:
    _, body, _ = make_request("one", amount=5, now_ms=door.house.now_ms())
    good = json.loads(body)
    ask = over_http if at == "http" else over_grpc

    found = [await ask(door, change(good)) for _, change in BAD]

    assert found == [code for code, _ in BAD]
    assert (await door.ask("GET", "/v1/requests")).json() == {"requests": []}


async def over_http(door: HttpDoor, document: dict[str, Any]) -> str:
    signed = {"request": document, "signature": identity("shop").sign(request_message(document)).hex()}
    answer = await door.ask("POST", "/v1/requests", signed)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (MEANINGS[problem["code"]].status,) * 2
    assert problem["detail"] and problem["to_do"]
    return str(problem["code"])


async def over_grpc(door: HttpDoor, document: dict[str, Any]) -> str:
    mine = boot_credentials("coordinator", identity("coordinator"))
    servicer = CustodyServicer(door.running.service, door.running.parts)
    tls = ServerTls(mine.certificate_pem, mine.key_pem)
    server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
    endpoint = Endpoint(f"127.0.0.1:{port}", identity_certificate(identity("coordinator")), ORIGIN)
    signature = identity("shop").sign(request_message(document))

    def call() -> str:
        with CustodyClient(endpoint, Caller("shop", identity("shop"))) as client:
            with pytest.raises(CallRefused) as refused:
                client.submit_signed(canonical(document), signature)
            return refused.value.code

    try:
        return await asyncio.to_thread(call)
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "cannot be read"),
        (b"[]", "an object"),
        (b"null", "no canonical encoding"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"request": {}, "request": {}}', "same name twice"),
        (b'{"request": {"amount": 0.5}}', "decimal strings"),
        (b'{"request": {"amount": NaN}}', "decimal strings"),
        (b'{"request": {"amount": 1e9}}', "decimal strings"),
        (b'{"request": {"amount": 123456789012345678901}}', "decimal strings"),
        (b'{"request": {"amount": null}}', "no canonical encoding"),
        (b'{"request": "\\ud800"}', "surrogate"),
        (b'{"request": {}, "signature": "00", "more": 1}', "signature"),
        (b'{"request": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "cannot be read"),
    ],
)
async def test_a_body_that_cannot_be_read_is_malformed(door: HttpDoor, body: bytes, said: str) -> None:
    answer = await door.ask("POST", "/v1/requests", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert said in answer.json()["detail"]


async def test_what_is_too_large_is_refused_before_it_is_read(door: HttpDoor) -> None:
    large = b" " * (BODY_BYTES_MAX + 1)
    path = "/v1/requests"

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    said = await door.send("POST", path, large, {"Content-Type": "application/json"})
    unsaid = await door.client.post(
        door.url + path, content=parts(), extensions={"sni_hostname": "coordinator"}
    )
    headers = door.signed("GET", path) | {"X": "y" * 40_000}
    wide = await door.send("GET", path, b"", headers)

    assert [(one.status_code, one.json()["code"]) for one in (said, unsaid, wide)] == [(413, "too-large")] * 3
    assert (await door.ask("GET", path)).status_code == 200


async def test_a_signature_over_another_document_is_no_signature(door: HttpDoor) -> None:
    _, body, signature = make_request("one", amount=5, now_ms=door.house.now_ms())
    dearer = submission(body, signature)
    dearer["request"]["amount"] = "6"

    answer = await door.ask("POST", "/v1/requests", dearer)

    assert (answer.status_code, answer.json()["code"]) == (403, "bad-signature")


async def test_the_order_of_a_documents_fields_does_not_matter(door: HttpDoor) -> None:
    _, body, signature = make_request("one", amount=5, now_ms=door.house.now_ms())
    document = submission(body, signature)
    backwards = {**document, "request": dict(reversed(document["request"].items()))}

    answers = [await door.ask("POST", "/v1/requests", one) for one in (document, backwards)]

    assert [one.status_code for one in answers] == [202, 202]
    assert len({one.json()["id"] for one in answers}) == 1


async def test_an_idempotency_key_is_of_one_request(door: HttpDoor) -> None:
    now = door.house.now_ms()
    first, second = (make_request("one", amount=amount, now_ms=now)[1:] for amount in (5, 6))
    await door.ask("POST", "/v1/requests", submission(*first))

    answer = await door.ask("POST", "/v1/requests", submission(*second))

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-conflict")


async def test_another_media_type_path_or_method_is_refused_with_a_code(door: HttpDoor) -> None:
    form = await door.ask("POST", "/v1/requests", {}, content_type="text/plain")
    nowhere = await door.ask("GET", "/v2/requests")
    method = await door.ask("DELETE", "/v1/requests")
    listed = await door.ask("GET", "/v1/requests?limit=0&state=lost")
    slash = await door.ask("GET", "/v1/requests/")
    capitals = await door.ask("POST", "/v1/requests", {}, content_type="Application/JSON; charset=utf-8")

    assert (slash.status_code, slash.json()["code"]) == (404, "unknown-path")
    assert (capitals.status_code, capitals.json()["code"]) == (400, "malformed")
    assert (form.status_code, form.json()["code"]) == (415, "unsupported-media-type")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "unknown-path")
    assert (method.status_code, method.json()["code"]) == (405, "method-not-allowed")
    assert method.headers["Allow"]
    assert (listed.status_code, listed.json()["code"]) == (400, "malformed")


def signed_operations() -> list[tuple[str, str]]:
    paths = skeleton().openapi()["paths"]
    return [
        (method.upper(), re.sub(r"\{request\}", "00" * 32, path).replace("{", "").replace("}", ""))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if operation.get("security")
    ]


async def test_every_call_but_those_about_the_api_is_refused_unsigned(door: HttpDoor) -> None:
    asked = signed_operations()
    answers = [await door.send(method, path, b"", {}) for method, path in asked]

    assert len(asked) >= 11
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(401, "unauthenticated")}


async def test_every_code_is_explained_to_anybody(door: HttpDoor) -> None:
    explained = {code: await door.send("GET", f"/v1/problems/{code}", b"", {}) for code in Code}

    assert all(answer.json()["title"] == MEANINGS[code].title for code, answer in explained.items())


async def test_the_openapi_document_is_served(door: HttpDoor) -> None:
    served = await door.send("GET", "/openapi.json", encoded(b""), {})

    assert served.json() == skeleton().openapi()


def test_every_code_has_a_meaning_and_a_status_of_its_kind() -> None:
    assert set(MEANINGS) == set(Code)
    assert all(400 <= meaning.status < 600 and meaning.to_do.endswith(".") for meaning in MEANINGS.values())


async def said_to(door: HttpDoor, sent: bytes, *, leave: bool = False) -> bytes:
    """What is answered to bytes; nothing when one leaves at once."""
    trusted = trusting(identity_certificate(identity("coordinator")))
    port = int(door.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusted, server_hostname="coordinator"
    )
    writer.write(sent)
    await writer.drain()
    answered = b"" if leave else await reader.read()
    writer.close()
    return answered


BROKEN = [
    b"\x00\x01\r\n\r\n",
    b"GET /v1/requests HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
]


async def test_what_is_no_http_is_refused_with_a_code_and_closed(door: HttpDoor) -> None:
    for sent in BROKEN:
        head, _, body = (await said_to(door, sent)).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head
        assert json.loads(body)["code"] == "malformed"


async def test_a_caller_who_leaves_is_no_defect(door: HttpDoor, caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /v1/requests HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    await said_to(door, head, leave=True)
    await said_to(door, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    await asyncio.sleep(0.1)

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_does_not_say_in_time_what_it_wants_is_closed_on(door: HttpDoor) -> None:
    port = int(door.url.rpartition(":")[2])
    trusted = trusting(identity_certificate(identity("coordinator")))

    async def idle(sent: bytes) -> float:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusted, server_hostname="coordinator"
        )
        writer.write(sent)
        await reader.read()
        writer.close()
        return time.monotonic() - began

    took = await asyncio.gather(idle(b""), idle(b"GET /v1/requests HTTP/1.1\r\nHost: a\r\n"))

    assert all(HEAD_S - 1 < one < HEAD_S + 5 for one in took)


async def test_a_backend_that_leaves_the_roster_is_told_nothing_more(door: HttpDoor) -> None:
    asked = Asked(initiator="nobody-any-more")

    with pytest.raises(CallRefused, match="no initiator"):
        await door.running.service.feed.events(asked)


async def test_connections_too_many_are_told_so_and_the_next_are_closed() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no call is answered here")

    server = await start_http_server(never, "127.0.0.1:0", tls=None, open_max=2)
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3 + REFUSED_MAX)]
    for _, writer in opened[2:]:
        writer.write(b"GET /v1/requests HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await asyncio.wait_for(opened[2][0].read(), WAIT_S)
    last = await asyncio.wait_for(opened[-1][0].read(), WAIT_S)
    for _, writer in opened:
        writer.close()
    await server.stop()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ") and b"application/problem+json" in head
    assert json.loads(body)["code"] == "too-many"
    assert last == b""


@pytest.mark.parametrize(
    "query",
    [
        "limit=1&limit=2",
        "limit=1.0",
        "limit=+1",
        "limit=%201",
        "limit=1e2",
        "limit=%D9%A1",
        "limit=",
        "state=",
    ],
)
async def test_a_query_says_each_thing_once_and_numbers_in_digits(door: HttpDoor, query: str) -> None:
    answer = await door.ask("GET", f"/v1/requests?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
