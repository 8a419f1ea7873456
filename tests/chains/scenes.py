"""One stage for every family of chains: a coordinator, and a chain whose blocks the test makes."""

from pathlib import Path
from typing import Protocol

import rlp
from eth_account import Account

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.chains.rpc import RpcError
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.bitcoin.transaction import script_of
from custody.chains.evm.transaction import fees_of, transaction_hash
from custody.ports import Chain, Receipt
from policy.errors import OperationalError
from policy.state import Job
from tests.chains.bitcoin_house import COIN, PAYEE, BitcoinHouse
from tests.chains.solana_house import PAYEE_KEY, SOL, SolanaHouse
from tests.unit.custody_cluster import ETHER, make_request
from tests.unit.custody_house import Clock, FakeChain, House, Running


class Scene(Protocol):
    """A chain in a test's hands. Amounts are in whole coins.

    ``replaces``: whether a payment that is stuck is made dearer.
    """

    replaces: bool

    @property
    def house(self) -> House:
        """The coordinator's."""

    @property
    def clock(self) -> Clock:
        """What it takes for the time."""

    def fund(self, running: Running) -> None:
        """Give the wallet enough for several payments."""

    def request(self, name: str, amount: int) -> tuple[bytes, bytes]:
        """A request of the shop, and its signature."""

    def mine(self, count: int = 1) -> None:
        """Blocks with all that waits."""

    def reorganise(self, depth: int, *, forget: bool) -> None:
        """Replace the last blocks; what they had waits again, unless it is forgotten."""

    def forget(self) -> None:
        """Drop what waits."""

    def waiting(self) -> int:
        """How many transactions wait for a block."""

    def paid(self) -> list[int]:
        """What blocks have paid the payee."""

    def resend(self, raw: bytes) -> None:
        """Hand a transaction to the network once more, whatever it says."""

    def offer(self, job: Job) -> int:
        """What a job's transaction offers the network."""


