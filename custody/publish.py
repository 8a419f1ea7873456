"""The log as static files for auditors: tiles first, then the checkpoint that covers them."""

import asyncio
import os
from pathlib import Path

from custody.branches import NOTE_BYTES_MAX
from custody.replication import Published, Replication
from custody.witnesses import Asking, nobody
from policy.errors import OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import Frontier, frontier_at, leaf_hash
from policy.log.tiles import increment, tile_hash_reader

CHECKPOINT = "checkpoint"
IDLE_S, TOGETHER_S = 1.0, 0.25


class Publisher:
    """Writes what has w cosignatures under one folder; each file whole or not at all."""

    def __init__(self, folder: Path, *, ask: Asking = nobody) -> None:
        self._folder = folder
        self._ask = ask
        self._missing: tuple[str, ...] = ()
        self._frontier = Frontier()

    def load(self) -> None:
        """Go on from what is published."""
        note = self._read(CHECKPOINT)
        if note is not None:
            size = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body).size
            self._frontier = frontier_at(tile_hash_reader(self._read, size), size)

    async def run(self, replication: Replication) -> None:
        """Publish every new quorum checkpoint until cancelled; those in between may be skipped."""
        while True:
            if await replication.reached(self._frontier.size + 1, IDLE_S) or self._missing:
                if self._ask is nobody:  # nothing waits for it
                    await asyncio.sleep(TOGETHER_S)
                await self._publish(replication.quorum, replication)

    async def _publish(self, quorum: Published, replication: Replication) -> None:
        size = quorum.size
        while self._frontier.size < size:
            entries = await replication.entries(self._frontier.size, size)
            for path, data in increment(self._read, self._frontier, entries=entries):
                self._write(path, data)
            for entry in entries:
                self._frontier = self._frontier.append(leaf_hash(entry))
        self._write(CHECKPOINT, quorum.note)  # witnesses hold payments up, and not the log
        note, self._missing = await self._ask(self._read, quorum.note)
        self._write(CHECKPOINT, note)
        if not self._missing:
            replication.witnessed(Published(size, note))

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperationalError(f"cannot read {self._folder / path}: {error}") from error

    def _write(self, path: str, data: bytes) -> None:
        target = self._folder / path
        temporary = target.with_name(f".{target.name}.new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, target)
        except OSError as error:
            raise OperationalError(f"cannot publish {target}: {error}; free its disk") from error
