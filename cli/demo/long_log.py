"""A deployment's log made longer, for ``bench service --entries``.

While the coordinator is down, requests of its backend are written into the log as the coordinator writes
them: signed, judged, folded, under a signed checkpoint. Started again, it folds all of it and brings the
cosigners up to it, who fold and store it like any other. Nothing is owed for these requests: the tables do
not know them, and they expire at once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import CHAIN
from cli.identities import Identity
from cli.results import progress
from custody.candidates import BATCH_ENTRIES_MAX, EMPTY, Candidate, Tip, extend, write_batch
from custody.config_reading import load_to_run
from custody.log_key import LogKey
from custody.main import open_store
from custody.records import Change
from policy.collecting import uncollected
from policy.encoding import Json
from policy.errors import InvariantError, QuorumkeepError
from policy.intent import Intent, Request, request_message

WEI = 10**9
LIFE_MS = 1000
ENTRIES_A_SECOND = 20
START_S = 90
SAY_EACH_S, LOOK_EACH_S = 10.0, 0.5


class Log(Protocol):
    """What is needed of the coordinator's database."""

    def head(self) -> tuple[int, bytes]:
        """Size and note of the newest checkpoint."""

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start`` up to ``stop``, as many as fit together."""

    def append(
        self, start: int, entries: Sequence[bytes], *, note: bytes, changes: Sequence[Change], now_ms: int
    ) -> object:
        """Make entries and their checkpoint durable."""


def restart_longer(deployment: scenario.Deployment, entries: int) -> None:
    """Write requests until the log has so many entries, and have everybody fold them."""
    supervisor, name = deployment.supervisor, scenario.COORDINATOR_NAME
    supervisor.stop(name)
    began = time.monotonic()
    _lengthen(deployment, entries)
    progress(f"{entries} entries are written after {time.monotonic() - began:.0f} s; starting on them")
    supervisor.revive(name)
    waiting = _CatchingUp(deployment)
    supervisor.wait_for(name, lambda _: waiting.over(), timeout_s=START_S + entries / ENTRIES_A_SECOND)
    progress(f"all cosigners have them after {time.monotonic() - began:.0f} s")


def _lengthen(deployment: scenario.Deployment, entries: int) -> None:
    config = load_to_run(deployment.folder / scenario.COORDINATOR_NAME / "config.toml")
    log_key, backend = LogKey.load(config.log_key), deployment.identity(names.PAYMENTS)
    store = open_store(config)
    store.take_lease(_now_ms(), 0)
    try:
        with uncollected():
            tip = _folded(store)
            while tip.frontier.size < entries:
                tip = _write(store, tip, log_key, backend)
    finally:
        store.close()


def _folded(log: Log) -> Tip:
    size, _ = log.head()
    tip = EMPTY
    while tip.frontier.size < size:
        for entry in log.entries(tip.frontier.size, size):
            tip, _ = extend(tip, entry)
    return tip


def _write(log: Log, tip: Tip, log_key: LogKey, backend: Identity) -> Tip:
    now_ms, start = _now_ms(), tip.frontier.size
    candidates = [_request(tip, start + i, backend, now_ms=now_ms) for i in range(BATCH_ENTRIES_MAX)]
    batch = write_batch(tip, candidates, now_ms=now_ms)
    if not all(outcome.accepted for outcome in batch.outcomes):
        raise InvariantError(f"a request is not taken in: {batch.outcomes[0].reason}")
    note = log_key.note(batch.tip.checkpoint()).to_bytes()
    written = [folded.entry for folded in batch.written]
    log.append(start, written, note=note, changes=(), now_ms=now_ms)
    return batch.tip


def _request(tip: Tip, number: int, backend: Identity, *, now_ms: int) -> Candidate:
    intent = Intent(CHAIN, names.WALLET, names.ETH, WEI + number, names.CUSTOMER)
    origin, until, key = tip.state.origin, now_ms + LIFE_MS, f"old-{number}"
    request = Request(origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, until)
    body: Json = request.body()
    return Candidate("request", body, {"signature": backend.key.sign(request_message(body)).hex()})


@dataclass
class _CatchingUp:
    """Looks how far cosigners are, and says so now and then."""

    deployment: scenario.Deployment
    _said_s: float = field(default_factory=time.monotonic)
    _looked_s: float = 0.0

    def over(self) -> bool:
        """Whether every cosigner has the whole log. Asked more often than it looks, it says no."""
        if time.monotonic() < self._looked_s + LOOK_EACH_S:
            return False
        self._looked_s = time.monotonic()
        try:
            status = self.deployment.status()
        except QuorumkeepError:
            return False
        lack = {node["name"]: status["size"] - node["size"] for node in status["nodes"]}
        if time.monotonic() > self._said_s + SAY_EACH_S:
            self._said_s = time.monotonic()
            progress("entries still lacking: " + ", ".join(f"{name} {lack[name]}" for name in sorted(lack)))
        return not any(lack.values()) and all(node["live"] for node in status["nodes"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
