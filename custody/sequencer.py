"""The single writer of the log.

Rules: (1) entries, their checkpoint and what they change in the tables are durable before anybody is
sent them; (2) the next checkpoint is sent when the one before has w cosignatures, so that cosigners
meet on the same heads; (3) whoever waits for an entry learns its outcome once it is durable, and asks
``Replication.wait_quorum`` when it must be cosigned too; (4) requests and observations, whose cosignatures
nobody waits for and which can be made again, are sent with what comes next, or after a moment; (5) while
cosigners meet, what can be made again is written, reservations as well, and sent together when they have. It
overtakes signatures and nothing else; (6) a signature is not written before they have met: should this
database be lost, only the cosigners know what can be on the chain by then. It is sent at once if anything
else is to be written, otherwise with what comes next, ``COMPANY_S`` later at the most: who waits for it is
told first, and cosigners meet once for it and for the next reservation.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import TypeAlias

from custody.candidates import BATCH_ENTRIES_MAX, Batch, Candidate, Folded, Tip, write_batch
from custody.log_key import LogKey
from custody.metrics import Metrics
from custody.projection import changes
from custody.records import Applied
from custody.replication import Published, Replication
from custody.storage import Database
from custody.stored_tip import StoredTip
from policy.log.merkle import leaf_hash
from policy.state import Outcome, State

QUORUM_PATIENCE_S = 1.0
PATIENT, TOGETHER_S = frozenset({"request", "observation"}), 0.05
MEANWHILE, PACE_S = PATIENT | {"reserve"}, 0.005
PACED_MAX = 8
COMPANY_S = 0.02
OVERTAKEN = MEANWHILE | {"signature"}
_Queued: TypeAlias = tuple[Candidate, "asyncio.Future[Outcome]"]


class Sequencer:
    """Writes candidates into the log, in the order they came.

    ``on_written`` hears of every entry before any cosigner does; ``on_applied`` of what became of
    requests.
    """

    def __init__(
        self,
        database: Database,
        replication: Replication,
        *,
        log_key: LogKey,
        now_ms: Callable[[], int],
        metrics: Metrics,
        together_s: float = TOGETHER_S,
    ) -> None:
        self._together_s = together_s
        self._database = database
        self._replication = replication
        self._log_key = log_key
        self._now_ms = now_ms
        self._metrics = metrics
        self._tip: Tip | None = None
        self._stored: StoredTip | None = None
        self._to_store = False
        self._queue: deque[_Queued] = deque()
        self._wake = asyncio.Event()
        self._unsent: Published | None = None
        self._unsent_entries: list[bytes] = []
        self._send_at: float | None = None
        self._write_at = 0.0
        self._meeting: asyncio.Task[None] | None = None
        self.on_written: list[Callable[[Folded], None]] = []
        self.on_applied: list[Callable[[Applied], None]] = []

    def start(self, tip: Tip, stored: StoredTip) -> None:
        """Go on from ``tip``, which is durable, and with storing its state."""
        self._tip, self._stored = tip, stored

    @property
    def tip(self) -> Tip:
        """The end of the durable log."""
        if self._tip is None:
            raise RuntimeError("the sequencer was not started")
        return self._tip

    @property
    def stored(self) -> StoredTip:
        """What is stored of the state at the tip, or before it."""
        if self._stored is None:
            raise RuntimeError("the sequencer was not started")
        return self._stored

    @property
    def state(self) -> State:
        """The state at the tip."""
        return self.tip.state

    async def log(self, candidate: Candidate) -> Outcome:
        """Put a candidate into the log; its outcome, once durable, or why it was not written."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._queue.append((candidate, future))
        if all(one[0].kind == "observation" for one in self._queue):  # what is to be done goes before
            loop.call_later(COMPANY_S, self._wake.set)
        else:
            self._wake.set()
        return await future

    async def run(self) -> None:
        """Write until cancelled. An error here is fatal: restart from the database."""
        try:
            while True:
                await self._step()
                await self._wait()
        finally:
            if self._meeting is not None:
                self._meeting.cancel()

    async def _step(self) -> None:
        """Write what can be written now; unless cosigners meet, send what is due; store some of the state."""
        self._wake.clear()
        if self._meeting is not None and self._meeting.done():
            self._meeting.result()
            self._meeting = None
        if queued := self._writable():
            await self._write(queued)
        if self._meeting is None and self._send_at is not None and self._now_s() >= self._send_at:
            self._send()
        if self._to_store:  # when all else is on its way
            self._tip = self.stored.keep(self.tip, self._replication.quorum.size)
            self._to_store = False

    async def _wait(self) -> None:
        """Until there is something to write or to send, or a meeting is over."""
        at: float | None = self._send_at
        if self._meeting is not None:
            at = self._write_at if self._meanwhile() else None
        elif self._queue:
            at = 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(at):
                await self._wake.wait()

    def _writable(self) -> list[_Queued]:
        """What is to be written now, in the order it came."""
        if self._meeting is None:
            return list(islice(self._queue, BATCH_ENTRIES_MAX))
        return self._meanwhile() if self._now_s() >= self._write_at else []

    def _meanwhile(self) -> list[_Queued]:
        """What can be written while cosigners meet."""
        ahead = takewhile(lambda one: one[0].kind in OVERTAKEN, self._queue)
        return list(islice((one for one in ahead if one[0].kind in MEANWHILE), BATCH_ENTRIES_MAX))

    async def _write(self, queued: Sequence[_Queued]) -> None:
        batch = write_batch(self.tip, [candidate for candidate, _ in queued], now_ms=self._now_ms())
        if batch.written:
            await self._make_durable(batch)
        self._write_at = self._now_s() + PACE_S * min(len(queued), PACED_MAX)  # many wait for more company
        dealt_with = queued[: len(batch.outcomes)]
        for one, outcome in zip(dealt_with, batch.outcomes, strict=True):
            self._queue.remove(one)
            if not one[1].done():
                one[1].set_result(outcome)

    async def _make_durable(self, batch: Batch) -> None:
        start = self.tip.frontier.size
        note = self._log_key.note(batch.tip.checkpoint()).to_bytes()
        applied = await self._database.append(
            start,
            [folded.entry for folded in batch.written],
            note=note,
            changes=[change for folded in batch.written for change in changes(folded)],
            now_ms=self._now_ms(),
        )
        self._tip = batch.tip
        self.stored.extend([leaf_hash(folded.entry) for folded in batch.written])
        self._to_store = True
        self._metrics.log_size.set(batch.tip.frontier.size)
        for folded in batch.written:
            for hear in self.on_written:
                hear(folded)
        self._replication.use_roster(batch.tip.state)
        self._unsent = Published(batch.tip.frontier.size, note)
        self._unsent_entries += [folded.entry for folded in batch.written]
        send_at = self._now_s() + self._patience_s(batch)
        self._send_at = send_at if self._send_at is None else min(self._send_at, send_at)
        for one in applied:
            for tell in self.on_applied:
                tell(one)

    def _patience_s(self, batch: Batch) -> float:
        """How long what was just written is not sent, unless something more urgent comes."""
        kinds = {folded.outcome.kind for folded in batch.written}
        if kinds <= PATIENT:
            return self._together_s
        nothing_else = len(self._queue) <= len(batch.outcomes)
        return COMPANY_S if kinds == {"signature"} and nothing_else else 0.0

    def _send(self) -> None:
        """Have the cosigners sent the newest checkpoint, and let them meet on it."""
        unsent, self._unsent, self._send_at = self._unsent, None, None
        entries, self._unsent_entries = self._unsent_entries, []
        if unsent is not None:
            self._replication.publish(unsent, entries)
            self._meeting = asyncio.create_task(self._meet(unsent.size), name="meeting")
            self._meeting.add_done_callback(lambda _: self._wake.set())

    async def _meet(self, size: int) -> None:
        """Give the cosigners a moment to meet on this head; without w of them go on all the same."""
        started = time.monotonic()
        if await self._replication.reached(size, QUORUM_PATIENCE_S):
            self._metrics.checkpoint_seconds.observe(time.monotonic() - started)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
