"""The demo's Solana cluster as a client sees it, by the names of its RPC."""

import time
from dataclasses import dataclass
from typing import Any

from cli.demo.json_rpc import call
from policy.errors import OperationalError

FINAL_S, POLL_S = 15.0, 0.05


@dataclass(frozen=True, slots=True)
class SolanaNode:
    """A cluster that listens on ``port`` of this machine, and makes slots by itself."""

    port: int

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return bool(self.ask("getGenesisHash"))
        except OperationalError:
            return False

    def version(self) -> str:
        """What it is."""
        return "LiteSVM (Solana's own virtual machine)"

    def pay(self, to: str, amount: int) -> str:
        """Pay lamports out of the cluster's purse, and wait until that is final; the signature."""
        signature = str(self.ask("requestAirdrop", to, amount))
        deadline = time.monotonic() + FINAL_S
        while (self._status(signature) or {}).get("confirmationStatus") != "finalized":
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"the demo's Solana cluster has not settled {signature}: look at its log"
                )
            time.sleep(POLL_S)
        return signature

    def balance(self, account: str) -> int:
        """Lamports that are final under an address."""
        options = {"encoding": "base64", "commitment": "finalized"}
        (found,) = self.ask("getMultipleAccounts", [account], options)["value"]
        return int(found["lamports"]) if found else 0

    def ask(self, method: str, *parameters: Any) -> Any:
        """One call. Raises ``OperationalError``."""
        return call(self.port, method, *parameters, chain="demo's Solana cluster")

    def _status(self, signature: str) -> Any:
        return self.ask("getSignatureStatuses", [signature])["value"][0]
