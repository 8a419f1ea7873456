"""A policy that is not in force, judged beside the real one as the log grows. It decides nothing.

The real path only puts what it has written into a queue, and drops it when the queue is full. Judging and
keeping run on a thread of their own; what goes wrong there is counted and logged, and the shadow begins anew
from the log's state with the next entry. Reservations that the real policy does not allow are not in the
log, so the shadow is asked about those that it does, and about every request.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from custody.candidates import Folded
from custody.metrics import Metrics
from policy.backtest import Beside, Comparison, compare
from policy.document import normalise_document, parse_policy, policy_hash
from policy.encoding import Json
from policy.entries import parse_entry
from policy.errors import OperationalError
from policy.replay import Step
from policy.state import State

QUEUE_MAX = 4096
BATCH_MAX = 64
REPORT_MAX = 200
_LOG = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where comparisons are kept. Methods are synchronous, each one transaction; they may raise anything."""

    def add(self, policy: bytes, comparisons: Sequence[Comparison]) -> None:
        """Keep what the policy with this hash would have said."""

    def newest(self, policy: bytes, *, flips: bool, limit: int) -> list[Json]:
        """The newest of one policy, newest first; with ``flips`` only those of another outcome."""


class Written(NamedTuple):
    """An entry and the state before it."""

    before: State
    folded: Folded


class Shadow:
    """One policy beside the log's. Raises ``MalformedError`` for a document that is no policy."""

    def __init__(self, document: Json, shelf: Shelf, *, metrics: Metrics, queue_max: int = QUEUE_MAX) -> None:
        document = normalise_document(document)
        self._policy, self._hash = parse_policy(document), policy_hash(document)
        self._shelf, self._metrics = shelf, metrics
        self._queue: asyncio.Queue[Written] = asyncio.Queue(queue_max)
        self._tip: State | None = None  # after the newest entry of the log
        self._after: State | None = None  # after the newest entry that the windows have
        self._beside: Beside | None = None
        self._errors = 0

    def start(self, state: State) -> None:
        """Go on from ``state``; ``written`` hears of every entry from there."""
        self._tip = state

    def written(self, folded: Folded) -> None:
        """Hear of an entry of the log; never waits, never raises."""
        before, self._tip = self._tip, folded.state
        if before is None:
            return
        try:
            self._queue.put_nowait(Written(before, folded))
        except asyncio.QueueFull:
            self._failed(1)

    async def run(self) -> None:
        """Judge until cancelled; nothing but that ends it."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await asyncio.to_thread(self._take, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the real path goes on
                _LOG.warning("the shadow policy failed: %r", error)
                self._failed(len(batch))

    async def report(self, *, flips: bool, limit: int) -> Json:
        """What it would have said of late; ``errors`` counts the entries it has no verdict on.

        Raises ``OperationalError`` when what was kept cannot be read.
        """
        newest = partial(self._shelf.newest, self._hash, flips=flips, limit=min(limit, REPORT_MAX))
        try:
            verdicts = await asyncio.to_thread(newest)
        except Exception as error:
            raise OperationalError(f"what the shadow policy said cannot be read: {error}") from error
        return {
            "policy": self._hash.hex(),
            "name": self._policy.name,
            "errors": self._errors,
            "verdicts": verdicts,
        }

    def _failed(self, entries: int) -> None:
        self._errors += entries
        self._metrics.shadow_errors.inc(entries)

    def _take(self, batch: Sequence[Written]) -> None:
        found = []
        for before, folded in batch:
            beside = self._beside if before is self._after else None
            self._beside = self._after = None
            beside = beside or Beside.of(self._policy, before)
            step = Step(
                before, before.size, folded.entry, parse_entry(folded.entry), folded.outcome, folded.state
            )
            compared = compare(beside, step)
            self._beside, self._after = beside.following(step), folded.state
            if compared is not None:
                found.append(compared)
        if found:
            self._shelf.add(self._hash, found)
        for one in found:
            outcomes = (one.real.outcome.word, one.other.outcome.word)
            self._metrics.shadow_verdicts.labels(one.kind, *outcomes).inc()
