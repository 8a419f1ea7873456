"""Serving the HTTP door and the console in the coordinator's own event loop."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import h11
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from custody.adapters.api_server import ServerTls
from custody.adapters.http.calls import HEADER_BYTES_MAX
from custody.adapters.http.problems import problem
from custody.api.errors import Code
from policy.errors import OperationalError

BACKLOG = 256
OPEN_MAX, REFUSED_MAX = 1024, 256
"""So many connections are served; so many more are told that they are not; the others are closed at once."""
GRACE_S, POLL_S, HEAD_S = 1, 0.01, 5.0


def _too_many() -> JSONResponse:
    """What a call is answered on a connection too many, which is closed then."""
    detail = "too many connections are open: close some, or come again"
    return problem(Code.TOO_MANY, detail, headers={"Connection": "close"})


class HttpServer:
    """A server at work; ``port`` is the one it got."""

    def __init__(self, server: uvicorn.Server, running: "asyncio.Task[None]", *, port: int) -> None:
        self._server = server
        self._running = running
        self.port = port

    async def stop(self) -> None:
        """Finish what is being answered, within a second."""
        self._server.should_exit = True
        await asyncio.gather(self._running, return_exceptions=True)


class _Patient(H11Protocol):
    """Closes on who opens a connection and does not say in time what it wants, and on those too many."""

    open_max = OPEN_MAX
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.open_max + REFUSED_MAX:
            transport.close()
            return
        if len(self.connections) > self.open_max:
            self.app = _too_many()
        self._deadline = self.loop.call_later(HEAD_S, self._late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE
        if self._deadline is not None and not waits:
            self._deadline.cancel()
            self._deadline = None
        elif self._deadline is None and waits and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_S, self._late)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused as everything is, with a code; a call that it was part of is over."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.is_closing() or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        refusal = problem(Code.MALFORMED, msg, headers={"Connection": "close"})
        parts = (
            h11.Response(status_code=refusal.status_code, headers=refusal.raw_headers),
            h11.Data(data=bytes(refusal.body)),
            h11.EndOfMessage(),
        )
        for part in parts:
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _late(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


class _Server(uvicorn.Server):
    """The coordinator itself listens to signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def start_http_server(
    app: ASGIApp, listen: str, *, tls: ServerTls | None, open_max: int = OPEN_MAX
) -> HttpServer:
    """Serve ``app`` on ``listen`` (``host:port``, port 0 for any); without TLS only to this machine."""
    listening = _bind(listen)
    config = uvicorn.Config(
        app,
        http=type("_Bounded", (_Patient,), {"open_max": open_max}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=(lambda *_: _context(tls)) if tls is not None else None,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve([listening]), name="http door")
    while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(POLL_S)
    if running.done():
        running.result()
        raise OperationalError(f"the HTTP door on {listen} ended at its start: look at the log")
    return HttpServer(server, running, port=listening.getsockname()[1])


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise OperationalError(f"cannot listen on {listen}: {error}; choose another host:port") from error


def _context(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The module takes files alone; this one is in memory, as the key is.
    with open(os.memfd_create("tls"), "wb") as file:
        file.write(tls.certificate_pem + b"\n" + tls.key_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context
