"""``bench service``: signed withdrawals through the whole of a deployment on this machine.

Three nodes and a witness with a token each, a coordinator and a local chain, all of them real processes. A
withdrawal counts from the call that asks for it to the event that it is signed, as its backend sees both:
the API, the policy in each node, log, cosigners, token, presignature and the check of the signature are in
it.
Sending to the chain is not, though it goes on beside it.
"""

import contextlib
import math
import shutil
import statistics
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import CHAIN
from cli.demo.supervisor import Supervisor
from cli.results import Document, Misuse, Result, Table, progress
from custody.api.errors import CallRefused
from custody.client import CustodyClient
from policy.errors import OperationalError
from policy.intent import Intent, Request

SECONDS_MAX, FLIGHT = 600, 48
WEI = 10**9
LIFE_MS = 3600 * 1000
PATIENCE_S = 30.0
SIGNED = frozenset({"signed", "broadcast", "settled"})


@dataclass(slots=True)
class Backend:
    """One backend: what it asked for and when, and when it saw that signed."""

    client: CustodyClient
    origin: str
    run: str
    asked: dict[str, float] = field(default_factory=dict)
    signed: dict[str, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _count: int = 0

    def ask(self) -> str:
        """Ask for one withdrawal; its request id."""
        with self._changed:
            self._count += 1
            number = self._count
        now_ms = time.time_ns() // 1_000_000
        intent = Intent(CHAIN, names.WALLET, names.ETH, WEI + number, names.CUSTOMER)
        key = f"{self.run}-{number}"
        started = time.monotonic()
        view = self.client.submit(
            Request(self.origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, now_ms + LIFE_MS)
        )
        with self._changed:
            self.asked[view.request.hex()] = started
            self._changed.notify_all()
        return view.request.hex()

    def listen(self, events: Iterator[Mapping[str, object]]) -> None:
        """Take events in until the stream ends."""
        for event in events:
            if event.get("state") in SIGNED:
                with self._changed:
                    self.signed.setdefault(str(event["request"]), time.monotonic())
                    self._changed.notify_all()

    def wait(self, request: str) -> None:
        """Until it is signed. Raises ``OperationalError`` when it takes too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: request in self.signed, PATIENCE_S):
                raise OperationalError(
                    f"request {request} is not signed after {PATIENCE_S:.0f} s: see the logs"
                )

    def latencies_ms(self, requests: Sequence[str]) -> list[float]:
        """Of each of these, from asking to seeing it signed."""
        return [(self.signed[one] - self.asked[one]) * 1000 for one in requests]


def run(arguments: Namespace) -> Result:
    """``bench service``."""
    if not 1 <= arguments.seconds <= SECONDS_MAX:
        raise Misuse(f"--seconds {arguments.seconds}: from 1 to {SECONDS_MAX}")
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-bench-"))
    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=progress)
            scenario.set_up(deployment)
            scenario.make_keys(deployment)
            scenario.fund(deployment)
            found = _measure(deployment, arguments.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(found, (_table(found),))


def _measure(deployment: scenario.Deployment, seconds: int) -> Document:
    identity = deployment.identity(names.PAYMENTS)
    connection = deployment.connection()
    with connection.open(identity) as client, connection.open(identity) as ear:
        backend = Backend(client, connection.origin, f"bench-{time.time_ns()}")
        listening = threading.Thread(target=_listen, args=(backend, ear), daemon=True)
        listening.start()
        _flow(backend, 3.0, flight=1)  # the first ones warm everything up
        first = int(deployment.status()["size"])
        progress(f"one at a time, {seconds} s")
        alone, _ = _flow(backend, seconds, flight=1)
        progress(f"{FLIGHT} at a time, {seconds} s")
        many, took_s = _flow(backend, seconds, flight=FLIGHT)
        last = int(deployment.status()["size"])
        progress(f"one at a time again, at {last} entries")
        after, _ = _flow(backend, min(seconds, 10), flight=1)
    return {
        "alone": _spread(alone),
        "saturated": {"per_s": round(len(many) / took_s, 1), **_spread(many)},
        "by_log_size": {str(first): _spread(alone), str(last): _spread(after)},
    }


def _listen(backend: Backend, ear: CustodyClient) -> None:
    with contextlib.suppress(CallRefused):  # it ends with the connection
        backend.listen(ear.events())


def _flow(backend: Backend, seconds: float, *, flight: int) -> tuple[list[float], float]:
    """Keep ``flight`` withdrawals under way: the latency of each (ms), and the time all took (s)."""
    started = time.monotonic()
    done: list[str] = []

    def one_after_the_other(_: int) -> None:
        while time.monotonic() < started + seconds:
            request = backend.ask()
            backend.wait(request)
            done.append(request)

    with ThreadPoolExecutor(flight) as pool:
        list(pool.map(one_after_the_other, range(flight)))
    return backend.latencies_ms(done), time.monotonic() - started


def _spread(latencies_ms: Sequence[float]) -> Document:
    ordered = sorted(latencies_ms)
    high = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return {"p50_ms": round(statistics.median(ordered), 1), "p99_ms": round(high, 1)}


def _table(found: Document) -> Table:
    alone, many = found["alone"], found["saturated"]
    rows = [("one at a time", "", alone), (f"{FLIGHT} at a time", f"{many['per_s']}", many)]
    rows += [(f"one at a time, {size} entries", "", spread) for size, spread in found["by_log_size"].items()]
    return Table(
        ("withdrawals", "a second", "p50, ms", "p99, ms"),
        tuple((what, rate, str(one["p50_ms"]), str(one["p99_ms"])) for what, rate, one in rows),
    )
