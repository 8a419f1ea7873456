"""``SolanaCluster`` behind HTTP, by the names of the RPC that the coordinator asks.

It runs in a thread, or as a process that makes a slot every now and then, while there is something to be
run or to become final. ``requestAirdrop`` pays from the cluster's purse.
"""

import argparse
import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction_metadata import FailedTransactionMetadata

from cli.demo.chains.solana.blocks import block, transaction
from cli.demo.chains.solana.cluster import ClusterError, SolanaCluster


class ClusterRpc:
    """One node's calls. ``lies`` change answers, ``down`` has none."""

    def __init__(self, cluster: SolanaCluster, *, port: int = 0) -> None:
        self.cluster = cluster
        self.lies: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[str] = []
        self.down = False
        self.turn = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ClusterRpc":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def mine_waiting(self) -> None:
        """A slot, unless all there is has run and is final."""
        with self.turn:
            if not self.cluster.is_settled:
                self.cluster.mine()

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """One call. Raises ``ClusterError``."""
        call = getattr(self, f"do_{method}", None)
        if call is None:
            raise ClusterError(-32601, "Method not found")
        with self.turn:
            self.calls.append(method)
            found = call(*parameters)
        return self.lies[method](found) if method in self.lies else found

    def do_getGenesisHash(self) -> Any:
        return self.cluster.genesis

    def do_getLatestBlockhash(self, options: Any = None) -> Any:
        return self._at({"blockhash": str(self.cluster.slots[-1].blockhash), "lastValidBlockHeight": 0})

    def do_getMinimumBalanceForRentExemption(self, size: int) -> Any:
        return self.cluster.svm.minimum_balance_for_rent_exemption(size)

    def do_getMultipleAccounts(self, addresses: list[str], options: dict[str, Any]) -> Any:
        sure = options["commitment"]
        return self._at([_told(self.cluster.account(address, sure)) for address in addresses])

    def do_getRecentPrioritizationFees(self, addresses: list[str]) -> Any:
        prices = self.cluster.prices
        return [{"slot": self.cluster.height, "prioritizationFee": price} for price in prices]

    def do_getSignatureStatuses(self, signatures: list[str], options: Any = None) -> Any:
        found = [self.cluster.status(Signature.from_string(one)) for one in signatures]
        return self._at([None if one is None else _status(*one) for one in found])

    def do_simulateTransaction(self, raw: str, options: dict[str, Any]) -> Any:
        addresses = options.get("accounts", {}).get("addresses", [])
        found = self.cluster.simulate(base64.b64decode(raw))
        if isinstance(found, FailedTransactionMetadata):
            return self._at({"err": str(found.err()), "accounts": None, "unitsConsumed": 0})
        after = dict(found.post_accounts())
        keys = [Pubkey.from_string(address) for address in addresses]
        accounts = [_told(after.get(key, self.cluster.svm.get_account(key))) for key in keys]
        return self._at(
            {"err": None, "accounts": accounts, "unitsConsumed": found.meta().compute_units_consumed()}
        )

    def do_getSlot(self, options: dict[str, Any]) -> Any:
        return self.cluster.sure(options["commitment"])[-1].number

    def do_getBlock(self, number: int, options: dict[str, Any]) -> Any:
        slots = self.cluster.sure(options["commitment"])
        if number > slots[-1].number:
            raise ClusterError(-32004, f"Block not available for slot {number}")
        for previous, slot in pairwise(slots):
            if slot.number == number:
                return block(slot, previous.blockhash, details=options["transactionDetails"])
        raise ClusterError(
            -32007, f"Slot {number} was skipped, or missing due to ledger jump to recent snapshot"
        )

    def do_getTransaction(self, signature: str, options: Any = None) -> Any:
        wanted = Signature.from_string(signature)
        ran = (one for slot in self.cluster.slots for one in slot.ran)
        return next((transaction(raw) for name, raw, _ in ran if name == wanted), None)

    def do_sendTransaction(self, raw: str, options: Any = None) -> Any:
        return str(self.cluster.accept(base64.b64decode(raw)))

    def do_requestAirdrop(self, address: str, lamports: int) -> Any:
        return str(self.cluster.pay(bytes(Pubkey.from_string(address)), lamports))

    def _at(self, value: Any) -> Any:
        return {"context": {"slot": self.cluster.height}, "value": value}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        rpc = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if rpc.down:
                    self.close_connection = True
                    return
                answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
                try:
                    answer["result"] = rpc.answer(asked["method"], asked["params"])
                except ClusterError as error:
                    answer["error"] = {"code": error.code, "message": str(error)}
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        return Handler


def _told(account: Account | None) -> Any:
    if account is None:
        return None
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": [base64.b64encode(account.data).decode(), "base64"],
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
        "space": len(account.data),
    }


def _status(slot: int, sure: str, error: str) -> Any:
    return {
        "slot": slot,
        "confirmations": None if sure == "finalized" else 0,
        "confirmationStatus": sure,
        "err": error or None,
    }


def main() -> None:
    """A cluster with a filled purse, until the process is ended."""
    parser = argparse.ArgumentParser(description="a Solana cluster for demos, on this machine alone")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--slot-ms", type=int, default=200, help="how often it makes a slot while one is needed"
    )
    arguments = parser.parse_args()
    with ClusterRpc(SolanaCluster(), port=arguments.port) as rpc:
        while True:
            time.sleep(arguments.slot_ms / 1000)
            rpc.mine_waiting()


if __name__ == "__main__":
    main()
