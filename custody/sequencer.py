"""The single writer of the log.

Rules: (1) entries, their checkpoint and what they change in the tables are durable before anybody is
sent them; (2) the next checkpoint is made when the one before has w cosignatures, so that cosigners
meet on the same heads; (3) whoever waits for an entry learns its outcome once it is durable, and asks
``Replication.wait_quorum`` when it must be cosigned too; (4) requests and observations, whose cosignatures
nobody waits for and which can be made again, are sent with what comes next, or after a moment. A signature is
sent at once: should this database be lost, only the cosigners know what can be on the chain by then.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from custody.candidates import BATCH_ENTRIES_MAX, Batch, Candidate, Folded, Tip, write_batch
from custody.log_key import LogKey
from custody.metrics import Metrics
from custody.projection import changes
from custody.records import Applied
from custody.replication import Published, Replication
from custody.storage import Database
from policy.state import Outcome, State

QUORUM_PATIENCE_S = 1.0
PATIENT, TOGETHER_S = frozenset({"request", "observation"}), 0.05


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
        self._queue: deque[tuple[Candidate, asyncio.Future[Outcome]]] = deque()
        self._wake = asyncio.Event()
        self._unsent: Published | None = None
        self._send_at: float | None = None
        self.on_written: list[Callable[[Folded], None]] = []
        self.on_applied: list[Callable[[Applied], None]] = []

    def start(self, tip: Tip) -> None:
        """Go on from ``tip``, which is durable."""
        self._tip = tip

    @property
    def tip(self) -> Tip:
        """The end of the durable log."""
        if self._tip is None:
            raise RuntimeError("the sequencer was not started")
        return self._tip

    @property
    def state(self) -> State:
        """The state at the tip."""
        return self.tip.state

    async def log(self, candidate: Candidate) -> Outcome:
        """Put a candidate into the log; its outcome, once durable, or why it was not written."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((candidate, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Write until cancelled. An error here is fatal: restart from the database."""
        while True:
            await self._wait_for_work()
            while self._queue:
                await self._write()

    async def _wait_for_work(self) -> None:
        """Wait for candidates, and send what has waited for company long enough."""
        try:
            async with asyncio.timeout_at(self._send_at):
                await self._wake.wait()
        except TimeoutError:
            await self._send()
        self._wake.clear()

    async def _write(self) -> None:
        candidates = [candidate for candidate, _ in list(self._queue)[:BATCH_ENTRIES_MAX]]
        batch = write_batch(self.tip, candidates, now_ms=self._now_ms())
        if batch.written:
            await self._make_durable(batch)
        for outcome in batch.outcomes:
            _, future = self._queue.popleft()
            if not future.done():
                future.set_result(outcome)
        patient = all(folded.outcome.kind in PATIENT for folded in batch.written)
        if not patient or self._is_due():
            await self._send()

    def _is_due(self) -> bool:
        return self._send_at is not None and asyncio.get_running_loop().time() >= self._send_at

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
        self._metrics.log_size.set(batch.tip.frontier.size)
        for folded in batch.written:
            for hear in self.on_written:
                hear(folded)
        self._replication.use_roster(batch.tip.state)
        self._unsent = Published(batch.tip.frontier.size, note)
        self._send_at = self._send_at or asyncio.get_running_loop().time() + self._together_s
        for one in applied:
            for tell in self.on_applied:
                tell(one)

    async def _send(self) -> None:
        """Have the cosigners sent the newest checkpoint, and wait for their quorum."""
        unsent, self._unsent, self._send_at = self._unsent, None, None
        if unsent is not None:
            self._replication.publish(unsent)
            await self._wait_quorum(unsent.size)

    async def _wait_quorum(self, size: int) -> None:
        """Give the cosigners a moment to meet on this head; without w of them go on all the same."""
        started = time.monotonic()
        if await self._replication.reached(size, QUORUM_PATIENCE_S):
            self._metrics.checkpoint_seconds.observe(time.monotonic() - started)
