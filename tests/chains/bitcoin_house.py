"""A whole coordinator that pays in bitcoin: cosigners in memory, and a node with Core's validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.demo.chains.bitcoin.core import COINBASE_MATURITY, BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.chains.bitcoin.chain import BitcoinChain, Rates
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import script_of
from custody.ports import Chain
from policy.accounts import account_at
from policy.addresses import segwit_address
from policy.encoding import Json, canonical, statement
from policy.intent import Intent, Request
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.frost_dealer import FrostDealer
from tests.unit.custody_cluster import (
    KEY,
    NODES,
    ORIGIN,
    WALLET,
    FakeNode,
    identity,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import Clock, House, Running

CHAIN = "bitcoin:regtest"
PATHS = ["m/0/0", "m/0/1", "m/0/2"]
PAYEE = segwit_address(CHAIN, 1, program=b"\x33" * 32)
COIN = 10**8
FEE_CEILING = 100_000


def bitcoin_policy(suite: str = DKLS23_SECP256K1) -> dict[str, Json]:
    """Up to one bitcoin without approval, up to ten with one."""
    document = policy_document()
    document["chains"] = {CHAIN: {"native": "btc", "fee_ceiling": str(FEE_CEILING)}}
    document["assets"] = {"btc": {"kind": "native", "chain": CHAIN, "decimals": 8}}
    document["keys"] = {KEY: {"suite": suite, "min_signers": 2, "participants": list(NODES)}}
    document["wallets"] = {WALLET: {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": [*PATHS]}}
    document["rules"] = [
        {
            "name": "small",
            "when": {"assets": ["btc"], "amount_max": str(COIN)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {"assets": ["btc"], "amount_max": str(10 * COIN)},
            "then": {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]},
        },
    ]
    document["limits"] = []
    return document


class BitcoinHouse(House):
    """``core`` is the world's; each process has its own client of it."""

    def __init__(
        self, folder: Path, core: CoreRpc, *, suite: str = DKLS23_SECP256K1, cold: tuple[str, ...] = ()
    ) -> None:
        policy, roster = bitcoin_policy(suite), None
        if cold:
            policy["keys"] = {KEY: {"suite": suite, "min_signers": 2, "participants": [*cold]}}
            roster = roster_document(cold=[{"name": name, "key": public(name).hex()} for name in cold])
        super().__init__(folder, policy=policy, roster=roster)
        if suite == FROST_TAPROOT:
            self.dealer = FrostDealer()
            self.nodes = {name: FakeNode(name, self.dealer) for name in self.nodes}
        self.core = core
        self.rates = Rates(coins_max=4)
        self.now_ms = self.clock = Clock()

    def chains(self) -> Mapping[str, Chain]:
        return {CHAIN: BitcoinChain(BitcoinRpc(CHAIN, self.core.url, timeout_s=5.0), self.rates)}

    def script(self, running: Running, path: str) -> bytes:
        """The output script of an account of the wallet."""
        key = running.parts.sequencer.state.keys[KEY]
        return script_of(CHAIN, account_at(key, path, chain=CHAIN).address)

    def fund(self, running: Running, *paths: str, amount: int = 50 * COIN) -> None:
        """One mature coinbase output for each path."""
        for path in paths:
            self.core.core.mine(1, self.script(running, path), amount=amount)
        self.core.core.mine(COINBASE_MATURITY)

    def request(
        self,
        name: str,
        amount: int,
        *,
        life_ms: int = 600_000,
        destination: str = PAYEE,
        fee: int = FEE_CEILING,
    ) -> tuple[bytes, bytes]:
        """A request of the shop, and its signature."""
        now = self.now_ms()
        body = Request(
            origin=ORIGIN,
            initiator="shop",
            intent=Intent(CHAIN, WALLET, "btc", amount, destination),
            fee_ceiling=fee,
            idempotency_key=name,
            created_ms=now,
            expires_ms=now + life_ms,
        ).body()
        return canonical(body), identity("shop").sign(statement("request", body))

    async def pay(self, running: Running, name: str, amount: int, **options: Any) -> bytes:
        """Submit a request; its id."""
        return (await running.service.submit(*self.request(name, amount, **options))).request


def fresh_core() -> BitcoinCore:
    """A node with a few empty blocks."""
    core = BitcoinCore()
    core.mine(3)
    return core
