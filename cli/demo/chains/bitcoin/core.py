"""A Bitcoin node for demos and tests: Core's validation (libbitcoinkernel), a mempool and miner of ours.

Blocks are valid because the kernel takes them, and it decides which branch is active. The mempool has
Core's rules that matter to a wallet: scripts by the kernel, no dust, replacement for a higher fee (BIP 125).
What its blocks paid to ``ANYONE`` is the purse that ``pay`` pays from.
"""

import hashlib
import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pbk
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput, Witness

from cli.demo.chains.rpc import RpcError

COINBASE_MATURITY = 100
SUBSIDY, HALVING = 50 * 10**8, 150  # regtest
BITS = 0x207FFFFF
TARGET = 0x7FFFFF << 8 * (0x20 - 3)
RELAY_RATE = 1_000  # satoshi a 1000 virtual bytes, for relay and for replacement
DUST_RATE = 3_000
GENESIS_TIME = 1_296_688_602
REJECTED, VERIFY_FAILED, ALREADY_MINED, INSUFFICIENT_FUNDS = -26, -25, -27, -6
ANYONE = b"\x51"
PURSE_FEE = 2_000
Outpoint = tuple[str, int]


@dataclass(frozen=True)
class Unspent:
    """An output that a block of the active chain made and none has spent."""

    amount: int
    script: bytes
    height: int
    coinbase: bool


@dataclass(frozen=True)
class Pooled:
    """A transaction that waits for a block."""

    tx: Transaction
    raw: bytes
    fee: int
    vsize: int


@dataclass(frozen=True)
class Mined:
    """A block and what is in it."""

    hash: str
    previous: str
    transactions: tuple[Transaction, ...]


