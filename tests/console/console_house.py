"""A coordinator in memory with its console open, and browsers whose passkeys are the roster's."""

import asyncio
import base64
import contextlib
import hashlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, async_playwright, expect

from custody.adapters.http.server import start_http_server
from custody.auditors import Auditor
from custody.console.app import build_console
from custody.records import RequestRecord
from policy.approval import Credential
from policy.encoding import Json
from tests.unit.custody_cluster import (
    ETHER,
    PAYEE,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import House, Running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
HOST, WAIT_MS = "localhost", 10_000
HOUR_MS = 3_600_000
OPERATORS = {"olga": "treasury", "otto": "treasury", "mia": "treasury", "clerk": "office"}


@dataclass(frozen=True)
class Passkey:
    """A key that is the same in every run, as a browser's authenticator can be given it."""

    name: str

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        seed = int.from_bytes(hashlib.sha256(f"passkey {self.name}".encode()).digest(), "big")
        return ec.derive_private_key(seed >> 1, ec.SECP256R1())

    def credential(self, site: str) -> Credential:
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return Credential(hashlib.sha256(point).digest()[:16], point, HOST, (site,))

    def for_browser(self, site: str) -> dict[str, Any]:
        private = self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "credentialId": base64.b64encode(self.credential(site).id).decode(),
            "isResidentCredential": True,
            "rpId": HOST,
            "privateKey": base64.b64encode(private).decode(),
            "userHandle": base64.b64encode(self.name.encode()).decode(),
            "signCount": 0,
        }


def operator(name: str, group: str, site: str) -> Json:
    credential = Passkey(name).credential(site)
    described: Json = {
        "id": credential.id.hex(),
        "public_key": credential.public_key.hex(),
        "rp_id": credential.rp_id,
        "origins": [*credential.origins],
    }
    return {"name": name, "key": public(name).hex(), "groups": [group], "credential": described}


def console_policy() -> Json:
    """Up to one ether at once, up to two after an hour, up to ten with two approvals; ten a day."""
    policy = policy_document()
    policy["lists"] = {"customers": [PAYEE]}
    policy["rules"] = [
        {
            "name": "small",
            "when": {"assets": ["eth"], "amount_max": str(ETHER)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "slow",
            "when": {"assets": ["eth"], "amount_max": str(2 * ETHER)},
            "then": {"outcome": "allow", "delay_ms": HOUR_MS},
        },
        {
            "name": "large",
            "when": {"assets": ["eth"], "amount_max": str(10 * ETHER), "destinations": ["customers"]},
            "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
        },
    ]
    return policy


@dataclass
class Console:
    """The console of a running coordinator, and a browser to visit it with."""

    site: str
    house: House
    running: Running
    browser: Browser = field(repr=False)
    asked: int = 0

    async def ask(self, ether: int, *states: str) -> RequestRecord:
        """A payment of so many ether, once it is in one of the states (waiting, unless others are given)."""
        self.asked += 1
        now = self.house.now_ms()
        _, body, signature = make_request(
            f"invoice-{self.asked}", amount=ether * ETHER, now_ms=now, expires_ms=now + 24 * HOUR_MS
        )
        record = await self.running.service.submit(body, signature)
        return await self.running.until(record.request, *(states or ("waiting",)))

    @contextlib.asynccontextmanager
    async def visitor(self, passkey: str | None, **options: Any) -> AsyncIterator["Visitor"]:
        """Somebody with a browser of their own; without a passkey their device has none."""
        context = await self.browser.new_context(base_url=self.site, **options)
        context.set_default_timeout(WAIT_MS)
        visitor = Visitor(self, context, passkey)
        try:
            yield visitor
        finally:
            await context.close()
        assert visitor.errors == []

    @contextlib.asynccontextmanager
    async def logged_in(self, name: str, **options: Any) -> AsyncIterator[Page]:
        """A page of somebody who has logged in."""
        async with self.visitor(name, **options) as visitor:
            page = await visitor.tab("/login")
            await log_in(page)
            yield page


@dataclass
class Visitor:
    """A browser context; ``errors`` are what its pages complained of, violations of the CSP among them."""

    console: Console
    context: BrowserContext
    passkey: str | None
    errors: list[str] = field(default_factory=list)
    authenticator: str = ""
    session: CDPSession | None = None

    async def tab(self, path: str) -> Page:
        """A new tab, with an authenticator of its own that has the passkey."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self._complained(said.type, said.text))
        self.session = session = await self.context.new_cdp_session(page)
        await session.send("WebAuthn.enable")
        made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        self.authenticator = made["authenticatorId"]
        if self.passkey is not None:
            credential = Passkey(self.passkey).for_browser(self.console.site)
            await session.send(
                "WebAuthn.addCredential",
                {"authenticatorId": self.authenticator, "credential": credential},
            )
        await page.goto(path)
        return page

    def _complained(self, kind: str, text: str) -> None:
        """A refused call is shown by the browser, too; that is no defect of the page."""
        if kind == "error" and "Failed to load resource" not in text and "ERR_" not in text:
            self.errors.append(text)


async def log_in(page: Page) -> None:
    await page.click("#login")
    await page.wait_for_url("**/")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def opened(policy: Json | None = None, **roster: Json) -> contextlib.AbstractAsyncContextManager[Console]:
    """A console over a chain of EVM; of another policy and roster if given."""
    return opened_of(
        lambda folder, roll: House(folder, policy=policy or console_policy(), roster=roll), **roster
    )


@contextlib.asynccontextmanager
async def opened_of(build: Callable[[Path, Json], House], **roster: Json) -> AsyncIterator[Console]:
    """A coordinator whose key is made, its console and a browser; ``build`` gets a folder and the roster."""
    port = free_port()
    site = f"http://{HOST}:{port}"
    operators: Json = [operator(name, group, site) for name, group in OPERATORS.items()]
    enrolled = roster_document(operators=operators, **roster)
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-console-"))
    house = build(folder, enrolled)
    house.auditors = (Auditor("anna", Passkey("anna").credential(site), None),)
    try:
        expect.set_options(timeout=WAIT_MS)
        async with house.with_key() as running, async_playwright() as playwright:
            app = build_console(running.service, running.parts, site=site)
            server = await start_http_server(app, f"127.0.0.1:{port}", tls=None)
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False
            )
            try:
                yield Console(site, house, running, browser)
            finally:
                await browser.close()
                await server.stop()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
