"""Payments all the time: backends that ask, each request until it is taken in, and a look at the chain.

Every payment has an amount of its own, so that the chain's blocks alone tell which were made and how often.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.connection import Connection
from cli.demo import policy as names
from cli.demo.chain import CHAIN, DemoChain
from cli.identities import Identity
from custody.api.errors import CallRefused, Code
from custody.client import Caller, CustodyClient, Endpoint, RequestView
from policy.errors import OperationalError
from policy.intent import Intent, Request

TIMEOUT_S, PAUSE_S, LOOK_S = 3.0, 0.1, 0.2
LIFE_MS = 24 * 3600 * 1000
TRIED_AGAIN = (Code.UNAVAILABLE, Code.CLOCK_SKEW, Code.REQUEST_EXPIRED)
"""What a coordinator says that is down, or whose clock is wrong."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one backend asks for: amounts from ``first`` on, one a payment, one every ``every_s`` seconds."""

    label: str
    asset: str
    first: int
    every_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a coordinator has acknowledged: when it was asked for, and when that was said."""

    request: str
    body: Request
    at_s: float
    taken_s: float

    @property
    def asset(self) -> str:
        """What is to be paid."""
        return self.body.intent.asset

    @property
    def amount(self) -> int:
        """And how much of it."""
        return self.body.intent.amount


@dataclass
class Doors:
    """The doors of the coordinators: when one does not answer, the next is called."""

    connection: Connection
    identity: Identity
    addresses: tuple[str, ...]
    _next: int = 0

    def open(self) -> CustodyClient:
        """A client of the next one."""
        self._next += 1
        address = self.addresses[self._next % len(self.addresses)]
        endpoint = Endpoint(address, self.connection.certificate, self.connection.origin)
        return CustodyClient(
            endpoint, Caller(self.identity.card.name, self.identity.key), timeout_s=TIMEOUT_S
        )


@dataclass
class Backend:
    """Asks for one payment after the other, for as long as ``asking`` lasts."""

    doors: Doors
    kind: Kind
    accepted: list[Asked] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _failed: list[BaseException] = field(default_factory=list)

    @contextlib.contextmanager
    def asking(self) -> Iterator["Backend"]:
        """Ask meanwhile. Raises what went wrong that no fault explains."""
        thread = threading.Thread(target=self._run, name=self.kind.label)
        thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            thread.join()
        self.check()

    def check(self) -> None:
        """Raise what it ended with, if it has."""
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        client = self.doors.open()
        due_s = time.monotonic()
        try:
            while not self._ending.wait(max(0.0, due_s - time.monotonic())):
                due_s = max(due_s + self.kind.every_s, time.monotonic())
                request, started = self._request(), time.monotonic()
                client, view = self._ask(client, request)
                self.accepted.append(Asked(view.request.hex(), request, started, time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - raised again where ``asking`` ends
            self._failed.append(error)
        finally:
            client.close()

    def _request(self) -> Request:
        amount, key = self.kind.first + len(self.accepted), f"{self.kind.label}-{len(self.accepted)}"
        intent = Intent(CHAIN, names.WALLET, self.kind.asset, amount, names.CUSTOMER)
        now_ms = time.time_ns() // 1_000_000
        origin = self.doors.connection.origin
        return Request(origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, now_ms + LIFE_MS)

    def _ask(self, client: CustodyClient, request: Request) -> tuple[CustodyClient, RequestView]:
        while True:
            try:
                return client, client.submit(request)
            except CallRefused as refusal:
                if refusal.code not in TRIED_AGAIN:
                    raise
            client.close()
            time.sleep(PAUSE_S)
            client = self.doors.open()


@dataclass
class Watch:
    """Looks at the chain itself: when each payment was first in a block."""

    chain: DemoChain
    token: str
    paid: dict[tuple[str, int], float] = field(default_factory=dict)
    _ending: threading.Event = field(default_factory=threading.Event)
    _seen: str = ""

    @contextlib.contextmanager
    def looking(self) -> Iterator["Watch"]:
        """Look meanwhile."""
        thread = threading.Thread(target=self._run, name="watch")
        thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            thread.join()

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            with contextlib.suppress(OperationalError):
                self._look()

    def _look(self) -> None:
        """Take in what is new, down to the block that was the newest; after a reorganization, more."""
        block = self.chain.call("eth_getBlockByNumber", "latest", True)
        newest, now_s = str(block["hash"]), time.monotonic()
        for _ in range(64):
            if block["hash"] == self._seen:
                break
            for tx in block["transactions"]:
                if (payment := payment_of(tx, self.token)) is not None:
                    self.paid.setdefault(payment, now_s)
            if int(block["number"], 16) == 0:
                break
            block = self.chain.call("eth_getBlockByHash", block["parentHash"], True)
        self._seen = newest


def payment_of(tx: Mapping[str, Any], token: str) -> tuple[str, int] | None:
    """Asset and amount of a transaction of the chain that pays the customer; None for any other."""
    to, data = str(tx["to"] or "").lower(), str(tx["input"])
    if to == names.CUSTOMER:
        return names.ETH, int(tx["value"], 16)
    if to == token and data[10:74].endswith(names.CUSTOMER.removeprefix("0x")):
        return names.TOKEN, int(data[74:138], 16)
    return None
