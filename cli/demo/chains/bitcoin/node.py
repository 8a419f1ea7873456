"""The demo's Bitcoin node as a client sees it, by the names of Core's RPC."""

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cli.demo.json_rpc import call
from custody.chains.bitcoin.transaction import script_of
from policy.errors import OperationalError

CHAIN = "bitcoin:regtest"
BLOCK_S, POLL_S = 10.0, 0.05
SATOSHI = Decimal(10) ** -8


@dataclass(frozen=True, slots=True)
class BitcoinNode:
    """A node that listens on ``port`` of this machine, and mines by itself."""

    port: int

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return bool(self.ask("getblockchaininfo")["chain"] == "regtest")
        except OperationalError:
            return False

    def version(self) -> str:
        """What it is."""
        return "libbitcoinkernel (Bitcoin Core's validation) on regtest"

    def pay(self, to: str, amount: int) -> str:
        """Pay satoshi out of the miner's coins, and wait for the block; the txid."""
        txid = str(self.ask("sendtoaddress", to, str(amount * SATOSHI)))
        deadline = time.monotonic() + BLOCK_S
        while not self.ask("getrawtransaction", txid, True).get("blockhash"):
            if time.monotonic() > deadline:
                raise OperationalError(f"the demo's Bitcoin node has not mined {txid} after {BLOCK_S:.0f} s")
            time.sleep(POLL_S)
        return txid

    def balance(self, account: str) -> int:
        """Satoshi that blocks have left under an address."""
        found = self.ask("scantxoutset", "start", [f"raw({script_of(CHAIN, account).hex()})"])
        return sum(int(Decimal(str(one["amount"])) / SATOSHI) for one in found["unspents"])

    def ask(self, method: str, *parameters: Any) -> Any:
        """One call. Raises ``OperationalError``."""
        return call(self.port, method, *parameters, chain="demo's Bitcoin node")
