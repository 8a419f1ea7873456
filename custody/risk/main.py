"""The scoring observer's process: its door to the coordinator, and one look after the other."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.adapters.risk_files import ExchangeFolder, ListFile, NoExchange
from custody.adapters.risk_store import RiskStore
from custody.client import Caller, CustodyClient, Endpoint
from custody.lease import take_lease
from custody.risk.desk import ClientDesk
from custody.risk.following import BadLog, Follower
from custody.risk.keeping import Keeper, Kept
from custody.risk.metrics import RiskMetrics
from custody.risk.ports import Desk, NoScreening
from custody.risk.sanctions import Words
from custody.risk.stating import Observer, Statement, Stater
from policy.audit import Trust
from policy.errors import OperationalError
from policy.stored.pages import DamagedState

MEMORY = "risk.db"
Told: TypeAlias = Callable[[Sequence[Statement]], None]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an observer is to do. Without an ``exchange`` its own word has to be enough."""

    list_file: Path
    max_age_days: int
    words: Words
    every_s: float
    exchange: Path | None = None
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Seat:
    """Who it is: an observer of the roster, in a folder of its own, at a coordinator whose log is pinned."""

    folder: Path
    name: str
    endpoint: Endpoint
    trust: Trust
    key: Ed25519PrivateKey = field(repr=False)


def run(seat: Seat, assignment: Assignment, *, once: bool, told: Told) -> None:
    """Look once, or every ``every_s`` until interrupted; ``told`` hears of what was stated."""
    with (
        take_lease(seat.folder, "risk"),
        contextlib.closing(RiskStore(seat.folder / MEMORY)) as store,
        CustodyClient(seat.endpoint, Caller(seat.name, seat.key)) as client,
    ):
        metrics = RiskMetrics()
        metrics.serve(assignment.metrics_port, assignment.metrics_address)
        watch = Watch(seat, assignment, desk=ClientDesk(client), store=store, metrics=metrics)
        if once:
            told(watch.look())
        else:
            with contextlib.suppress(KeyboardInterrupt):  # SIGTERM, too: that is how it ends
                _keep_looking(watch, metrics, every_s=assignment.every_s, told=told)


class Watch:
    """One observer at work, with its memory."""

    def __init__(
        self, seat: Seat, assignment: Assignment, *, desk: Desk, store: RiskStore, metrics: RiskMetrics
    ) -> None:
        self._seat, self._assignment, self._desk, self._metrics = seat, assignment, desk, metrics
        self._keeper = Keeper(store, seat.trust.genesis)
        self._begin(self._keeper.start())

    def look(self) -> list[Statement]:
        """One look, and what it came to in numbers."""
        try:
            made = self._looked()
        except NoScreening:
            self._metrics.silent.set(1)
            raise
        self._metrics.silent.set(0)
        self._metrics.looked_seconds.set(time.time())
        for one in made:
            if one.logged:
                self._metrics.statements.labels(result=one.result).inc()
                self._metrics.scores.observe(one.risk)
        return made

    def _looked(self) -> list[Statement]:
        try:
            try:
                return self._stater.look(time.time_ns() // 1_000_000)
            finally:
                self._keep()  # what was read is good, whatever could not be stated
        except DamagedState as error:
            self._begin(self._keeper.clear())
            raise OperationalError(f"{error}: that is done at the next look") from error

    def _keep(self) -> None:
        if self._follower.holds:
            self._follower.rebase(self._keeper.keep(Kept(self._follower.progress, self._reader)))

    def _begin(self, kept: Kept) -> None:
        assignment, seat = self._assignment, self._seat
        self._reader = kept.reader
        self._follower = Follower(self._desk, seat.trust, hear=kept.reader.hear, start=kept.progress)
        self._stater = Stater(
            self._follower,
            kept.reader,
            observer=Observer(seat.name, seat.key.sign),
            screener=ListFile(
                assignment.list_file, words=assignment.words, max_age_days=assignment.max_age_days
            ),
            exchange=ExchangeFolder(assignment.exchange, seat.name) if assignment.exchange else NoExchange(),
            door=self._desk,
        )


def _keep_looking(watch: Watch, metrics: RiskMetrics, *, every_s: float, told: Told) -> None:
    """Raises ``BadLog``: whoever supervises it starts it anew, and people look at what it says."""
    while True:
        try:
            told(watch.look())
        except BadLog:
            raise
        except NoScreening as error:
            _LOG.error("NOTHING IS STATED: %s", error)
        except OperationalError as error:
            metrics.failures.inc()
            _LOG.warning("not now: %s", error)
        time.sleep(every_s)
