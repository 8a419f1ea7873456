"""A coordinator in memory with its HTTP door open over TLS, and a plain client that signs by hand."""

import contextlib
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from custody.adapters.api_server import ServerTls
from custody.adapters.http.app import build_app
from custody.adapters.http.server import start_http_server
from custody.adapters.identity import boot_credentials
from custody.api.http_signing import Message, Signer
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ORIGIN, identity
from tests.unit.custody_house import House, Running


@dataclass
class HttpDoor:
    """The door, and calls through it that are signed unless told otherwise."""

    house: House
    running: Running
    url: str
    client: httpx.AsyncClient = field(repr=False)

    async def ask(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        name: str = "shop",
        **changed: Any,
    ) -> httpx.Response:
        """A signed call; ``changed`` are headers, by name with ``_`` for ``-``, None to leave one out."""
        body = b"" if document is None else encoded(document)
        headers = self.signed(method, path, body, name=name)
        headers |= {"Content-Type": "application/json"} if body else {}
        for header, value in changed.items():
            headers = {k: v for k, v in headers.items() if k.lower() != header.replace("_", "-").lower()}
            headers |= {} if value is None else {header.replace("_", "-"): value}
        return await self.send(method, path, body, headers)

    def signed(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        name: str = "shop",
        key: str = "",
        nonce: bytes = b"",
    ) -> dict[str, str]:
        """Headers that authenticate one call."""
        signer = Signer(name, ORIGIN, identity(key or name))
        now_s = self.house.now_ms() // 1000
        message = Message(method, self.url + path, body)
        return signer.headers(message, now_s=now_s, nonce=nonce or secrets.token_bytes(16))

    async def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """A call as it is."""
        names = {"sni_hostname": "coordinator"}
        return await self.client.request(
            method, self.url + path, content=body, headers=headers, extensions=names
        )


def encoded(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def submission(body: bytes, signature: bytes) -> dict[str, Any]:
    """The body of a call that hands in what ``make_request`` has made."""
    return {"request": json.loads(body), "signature": signature.hex()}


def trusting(certificate_pem: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate_pem.decode())


@contextlib.asynccontextmanager
async def http_opened(house: House, *, port: int = 0) -> AsyncIterator[HttpDoor]:
    """A coordinator of this house with its HTTP door open."""
    authority = identity("coordinator")
    mine = boot_credentials("coordinator", authority)
    async with house.with_key() as running:
        app = build_app(running.service, running.parts)
        server = await start_http_server(
            app, f"127.0.0.1:{port}", tls=ServerTls(mine.certificate_pem, mine.key_pem)
        )
        trusted = trusting(identity_certificate(authority))
        try:
            async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=10) as client:
                yield HttpDoor(house, running, f"https://127.0.0.1:{server.port}", client)
        finally:
            await server.stop()
