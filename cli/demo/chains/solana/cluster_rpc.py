"""``SolanaCluster`` behind HTTP, by the names of the RPC that the coordinator asks.

It runs in a thread, or as a process that makes a slot every now and then, while there is something to be
run or to become final. ``requestAirdrop`` pays from the cluster's purse.
"""

import argparse
import base64
from itertools import pairwise
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata

from cli.demo.chains.rpc import ChainRpc, RpcError
from cli.demo.chains.solana.blocks import block, transaction
from cli.demo.chains.solana.cluster import SolanaCluster


class ClusterRpc(ChainRpc):
    """One node's calls."""

    def __init__(self, cluster: SolanaCluster, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.cluster = cluster

    def mine_waiting(self) -> None:
        """A slot, unless all there is has run and is final."""
        with self.turn:
            if not self.cluster.is_settled:
                self.cluster.mine()

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
            raise RpcError(-32004, f"Block not available for slot {number}")
        for previous, slot in pairwise(slots):
            if slot.number == number:
                return block(slot, previous.blockhash, details=options["transactionDetails"])
        raise RpcError(-32007, f"Slot {number} was skipped, or missing due to ledger jump to recent snapshot")

    def do_getTransaction(self, signature: str, options: Any = None) -> Any:
        wanted = Signature.from_string(signature)
        ran = (one for slot in self.cluster.slots for one in slot.ran)
        found = next((raw for name, raw, _ in ran if name == wanted), None)
        if found is None or (options or {}).get("encoding") != "base64":
            return None if found is None else transaction(found)
        return {"transaction": [base64.b64encode(found).decode(), "base64"]}

    def do_getSignaturesForAddress(self, address: str, options: dict[str, Any]) -> Any:
        key, found = Pubkey.from_string(address), list[Any]()
        for slot in reversed(self.cluster.sure(options["commitment"])):
            for name, raw, _ in reversed(slot.ran):
                told = self.cluster.status(name)
                if told is not None and key in Transaction.from_bytes(raw).message.account_keys:
                    found.append({"signature": str(name), **_status(*told)})
        return found[: options["limit"]]

    def do_sendTransaction(self, raw: str, options: Any = None) -> Any:
        return str(self.cluster.accept(base64.b64decode(raw)))

    def do_requestAirdrop(self, address: str, lamports: int) -> Any:
        return str(self.cluster.pay(bytes(Pubkey.from_string(address)), lamports))

    def _at(self, value: Any) -> Any:
        return {"context": {"slot": self.cluster.height}, "value": value}


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
    ClusterRpc(SolanaCluster(), port=arguments.port).serve(arguments.slot_ms)


if __name__ == "__main__":
    main()
