"""A Solana cluster for demos and tests: LiteSVM runs the transactions, whoever has it makes the slots.

LiteSVM has neither slots nor forks: a slot here is what ran since the last one, with what undoes it. A slot
is confirmed and final once others stand on it. What fails keeps its nonce advanced, as on a cluster.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM
from solders.system_program import TransferParams, transfer
from solders.token import ID as TOKEN
from solders.token.associated import get_associated_token_address
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo

from cli.demo.chains.rpc import RpcError

BLOCKHASHES_KEPT = 150
FIRST_SLOT = 1_000
DEPTHS = {"processed": 1, "confirmed": 2, "finalized": 3}
QUIET_SLOTS = 2 * DEPTHS["finalized"]
"""Observers count confirmations from the newest final slot: it must not stop before they are through."""
NONCE_BYTES = 80
PURSE_LAMPORTS = 10**18
T = TypeVar("T")
_NONCE_STATE = b"\x01\x00\x00\x00" * 2
_FEE = (5_000).to_bytes(8, "little")


@dataclass
class Slot:
    """What a slot ran, and the accounts as they were before it."""

    number: int
    blockhash: Hash
    before: dict[Pubkey, Account | None] = field(default_factory=dict)
    ran: list[tuple[Signature, bytes, str]] = field(default_factory=list)
    gains: dict[bytes, list[int]] = field(default_factory=dict)
    accounts: list[tuple[list[Account | None], list[Account | None]]] = field(default_factory=list)


class SolanaCluster:
    """One cluster; ``prices`` are what others paid lately, ``genesis`` names it."""

    def __init__(self) -> None:
        self.svm = LiteSVM().with_transaction_history(0)
        self.genesis = str(Hash(hashlib.sha256(b"the first block of a test").digest()))
        self.prices: list[int] = []
        self.waiting: dict[Signature, bytes] = {}
        self.slots = [Slot(FIRST_SLOT, self.svm.latest_blockhash())]
        self._purse = Keypair.from_seed(hashlib.sha256(b"the purse of a cluster").digest())
        self._set(self._purse.pubkey(), Account(PURSE_LAMPORTS, b"", SYSTEM))

    @property
    def height(self) -> int:
        """The number of the newest slot."""
        return self.slots[-1].number

    # What a test does.

    def mine(self, count: int = 1) -> None:
        """Slots with all that waits; what the cluster would not take is dropped."""
        for _ in range(count):
            self.svm.expire_blockhash()
            self.slots.append(Slot(self.height + 1, self.svm.latest_blockhash()))
            waiting, self.waiting = self.waiting, {}
            for signature, raw in waiting.items():
                self._run(signature, raw)

    def skip(self) -> None:
        """The newest slot comes one later; the one before it has no block."""
        self.slots[-1].number += 1

    def reorganise(self, depth: int, *, forget: bool) -> None:
        """Take back the last slots and make one more that are empty; what they ran waits, or is forgotten."""
        for slot in reversed(self.slots[-depth:]):
            for key, account in slot.before.items():
                self._set(key, account)
            if not forget:
                self.waiting |= {signature: raw for signature, raw, _ in slot.ran}
        del self.slots[-depth:]
        waiting, self.waiting = self.waiting, {}
        self.mine(depth + 1)
        self.waiting = waiting

    def give(self, key: bytes, lamports: int) -> None:
        """Lamports from nowhere, and for good."""
        self._set(Pubkey(key), Account(self.lamports(key) + lamports, b"", SYSTEM))

    def pay(self, key: bytes, lamports: int) -> Signature:
        """A transfer out of the cluster's purse, which waits for a slot. Raises ``RpcError``."""
        purse = self._purse.pubkey()
        order = transfer(TransferParams(from_pubkey=purse, to_pubkey=Pubkey(key), lamports=lamports))
        tx = Transaction.new_signed_with_payer([order], purse, [self._purse], self.slots[-1].blockhash)
        return self.accept(bytes(tx))

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits, and all that ran is final for whoever looks some slots behind, too."""
        return not self.waiting and not any(slot.ran for slot in self.slots[-QUIET_SLOTS:])

    def make_nonce(self, seed: int, authority: bytes) -> str:
        """A nonce account; its address."""
        key = Pubkey(hashlib.sha256(f"nonce {seed}".encode()).digest())
        data = _NONCE_STATE + authority + durable(self.slots[0].blockhash, seed) + _FEE
        self._set(key, Account(self.svm.minimum_balance_for_rent_exemption(NONCE_BYTES), data, SYSTEM))
        return str(key)

    def make_mint(self, seed: int, decimals: int, *, program: Pubkey = TOKEN) -> bytes:
        """A token that nobody makes more of; its address."""
        key = Pubkey(hashlib.sha256(f"mint {seed}".encode()).digest())
        data = bytes(36) + (2**63).to_bytes(8, "little") + bytes([decimals, 1]) + bytes(36)
        self._set(key, Account(self.svm.minimum_balance_for_rent_exemption(len(data)), data, program))
        return bytes(key)

    def give_tokens(self, owner: bytes, mint: bytes, *, amount: int, state: int = 1) -> None:
        """Tokens from nowhere, in an account that works (1), is not begun (0) or is frozen (2)."""
        data = mint + owner + amount.to_bytes(8, "little") + bytes(36) + bytes([state]) + bytes(56)
        key, rent = _token_account(owner, mint), self.svm.minimum_balance_for_rent_exemption(len(data))
        self._set(key, Account(rent, data, TOKEN))

    def tokens(self, owner: bytes, mint: bytes) -> int:
        """What an owner has of a token, as of the newest slot."""
        found = self.svm.get_account(_token_account(owner, mint))
        return 0 if found is None else int.from_bytes(found.data[64:72], "little")

    def lamports(self, key: bytes) -> int:
        """What an account has, as of the newest slot."""
        found = self.svm.get_account(Pubkey(key))
        return 0 if found is None else found.lamports

    def transfers(self, key: bytes) -> list[int]:
        """What slots have brought an account, each transaction by itself."""
        return [gain for slot in self.slots for gain in slot.gains.get(key, ())]

    # What a node is asked.

    def account(self, address: str, commitment: str) -> Account | None:
        """An account as of the newest slot that is as sure as wanted."""
        key = Pubkey.from_string(address)
        unsure = self.slots[max(1, len(self.slots) - DEPTHS[commitment] + 1) :]
        for slot in unsure:
            if key in slot.before:
                return slot.before[key]
        return self.svm.get_account(key)

    def sure(self, commitment: str) -> list[Slot]:
        """All slots that are as sure as wanted."""
        return self.slots[: max(1, len(self.slots) - DEPTHS[commitment] + 1)]

    def status(self, signature: Signature) -> tuple[int, str, str] | None:
        """The slot that ran a transaction, how sure it is, and its error."""
        for depth, slot in enumerate(reversed(self.slots), start=1):
            for ran, _, error in slot.ran:
                if ran == signature:
                    sure = [name for name, least in DEPTHS.items() if depth >= least][-1]
                    return slot.number, sure, error
        return None

    def accept(self, raw: bytes) -> Signature:
        """Look whether a transaction could run, and let it wait. Raises ``RpcError``."""
        tx = Transaction.from_bytes(raw)
        signature = tx.signatures[0]
        if self.status(signature) is not None:
            raise RpcError(
                -32002, "Transaction simulation failed: This transaction has already been processed"
            )
        judged = self._aged(tx, lambda: self.svm.simulate_transaction(tx))
        if isinstance(judged, FailedTransactionMetadata):
            raise RpcError(-32002, f"Transaction simulation failed: {judged.err()}")
        self.waiting[signature] = raw
        return signature

    def simulate(self, raw: bytes) -> SimulatedTransactionInfo | FailedTransactionMetadata:
        """What would come of a transaction, whoever signed it."""
        tx = Transaction.from_bytes(raw)
        self.svm.with_sigverify(False)
        try:
            return self._aged(tx, lambda: self.svm.simulate_transaction(tx))
        finally:
            self.svm.with_sigverify(True)

    def _run(self, signature: Signature, raw: bytes) -> None:
        if self.status(signature) is not None:
            return
        tx, slot = Transaction.from_bytes(raw), self.slots[-1]
        before = {key: self.svm.get_account(key) for key in tx.message.account_keys}
        done = self._aged(tx, lambda: self.svm.send_transaction(tx))
        error = str(done.err()) if isinstance(done, FailedTransactionMetadata) else ""
        if isinstance(done, FailedTransactionMetadata) and not done.meta().fee():
            return
        for key, account in before.items():
            gain = self.lamports(bytes(key)) - (account.lamports if account else 0)
            if gain > 0:
                slot.gains.setdefault(bytes(key), []).append(gain)
        slot.accounts.append((list(before.values()), [self.svm.get_account(key) for key in before]))
        slot.before = before | slot.before
        slot.ran.append((signature, raw, error))
        if error:
            self._advance(tx)

    def _aged(self, tx: Transaction, do: Callable[[], T]) -> T:
        """LiteSVM knows the newest blockhash alone, a cluster those of 150 slots."""
        kept = {slot.blockhash for slot in self.slots[-BLOCKHASHES_KEPT:]}
        self.svm.with_blockhash_check(tx.message.recent_blockhash not in kept)
        try:
            return do()
        finally:
            self.svm.with_blockhash_check(True)

    def _advance(self, tx: Transaction) -> None:
        first = tx.message.instructions[0]
        key = tx.message.account_keys[first.accounts[0]]
        found = self.svm.get_account(key)
        if found is not None and found.data[40:72] == bytes(tx.message.recent_blockhash):
            data = found.data[:40] + durable(self.svm.latest_blockhash()) + found.data[72:]
            self._set(key, Account(found.lamports, data, SYSTEM))

    def _set(self, key: Pubkey, account: Account | None) -> None:
        self.svm.set_account(key, account or Account(0, b"", SYSTEM))


def _token_account(owner: bytes, mint: bytes) -> Pubkey:
    return get_associated_token_address(Pubkey(owner), Pubkey(mint), TOKEN)


def durable(blockhash: Hash, seed: int | None = None) -> bytes:
    """The value that a nonce account gets while this blockhash is the newest."""
    told = b"" if seed is None else bytes([seed])
    return hashlib.sha256(b"DURABLE_NONCE" + bytes(blockhash) + told).digest()