@dataclass
class BitcoinCore:
    """One node on regtest. ``txindex`` is on."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bitcoin-core-")))
    mempool: dict[str, Pooled] = field(default_factory=dict)
    rate: int = 2_000

    def __post_init__(self) -> None:
        self._kernel = pbk.load_chainman(self.folder, pbk.ChainType.REGTEST)
        self._blocks: dict[str, Mined] = {}
        self._made = 0
        self.active: list[str] = []
        self.unspent: dict[Outpoint, Unspent] = {}
        self.mined: dict[str, tuple[str, int]] = {}
        self._look()

    # What the node knows.

    @property
    def height(self) -> int:
        return len(self.active) - 1

    def block(self, block_hash: str) -> Mined:
        if block_hash not in self._blocks:
            raise RpcError(-5, "Block not found")
        return self._blocks[block_hash]

    def transaction(self, txid: str) -> Transaction:
        """A transaction of the mempool or of the active chain."""
        if txid in self.mempool:
            return self.mempool[txid].tx
        if txid not in self.mined:
            raise RpcError(-5, "No such mempool or blockchain transaction")
        block = self._blocks[self.mined[txid][0]]
        return next(one for one in block.transactions if one.txid().hex() == txid)

    # What people do to it.

    def mine(self, count: int = 1, script: bytes = ANYONE, *, amount: int = 0) -> list[str]:
        """Blocks on the active tip with what the mempool has, paying ``script``, all or an amount."""
        found = []
        for _ in range(count):
            chosen, height = tuple(self.mempool.values()), self.height + 1
            found.append(self._extend(self.active[-1], height, chosen, (script, amount)))
            self._look()
        return found

    def pay(self, script: bytes, amount: int) -> str:
        """A payment out of the purse, into the mempool; its id. Raises ``RpcError``."""
        taken, total, ours = [], 0, Script(ANYONE)
        spent = {(one.txid.hex(), one.vout) for waits in self.mempool.values() for one in waits.tx.vin}
        for (txid, place), one in self.unspent.items():
            young = one.coinbase and self.height + 1 - one.height < COINBASE_MATURITY
            if one.script != ANYONE or young or (txid, place) in spent:
                continue
            taken.append(TransactionInput(bytes.fromhex(txid), place))
            total += one.amount
            change = total - amount - PURSE_FEE
            if change >= dust(ANYONE):
                outputs = [TransactionOutput(amount, Script(script)), TransactionOutput(change, ours)]
                return self.accept(Transaction(2, taken, outputs, 0).serialize())
        raise RpcError(INSUFFICIENT_FUNDS, "Insufficient funds")

    def reorganise(self, depth: int, *, forget: bool = False) -> None:
        """Replace the last blocks by one more empty ones; what they had goes back to the mempool."""
        gone = [self._blocks[one] for one in self.active[-depth:]]
        tip, height = self.active[-depth - 1], self.height - depth
        for step in range(depth + 1):
            tip = self._extend(tip, height + 1 + step, (), (ANYONE, 0))
        self._look()
        for block in () if forget else gone:
            for tx in block.transactions[1:]:
                self.accept(tx.serialize())

    def accept(self, raw: bytes) -> str:
        """Take a transaction into the mempool. Raises ``RpcError``."""
        tx = parsed(raw)
        txid: str = tx.txid().hex()
        if txid in self.mempool:
            return txid
        pooled, replaced = self.judge(raw)
        for one in replaced:
            del self.mempool[one]
        self.mempool[txid] = pooled
        return txid

    def judge(self, raw: bytes) -> tuple[Pooled, set[str]]:
        """Whether the mempool would take it, and what it would replace. Raises ``RpcError``."""
        tx = parsed(raw)
        txid = tx.txid().hex()
        if any((txid, place) in self.unspent for place in range(len(tx.vout))):
            raise RpcError(ALREADY_MINED, "Transaction outputs already in utxo set")
        spent = [self._spendable(one) for one in tx.vin]
        fee = sum(one.amount for one in spent) - sum(one.value for one in tx.vout)
        if fee < 0:
            raise RpcError(REJECTED, "bad-txns-in-belowout")
        vsize = virtual_size(raw, tx)
        if fee * 1000 < RELAY_RATE * vsize:
            raise RpcError(REJECTED, "min relay fee not met")
        if any(one.value < dust(one.script_pubkey.data) for one in tx.vout):
            raise RpcError(REJECTED, "dust")
        self._verify(raw, spent)
        pooled = Pooled(tx, raw, fee, vsize)
        return pooled, self._replaced(pooled)

    # Inside.

    def _spendable(self, one: TransactionInput) -> Unspent:
        outpoint = (one.txid.hex(), one.vout)
        if outpoint in self.unspent:
            found = self.unspent[outpoint]
            if found.coinbase and self.height + 1 - found.height < COINBASE_MATURITY:
                raise RpcError(REJECTED, "bad-txns-premature-spend-of-coinbase")
            return found
        parent = self.mempool.get(outpoint[0])
        if parent is None or outpoint[1] >= len(parent.tx.vout):
            raise RpcError(VERIFY_FAILED, "bad-txns-inputs-missingorspent")
        output = parent.tx.vout[outpoint[1]]
        return Unspent(output.value, output.script_pubkey.data, 0, False)

    def _verify(self, raw: bytes, spent: list[Unspent]) -> None:
        tx = pbk.Transaction(raw)
        outputs = [pbk.TransactionOutput(pbk.ScriptPubkey(one.script), one.amount) for one in spent]
        ready = pbk.script.PrecomputedTransactionData(tx, outputs)
        flags = pbk.ScriptVerificationFlags.ALL
        for index, one in enumerate(spent):
            try:
                good = pbk.ScriptPubkey(one.script).verify(one.amount, tx, ready, index, flags)
            except pbk.ScriptVerifyException:
                good = False
            if not good:
                raise RpcError(REJECTED, "mandatory-script-verify-flag-failed")

    def _replaced(self, new: Pooled) -> set[str]:
        spends = {(one.txid, one.vout) for one in new.tx.vin}
        gone = {
            txid
            for txid, old in self.mempool.items()
            if spends & {(one.txid, one.vout) for one in old.tx.vin}
        }
        direct = set(gone)
        while more := {
            txid
            for txid, old in self.mempool.items()
            if txid not in gone and {one.txid.hex() for one in old.tx.vin} & gone
        }:
            gone |= more
        if any(one.txid.hex() in gone for one in new.tx.vin):
            raise RpcError(REJECTED, "bad-txns-spends-conflicting-tx")
        fees = sum(self.mempool[txid].fee for txid in gone)
        slower = all(new.fee * self.mempool[t].vsize > self.mempool[t].fee * new.vsize for t in direct)
        if gone and (not slower or (new.fee - fees) * 1000 < RELAY_RATE * new.vsize):
            raise RpcError(REJECTED, "insufficient fee, rejecting replacement")
        return gone

    def _extend(self, tip: str, height: int, chosen: tuple[Pooled, ...], paid: tuple[bytes, int]) -> str:
        self._made += 1
        transactions = (self._coinbase(height, chosen, *paid), *(one.tx for one in chosen))
        root = merkle_root([one.txid()[::-1] for one in transactions])
        head = (0x20000000).to_bytes(4, "little") + bytes.fromhex(tip)[::-1] + root
        head += (GENESIS_TIME + 600 * height + self._made % 500).to_bytes(4, "little") + BITS.to_bytes(
            4, "little"
        )
        nonce = 0
        while int.from_bytes(sha256d(head + nonce.to_bytes(4, "little")), "little") > TARGET:
            nonce += 1
        head += nonce.to_bytes(4, "little")
        body = compact(len(transactions)) + b"".join(one.serialize() for one in transactions)
        self._kernel.process_block(pbk.Block(head + body))
        block_hash = sha256d(head)[::-1].hex()
        self._blocks[block_hash] = Mined(block_hash, tip, transactions)
        return block_hash

    def _coinbase(self, height: int, chosen: tuple[Pooled, ...], script: bytes, amount: int) -> Transaction:
        value = (SUBSIDY >> height // HALVING) + sum(one.fee for one in chosen)
        hashes = [bytes(32), *(sha256d(one.raw) for one in chosen)]
        commitment = sha256d(merkle_root(hashes) + bytes(32))
        outputs = [
            TransactionOutput(amount or value, Script(script)),
            TransactionOutput(value - (amount or value), Script(ANYONE)),
            TransactionOutput(0, Script(b"\x6a\x24\xaa\x21\xa9\xed" + commitment)),
        ]
        number = height.to_bytes((height.bit_length() + 8) // 8, "little")
        start = bytes([0x50 + height]) if height <= 16 else bytes([len(number)]) + number
        extra = self._made.to_bytes(4, "little")
        one = TransactionInput(bytes(32), 0xFFFFFFFF, Script(start + b"\x04" + extra))
        one.witness = Witness([bytes(32)])
        return Transaction(2, [one], outputs, 0)

    def _look(self) -> None:
        """Learn what the kernel's active chain has now."""
        chain = self._kernel.get_active_chain()
        self.active = [str(entry.block_hash) for entry in chain.block_tree_entries]
        self.unspent, self.mined = {}, {}
        for height, block_hash in enumerate(self.active):
            for place, tx in enumerate(self._blocks[block_hash].transactions if height else ()):
                self._connect(tx, block_hash, height, coinbase=place == 0)
        for txid in [txid for txid in self.mempool if txid in self.mined]:
            del self.mempool[txid]

    def _connect(self, tx: Transaction, block_hash: str, height: int, *, coinbase: bool) -> None:
        txid = tx.txid().hex()
        self.mined[txid] = (block_hash, height)
        for one in () if coinbase else tx.vin:
            self.unspent.pop((one.txid.hex(), one.vout), None)
        for place, output in enumerate(tx.vout):
            if not output.script_pubkey.data.startswith(b"\x6a"):
                self.unspent[txid, place] = Unspent(output.value, output.script_pubkey.data, height, coinbase)