class Blocks(FakeChain):
    """An EVM chain of blocks that can be taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.held = True
        self.blocks: list[list[tuple[str, int, bytes]]] = []
        self.got: list[int] = []

    async def broadcast(self, raw: bytes) -> None:
        if any(raw == one for block in self.blocks for _, _, one in block):
            return
        sender, nonce = Account.recover_transaction(raw).lower(), _field(raw, 1)
        old = self.waiting.get((sender, nonce))
        if old not in (None, raw) and _field(raw, 3) * 10 < _field(old or b"", 3) * 11:
            raise OperationalError("replacement transaction underpriced")
        await super().broadcast(raw)

    def block(self) -> None:
        mined = []
        for (sender, nonce), raw in sorted(self.waiting.items(), key=lambda one: one[0]):
            if self.nonces.get(sender, 0) == nonce:
                self.nonces[sender] = nonce + 1
                mined.append((sender, nonce, raw))
        self.blocks.append(mined)
        for sender, nonce, _ in mined:
            del self.waiting[sender, nonce]

    def take_back(self, depth: int) -> list[tuple[str, int, bytes]]:
        gone = [one for block in self.blocks[-depth:] for one in block]
        del self.blocks[-depth:]
        for sender, nonce, _ in reversed(gone):
            self.nonces[sender] = nonce
        return gone

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        for height, block in enumerate(self.blocks, 1):
            if any(transaction_hash(raw) == tx_hash for _, _, raw in block):
                return Receipt(tx_hash, height, True, len(self.blocks) - height + 1)
        return None


class EvmScene:
    """Accounts and nonces, in memory."""

    replaces = True

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.house.chain = self.chain = Blocks()
        self.house.now_ms = self.clock = Clock()

    def fund(self, running: Running) -> None:
        """Nobody asks what this chain's accounts have."""

    def request(self, name: str, amount: int) -> tuple[bytes, bytes]:
        _, body, signature = make_request(name, amount=amount * ETHER, now_ms=self.clock())
        return body, signature

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self.chain.block()

    def reorganise(self, depth: int, *, forget: bool) -> None:
        gone = self.chain.take_back(depth)
        if not forget:
            self.chain.waiting |= {(sender, nonce): raw for sender, nonce, raw in gone}
        self.mine(0)
        self.chain.blocks += [[] for _ in range(depth + 1)]

    def forget(self) -> None:
        self.chain.waiting.clear()

    def waiting(self) -> int:
        return len(self.chain.waiting)

    def paid(self) -> list[int]:
        values = (_field(raw, 6) for block in self.chain.blocks for _, _, raw in block)
        return [value // ETHER for value in values if value]

    def resend(self, raw: bytes) -> None:
        sender, nonce = Account.recover_transaction(raw).lower(), _field(raw, 1)
        if nonce >= self.chain.nonces.get(sender, 0):
            self.chain.waiting[sender, nonce] = raw

    def offer(self, job: Job) -> int:
        return fees_of(job.tx).fee_per_gas


class BitcoinScene:
    """Coins, and blocks that Bitcoin Core's code validates."""

    replaces = True

    def __init__(self, folder: Path, core: CoreRpc) -> None:
        self.house = house = BitcoinHouse(folder, core)
        self.core = core.core
        self.clock = house.clock
        self._house = house

    def fund(self, running: Running) -> None:
        self._house.fund(running, "m/0/0", "m/0/1", "m/0/2", amount=2 * COIN)

    def request(self, name: str, amount: int) -> tuple[bytes, bytes]:
        return self._house.request(name, amount * COIN)

    def mine(self, count: int = 1) -> None:
        self.core.mine(count)

    def reorganise(self, depth: int, *, forget: bool) -> None:
        self.core.reorganise(depth, forget=forget)

    def forget(self) -> None:
        self.core.mempool.clear()

    def waiting(self) -> int:
        return len(self.core.mempool)

    def paid(self) -> list[int]:
        script = script_of("bitcoin:regtest", PAYEE)
        return sorted(one.amount // COIN for one in self.core.unspent.values() if one.script == script)

    def resend(self, raw: bytes) -> None:
        try:
            self.core.accept(raw)
        except RpcError:
            return

    def offer(self, job: Job) -> int:
        return job.fee_max


class SolanaScene:
    """Nonce accounts, and slots whose transactions LiteSVM runs."""

    replaces = False

    def __init__(self, folder: Path, rpc: ClusterRpc) -> None:
        self.house = house = SolanaHouse(folder, rpc)
        house.commitment = "processed"  # a slot that is taken back never was for good
        self.cluster = rpc.cluster
        self.clock = house.clock
        self._house, self._turn = house, rpc.turn

    def fund(self, running: Running) -> None:
        self._house.fund(100 * SOL)

    def request(self, name: str, amount: int) -> tuple[bytes, bytes]:
        return self._house.request(name, amount * SOL)

    def mine(self, count: int = 1) -> None:
        self._house.mine(count)

    def reorganise(self, depth: int, *, forget: bool) -> None:
        with self._turn:
            self.cluster.reorganise(depth, forget=forget)

    def forget(self) -> None:
        with self._turn:
            self.cluster.waiting.clear()

    def waiting(self) -> int:
        return len(self.cluster.waiting)

    def paid(self) -> list[int]:
        return [lamports // SOL for lamports in self.cluster.transfers(PAYEE_KEY)]

    def resend(self, raw: bytes) -> None:
        try:
            with self._turn:
                self.cluster.accept(raw)
        except RpcError:
            return

    def offer(self, job: Job) -> int:
        return job.fee_max


def chain_of(running: Running) -> Chain:
    """The only chain of a coordinator."""
    (chain,) = running.parts.chains.values()
    return chain


def _field(raw: bytes, index: int) -> int:
    return int.from_bytes(rlp.decode(raw[1:])[index], "big")
