"""A whole coordinator that pays in SOL: cosigners in memory, and a cluster run by LiteSVM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import SolanaRpc
from custody.ports import Chain
from policy.addresses import solana_address
from policy.encoding import Json, canonical, statement
from policy.intent import Intent, Request
from policy.suites import FROST_ED25519
from tests.chains.frost_dealer import FrostDealer
from tests.unit.custody_cluster import KEY, NODES, ORIGIN, WALLET, FakeNode, identity, policy_document
from tests.unit.custody_house import Clock, House, Running

CHAIN = "solana:localnet"
PAYEE_KEY = b"\x33" * 32
PAYEE = solana_address(PAYEE_KEY)
SOL = 10**9
FEE_CEILING = 3_000_000
NONCE_ACCOUNTS = 4


def solana_policy(token: str | None = None) -> dict[str, Json]:
    """Up to one SOL without approval, up to ten with one; tokens freely."""
    document = policy_document()
    document["chains"] = {CHAIN: {"native": "sol", "fee_ceiling": str(FEE_CEILING)}}
    document["keys"] = {KEY: {"suite": FROST_ED25519, "min_signers": 2, "participants": list(NODES)}}
    document["wallets"] = {WALLET: {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": ["m"]}}
    rules: list[Json] = [
        {
            "name": "small",
            "when": {"assets": ["sol"], "amount_max": str(SOL)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {"assets": ["sol"], "amount_max": str(10 * SOL)},
            "then": {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]},
        },
    ]
    assets: dict[str, Json] = {"sol": {"kind": "native", "chain": CHAIN, "decimals": 9}}
    if token is not None:
        assets["tok"] = {"kind": "spl", "chain": CHAIN, "contract": token, "decimals": 6}
        rules.append({"name": "tokens", "when": {"assets": ["tok"]}, "then": {"outcome": "allow"}})
    document |= {"assets": assets, "rules": rules, "limits": []}
    return document


class SolanaHouse(House):
    """``rpc`` is the world's; each process has its own client of it. Its wallet's nonce accounts are made."""

    def __init__(
        self,
        folder: Path,
        rpc: ClusterRpc,
        *,
        nonce_accounts: int = NONCE_ACCOUNTS,
        token: str | None = None,
    ) -> None:
        super().__init__(folder, policy=solana_policy(token))
        self.dealer = dealer = FrostDealer(suite=FROST_ED25519)
        self.nodes = {name: FakeNode(name, self.dealer) for name in self.nodes}
        self.rpc = rpc
        self.wallet_key = dealer.group_key
        cluster = rpc.cluster
        made = tuple(cluster.make_nonce(seed, self.wallet_key) for seed in range(nonce_accounts))
        self.options = Options(made)
        self.commitment = "finalized"
        self.now_ms = self.clock = Clock()
        cluster.mine()

    def chains(self) -> Mapping[str, Chain]:
        rpc = SolanaRpc(CHAIN, self.rpc.url, commitment=self.commitment, timeout_s=5.0)
        return {CHAIN: SolanaChain(rpc, self.options)}

    def fund(self, lamports: int = 100 * SOL) -> None:
        """Give the wallet enough."""
        with self.rpc.turn:
            self.rpc.cluster.give(self.wallet_key, lamports)

    def mine(self, count: int = 1) -> None:
        """Slots with all that waits."""
        with self.rpc.turn:
            self.rpc.cluster.mine(count)

    def request(
        self,
        name: str,
        amount: int,
        *,
        life_ms: int = 600_000,
        destination: str = PAYEE,
        fee: int = FEE_CEILING,
        asset: str = "sol",
    ) -> tuple[bytes, bytes]:
        """A request of the shop, and its signature."""
        now = self.now_ms()
        body = Request(
            origin=ORIGIN,
            initiator="shop",
            intent=Intent(CHAIN, WALLET, asset, amount, destination),
            fee_ceiling=fee,
            idempotency_key=name,
            created_ms=now,
            expires_ms=now + life_ms,
        ).body()
        return canonical(body), identity("shop").sign(statement("request", body))

    async def pay(self, running: Running, name: str, amount: int, **options: Any) -> bytes:
        """Submit a request; its id."""
        return (await running.service.submit(*self.request(name, amount, **options))).request

    def paid(self) -> int:
        """What the payee has, in lamports."""
        return self.rpc.cluster.lamports(PAYEE_KEY)