def parsed(raw: bytes) -> Transaction:
    """A transaction. Raises ``RpcError``."""
    try:
        stream = BytesIO(raw)
        tx = Transaction.read_from(stream)
    except Exception as error:
        raise RpcError(-22, "TX decode failed") from error
    if stream.read():
        raise RpcError(-22, "TX decode failed")
    return tx


def virtual_size(raw: bytes, tx: Transaction) -> int:
    """A quarter of its weight, rounded up."""
    return (3 * len(stripped(tx)) + len(raw) + 3) // 4


def stripped(tx: Transaction) -> bytes:
    """The transaction without its witnesses."""
    bare = [TransactionInput(one.txid, one.vout, one.script_sig, one.sequence) for one in tx.vin]
    return bytes(Transaction(tx.version, bare, tx.vout, tx.locktime).serialize())


def dust(script: bytes) -> int:
    """Outputs below this are not relayed."""
    if script[:1] == b"\x6a":
        return 0
    witness = script[:1] in (b"\x00", b"\x51") and len(script) in (22, 34)
    return DUST_RATE * (9 + len(script) + (67 if witness else 148)) // 1000


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def compact(count: int) -> bytes:
    return bytes([count]) if count < 253 else b"\xfd" + count.to_bytes(2, "little")


def merkle_root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes += hashes[-1:] * (len(hashes) % 2)
        hashes = [sha256d(hashes[i] + hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]
