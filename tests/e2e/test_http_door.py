"""The HTTP door of a real coordinator: real nodes sign what came through it, and a real chain has it."""

import json
import secrets
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.demo import policy as names
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, Deployment, wait_live
from custody.api.http_signing import Message, Signer
from policy.intent import Intent, Request, request_message
from tests.e2e.payment_stream import running_deployment

pytestmark = pytest.mark.timeout(240)
AMOUNT = 10**15


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with running_deployment() as made:
        made.supervisor.stop(COORDINATOR_NAME)
        config = made.folder / "coordinator" / "config.toml"
        with config.open("a") as file:
            file.write('\n[http]\nlisten = "127.0.0.1:0"\nlisten_file = "http-port"\n')
        made.supervisor.revive(COORDINATOR_NAME)
        wait_live(made, COSIGNERS)
        yield made


def ask(deployment: Deployment, method: str, path: str, document: Any = None) -> httpx.Response:
    """A signed call of the payments' backend."""
    port = (deployment.folder / "coordinator" / "http-port").read_text().strip()
    connection = deployment.connection()
    signer = Signer(names.PAYMENTS, connection.origin, deployment.identity(names.PAYMENTS).key)
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


def test_real_nodes_sign_what_came_over_http(deployment: Deployment) -> None:
    before = deployment.chain.balance(names.CUSTOMER)
    accepted = ask(deployment, "POST", "/v1/requests", payment(deployment, "over-http"))
    deadline = time.monotonic() + 60
    while not (shown := ask(deployment, "GET", accepted.headers["Location"]).json())["over"]:
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)

    assert (accepted.status_code, accepted.json()["state"]) == (202, "received")
    assert shown["state"] == "settled"
    assert deployment.chain.balance(names.CUSTOMER) == before + AMOUNT
    assert deployment.ask(names.PAYMENTS, "request", "show", shown["id"])["tx_hash"] == shown["tx_hash"]
