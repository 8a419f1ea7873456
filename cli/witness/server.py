"""The witness over HTTP, as c2sp.org/tlog-witness has it: ``add-checkpoint``, and what was cosigned last."""

import logging
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cli.witness.keeper import Keeper
from policy.errors import OperationalError, ProtocolError
from policy.log.witnessing import REQUEST_BYTES_MAX, SIZE_TYPE, Refused, Status, parse_submission

TIMEOUT_S = 10
_LOG = logging.getLogger(__name__)


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], keeper: Keeper) -> None:
        super().__init__(address, _Handler)
        self.keeper = keeper


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "quorumkeep-witness", ""
    timeout = TIMEOUT_S

    def do_POST(self) -> None:
        """Cosign a checkpoint, or say why not."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            return self._answer(HTTPStatus.NOT_FOUND, b"", close=True)
        if not length.isascii() or not length.isdigit() or int(length) > REQUEST_BYTES_MAX:
            return self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"say how long the call is\n", close=True
            )
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

    def _answer(
        self, status: HTTPStatus, body: bytes, *, kind: str = "text/plain; charset=utf-8", close: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
