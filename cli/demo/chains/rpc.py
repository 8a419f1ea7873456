"""A chain's node behind JSON-RPC, on this machine alone: in a thread, or as a process of its own."""

import base64
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class RpcError(Exception):
    """What a node answers in place of a result: its code and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ChainRpc(ABC):
    """One node's calls, each a method ``do_NAME``. ``lies`` change answers, ``down`` has none."""

    def __init__(self, *, credentials: str = "", port: int = 0) -> None:
        self.lies: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[str] = []
        self.down = False
        self.turn = threading.RLock()
        self.authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else ""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @abstractmethod
    def mine_waiting(self) -> None:
        """A block, if there is something for it."""

    def serve(self, every_ms: int) -> None:
        """Answer, and mine what waits every now and then, until the process is ended."""
        with self:
            while True:
                time.sleep(every_ms / 1000)
                self.mine_waiting()

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """One call. Raises ``RpcError``."""
        call = getattr(self, f"do_{method}", None)
        if call is None:
            raise RpcError(-32601, "Method not found")
        with self.turn:
            self.calls.append(method)
            found = call(*parameters)
        return self.lies[method](found) if method in self.lies else found

    def told(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """A call's answer as it goes over the wire: its HTTP status and its document, by JSON-RPC 2.0."""
        try:
            answer: dict[str, Any] = {"result": self.answer(asked["method"], asked["params"])}
        except RpcError as error:
            answer = {"error": {"code": error.code, "message": str(error)}}
        return 200, {"jsonrpc": "2.0", "id": asked["id"], **answer}


def _handler(rpc: ChainRpc) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if rpc.down:
                self.close_connection = True
            elif rpc.authorization and self.headers.get("authorization") != rpc.authorization:
                self._say(401, b"")
            else:
                status, answer = rpc.told(json.loads(body))
                self._say(status, json.dumps(answer).encode())

        def _say(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return Handler
