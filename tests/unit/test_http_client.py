"""The clients over HTTP, the one that blocks and the one for asyncio, against a real door."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from custody.client import AsyncHttpClient, CallRefused, HttpClient, HttpEndpoint
from custody.http_client import _data, _document
from policy import values
from policy.errors import MalformedError
from policy.intent import Request
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ANVIL_CHAIN, FEE_CEILING, ORIGIN, PAYEE, WALLET, identity
from tests.unit.custody_house import House
from tests.unit.http_house import http_opened

T = TypeVar("T")
ALTERED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".replace("5aA", "5aa")


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[HttpEndpoint]:
    async with http_opened(House(tmp_path)) as door:
        address = door.url.removeprefix("https://")
        yield HttpEndpoint(address, identity_certificate(identity("coordinator")), ORIGIN)


def payment(client: HttpClient | AsyncHttpClient, key: str, amount: int = 5, to: str = PAYEE) -> Request:
    return client.payment(
        WALLET, "eth", amount=amount, to=(ANVIL_CHAIN, to), key=key, fee_ceiling=FEE_CEILING
    )


async def blocking(endpoint: HttpEndpoint, ask: Callable[[HttpClient], T], name: str = "shop") -> T:
    def call() -> T:
        with HttpClient(endpoint, name, key=identity(name)) as client:
            return ask(client)

    return await asyncio.to_thread(call)


async def test_a_backend_pays_and_waits(endpoint: HttpEndpoint) -> None:
    def pay(client: HttpClient) -> None:
        request = payment(client, "one")
        first, again = client.submit(request), client.submit(request)
        settled = client.wait(first.id)
        events, following = client.events()

        assert first.id == again.id
        assert (settled.state, settled.over, settled.tx_hash[:2]) == ("settled", True, "0x")
        assert client.get(first.id) == settled
        assert [one.id for one in client.requests(state="settled")] == [first.id]
        assert (events[-1].id, events[-1].state) == (settled.event, "settled")
        assert client.events(after=following) == ([], following)

    await blocking(endpoint, pay)


async def test_the_asynchronous_one_does_the_same(endpoint: HttpEndpoint) -> None:
    async with AsyncHttpClient(endpoint, "shop", key=identity("shop")) as client:
        submitted = await client.submit(payment(client, "one"))
        settled = await client.wait(submitted.id)
        events, following = await client.events()
        with pytest.raises(CallRefused, match="has no PSBTs"):
            await client.submit(payment(client, "two"), psbt=b"psbt")

        assert settled.state == "settled"
        assert await client.get(submitted.id) == settled
        assert [one.id for one in await client.requests()] == [submitted.id]
        assert events[-1].id == settled.event == following


async def test_both_follow_the_stream_from_where_they_are_told(endpoint: HttpEndpoint) -> None:
    async with AsyncHttpClient(endpoint, "shop", key=identity("shop")) as client:
        submitted = await client.submit(payment(client, "one"))
        told = [event async for event in client.stream(after=submitted.event, timeout_s=1.0)]
    again = await blocking(endpoint, lambda one: list(one.stream(after=submitted.event, timeout_s=0.1)))

    assert told[-1].state == "settled"
    assert again == told


async def test_both_are_given_addresses(endpoint: HttpEndpoint) -> None:
    def ask(client: HttpClient) -> None:
        given = client.give_address(WALLET, "ann")
        assert client.label_address(WALLET, given.address, label="anna") == replace(given, label="anna")
        assert client.addresses(WALLET) == [replace(given, label="anna")]

    await blocking(endpoint, ask)
    async with AsyncHttpClient(endpoint, "shop", key=identity("shop")) as client:
        (given,) = await client.addresses(WALLET)
        assert await client.give_address(WALLET, "anna") == given
        assert await client.label_address(WALLET, given.address, label="anna") == given


async def test_a_refusal_has_its_code_in_both(endpoint: HttpEndpoint) -> None:
    def ask(client: HttpClient) -> list[str]:
        calls: list[Callable[[], object]] = [
            lambda: client.get("00" * 32),
            lambda: client.submit(values.replace(payment(client, "one"), origin="log.example.com/other")),
            lambda: client.give_address("cold", "ann"),
            lambda: client.resend("none", "00000000-1"),
            lambda: list(client.stream(after="00000000-1")),
        ]
        return [refused(call) for call in calls]

    codes = await blocking(endpoint, ask)
    async with AsyncHttpClient(endpoint, "shop", key=identity("mallory")) as client:
        with pytest.raises(CallRefused) as stranger:
            await client.resend("none", "00000000-1")

    assert codes == [
        *("unknown-request", "foreign-origin", "unknown-wallet", "unknown-webhook", "unknown-event")
    ]
    assert stranger.value.code == "unauthenticated"


async def test_another_server_is_no_coordinator(endpoint: HttpEndpoint) -> None:
    other = replace(endpoint, certificate_pem=identity_certificate(identity("mallory")))

    assert await blocking(other, lambda client: refused(client.requests)) == "unavailable"
    async with AsyncHttpClient(other, "shop", key=identity("shop")) as client:
        with pytest.raises(CallRefused, match="call again"):
            await client.requests()


@pytest.mark.parametrize("text", ["", "[", "[]", "5", '{"code":1}', "[" * 5_000])
def test_an_answer_that_makes_no_sense_is_a_refusal_like_any_other(text: str) -> None:
    with pytest.raises(CallRefused) as refused:
        _document(500, text.encode())
    codes = [refused.value.code]
    if text not in ("[]", "5"):
        with pytest.raises(CallRefused) as refused:
            _data(f"data: {text}")
        codes.append(refused.value.code)

    assert set(codes) == {"unavailable"}


async def test_an_altered_address_is_refused_before_anything_is_signed(endpoint: HttpEndpoint) -> None:
    async with AsyncHttpClient(endpoint, "shop", key=identity("shop")) as client:
        with pytest.raises(MalformedError, match="EIP-55 checksum"):
            payment(client, "one", to=ALTERED)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CallRefused) as error:
        call()
    return error.value.code


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import custody.client", "httpx fastapi uvicorn sqlalchemy web3 signer_nodes custody.service"),
        ("import custody.http_client", "fastapi uvicorn sqlalchemy web3 signer_nodes custody.service"),
        ("import cli.main", "httpx fastapi uvicorn http_message_signatures grpc sqlalchemy"),
        ("import signer_nodes.main", "httpx fastapi uvicorn http_message_signatures custody"),
        ("import custody.main", "fastapi uvicorn httpx http_message_signatures"),
    ],
)
def test_nobody_waits_for_a_library_that_is_not_used(program: str, absent: str) -> None:
    found = f"{program}; import sys; print(sorted(set({absent.split()!r}) & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", found], capture_output=True, text=True, check=True, timeout=60
    )

    assert ran.stdout == "[]\n"
