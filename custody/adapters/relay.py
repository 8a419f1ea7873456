"""Hands connections on to another coordinator, byte for byte: TLS ends there, nothing is read or changed.

One over which nothing goes is closed, or whoever opens them and says nothing would keep everybody else out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TypeAlias

from policy.errors import OperationalError

OPEN_MAX = 1024
CHUNK_BYTES = 64 * 1024
CONNECT_S = 5.0
FIRST_S = 15.0
IDLE_S = 900.0
_LOG = logging.getLogger(__name__)
Way: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Listens on ``host:port``; connections go to ``target`` (``host:port``), if there is one.

    A caller has ``first_s`` to say something, and later ``idle_s`` may pass in which neither side does.
    """

    def __init__(self, listen: str, *, first_s: float = FIRST_S, idle_s: float = IDLE_S) -> None:
        self._listen, self._first_s, self._idle_s = listen, first_s, idle_s
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.target = ""

    async def start(self) -> None:
        """Begin to listen. Raises ``OperationalError``."""
        host, _, port = self._listen.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._accept, host.strip("[]"), int(port))
        except (OSError, ValueError) as error:
            raise OperationalError(
                f"cannot listen on {self._listen}: {error}; choose another port"
            ) from error

    async def stop(self) -> None:
        """Give the port back and close what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not self.target or len(self._open) >= OPEN_MAX:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._hand_on(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            _LOG.debug("a connection to %s ended", self.target)
        finally:
            self._open.discard(task)
            writer.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._first_s):
            first = await reader.read(CHUNK_BYTES)  # nobody is called for a caller who says nothing
        host, _, port = self.target.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            back.write(first)
            async with asyncio.timeout(self._idle_s) as quiet:
                await self._pump_both([(reader, back), (there, writer)], quiet)
        finally:
            back.close()

    async def _pump_both(self, ways: Sequence[Way], quiet: asyncio.Timeout) -> None:
        """Until one side ends, or neither says anything any more."""
        pumps = [asyncio.create_task(self._pump(*way, quiet)) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, quiet: asyncio.Timeout
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                quiet.reschedule(asyncio.get_running_loop().time() + self._idle_s)
                sink.write(data)
                await sink.drain()
