"""``bench service``: signed withdrawals through the whole of a deployment on this machine.

Three nodes and a witness with a token each, a coordinator and a local chain, all of them real processes. A
withdrawal counts from the call that asks for it to the event that it is signed, as its backend sees both:
the API, the policy in each node, log, cosigners, token, presignature and the check of the signature are in
it. Sending to the chain is not, though it goes on beside it. Processor time (``cpu_ms``, for a withdrawal, by
process) tells more than times do on a machine with others on it; that of the bench is not in it.
"""

import contextlib
import json
import math
import os
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
from cli.demo.kept import keep, resume
from cli.demo.long_log import restart_longer
from cli.demo.supervisor import Supervisor
from cli.results import Document, Misuse, Result, Table, progress
from custody.api.errors import CallRefused
from custody.client import CustodyClient
from policy.errors import OperationalError
from policy.intent import Intent, Request

SECONDS_MAX, FLIGHT, WARM_S = 600, 48, 3.0
ENTRIES_MAX = 2_000_000
WEI = 10**9
LIFE_MS = 3600 * 1000
PATIENCE_S = 30.0
LOOK_S, CALM_MAX, CALM_S = 2.0, 0.1, 3600.0
SIGNED = frozenset({"signed", "broadcast", "settled"})


@dataclass(slots=True)
class Backend:
    """One backend: what it asked for and when, and when it saw that signed."""

    client: CustodyClient
    origin: str
    run: str
    asked: dict[str, float] = field(default_factory=dict)
    signed: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told: dict[str, threading.Event] = field(default_factory=dict)
    _count: int = 0

    def ask(self) -> str:
        """Ask for one withdrawal; its request id."""
        with self._lock:
            self._count += 1
            number = self._count
        now_ms = time.time_ns() // 1_000_000
        intent = Intent(CHAIN, names.WALLET, names.ETH, WEI + number, names.CUSTOMER)
        key = f"{self.run}-{number}"
        started = time.monotonic()
        view = self.client.submit(
            Request(self.origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, now_ms + LIFE_MS)
        )
        self.asked[view.request.hex()] = started
        return view.request.hex()

    def listen(self, events: Iterator[Mapping[str, object]]) -> None:
        """Take events in until the stream ends."""
        for event in events:
            if event.get("state") in SIGNED:
                request = str(event["request"])
                self.signed.setdefault(request, time.monotonic())
                self._told_of(request).set()

    def wait(self, request: str) -> None:
        """Until it is signed. Raises ``OperationalError`` when it takes too long."""
        if not self._told_of(request).wait(PATIENCE_S):
            raise OperationalError(f"request {request} is not signed after {PATIENCE_S:.0f} s: see the logs")

    def _told_of(self, request: str) -> threading.Event:
        """One for each request: one for all would wake everybody for each."""
        with self._lock:
            return self._told.setdefault(request, threading.Event())

    def latencies_ms(self, requests: Sequence[str]) -> list[float]:
        """Of each of these, from asking to seeing it signed."""
        return [(self.signed[one] - self.asked[one]) * 1000 for one in requests]


def run(arguments: Namespace) -> Result:
    """``bench service``."""
    if not 1 <= arguments.seconds <= SECONDS_MAX:
        raise Misuse(f"--seconds {arguments.seconds}: from 1 to {SECONDS_MAX}")
    if any(not 1 <= entries <= ENTRIES_MAX for entries in arguments.entries):
        raise Misuse(f"--entries {arguments.entries}: from 1 to {ENTRIES_MAX}")
    with contextlib.ExitStack() as opened:
        if not (kept := arguments.keep):
            kept = opened.enter_context(_temporary_folder())
        deployment = _deployed(Path(kept).absolute(), opened.enter_context(Supervisor()), arguments.keep)
        found = _measure(deployment, arguments.seconds, arguments.entries)
    return Result(found, (_table(found),))


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="quorumkeep-bench-", ignore_cleanup_errors=True)


def _deployed(folder: Path, supervisor: Supervisor, keeps: str) -> scenario.Deployment:
    """A new deployment with a funded key, or the one that is kept in ``folder``."""
    if keeps and (deployment := resume(folder, supervisor)) is not None:
        return deployment
    deployment = scenario.prepare(folder, supervisor, say=progress)
    scenario.set_up(deployment)
    scenario.make_keys(deployment)
    scenario.fund(deployment)
    if keeps:
        keep(deployment)
    return deployment


