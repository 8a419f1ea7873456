"""A whole coordinator that pays in SOL: cosigners in memory, and a cluster run by LiteSVM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import SolanaRpc
from custody.ports import Chain
from policy.addresses import solana_address
from policy.encoding import Json
from policy.suites import FROST_ED25519
from tests.chains.frost_dealer import FrostDealer
from tests.chains.paying_house import Money, PayingHouse
from tests.unit.custody_cluster import FakeNode

CHAIN = "solana:localnet"
PAYEE_KEY = b"\x33" * 32
PAYEE = solana_address(PAYEE_KEY)
SOL = 10**9
FEE_CEILING = 3_000_000
NONCE_ACCOUNTS = 4
MONEY = Money(CHAIN, "sol", 9, FEE_CEILING, PAYEE)


def solana_policy(token: str | None = None) -> dict[str, Json]:
    """Up to one SOL without approval, up to ten with one; tokens freely."""
    document: Any = MONEY.policy(suite=FROST_ED25519, paths=["m"])
    if token is not None:
        document["assets"]["tok"] = {"kind": "spl", "chain": CHAIN, "contract": token, "decimals": 6}
        tokens = {"name": "tokens", "when": {"assets": ["tok"]}, "then": {"outcome": "allow"}}
        document["rules"].append(tokens)
    return cast("dict[str, Json]", document)


class SolanaHouse(PayingHouse):
    """``rpc`` is the world's; each process has its own client of it. Its wallet's nonce accounts are made."""

    def __init__(
        self,
        folder: Path,
        rpc: ClusterRpc,
        *,
        nonce_accounts: int = NONCE_ACCOUNTS,
        token: str | None = None,
    ) -> None:
        super().__init__(folder, MONEY, policy=solana_policy(token))
        self.dealer = dealer = FrostDealer(suite=FROST_ED25519)
        self.nodes = {name: FakeNode(name, self.dealer) for name in self.nodes}
        self.rpc = rpc
        self.wallet_key = dealer.group_key
        cluster = rpc.cluster
        made = tuple(cluster.make_nonce(seed, self.wallet_key) for seed in range(nonce_accounts))
        self.options = Options(made)
        self.commitment = "finalized"
        cluster.mine()

    def chains(self) -> Mapping[str, Chain]:
        rpc = SolanaRpc(CHAIN, self.rpc.url, commitment=self.commitment, timeout_s=5.0)
        return {CHAIN: SolanaChain(SolanaNodes(CHAIN, {"node": rpc}), self.options)}

    def fund(self, lamports: int = 100 * SOL) -> None:
        """Give the wallet enough."""
        with self.rpc.turn:
            self.rpc.cluster.give(self.wallet_key, lamports)

    def mine(self, count: int = 1) -> None:
        """Slots with all that waits."""
        with self.rpc.turn:
            self.rpc.cluster.mine(count)

    def paid(self) -> int:
        """What the payee has, in lamports."""
        return self.rpc.cluster.lamports(PAYEE_KEY)
