"""Reorganisations deeper than the confirmations: what settled is looked at again, and undone when it is gone.

What settled within the last blocks is remembered by its block, from the tables at a start. Each round asks
about one request of some blocks, all in turn: a block that the chain has no more takes all its requests
along, so one of them that is missing has the others asked about. What two rounds in a row do not find is
undone: it is sent again, the same bytes, and waits for its confirmations anew. Nothing is logged: the log
closed the request for good, its anchor is used, and nothing else is ever signed for it.

What a chain has made final is not asked about: nothing can undo it, and nodes that keep no history soon say
that they do not know it.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from custody.parts import Parts
from custody.payments import chain_of
from custody.records import Change, RequestRecord
from custody.requests import Event, State
from policy.errors import OperationalError

WINDOW_BLOCKS: Final = 256
BLOCKS_AT_ONCE: Final = 8
ROUND_POLLS, ROUND_MS_MAX = 4, 60_000
FINAL_MS_MAX: Final = 3_600_000
"""A chain that makes blocks final has done so by then."""
MINED: Final = (State.SETTLED, State.FAILED, State.CANCELLED)
_LOG = logging.getLogger(__name__)


class Settled:
    """What settled on one chain, by its block; those asked about longest ago come first."""

    def __init__(self, parts: Parts, chain: str) -> None:
        self._parts, self.chain = parts, chain
        self._final_at = chain_of(parts, chain).final_at
        self._blocks: OrderedDict[int, OrderedDict[bytes, None]] = OrderedDict()
        self._block_of: dict[bytes, int] = {}
        self._missing: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._block_of)

    async def load(self) -> None:
        """Take up what settled before a start and may not be final."""
        old_ms = self._parts.now_ms() - FINAL_MS_MAX
        for record in await self._parts.database.settled(self.chain, WINDOW_BLOCKS, states=MINED):
            if self._final_at is None or record.updated_ms > old_ms:
                self.changed(record)

    def changed(self, record: RequestRecord) -> None:
        """A request is in this state now."""
        if record.chain != self.chain or self._is_final(self._parts.confirmations[self.chain]):
            return
        if record.state in MINED and record.block:
            self._forget(record.request)
            self._block_of[record.request] = record.block
            self._blocks.setdefault(record.block, OrderedDict())[record.request] = None
        elif record.state is State.SIGNED:
            self._forget(record.request)

    async def look(self) -> None:
        """One round. Raises ``OperationalError`` when the chain does not answer."""
        for block in list(self._blocks)[:BLOCKS_AT_ONCE]:
            if block not in self._blocks:
                continue
            self._blocks.move_to_end(block)
            requests = self._blocks[block]
            first = next(iter(requests))
            requests.move_to_end(first)
            if not await self._is_there(first, block):
                for request in [one for one in requests if one != first]:
                    await self._is_there(request, block)

    def _is_final(self, confirmations: int) -> bool:
        return self._final_at is not None and confirmations >= self._final_at

    async def _is_there(self, request: bytes, block: int) -> bool:
        """Whether the chain still has it in that block; what it has in another one moves there."""
        record = await self._parts.database.get(request)
        if record is None or record.state not in MINED:
            self._forget(request)
            return True
        chain = chain_of(self._parts, self.chain)
        receipt = await chain.receipt(record.tx_hash)
        if receipt is not None and receipt.block == block:
            self._missing.discard(request)
            if self._is_final(receipt.confirmations):
                self._forget(request)
            self._bury(block + receipt.confirmations - 1)
            return True
        if receipt is not None and receipt.confirmations >= self._parts.confirmations[self.chain]:
            self._missing.discard(request)
            await self._parts.duties.apply(Change(request, None, {"block": receipt.block}))
            self.changed(replace(record, block=receipt.block))
        elif request not in self._missing:  # one that answers late says so, too: ask once more
            self._missing.add(request)
        elif receipt is not None or await chain.is_gone(record.tx_hash, block=block):
            await self._undo(record)
        return False

    async def _undo(self, record: RequestRecord) -> None:
        what = (
            f"a reorganisation of {self.chain} took block {record.block}: the same transaction is sent again"
        )
        await self._parts.duties.apply(Change(record.request, Event.UNDONE, {"error": what, "block": 0}))
        self._forget(record.request)  # not before: what the database did not take is undone at the next round
        self._parts.metrics.undone.labels(chain=self.chain).inc()
        _LOG.error("request %s: %s", record.request.hex(), what)

    def _bury(self, head: int) -> None:
        """Forget what is deeper than the window."""
        for block in [block for block in self._blocks if block <= head - WINDOW_BLOCKS]:
            for request in list(self._blocks[block]):
                self._forget(request)

    def _forget(self, request: bytes) -> None:
        self._missing.discard(request)
        block = self._block_of.pop(request, None)
        if block is not None:
            del self._blocks[block][request]
            if not self._blocks[block]:
                del self._blocks[block]


async def run(parts: Parts) -> None:
    """Look at all chains, each in its own time, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for chain in parts.chains:
            group.create_task(_watch(parts, Settled(parts, chain)), name=f"settled on {chain}")


async def _watch(parts: Parts, settled: Settled) -> None:
    parts.duties.on_changed.append(settled.changed)
    round_ms = min(ROUND_POLLS * parts.poll_ms[settled.chain], ROUND_MS_MAX)
    is_loaded = False
    while True:
        try:
            if not is_loaded:
                await settled.load()
            is_loaded = True
            await settled.look()
        except OperationalError as error:
            _LOG.info("%s is not asked about what settled: %s", settled.chain, error)
        await asyncio.sleep(round_ms / 1000)
