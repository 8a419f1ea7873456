"""An RPC endpoint in front of the chain that tells the truth until it is told to lie."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

Answer = dict[str, Any]
Lie = Callable[[str, Answer], Answer | None]
"""What is answered instead to a method; None for no answer at all."""
NONCE, RECEIPT, BLOCK = "eth_getTransactionCount", "eth_getTransactionReceipt", "eth_getBlockByNumber"
TIMEOUT_S, SLOW_S = 5.0, 3.0


def _with(answer: Answer, result: Any) -> Answer:
    return {"jsonrpc": "2.0", "id": answer["id"], "result": result}


def _nonce(shift: int) -> Lie:
    def lie(method: str, answer: Answer) -> Answer:
        if method != NONCE or "result" not in answer:
            return answer
        return _with(answer, hex(max(0, int(answer["result"], 16) + shift)))

    return lie


def _nothing_mined(method: str, answer: Answer) -> Answer:
    return _with(answer, None) if method == RECEIPT else answer


def _deep(method: str, answer: Answer) -> Answer:
    """Whatever is in a block is said to be far down the chain, and so to be settled for good."""
    if method == RECEIPT and answer.get("result"):
        return _with(answer, {**answer["result"], "blockNumber": "0x1"})
    return answer


def _base_fee(factor_1000: int) -> Lie:
    def lie(method: str, answer: Answer) -> Answer:
        block = answer.get("result")
        if method != BLOCK or not block:
            return answer
        fee = int(block.get("baseFeePerGas", "0x0"), 16) * factor_1000 // 1000
        return _with(answer, {**block, "baseFeePerGas": hex(fee)})

    return lie


def _no_balance(method: str, answer: Answer) -> Answer:
    return _with(answer, "0x0") if method == "eth_getBalance" else answer


def _slow(method: str, answer: Answer) -> Answer:
    time.sleep(SLOW_S)
    return {**answer}


def _nonsense(method: str, answer: Answer) -> Answer:
    return {"jsonrpc": "2.0", "id": answer["id"], "result": {"a": ["b"]}}


def _refused(method: str, answer: Answer) -> Answer:
    return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32000, "message": "try again later"}}


def _silent(method: str, answer: Answer) -> None:
    return None


def _truth(method: str, answer: Answer) -> Answer:
    return answer


LIES: Final[Mapping[str, Lie]] = {
    "nonce-ahead": _nonce(500),
    "nonce-behind": _nonce(-3),
    "nothing-mined": _nothing_mined,
    "deep": _deep,
    "fees-high": _base_fee(10**9),
    "fees-low": _base_fee(1),
    "no-balance": _no_balance,
    "slow": _slow,
    "nonsense": _nonsense,
    "refused": _refused,
    "silent": _silent,
}


class Endpoint:
    """Listens on ``port`` of every address here, and asks the chain at ``chain_port`` of this machine."""

    def __init__(self, port: int, chain_port: int) -> None:
        self._lie: Lie = _truth
        self.told = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                endpoint._serve(self, chain_port)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", port), Handler)  # noqa: S104 - namespaces of the run
        self._server.daemon_threads = True

    def lie(self, name: str) -> None:
        """Tell this lie from now on; the truth for an empty name."""
        self._lie = LIES[name] if name else _truth

    @contextlib.contextmanager
    def serving(self) -> Iterator["Endpoint"]:
        """Serve for as long as the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def _serve(self, call: BaseHTTPRequestHandler, chain_port: int) -> None:
        body = call.rfile.read(int(call.headers["Content-Length"]))
        connection = http.client.HTTPConnection("127.0.0.1", chain_port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            honest: Answer = json.loads(connection.getresponse().read())
            answer = self._lie(str(json.loads(body)["method"]), honest)
            self.told += answer is not honest
            self._answer(call, answer)
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            call.close_connection = True  # no answer is what a broken endpoint gives
        finally:
            connection.close()

    @staticmethod
    def _answer(call: BaseHTTPRequestHandler, answer: Answer | None) -> None:
        if answer is None:
            call.close_connection = True
            return
        data = json.dumps(answer).encode()
        call.send_response(200)
        call.send_header("Content-Type", "application/json")
        call.send_header("Content-Length", str(len(data)))
        call.end_headers()
        call.wfile.write(data)
