"""A whole coordinator that pays in bitcoin: cosigners in memory, and a node with Core's validation."""

from collections.abc import Mapping
from pathlib import Path

from cli.demo.chains.bitcoin.core import COINBASE_MATURITY, BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.chain import BitcoinChain, Rates
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import script_of
from custody.ports import Chain
from policy.accounts import account_at
from policy.addresses import segwit_address
from policy.encoding import Json
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.frost_dealer import FrostDealer
from tests.chains.paying_house import Money, PayingHouse
from tests.unit.custody_cluster import (
    KEY,
    FakeNode,
    public,
    roster_document,
)
from tests.unit.custody_house import Running

CHAIN = "bitcoin:regtest"
PATHS = ["m/0/0", "m/0/1", "m/0/2"]
PAYEE = segwit_address(CHAIN, 1, program=b"\x33" * 32)
COIN = 10**8
FEE_CEILING = 100_000
MONEY = Money(CHAIN, "btc", 8, FEE_CEILING, PAYEE)


def bitcoin_policy(suite: str = DKLS23_SECP256K1) -> dict[str, Json]:
    """Up to one bitcoin without approval, up to ten with one."""
    return MONEY.policy(suite=suite, paths=PATHS)


class BitcoinHouse(PayingHouse):
    """``core`` is the world's; each process has its own client of it."""

    def __init__(
        self, folder: Path, core: CoreRpc, *, suite: str = DKLS23_SECP256K1, cold: tuple[str, ...] = ()
    ) -> None:
        policy, roster = bitcoin_policy(suite), None
        if cold:
            policy["keys"] = {KEY: {"suite": suite, "min_signers": 2, "participants": [*cold]}}
            roster = roster_document(cold=[{"name": name, "key": public(name).hex()} for name in cold])
        super().__init__(folder, MONEY, policy=policy, roster=roster)
        if suite == FROST_TAPROOT:
            self.dealer = FrostDealer()
            self.nodes = {name: FakeNode(name, self.dealer) for name in self.nodes}
        self.core = core
        self.rates = Rates(coins_max=4)

    def chains(self) -> Mapping[str, Chain]:
        rpc = BitcoinRpc(CHAIN, self.core.url, timeout_s=5.0)
        return {CHAIN: BitcoinChain(BitcoinNodes(CHAIN, {"core": rpc}), self.rates)}

    def script(self, running: Running, path: str) -> bytes:
        """The output script of an account of the wallet."""
        key = running.parts.sequencer.state.keys[KEY]
        return script_of(CHAIN, account_at(key, path, chain=CHAIN).address)

    def fund(self, running: Running, *paths: str, amount: int = 50 * COIN) -> None:
        """One mature coinbase output for each path."""
        for path in paths:
            self.core.core.mine(1, self.script(running, path), amount=amount)
        self.core.core.mine(COINBASE_MATURITY)


def fresh_core() -> BitcoinCore:
    """A node with a few empty blocks."""
    core = BitcoinCore()
    core.mine(3)
    return core
