"""The HTTP door of a real coordinator: real nodes sign what came through it, and a real chain has it."""

import base64
import contextlib
import http.server
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from playwright.sync_api import expect, sync_playwright

from cli.demo import policy as names
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, ORIGIN, Deployment, wait_live
from custody.api.http_signing import Message, Signer
from custody.api.webhook_signing import verify_webhook
from custody.console.sessions import login_digest
from policy.approval import approval_digest
from policy.encoding import Json, canonical, parse_canonical
from policy.intent import Intent, Request, request_message
from policy.roster import verify_statement
from policy.statements import rejection_digest
from tests.console.console_house import AUTHENTICATOR, CHROMIUM, FLAGS
from tests.e2e.cluster import raw_public
from tests.e2e.payment_stream import running_deployment
from tests.e2e.test_fork import pem
from tests.unit.test_mail import certificate as certificate_of_localhost
from tests.waiting import seen

pytestmark = pytest.mark.timeout(240)
AMOUNT = 10**15
WEBHOOK_KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with running_deployment() as made:
        made.supervisor.stop(COORDINATOR_NAME)
        config = made.folder / "coordinator" / "config.toml"
        (config.parent / "webhook.pem").write_bytes(pem(WEBHOOK_KEY))
        (config.parent / "webhook.pem").chmod(0o600)
        with receiving() as url, config.open("a") as file:
            file.write('\n[http]\nlisten = "127.0.0.1:0"\nlisten_file = "http-port"\n')
            site = made.identity(names.OPERATORS[0]).authenticator().origin
            file.write(f'\n[console]\norigin = "{site}"\nlisten = "127.0.0.1:0"\n')
            file.write('listen_file = "console-port"\n')
            certificate, key = (path.name for path in certificate_of_localhost(config.parent))
            file.write(f'certificate = "{certificate}"\ncertificate_key = "{key}"\n')
            file.write('\n[webhooks]\nkey = "webhook.pem"\n')
            file.write(f'\n[webhooks.to.orders]\ninitiator = "{names.PAYMENTS}"\nurl = "{url}"\n')
            file.flush()
            made.supervisor.revive(COORDINATOR_NAME)
            wait_live(made, COSIGNERS)
            yield made


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@contextlib.contextmanager
def receiving() -> Iterator[str]:
    """The URL of a receiver of webhooks."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, name="receiver")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/told"
        finally:
            server.shutdown()
            thread.join()


def ask(
    deployment: Deployment, method: str, path: str, document: Any = None, *, who: str = names.PAYMENTS
) -> httpx.Response:
    """A signed call of the payments' backend, or of somebody else."""
    port = (deployment.folder / "coordinator" / "http-port").read_text().strip()
    connection = deployment.connection()
    signer = Signer(who, connection.origin, deployment.identity(who).key)
    body = b"" if document is None else json.dumps(document).encode()
    url = f"https://127.0.0.1:{port}{path}"
    headers = signer.headers(
        Message(method, url, body), now_s=int(time.time()), nonce=secrets.token_bytes(16)
    )
    trusted = ssl.create_default_context(cadata=connection.certificate.decode())
    with httpx.Client(verify=trusted, trust_env=False) as client:
        return client.request(
            method,
            url,
            content=body,
            headers=headers | {"Content-Type": "application/json"},
            extensions={"sni_hostname": "coordinator"},
        )


def payment(deployment: Deployment, key: str) -> dict[str, Any]:
    """A signed request as the HTTP door takes it."""
    connection, identity, now = deployment.connection(), deployment.identity(names.PAYMENTS), time.time_ns()
    asset = connection.asset(names.ETH)
    request = Request(
        origin=connection.origin,
        initiator=names.PAYMENTS,
        intent=Intent(asset.chain, names.WALLET, asset.name, AMOUNT, names.CUSTOMER.lower()),
        fee_ceiling=connection.policy.chains[asset.chain].fee_ceiling,
        idempotency_key=key,
        created_ms=now // 10**6,
        expires_ms=now // 10**6 + 600_000,
    )
    signature = identity.key.sign(request_message(request.body()))
    return {"request": request.body(), "signature": signature.hex()}


