"""The sweeper's process: its records, its door to the coordinator, and one look after the other."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custody.adapters.rebalance_store import RebalanceStore
from custody.client import Caller, CustodyClient
from custody.lease import take_lease
from custody.rebalancing.desk import ClientDesk
from custody.rebalancing.main import Backend
from custody.rebalancing.records import Move
from custody.sweeping.deciding import Decision
from custody.sweeping.metrics import SweeperMetrics
from custody.sweeping.sweeper import Sweeper
from custody.sweeping.tasks import Tasks
from policy.errors import OperationalError

RECORDS = "sweeper.db"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a sweeper is to do, every so many seconds. ``metrics_port`` 0 is off."""

    tasks: Tasks
    every_s: int
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"


def run(
    backend: Backend, assignment: Assignment, *, once: bool, told: Callable[[Sequence[Move]], None]
) -> None:
    """Look once, or every ``every_s`` until interrupted; ``told`` hears of moves that changed."""
    metrics = SweeperMetrics()
    with take_lease(backend.folder, "sweeper"), _sweeper(backend, assignment, metrics) as sweeper:
        metrics.serve(assignment.metrics_port, assignment.metrics_address)
        if once:
            told(sweeper.look())
            return
        with contextlib.suppress(KeyboardInterrupt):  # SIGTERM, too: that is how it ends
            while True:
                try:
                    told(sweeper.look())
                except OperationalError as error:
                    metrics.failures.inc()
                    _LOG.warning("not now: %s", error)
                time.sleep(assignment.every_s)


def plan(backend: Backend, assignment: Assignment) -> Decision:
    """What a look would ask for now; nothing is asked for."""
    with _sweeper(backend, assignment, SweeperMetrics()) as sweeper:
        return sweeper.decide()


def open_records(folder: Path) -> RebalanceStore:
    """A sweeper's records; they begin empty."""
    return RebalanceStore(folder / RECORDS)


@contextlib.contextmanager
def _sweeper(backend: Backend, assignment: Assignment, metrics: SweeperMetrics) -> Iterator[Sweeper]:
    with (
        open_records(backend.folder) as book,
        CustodyClient(backend.endpoint, Caller(backend.name, backend.key)) as client,
    ):
        desk = ClientDesk(client, origin=backend.endpoint.origin, name=backend.name, sign=backend.key.sign)
        yield Sweeper(desk, book, tasks=assignment.tasks, metrics=metrics, now_ms=_now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
