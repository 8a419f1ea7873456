"""What the coordinator needs from outside: chains and cosigners. Adapters implement these."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from custody.candidates import Folded
from policy.accounts import Account
from policy.approval import Slot
from policy.intent import Intent
from policy.state import Job, State


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction: whether it did what it says, and in which block."""

    tx_hash: bytes
    block: int
    success: bool
    confirmations: int


@dataclass(frozen=True, slots=True)
class Landed:
    """What used up a place on a chain: its unsigned bytes and signatures, empty if they are not told."""

    receipt: Receipt
    tx: bytes
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """An account's balance of the native asset or of a token, before and after; None if nobody can tell."""

    account: str
    contract: str | None
    before: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a chain's endpoint says would come of a transaction on top of ``block``, its fee left out."""

    block: int
    success: bool
    reason: str
    balances: tuple[BalanceChange, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A payment to be planned: out of which accounts, by at most how many signatures, at what most.

    ``psbt`` is what it is to be paid by, if it came with one. ``waits``: it waits for people, and so do
    ``waiting`` others on each account.
    """

    request: bytes
    intent: Intent
    contract: str | None
    accounts: tuple[Account, ...]
    fee_ceiling: int
    signatures_max: int
    psbt: bytes = b""
    waits: bool = False
    waiting: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planned:
    """A payment's bytes. Without a ``slot`` its place on the chain is chosen as it is reserved."""

    account: str
    path: str
    tx: bytes
    slot: Slot | None


@dataclass(frozen=True, slots=True)
class Gathered:
    """Coins of a wallet as one: the PSBT, what arrives, the fee, how many they are and how many are left."""

    psbt: bytes
    amount: int
    fee: int
    coins: int
    left: int


@dataclass(frozen=True, slots=True)
class Held:
    """A planned payment that the log does not know yet, and the slot that it holds."""

    request: bytes
    slot: Slot
    tx: bytes


class Chain(Protocol):
    """One chain: where its transactions have their place, what they are, and what becomes of them.

    Methods that wait raise ``OperationalError``, saying what to do, when the chain's endpoint cannot answer
    or what is wanted is impossible now.
    """

    @property
    def name(self) -> str:
        """The chain as documents call it, such as ``evm:1``."""

    async def check(self) -> None:
        """Compare the chain that answers with the configured one."""

    # Places: one request has one for ever, whatever transactions it needs.

    @property
    def places_hold_money(self) -> bool:
        """Whether the place of a request that is over is worth the fee that frees it, though nobody waits."""

    @property
    def final_at(self) -> int | None:
        """The confirmations with which nothing is taken back any more; None where no number is sure."""

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up what was planned before a start, and what the log has."""

    def written(self, folded: Folded) -> None:
        """An entry is durable."""

    def release(self, request: bytes) -> None:
        """Give back a place that no transaction of the log names."""

    async def prepare(self, account: str) -> None:
        """Learn what ``placed`` needs to know of an account that was planned before a start."""

    def placed(self, before: State, tx: bytes, *, account: str, nonce: int | None) -> bytes:
        """The planned bytes at the request's place, or at the first one that is free in ``before``."""

    # Transactions: unsigned bytes that nodes decode.

    async def plan(self, wanted: Wanted, state: Callable[[], State]) -> Planned:
        """The bytes that pay, and a place if it is taken at once; ``state`` is the log's as of the call."""

    async def cancellation(self, slot: Slot, tx: bytes, *, ceiling: int) -> bytes:
        """Bytes that use up the place of the payment ``tx`` and pay nobody."""

    def can_be_dearer(self, tx: bytes, *, purpose: str, ceiling: int) -> bool:
        """Whether the ceiling leaves room for a transaction that takes the place of ``tx``."""

    async def dearer(self, job: Job, wanted: Wanted | None, *, ceiling: int) -> bytes | None:
        """Bytes that take the place of a signed job's: the payment, or without one a cancellation.

        None when the ceiling leaves no room.
        """

    # What the chain's endpoint says.

    async def balance(self, account: str, contract: str | None = None) -> int:
        """The account's balance of the native asset or of a token, in base units."""

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What would come of an unsigned transaction; ``watched`` are holders and the tokens' contracts."""

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction to the network; harmless when it is known or mined already."""

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction; None while it is not mined."""

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether no block has a transaction that ``block`` had; only who has come as far can tell."""


@runtime_checkable
class PlaceChain(Protocol):
    """A chain that tells what used up a place."""

    async def landed(self, place: Slot, known: Collection[bytes]) -> Landed | None:
        """What used up a place; None while nothing has. Those ``known`` by name are looked for first.

        Raises ``OperationalError``, saying what to do, when it is used up and cannot be told by what.
        """


@runtime_checkable
class CoinChain(Protocol):
    """A chain whose coins can be chosen by a PSBT."""

    async def adopt(self, psbt: bytes, wanted: Wanted) -> bytes:
        """A PSBT of another wallet as it is signed here. Raises ``MalformedError``, saying why not."""

    async def gather(self, wanted: Wanted, *, coins_max: int) -> Gathered:
        """The smallest of the wallet's coins as one, at the intent's destination."""

    def exported(self, tx: bytes, *, signed: Job | None, version: int) -> bytes:
        """Unsigned bytes as a PSBT for other wallets; finished by a job that ``signed`` them."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a cosigner stands: the note it cosigned last, and the highest with w cosignatures it knows."""

    size: int
    note: bytes
    quorum: bytes


@dataclass(frozen=True, slots=True)
class Opening:
    """A signer's opening for one signature of a job it admitted: ρ, or two nonce points for FROST."""

    job: bytes
    index: int
    rho: bytes


@dataclass(frozen=True, slots=True)
class PartialSignature:
    """A signer's partial signature for one signature of a job, as the suite encodes it."""

    job: bytes
    index: int
    partial: bytes


@dataclass(frozen=True, slots=True)
class Declined:
    """A job a signer does not sign, and why; ``not_before_ms`` is from when on it says that it would."""

    job: bytes
    reason: str
    not_before_ms: int = 0


@dataclass(frozen=True, slots=True)
class Appended:
    """A cosigner's answer to round 1."""

    cosignature: bytes
    openings: tuple[Opening, ...]
    declined: tuple[Declined, ...]


@dataclass(frozen=True, slots=True)
class FinishJob:
    """The openings of every signer of a job, by index of the signature and name."""

    job: bytes
    rhos: tuple[tuple[int, str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A signer's answer to round 2."""

    partials: tuple[PartialSignature, ...]
    declined: tuple[Declined, ...]


@dataclass(frozen=True, slots=True)
class FreshPresignature:
    """A presignature's id and its nonce point R, which combining needs."""

    presignature: bytes
    nonce_point: bytes


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """A run that begins an epoch of a key: how, and by whom in a resharing. ``attempt`` tells runs apart."""

    key: str
    change: str
    attempt: int
    dealers: tuple[str, ...] = ()
    envelopes: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def envelope_for(self, name: str) -> bytes:
        """What an import's dealer sealed to a node; empty in other changes."""
        return dict(self.envelopes).get(name, b"")


class Node(Protocol):
    """A cosigner: a node or a witness. Calls may be repeated.

    Every method raises ``OperationalError`` when no answer came and ``ProtocolError`` when the node
    refuses or its answer is not one.
    """

    @property
    def name(self) -> str:
        """Its name in the roster."""

    @property
    def boot(self) -> str:
        """The id of the boot it is connected as; empty while it is not connected."""

    async def head(self) -> Head:
        """Where it stands."""

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start``, possibly fewer than asked for."""

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        """Round 1: entries from ``start`` and the checkpoint over them."""

    async def quorum(self, note: bytes) -> None:
        """Tell it of a note with w cosignatures."""

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        """Round 2: a note with w cosignatures, and the openings."""

    async def change_key(self, order: KeyOrder) -> tuple[bytes, bytes]:
        """Take part in beginning a key's next epoch: its body, and the node's signature over it."""

    async def import_offer(self, key: str, attempt: int) -> bytes:
        """Its signed one-time key for an import, canonical {"body","signature"}."""

    async def presign(
        self, key: str, signers: tuple[str, ...], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[FreshPresignature, ...]:
        """Take part in making presignatures, if the key is in this epoch by the node's own log."""

    async def burn(self, job: bytes) -> bytes:
        """The node's signature that it never gives a partial signature for ``job``."""

    async def abandon(self, body: bytes) -> bytes:
        """Its signature that it never cosigns the branch in ``body``, a canonical statement in its name."""

    async def leave(self, statements: tuple[bytes, ...]) -> None:
        """Have it leave its branch on signed statements of the others."""

    async def leave_by_fork(self, entry: bytes) -> None:
        """Have it leave its branch on the administrators' fork entry."""

    async def read(self, reservation: bytes) -> tuple[bytes, bytes]:
        """What it finds in the transaction of a canonical reservation: its reading, and its signature."""

    async def status(self) -> bytes:
        """Its canonical status document."""

    async def close(self) -> None:
        """End the connection."""
