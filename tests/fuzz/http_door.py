"""Calls of the HTTP door by its OpenAPI document, good ones and bad ones, all of them signed.

The door is a real one over TLS, in a thread of its own, before a coordinator in memory. Requests are
completed in some cases (origin, initiator, wallet, signature), so that what is behind the first refusals is
reached too.

``python -m tests.fuzz.http_door --examples 1000`` goes on for longer than the tests do.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
import urllib3

from custody.adapters.http.app import skeleton
from custody.api.http_signing import Message, Signer
from custody.roles import OPEN, TABLE, Role
from policy.encoding import canonical
from policy.errors import QuorumkeepError
from policy.intent import request_message
from tests.unit.custody_cluster import ANVIL_CHAIN, ORIGIN, PAYEE, WALLET, identity, make_request
from tests.unit.custody_house import House
from tests.unit.http_house import http_opened

WAIT_MS, START_S = 20, 30
CALLERS = {Role.BACKEND: "shop", Role.OPERATOR: "otto", Role.ADMINISTRATOR: "admin"}
MODES = tuple(schemathesis.GenerationMode)
WAITS = {"wait_ms": 60_000, "open_ms": 3_600_000}
# What a schema cannot say: which wallets, requests and events there are, and whether a signature verifies.
REFUSED_THOUGH_WELL_FORMED = ["2xx", "400", "401", "403", "404", "409", "422"]
REFUSED_AS_WRONG = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429"]


class Signature(requests.auth.AuthBase):
    """Signs a call as it is sent, as somebody of the roster who may make it."""

    def __init__(self, name: str = "shop") -> None:
        self._name = name

    def __call__(self, call: requests.PreparedRequest) -> requests.PreparedRequest:
        body = call.body.encode() if isinstance(call.body, str) else call.body or b""
        if not isinstance(body, bytes):
            raise TypeError("only whole bodies are signed")
        message = Message(call.method or "", call.url or "", body)
        signer = Signer(self._name, ORIGIN, identity(self._name))
        call.headers.update(signer.headers(message, now_s=int(time.time()), nonce=secrets.token_bytes(16)))
        return call


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a door that is open, in another thread."""
    opened: list[str] = []
    ready, ending = threading.Event(), threading.Event()

    async def serve() -> None:
        async with http_opened(House(folder)) as door:
            opened.append(door.url)
            ready.set()
            while not ending.is_set():  # noqa: ASYNC110 - another thread's event
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="http door")
    thread.start()
    try:
        if not ready.wait(START_S):
            raise RuntimeError("the door did not open")
        yield opened[0]
    finally:
        ending.set()
        thread.join()


def operations(document: "dict[str, Any] | None" = None) -> dict[str, Any]:
    """Every operation of the OpenAPI document, by method and path."""
    config = schemathesis.Config.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"expected-statuses": REFUSED_THOUGH_WELL_FORMED},
                "negative_data_rejection": {"expected-statuses": REFUSED_AS_WRONG},
            }
        }
    )
    document = document or skeleton().openapi()
    for described in document["paths"].values():
        for one in described.values():
            one.pop("security", None)  # every call here is signed: what unsigned ones get is another test's
    schema = schemathesis.openapi.from_dict(document, config=config)
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    return {operation.label: operation for operation in found}


def rounds() -> list[tuple[str, Any]]:
    """Every operation with every way of generating; what takes nothing cannot be given something wrong."""
    return [
        (label, mode)
        for label, operation in sorted(operations().items())
        for mode in MODES
        if mode.is_positive or any(True for _ in operation.iter_parameters()) or operation.body
    ]


def attack(url: str, operation: Any, *, mode: Any, examples: int) -> None:
    """Send ``examples`` calls. Raises what schemathesis finds."""
    session = requests.Session()
    session.auth = Signature(caller_of(operation.definition.raw["operationId"]))
    session.verify = False
    session.trust_env = False

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        shorten(case)
        complete(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            case.call_and_validate(url, session=session, verify=False)

    try:
        send()
    finally:
        session.close()


def caller_of(operation: str) -> str:
    """Somebody of the roster of the tests who may make this call."""
    may = next(row.may for row in (*TABLE, OPEN) if operation in row.http)
    return next(name for role, name in CALLERS.items() if role in may)


def shorten(case: Any) -> None:
    """Wait less than one may, where one may wait."""
    for name, most in WAITS.items():
        if not any(one.name == name for one in case.operation.query):
            continue
        value = (case.query or {}).get(name, most if name == "open_ms" else 0)
        if isinstance(value, int) and not isinstance(value, bool) and WAIT_MS < value <= most:
            case.query = {**(case.query or {}), name: WAIT_MS}


def complete(case: Any) -> None:
    """Give some requests what gets them further."""
    body = case.body
    if not isinstance(body, dict) or not isinstance(body.get("request"), dict):
        return
    number = zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode())
    chance = number % 5
    if chance == 0:
        return
    if chance == 4:  # nothing is wrong with it: what it asks for is the same, and who asks
        now_ms = time.time_ns() // 10**6
        _, request, signed = make_request(f"fuzz-{number}", amount=1, now_ms=now_ms)
        case.body = {"request": json.loads(request), "signature": signed.hex()}
        return
    document = {**body["request"], "origin": ORIGIN, "initiator": "shop"}
    if chance > 1:
        document |= {"chain": ANVIL_CHAIN, "wallet": WALLET, "asset": "eth"}
    if chance > 2:
        now_ms = time.time_ns() // 10**6
        document |= {"destination": PAYEE, "created_ms": now_ms, "expires_ms": now_ms + 60_000}
        document.pop("typed_data", None)
    with contextlib.suppress(QuorumkeepError):
        signature = identity("shop").sign(request_message(document)).hex()
        canonical(document)
        if set(document) == set(body["request"]) or chance > 2:
            case.body = {**body, "request": document, "signature": signature}


def main() -> int:
    """Attack every operation; exits 1 with what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    examples = parser.parse_args().examples
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as url:
        for label, mode in rounds():
            attack(url, operations()[label], mode=mode, examples=examples)
            sys.stdout.write(f"{label}: {examples} calls, {mode.value}: nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
