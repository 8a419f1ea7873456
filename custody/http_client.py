"""The coordinator over HTTP for Python backends: one client that blocks and one for asyncio, alike.

Both are thin: what a call is and what its answer means is said once, by functions without I/O. Every method
raises ``CallRefused`` with a stable code; ``unavailable`` means that no answer came, and that the same call
may be made again: a request is accepted once, an address given once, whatever is repeated.
"""

import base64
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.api.errors import CallRefused, Code
from custody.api.http_signing import NONCE_BYTES, Message, Signer
from policy.bip32 import parse_address
from policy.errors import MalformedError
from policy.ids import EVM, family
from policy.intent import Intent, Request, request_message

WAIT_MS, OPEN_S = 20_000, 3600.0
SLACK_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """Where the HTTP door is (``host:port``), the certificate (PEM) it must show, and the name in that."""

    address: str
    certificate_pem: bytes
    origin: str
    tls_name: str = "coordinator"

    @classmethod
    def of(cls, client: Mapping[str, Any]) -> "HttpEndpoint":
        """The door that a deployment's ``client.json`` names. Raises ``MalformedError``."""
        if not client.get("http"):
            raise MalformedError(
                "client.json names no HTTP door: ask the administrators whether there is one"
            )
        return cls(str(client["http"]), str(client["certificate"]).encode(), str(client["origin"]))


