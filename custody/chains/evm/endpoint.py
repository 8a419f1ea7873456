"""What EVM payments need of whatever speaks for the chain: one JSON-RPC endpoint, or several that agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from custody.ports import Landed, Receipt, Simulated
from policy.intent import Intent


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers: EIP-1559 fees a gas in base units, and the gas it may use."""

    fee_per_gas: int
    priority_per_gas: int
    gas: int

    @property
    def total_max(self) -> int:
        """The most the network can charge."""
        return self.fee_per_gas * self.gas


class EvmEndpoint(Protocol):
    """What answers for one EVM chain.

    Every method raises ``OperationalError``, saying what to do, when it cannot answer.
    """

    @property
    def name(self) -> str:
        """The chain as documents call it, such as ``evm:1``."""

    async def check(self) -> None:
        """Compare the chain's id with the configured one."""

    async def account_nonce(self, account: str) -> int:
        """How many transactions of the account are mined."""

    async def balance(self, account: str, contract: str | None = None) -> int:
        """The account's balance of the native asset or of a token, in base units."""

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        """Fees for a transfer that cost at most ``ceiling`` together."""

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What would come of an unsigned transaction; ``watched`` are holders and the tokens' contracts."""

    async def cancel_fees(self, ceiling: int) -> Fees:
        """Fees for an empty transaction that cost at most ``ceiling`` together."""

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction to the network; harmless when it is known or mined already."""

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction; None while it is not mined."""

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether a chain that has come to ``block`` has no such transaction."""

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        """The account's transaction with this nonce; None while none is mined."""
