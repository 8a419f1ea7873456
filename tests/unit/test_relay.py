"""A relay hands bytes on both ways, and is not held by callers who say nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from custody.adapters.relay import Relay
from tests.waiting import WAIT_S

SHORT_S, LONG_S = 0.3, 600.0


@asynccontextmanager
async def relayed(*, first_s: float = LONG_S, idle_s: float = LONG_S) -> AsyncIterator[tuple[int, list[int]]]:
    """A relay to somebody who says everything again; its port, and who came through."""
    came: list[int] = []

    async def again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(again, "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    relay = Relay(f"127.0.0.1:{port}", first_s=first_s, idle_s=idle_s)
    relay.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await relay.start()
    try:
        yield port, came
    finally:
        await relay.stop()
        server.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(WAIT_S):
        return await reader.read(100) == b""


async def test_what_is_said_comes_back_from_the_other_side() -> None:
    async with relayed() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for said in (b"one", b"two"):
            writer.write(said)
            assert await reader.readexactly(3) == said
        writer.close()


async def test_nobody_is_called_for_a_caller_who_says_nothing() -> None:
    async with relayed(first_s=SHORT_S) as (port, came):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        assert await ended(reader) and not came
        writer.close()


async def test_a_connection_lasts_while_something_goes_over_it_and_not_longer() -> None:
    async with relayed(idle_s=SHORT_S) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(4):
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            await asyncio.sleep(SHORT_S / 2)

        assert await ended(reader)
        writer.close()
