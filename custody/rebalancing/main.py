"""The rebalancer's process: its records, its door to the coordinator, and one look after the other."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.adapters.rebalance_store import RebalanceStore
from custody.client import Caller, CustodyClient, Endpoint
from custody.lease import take_lease
from custody.rebalancing.desk import ClientDesk
from custody.rebalancing.granting import Settings
from custody.rebalancing.metrics import RebalancerMetrics
from custody.rebalancing.rebalancer import Rebalancer
from custody.rebalancing.records import Move, Route
from custody.rebalancing.reporting import Reporter
from policy.errors import OperationalError

RECORDS = "rebalancer.db"
Told: TypeAlias = Callable[[Sequence[Move]], None]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a rebalancer is to do: these routes, every so many seconds. ``metrics_port`` 0 is off."""

    routes: tuple[Route, ...]
    settings: Settings
    every_s: float
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Backend:
    """Who it is: a backend of the roster, in a folder of its own, at a coordinator."""

    folder: Path
    name: str
    endpoint: Endpoint
    key: Ed25519PrivateKey = field(repr=False)


def open_records(folder: Path, *, new: bool = False) -> RebalanceStore:
    """The records in a folder. Raises ``OperationalError`` where there are none and none may be made."""
    if not new and not (folder / RECORDS).exists():
        raise OperationalError(f"{folder} has no {RECORDS}: run quorumkeep rebalance run --as {folder}")
    return RebalanceStore(folder / RECORDS)


def run(
    backend: Backend, assignment: Assignment, *, once: bool, told: Callable[[Sequence[Move]], None]
) -> None:
    """Look once, or every ``every_s`` until interrupted; ``told`` hears of moves that changed."""
    with take_lease(backend.folder, "rebalancer"):
        book = open_records(backend.folder, new=True)
        caller = Caller(backend.name, backend.key)
        try:
            with CustodyClient(backend.endpoint, caller) as client:
                metrics = RebalancerMetrics()
                metrics.serve(assignment.metrics_port, assignment.metrics_address)
                desk = ClientDesk(
                    client, origin=backend.endpoint.origin, name=backend.name, sign=backend.key.sign
                )
                rebalancer = Rebalancer(
                    desk,
                    book,
                    routes=assignment.routes,
                    settings=assignment.settings,
                    metrics=metrics,
                    now_ms=_now_ms,
                )
                reporter = Reporter(desk, book, routes=assignment.routes, now_ms=_now_ms)
                if once:
                    _look(rebalancer, reporter, told)
                else:
                    with contextlib.suppress(KeyboardInterrupt):  # SIGTERM, too: that is how it ends
                        _keep_looking(
                            rebalancer, reporter, metrics=metrics, every_s=assignment.every_s, told=told
                        )
        finally:
            book.close()


def _look(rebalancer: Rebalancer, reporter: Reporter, told: Told) -> None:
    """One look; what is known after it is reported, also where it failed."""
    try:
        told(rebalancer.look())
    finally:
        reporter.tell()


def _keep_looking(
    rebalancer: Rebalancer, reporter: Reporter, *, metrics: RebalancerMetrics, every_s: float, told: Told
) -> None:
    while True:
        try:
            _look(rebalancer, reporter, told)
        except OperationalError as error:
            metrics.failures.inc()
            _LOG.warning("not now: %s", error)
        time.sleep(every_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