def _measure(deployment: scenario.Deployment, seconds: int, entries: Sequence[int]) -> Document:
    first = int(deployment.status()["size"])
    alone, saturated = _both(deployment, seconds)
    by_size = {str(first): {**alone, "saturated": saturated}}
    if not entries:
        last = int(deployment.status()["size"])
        [again] = _both(deployment, min(seconds, 10), flights=(1,))
        by_size[str(last)] = again
    for length in sorted(entries):
        restart_longer(deployment, length)
        _wait_calm(deployment.supervisor.process_ids())
        size = int(deployment.status()["size"])
        again, many = _both(deployment, seconds)
        by_size[str(size)] = {**again, "saturated": many}
        progress(f"{size} entries: {json.dumps(by_size[str(size)])}")  # should the next length not be reached
    return {"alone": alone, "saturated": saturated, "by_log_size": by_size}


def _both(
    deployment: scenario.Deployment, seconds: int, *, flights: Sequence[int] = (1, FLIGHT)
) -> list[Document]:
    """What withdrawals take, one at a time and many at a time."""
    identity, connection = deployment.identity(names.PAYMENTS), deployment.connection()
    processes = deployment.supervisor.process_ids()
    found = []
    with connection.open(identity) as client, connection.open(identity) as ear:
        backend = Backend(client, connection.origin, f"bench-{time.time_ns()}")
        threading.Thread(target=_listen, args=(backend, ear), daemon=True).start()
        _flow(backend, WARM_S, flight=1)  # the first ones warm everything up
        for flight in flights:
            progress(f"{flight} at a time, {seconds} s")
            found.append(_part(backend, seconds, flight=flight, processes=processes))
    return found


def _part(backend: Backend, seconds: float, *, flight: int, processes: Mapping[str, int]) -> Document:
    before = _cpu_ms(processes)
    latencies, took_s = _flow(backend, seconds, flight=flight)
    after = _cpu_ms(processes)
    spent = {name: round((after[name] - before[name]) / len(latencies), 1) for name in sorted(processes)}
    rate = {} if flight == 1 else {"per_s": round(len(latencies) / took_s, 1)}
    return {**rate, **_spread(latencies), "cpu_ms": {"all": round(sum(spent.values()), 1), **spent}}


def _wait_calm(processes: Mapping[str, int]) -> None:
    """Until none takes a tenth of a core: who has just caught up goes on storing what it took in."""
    began, after = time.monotonic(), _cpu_ms(processes)
    while time.monotonic() < began + CALM_S:
        time.sleep(LOOK_S)
        before, after = after, _cpu_ms(processes)
        busy = [name for name in processes if after[name] - before[name] > CALM_MAX * LOOK_S * 1000]
        if not busy:
            progress(f"everybody is at rest after {time.monotonic() - began:.0f} s")
            return
    raise OperationalError(f"{', '.join(busy)} still at work after {CALM_S:.0f} s: see the logs")


def _cpu_ms(leaders: Mapping[str, int]) -> dict[str, float]:
    """Processor time of process groups until now: a machine with others on it changes that least."""
    names_of = {leader: name for name, leader in leaders.items()}
    ticks = dict.fromkeys(leaders, 0)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if (name := names_of.get(int(fields[2]))) is not None:
                ticks[name] += sum(int(fields[place]) for place in (11, 12, 13, 14))
    return {name: 1000 * count / os.sysconf("SC_CLK_TCK") for name, count in ticks.items()}


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
    rows = [("one at a time", found["alone"]), (f"{FLIGHT} at a time", found["saturated"])]
    for size, spread in list(found["by_log_size"].items())[1:]:
        rows.append((f"one at a time, {size} entries", spread))
        if "saturated" in spread:
            rows.append((f"{FLIGHT} at a time, {size} entries", spread["saturated"]))
    return Table(
        ("withdrawals", "a second", "p50, ms", "p99, ms", "processor, ms"),
        tuple((what, *_row(one)) for what, one in rows),
    )


def _row(one: Document) -> tuple[str, ...]:
    return str(one.get("per_s", "")), str(one["p50_ms"]), str(one["p99_ms"]), str(one["cpu_ms"]["all"])
