"""Hands connections on to another coordinator, byte for byte: TLS ends there, nothing is read or changed."""

import asyncio
import contextlib
import logging

from policy.errors import OperationalError

OPEN_MAX = 1024
CHUNK_BYTES = 64 * 1024
CONNECT_S = 5.0
_LOG = logging.getLogger(__name__)


class Relay:
    """Listens on ``host:port``; connections go to ``target`` (``host:port``), if there is one."""

    def __init__(self, listen: str) -> None:
        self._listen = listen
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
        host, _, port = self.target.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            ways = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            back.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