def test_a_backend_is_told_by_webhook_over_a_kill_of_the_coordinator(deployment: Deployment) -> None:
    accepted = ask(deployment, "POST", "/v1/requests", payment(deployment, "told")).json()["id"]
    deployment.supervisor.kill(COORDINATOR_NAME)
    deployment.supervisor.revive(COORDINATOR_NAME)
    wait_live(deployment, COSIGNERS)

    def look() -> list[dict[str, Any]]:
        return [event for event in map(verified, list(Receiver.told)) if event["request"] == accepted]

    told = seen(look, lambda told: any(event["state"] == "settled" for event in told), every_s=0.1)

    sequences = [event["sequence"] for event in told]
    first_times = list(dict.fromkeys(sequences))
    assert told[0]["state"] == "received"
    assert first_times == sorted(first_times)


def verified(told: tuple[dict[str, str], bytes]) -> dict[str, Any]:
    """An event that a webhook was told, if the coordinator said it."""
    headers, body = told
    key, now_ms = raw_public(WEBHOOK_KEY), time.time_ns() // 10**6
    return verify_webhook(headers, body, origin=ORIGIN, key=key, now_ms=now_ms)


def test_real_nodes_sign_what_came_over_http(deployment: Deployment) -> None:
    before = deployment.chain.balance(names.CUSTOMER)
    accepted = ask(deployment, "POST", "/v1/requests", payment(deployment, "over-http"))
    show = partial(ask, deployment, "GET", accepted.headers["Location"])
    shown = seen(lambda: show().json(), lambda shown: shown["over"], every_s=0.1)

    assert (accepted.status_code, accepted.json()["state"]) == (202, "received")
    assert shown["state"] == "settled"
    assert deployment.chain.balance(names.CUSTOMER) == before + AMOUNT
    assert deployment.ask(names.PAYMENTS, "request", "show", shown["id"])["tx_hash"] == shown["tx_hash"]


def test_real_nodes_sign_what_operators_approved_over_http(deployment: Deployment) -> None:
    large = ("--amount", f"{names.SMALL_MAX + 1}", "--wallet", names.WALLET, "--asset", names.ETH)
    asked = deployment.ask(
        names.PAYMENTS, "request", "send", *large, "--to", names.CUSTOMER, "--idempotency-key", "approved"
    )
    path = f"/v1/requests/{asked['request']}"
    for who in names.OPERATORS:
        listed = partial(ask, deployment, "GET", "/v1/approvals", who=who)
        drafts = seen(lambda: listed().json()["drafts"], every_s=0.1)  # noqa: B023 - it is called at once
        approval = {**drafts[0], "operator": who, "approval_id": secrets.token_hex(32)}
        assertion = deployment.identity(who).authenticator().assert_(approval_digest(approval)).body()
        given = {"approval": approval, "assertion": assertion}
        answer = ask(deployment, "POST", f"{path}/approval", given, who=who)
        assert answer.status_code == 200, answer.text
        if answer.json()["state"] != "waiting":
            break
    show = partial(ask, deployment, "GET", path, who=names.OPERATORS[0])
    shown = seen(lambda: show().json(), lambda shown: shown["state"] == "settled", every_s=0.1)

    assert shown["approvals"] >= 1


