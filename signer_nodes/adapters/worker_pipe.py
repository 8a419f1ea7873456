"""The node's end of the pipe to a worker: frames both ways, and a last word that always arrives.

A worker says its last word and ends; a peer's message may still be on its way to it then. With asyncio's
streams the failed write would close the transport, and the word that was never read with it: a peer could
send one message too many and so keep its ban from the node. Here reading does not depend on writing: what
the worker has written is read to its end, whatever else happened to the pipe.
"""

import asyncio
import contextlib
import socket

from signer_nodes import worker_frames as frames

READ_BYTES_MAX = 1 << 20


class WorkerPipe:
    """Owns ``pipe``. Frames of several senders do not mix."""

    def __init__(self, pipe: socket.socket) -> None:
        pipe.setblocking(False)
        self._pipe = pipe
        self._writing = asyncio.Lock()

    async def send(self, word: bytes, *parts: bytes) -> None:
        """Send one frame. Raises ``OSError`` when the worker has ended. Cancelled, it tears the frame."""
        async with self._writing:
            await asyncio.get_running_loop().sock_sendall(self._pipe, frames.frame(word, *parts))

    async def receive(self) -> tuple[bytes, list[bytes]]:
        """Wait for one frame.

        Raises ``EOFError`` or ``OSError`` when the worker has ended and nothing it wrote is left, and
        ``MalformedError``.
        """
        length = frames.frame_length(await self._exactly(frames.LENGTH_BYTES))
        return frames.split(await self._exactly(length))

    async def close(self) -> None:
        """End it, and whoever waits to write with it. For the one who reads."""
        with contextlib.suppress(OSError):
            self._pipe.shutdown(socket.SHUT_RDWR)
        async with self._writing:  # the descriptor is free only when nobody waits on it
            self._pipe.close()

    async def _exactly(self, length: int) -> bytes:
        loop, data = asyncio.get_running_loop(), bytearray()
        while len(data) < length:
            part = await loop.sock_recv(self._pipe, min(length - len(data), READ_BYTES_MAX))
            if not part:
                raise EOFError
            data += part
        return bytes(data)
