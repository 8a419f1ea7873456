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
from custody.client import Caller, CustodyClient, Endpoint
from custody.lease import take_lease
from custody.risk.desk import ClientDesk
from custody.risk.following import BadLog, Follower
from custody.risk.metrics import RiskMetrics
from custody.risk.ports import NoScreening
from custody.risk.reading import Reader
from custody.risk.sanctions import Words
from custody.risk.stating import Observer, Statement, Stater
from policy.audit import Trust
from policy.errors import OperationalError

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
        CustodyClient(seat.endpoint, Caller(seat.name, seat.key)) as client,
    ):
        metrics = RiskMetrics()
        metrics.serve(assignment.metrics_port, assignment.metrics_address)
        desk, reader = ClientDesk(client), Reader()
        stater = Stater(
            Follower(desk, seat.trust, hear=reader.hear),
            reader,
            observer=Observer(seat.name, seat.key.sign),
            screener=ListFile(
                assignment.list_file, words=assignment.words, max_age_days=assignment.max_age_days
            ),
            exchange=ExchangeFolder(assignment.exchange, seat.name) if assignment.exchange else NoExchange(),
            door=desk,
        )
        if once:
            told(_look(stater, metrics))
        else:
            with contextlib.suppress(KeyboardInterrupt):  # SIGTERM, too: that is how it ends
                _keep_looking(stater, metrics, every_s=assignment.every_s, told=told)


def _keep_looking(stater: Stater, metrics: RiskMetrics, *, every_s: float, told: Told) -> None:
    """Raises ``BadLog``: whoever supervises it starts it anew, and people look at what it says."""
    while True:
        try:
            told(_look(stater, metrics))
        except BadLog:
            raise
        except NoScreening as error:
            _LOG.error("NOTHING IS STATED: %s", error)
        except OperationalError as error:
            metrics.failures.inc()
            _LOG.warning("not now: %s", error)
        time.sleep(every_s)


def _look(stater: Stater, metrics: RiskMetrics) -> list[Statement]:
    try:
        made = stater.look(time.time_ns() // 1_000_000)
    except NoScreening:
        metrics.silent.set(1)
        raise
    metrics.silent.set(0)
    metrics.looked_seconds.set(time.time())
    for one in made:
        if one.logged:
            metrics.statements.labels(result=one.result).inc()
            metrics.scores.observe(one.risk)
    return made