def test_real_nodes_take_a_no_of_a_passkey_that_came_through_the_console(deployment: Deployment) -> None:
    who = names.OPERATORS[1]
    passkey, origin = deployment.identity(who).authenticator(), deployment.connection().origin
    large = ("--amount", f"{names.SMALL_MAX + 1}", "--wallet", names.WALLET, "--asset", names.ETH)
    asked = deployment.ask(
        names.PAYMENTS, "request", "send", *large, "--to", names.CUSTOMER, "--idempotency-key", "stopped"
    )
    show = partial(deployment.ask, names.PAYMENTS, "request", "show", asked["request"])
    seen(show, lambda shown: shown["state"] == "waiting")
    port = (deployment.folder / "coordinator" / "console-port").read_text().strip()
    headers = {"Host": passkey.origin.partition("//")[2], "Origin": passkey.origin}
    trusted = ssl.create_default_context(cafile=deployment.folder / "coordinator" / "mail.pem")
    place = f"https://localhost:{port}"
    with httpx.Client(base_url=place, headers=headers, trust_env=False, verify=trusted) as client:
        nonce = client.post("/login/challenge").json()["nonce"]
        proof = passkey.assert_(login_digest(origin, passkey.origin, nonce=nonce)).body()
        login = {"nonce": nonce, "credential": passkey.credential().id.hex(), "assertion": proof}
        session = {"Cookie": client.post("/login", json=login).headers["Set-Cookie"].partition(";")[0]}
        page = client.get(f"/requests/{asked['request']}", headers=session).text
        answers = client.get(f"/requests/{asked['request']}/readings", headers=session).json()["nodes"]
        effect = client.get(f"/requests/{asked['request']}/effect", headers=session).text
        token = page.partition('name="csrf" content="')[2][:64]
        body: Json = {"origin": origin, "request": asked["request"], "by": who, "reason": "a test"}
        said = {"body": canonical(body).decode(), "assertion": passkey.assert_(rejection_digest(body)).body()}
        answer = client.post(
            f"/requests/{asked['request']}/rejection",
            json=said,
            headers=session | {"X-Quorumkeep-Csrf": token},
        )

    assert len(answers) == len(names.NODES)
    for one in answers:
        found: Any = parse_canonical(one["body"].encode(), bytes_max=10_000)
        key, signature = bytes.fromhex(one["key"]), bytes.fromhex(one["signature"])
        verify_statement("reading", found, key=key, signature=signature, signer=one["node"])
        assert found["decoded"]["destination"] == names.CUSTOMER.lower()
        assert found["verdict"]["outcome"] == "wait"
    assert "It would go through." in effect
    assert answer.status_code == 200, answer.text
    assert deployment.ask(names.PAYMENTS, "request", "show", asked["request"])["state"] == "denied"
    assert all(node["live"] for node in deployment.status()["nodes"])


def test_an_operator_approves_in_a_browser_what_real_nodes_read_and_sign(deployment: Deployment) -> None:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: deploy/setup.sh installs Debian's")
    large = ("--amount", f"{names.SMALL_MAX + 1}", "--wallet", names.WALLET, "--asset", names.ETH)
    asked = deployment.ask(
        names.PAYMENTS, "request", "send", *large, "--to", names.CUSTOMER, "--idempotency-key", "browser"
    )
    before = deployment.chain.balance(names.CUSTOMER)
    for name in names.OPERATORS[1:]:  # the first one is behind the backend
        if deployment.ask(names.PAYMENTS, "request", "show", asked["request"])["state"] == "waiting":
            approve_in_a_browser(deployment, name, asked["request"])
    shown = deployment.ask(names.PAYMENTS, "request", "wait", asked["request"], "--timeout", "60")

    assert shown["state"] == "settled"
    assert deployment.chain.balance(names.CUSTOMER) == before + names.SMALL_MAX + 1


def approve_in_a_browser(deployment: Deployment, name: str, request: str) -> None:
    """With the operator's own passkey in the browser's authenticator."""
    passkey = deployment.identity(name).authenticator()
    port = (deployment.folder / "coordinator" / "console-port").read_text().strip()
    mapped = f"--host-resolver-rules=MAP localhost:443 127.0.0.1:{port}"
    private = passkey._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*FLAGS, mapped, "--ignore-certificate-errors"],
            chromium_sandbox=False,
        )
        context = browser.new_context(base_url=passkey.origin, ignore_https_errors=True)
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        made = session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        credential = {
            "credentialId": base64.b64encode(passkey.credential().id).decode(),
            "isResidentCredential": True,
            "rpId": passkey.rp_id,
            "privateKey": base64.b64encode(private).decode(),
            "userHandle": base64.b64encode(name.encode()).decode(),
            "signCount": 0,
        }
        session.send("WebAuthn.addCredential", {**made, "credential": credential})
        page.goto("/login")
        page.click("#login")
        page.wait_for_url("**/")
        page.goto(f"/requests/{request}")
        expect(page.locator("#nodes-say")).to_contain_text("All 3 nodes read")
        page.click("#approve")
        expect(page.locator("#message")).to_contain_text("You have approved")
        browser.close()