@dataclass(frozen=True, slots=True)
class RequestState:
    """A request as the coordinator has it; ``resource`` is all of it, ``event`` what to wait after."""

    id: str
    state: str
    substate: str
    over: bool
    event: str
    rule: str
    error: str
    tx_hash: str
    resource: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An event of the feed. Of a deposit ``request`` and states are empty: the document has all of it."""

    id: str
    sequence: int
    request: str
    state: str
    substate: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """An address to be paid at. Unless ``in_policy``, the wallet has it no more: nodes do not sign for it."""

    address: str
    path: str
    chain: str
    label: str
    in_policy: bool


@dataclass(frozen=True, slots=True)
class _Ask:
    """A call before it is signed."""

    method: str
    path: str
    document: Any = None
    wait_s: float = 0.0


class _Desk:
    """What both clients share: signing calls and reading answers."""

    def __init__(self, endpoint: HttpEndpoint, name: str, *, key: Ed25519PrivateKey) -> None:
        self._endpoint = endpoint
        self._key = key
        self._signer = Signer(name, endpoint.origin, key)
        self._trusted = ssl.create_default_context(cadata=endpoint.certificate_pem.decode())

    def payment(
        self, wallet: str, asset: str, *, amount: int, to: tuple[str, str], key: str, fee_ceiling: int
    ) -> Request:
        """A request that pays ``amount`` base units ``to`` a chain and address, once for each ``key``.

        An EVM address may have its EIP-55 capitals; one whose checksum fails raises ``MalformedError``.
        Keep the request until it is over: sent again, it is the same one.
        """
        chain, address = to
        destination = parse_address(address) if family(chain) == EVM else address
        now_ms = time.time_ns() // 1_000_000
        return Request(
            origin=self._endpoint.origin,
            initiator=self._signer.name,
            intent=Intent(chain, wallet, asset, amount, destination),
            fee_ceiling=fee_ceiling,
            idempotency_key=key,
            created_ms=now_ms,
            expires_ms=now_ms + 3_600_000,
        )

    def submission(self, request: Request, psbt: bytes) -> _Ask:
        body = request.body()
        document: dict[str, Any] = {
            "request": body,
            "signature": self._key.sign(request_message(body)).hex(),
        }
        document |= {"psbt": base64.b64encode(psbt).decode()} if psbt else {}
        return _Ask("POST", "/v1/requests", document)

    def options(self, ask: _Ask, **more: str) -> dict[str, Any]:
        """What httpx is to be given for a call."""
        url = f"https://{self._endpoint.address}{ask.path}"
        body = b"" if ask.document is None else json.dumps(ask.document).encode()
        message, nonce = Message(ask.method, url, body), secrets.token_bytes(NONCE_BYTES)
        headers = self._signer.headers(message, now_s=int(time.time()), nonce=nonce) | more
        headers |= {"Content-Type": "application/json"} if body else {}
        return {
            "method": ask.method,
            "url": url,
            "content": body,
            "headers": headers,
            "extensions": {"sni_hostname": self._endpoint.tls_name},
            "timeout": SLACK_S + ask.wait_s,
        }

    def transport(self) -> dict[str, Any]:
        return {"verify": self._trusted, "trust_env": False, "follow_redirects": False}


class HttpClient:
    """One connection to the HTTP door. Use as a context manager, or ``close`` it."""

    def __init__(self, endpoint: HttpEndpoint, name: str, *, key: Ed25519PrivateKey) -> None:
        self._desk = _Desk(endpoint, name, key=key)
        self._http = httpx.Client(**self._desk.transport())
        self.payment = self._desk.payment

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def submit(self, request: Request, *, psbt: bytes = b"") -> RequestState:
        """Sign a request and hand it in, to be paid by a PSBT if given; again, it gives the same answer."""
        return _state(self._ask(self._desk.submission(request, psbt)))

    def get(self, request: str, *, after: str = "", wait_ms: int = WAIT_MS) -> RequestState:
        """A request; with ``after`` (an event of it), as soon as it has changed or ``wait_ms`` are over."""
        return _state(self._ask(_get(request, after, wait_ms=wait_ms)))

    def wait(self, request: str, *, timeout_s: float = 60.0) -> RequestState:
        """The request once it is over. Raises ``CallRefused`` (unavailable) when that takes longer."""
        until, shown = time.monotonic() + timeout_s, self.get(request)
        while not shown.over:
            shown = self.get(request, after=shown.event, wait_ms=_left_ms(until, shown))
        return shown

    def requests(self, *, state: str = "", limit: int = 100, before: str = "") -> list[RequestState]:
        """The caller's requests, newest first."""
        listed = self._ask(_Ask("GET", _query("/v1/requests", state=state, limit=limit, before=before)))
        return [_state(one) for one in listed["requests"]]

    def events(self, *, after: str = "", limit: int = 100, wait_ms: int = 0) -> tuple[list[Told], str]:
        """Events after one of this id, and the id to continue after."""
        page = self._ask(_events(after, limit=limit, wait_ms=wait_ms))
        return [_told(one) for one in page["events"]], str(page["next"])

    def stream(self, *, after: str = "newest", timeout_s: float = OPEN_S) -> Iterator[Told]:
        """Events as they come, until ``timeout_s`` are over; resume after the last one."""
        ask = _stream(after, timeout_s)
        try:
            with self._http.stream(**self._desk.options(ask, Accept="text/event-stream")) as answer:
                _document(answer.status_code, b"" if answer.is_success else answer.read())
                yield from (_told(data) for line in answer.iter_lines() if (data := _data(line)))
        except httpx.HTTPError as error:
            raise _no_answer(error) from error

    def give_address(self, wallet: str, label: str, *, path: str = "") -> Given:
        """The caller's address with this label, a fresh one if there is none."""
        return _given(self._ask(_give(wallet, label, path=path)))

    def label_address(self, wallet: str, address: str, *, label: str) -> Given:
        """Give an address another label."""
        return _given(self._ask(_label(wallet, address, label=label)))

    def addresses(self, wallet: str, *, after: str = "", limit: int = 100) -> list[Given]:
        """The addresses that the caller was given, oldest first."""
        path = _query(f"/v1/wallets/{quote(wallet, safe='')}/addresses", after=after, limit=limit)
        return [_given(one) for one in self._ask(_Ask("GET", path))["addresses"]]

    def deposits(self, wallet: str, *, after: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """What observers stated was paid at the addresses of the caller, in order; after one of this id."""
        return list(self._ask(_Ask("GET", _deposits(wallet, after, limit=limit)))["deposits"])

    def resend(self, webhook: str, first: str, *, last: str = "") -> int:
        """Have a webhook told events once more, by their ids; how many they are."""
        return int(self._ask(_resend(webhook, first, last=last))["count"])

    def _ask(self, ask: _Ask) -> Any:
        try:
            answer = self._http.request(**self._desk.options(ask))
        except httpx.HTTPError as error:
            raise _no_answer(error) from error
        return _document(answer.status_code, answer.content)


class AsyncHttpClient:
    """The same for asyncio. Use as an asynchronous context manager, or ``close`` it."""

    def __init__(self, endpoint: HttpEndpoint, name: str, *, key: Ed25519PrivateKey) -> None:
        self._desk = _Desk(endpoint, name, key=key)
        self._http = httpx.AsyncClient(**self._desk.transport())
        self.payment = self._desk.payment

    async def __aenter__(self) -> "AsyncHttpClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._http.aclose()

    async def submit(self, request: Request, *, psbt: bytes = b"") -> RequestState:
        """Sign a request and hand it in, to be paid by a PSBT if given; again, it gives the same answer."""
        return _state(await self._ask(self._desk.submission(request, psbt)))

    async def get(self, request: str, *, after: str = "", wait_ms: int = WAIT_MS) -> RequestState:
        """A request; with ``after`` (an event of it), as soon as it has changed or ``wait_ms`` are over."""
        return _state(await self._ask(_get(request, after, wait_ms=wait_ms)))

    async def wait(self, request: str, *, timeout_s: float = 60.0) -> RequestState:
        """The request once it is over. Raises ``CallRefused`` (unavailable) when that takes longer."""
        until, shown = time.monotonic() + timeout_s, await self.get(request)
        while not shown.over:
            shown = await self.get(request, after=shown.event, wait_ms=_left_ms(until, shown))
        return shown

    async def requests(self, *, state: str = "", limit: int = 100, before: str = "") -> list[RequestState]:
        """The caller's requests, newest first."""
        path = _query("/v1/requests", state=state, limit=limit, before=before)
        return [_state(one) for one in (await self._ask(_Ask("GET", path)))["requests"]]

    async def events(self, *, after: str = "", limit: int = 100, wait_ms: int = 0) -> tuple[list[Told], str]:
        """Events after one of this id, and the id to continue after."""
        page = await self._ask(_events(after, limit=limit, wait_ms=wait_ms))
        return [_told(one) for one in page["events"]], str(page["next"])

    async def stream(self, *, after: str = "newest", timeout_s: float = OPEN_S) -> AsyncIterator[Told]:
        """Events as they come, until ``timeout_s`` are over; resume after the last one."""
        ask = _stream(after, timeout_s)
        try:
            async with self._http.stream(**self._desk.options(ask, Accept="text/event-stream")) as answer:
                _document(answer.status_code, b"" if answer.is_success else await answer.aread())
                async for line in answer.aiter_lines():
                    if data := _data(line):
                        yield _told(data)
        except httpx.HTTPError as error:
            raise _no_answer(error) from error

    async def give_address(self, wallet: str, label: str, *, path: str = "") -> Given:
        """The caller's address with this label, a fresh one if there is none."""
        return _given(await self._ask(_give(wallet, label, path=path)))

    async def label_address(self, wallet: str, address: str, *, label: str) -> Given:
        """Give an address another label."""
        return _given(await self._ask(_label(wallet, address, label=label)))

    async def addresses(self, wallet: str, *, after: str = "", limit: int = 100) -> list[Given]:
        """The addresses that the caller was given, oldest first."""
        path = _query(f"/v1/wallets/{quote(wallet, safe='')}/addresses", after=after, limit=limit)
        return [_given(one) for one in (await self._ask(_Ask("GET", path)))["addresses"]]

    async def deposits(self, wallet: str, *, after: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """What observers stated was paid at the addresses of the caller, in order; after one of this id."""
        return list((await self._ask(_Ask("GET", _deposits(wallet, after, limit=limit))))["deposits"])

    async def resend(self, webhook: str, first: str, *, last: str = "") -> int:
        """Have a webhook told events once more, by their ids; how many they are."""
        return int((await self._ask(_resend(webhook, first, last=last)))["count"])

    async def _ask(self, ask: _Ask) -> Any:
        try:
            answer = await self._http.request(**self._desk.options(ask))
        except httpx.HTTPError as error:
            raise _no_answer(error) from error
        return _document(answer.status_code, answer.content)


def _get(request: str, after: str, *, wait_ms: int) -> _Ask:
    query: dict[str, str | int] = {"after": after, "wait_ms": wait_ms} if after else {}
    wait_s = wait_ms / 1000 if after else 0
    return _Ask("GET", _query(f"/v1/requests/{quote(request, safe='')}", **query), wait_s=wait_s)


def _events(after: str, *, limit: int, wait_ms: int) -> _Ask:
    path = _query("/v1/events", after=after, limit=limit, wait_ms=wait_ms)
    return _Ask("GET", path, wait_s=wait_ms / 1000)


def _stream(after: str, timeout_s: float) -> _Ask:
    return _Ask("GET", _query("/v1/events/stream", after=after, open_ms=int(min(timeout_s, OPEN_S) * 1000)))


def _give(wallet: str, label: str, *, path: str) -> _Ask:
    document = {"label": label} | ({"path": path} if path else {})
    return _Ask("POST", f"/v1/wallets/{quote(wallet, safe='')}/addresses", document)


def _label(wallet: str, address: str, *, label: str) -> _Ask:
    place = f"/v1/wallets/{quote(wallet, safe='')}/addresses/{quote(address, safe='')}"
    return _Ask("PUT", place, {"label": label})


def _resend(webhook: str, first: str, *, last: str) -> _Ask:
    return _Ask(
        "POST", f"/v1/webhooks/{quote(webhook, safe='')}/resend", {"first": first, "last": last or first}
    )


def _deposits(wallet: str, after: str, *, limit: int) -> str:
    return _query(f"/v1/wallets/{quote(wallet, safe='')}/deposits", after=after, limit=limit)


def _query(path: str, **values: str | int) -> str:
    given = {name: value for name, value in values.items() if value != ""}
    return f"{path}?{urlencode(given)}" if given else path


def _document(status: int, body: bytes) -> Any:
    """What was answered. Raises ``CallRefused``."""
    if 200 <= status < 300 and not body:
        return None
    try:
        document = json.loads(body)
        if 200 <= status < 300:
            return document
        raise CallRefused(str(document["code"]), f"{document['detail']} ({document['to_do']})")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CallRefused(
            Code.UNAVAILABLE, f"an answer of status {status} that is none of this API"
        ) from error


def _no_answer(error: httpx.HTTPError) -> CallRefused:
    return CallRefused(Code.UNAVAILABLE, f"no answer came ({type(error).__name__}: {error}): call again")


def _left_ms(until: float, shown: RequestState) -> int:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise CallRefused(Code.UNAVAILABLE, f"it is {shown.state} still ({shown.substate}): wait again")
    return min(WAIT_MS, int(left_s * 1000) + 1)


def _data(line: str) -> Any:
    """The document of a line of a stream; a refusal at its end is raised."""
    if not line.startswith("data: "):
        return None
    try:
        document = json.loads(line.removeprefix("data: "))
        if "code" in document:
            raise CallRefused(str(document["code"]), str(document["detail"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CallRefused(Code.UNAVAILABLE, "a line of the stream is none of this API") from error
    return document


def _state(document: Any) -> RequestState:
    return RequestState(
        id=document["id"],
        state=document["state"],
        substate=document["substate"],
        over=document["over"],
        event=document["event"],
        rule=document["rule"] or "",
        error=document["error"] or "",
        tx_hash=document["tx_hash"] or "",
        resource=document,
    )


def _told(document: Any) -> Told:
    of_request = {name: document.get(name, "") for name in ("request", "state", "substate")}
    return Told(document["id"], document["sequence"], **of_request, document=document)


def _given(document: Any) -> Given:
    return Given(*(document[name] for name in ("address", "path", "chain", "label", "in_policy")))
