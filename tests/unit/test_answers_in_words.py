"""What an endpoint says in words gets into errors that are stored and logged: as text that can be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.evm.rpc import EvmRpc
from custody.chains.solana.rpc import SolanaRpc
from policy.errors import OperationalError

BODY = rb'{"error": {"code": 3, "message": "\ud800\n2026-01-01 all is well"}}'
ANSWERS = {
    "an error of its own": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "a reason": b"HTTP/1.1 500 \xff\xfe all is well\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"\xff\xfe all is well\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\n\xff\xfe\r\n\r\n",
    "no end": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n\xff",
}


async def evm(url: str) -> None:
    rpc = EvmRpc("evm:1", url)
    try:
        await rpc.check()
    finally:
        await rpc.close()


CALLS: dict[str, Callable[[str], Awaitable[None]]] = {
    "evm": evm,
    "bitcoin": lambda url: BitcoinRpc("bitcoin:regtest", url).check(),
    "solana": lambda url: SolanaRpc("solana:localnet", url).check(),
}


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """An endpoint that answers these bytes to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_every_error_is_one_line_of_text(answer: bytes, call: Callable[[str], Awaitable[None]]) -> None:
    async with saying(answer) as url:
        with pytest.raises(OperationalError) as raised:
            await call(url)

    assert str(raised.value).isprintable()
    assert str(raised.value).encode()
