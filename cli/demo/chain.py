"""The demo's chain: anvil's own accounts pay for what the scenes need, over plain JSON-RPC."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo.json_rpc import call
from cli.files import read_document
from policy.errors import OperationalError
from policy.intent import transfer_calldata

CHAIN_ID = 31337
CHAIN = f"evm:{CHAIN_ID}"
ETHER = 10**18
DEPLOY_GAS, TOKEN_SUPPLY = 2_000_000, 10**12
RECEIPT_S = 10.0
TOKEN = Path(__file__).parent / "token" / "Token.json"


@dataclass(frozen=True, slots=True)
class DemoChain:
    """An anvil that listens on ``port`` of this machine."""

    port: int

    @property
    def url(self) -> str:
        """Where the coordinator finds it."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, *params: Any) -> Any:
        """One call. Raises ``OperationalError``."""
        return call(self.port, method, *params, chain="demo's chain")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return int(self.call("eth_chainId"), 16) == CHAIN_ID
        except OperationalError:
            return False

    def version(self) -> str:
        """What it is, such as ``anvil/v1.7.1``."""
        return str(self.call("web3_clientVersion"))

    def first_account(self) -> str:
        """Anvil's first account, which it signs for by itself."""
        return str(self.call("eth_accounts")[0]).lower()

    def pay(self, to: str, amount: int) -> str:
        """Pay ether out of the first account; the transaction."""
        return str(self._mined({"to": to, "value": hex(amount)})["transactionHash"])

    def deploy_token(self) -> str:
        """Put the demo's token on the chain; its address."""
        bytecode = str(read_document(TOKEN, "the demo's token")["bytecode"]).removeprefix("0x")
        data = f"0x{bytecode}{TOKEN_SUPPLY:064x}"
        receipt = self._mined({"data": data, "gas": hex(DEPLOY_GAS)})
        return str(receipt["contractAddress"]).lower()

    def pay_token(self, contract: str, to: str, *, amount: int) -> None:
        """Pay the demo's token out of the first account, which was given all of it."""
        self._mined({"to": contract, "data": "0x" + transfer_calldata(to, amount).hex()})

    def balance(self, account: str) -> int:
        """Ether of an account."""
        return int(self.call("eth_getBalance", account, "latest"), 16)

    def token_balance(self, contract: str, account: str) -> int:
        """The token of an account."""
        data = "0x70a08231" + account.removeprefix("0x").rjust(64, "0")
        return int(self.call("eth_call", {"to": contract, "data": data}, "latest"), 16)

    def sent_by(self, account: str) -> int:
        """How many transactions of an account are mined."""
        return int(self.call("eth_getTransactionCount", account, "latest"), 16)

    def _mined(self, transaction: dict[str, str]) -> Any:
        """Send from the first account and wait until it is mined and has worked."""
        tx_hash = self.call("eth_sendTransaction", {"from": self.first_account(), **transaction})
        deadline = time.monotonic() + RECEIPT_S
        while (receipt := self.call("eth_getTransactionReceipt", tx_hash)) is None:
            if time.monotonic() > deadline:
                raise OperationalError(f"the demo's chain has not mined {tx_hash} after {RECEIPT_S:.0f} s")
            time.sleep(0.02)
        if int(receipt["status"], 16) != 1:
            raise OperationalError(f"the transaction {tx_hash} failed on the demo's chain")
        return receipt


def anvil_program(root: Path) -> Path:
    """Where ``make setup`` put anvil. Raises ``OperationalError``."""
    for folder in (root, *root.parents):
        found = folder / "node_modules" / ".bin" / "anvil"
        if found.exists():
            return found
    raise OperationalError("anvil is not installed: run make setup in the checkout")
