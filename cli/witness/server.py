"""The witness over HTTP, as c2sp.org/tlog-witness has it: ``add-checkpoint``, and what was cosigned last."""

import logging
import re
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cli.witness.keeper import Keeper
from policy.errors import OperationalError, ProtocolError
from policy.log.witnessing import REQUEST_BYTES_MAX, SIZE_TYPE, Refused, Status, parse_submission

TIMEOUT_S, CONNECTION_S = 10, 30
CONNECTIONS_MAX = 64
_LENGTH = re.compile(r"[0-9]{1,9}")
_LOG = logging.getLogger(__name__)


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness: so many connections at once, each for one call and so many seconds."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        keeper: Keeper,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connection_s: float = CONNECTION_S,
    ) -> None:
        super().__init__(address, _Handler)
        self.keeper = keeper
        self._free, self._connection_s = threading.Semaphore(connections_max), connection_s

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or close it when there are too many."""
        if not self._free.acquire(blocking=False):
            _LOG.warning("too many connections: one was closed unheard")
            return self.shutdown_request(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started: nobody else gives the place back
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection; one that says a little now and then is ended all the same."""
        timer = threading.Timer(self._connection_s, _end, (request,))
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What a caller breaks off is no event."""
        _LOG.debug("a connection was broken off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "quorumkeep-witness", ""
    timeout = TIMEOUT_S

    def do_POST(self) -> None:
        """Cosign a checkpoint, or say why not."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            return self._answer(HTTPStatus.NOT_FOUND, b"")
        if not _LENGTH.fullmatch(length) or int(length) > REQUEST_BYTES_MAX:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"say how long the call is\n")
        try:
            found = parse_submission(self.rfile.read(int(length)))
            line = self.server.keeper.cosign(found, time_s=int(time.time()))
        except Refused as refused:
            kind = SIZE_TYPE if refused.status is Status.CONFLICT else "text/plain; charset=utf-8"
            return self._answer(
                HTTPStatus(refused.status), refused.body or f"{refused.reason}\n".encode(), kind=kind
            )
        except (ProtocolError, UnicodeDecodeError) as error:
            return self._answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode())
        except OperationalError as error:
            _LOG.error("%s", error)
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"cannot keep what would be cosigned\n")
        _LOG.info("cosigned %s at %d entries", found.origin, found.head.size)
        return self._answer(HTTPStatus.OK, line)

    def do_GET(self) -> None:
        """What was cosigned last."""
        name, _, rest = self.path.removeprefix("/").partition("/")
        data = self.server.keeper.last(name) if rest == "checkpoint" else None
        if data is None:
            return self._answer(HTTPStatus.NOT_FOUND, b"")
        return self._answer(HTTPStatus.OK, data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing for each request: what is cosigned is logged."""

    def _answer(self, status: HTTPStatus, body: bytes, *, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body)


def _end(connection: socket.socket) -> None:
    """End a connection under whoever reads from it; it may be over already."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
