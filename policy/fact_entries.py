"""The entries by which facts and a person's no enter the log, and how each is read."""

from dataclasses import dataclass

from msgspec import Struct

from policy.approval import Assertion, Slot, parse_assertion, read_slot
from policy.encoding import Json, tagged_hash
from policy.entry_fields import Signatures, raw_body, read_id, read_signatures
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import ID_BYTES, TX_HASH_BYTES

PENDING_MAX = 256
REASON_CHARACTERS_MAX = 300
RISK_MAX, SHARES_MAX = 100, 16


NOTE_TEXT_MAX = 500


class ObservationEntry(Struct, frozen=True, gc=False):
    body: Json
    origin: str
    request: bytes
    job: bytes
    tx_hash: bytes
    block: int
    success: bool
    signatures: Signatures


CONFIRMED, GONE = DEPOSIT_FACTS = ("confirmed", "gone")
TX_BYTES_MAX = 64


class DepositEntry(Struct, frozen=True, gc=False):
    """A payment from outside to an account of ours, deep in its chain; or that the chain has it no more.

    ``turn`` counts what was stated of the deposit before, so that no old statement is taken in again.
    ``index`` is its place in the transaction (docs/chains.md), ``uses`` what the transaction uses up: what
    its anchor would be if it were ours. On Solana only those under a durable nonce use up anything.
    """

    body: Json
    origin: str
    chain: str
    tx: bytes
    index: int
    wallet: str
    address: str
    asset: str
    amount: int
    block: int
    turn: int
    uses: Slot | None
    signatures: Signatures

    @property
    def gone(self) -> bool:
        """Whether it says that the chain has it no more."""
        return bool(self.turn % 2)

    @property
    def deposit(self) -> bytes:
        """The deposit's id, whatever is said of it."""
        return deposit_id(self.chain, self.tx, index=self.index)

    @property
    def paid(self) -> bytes:
        """A hash of what came to whom."""
        return deposit_paid(self.wallet, self.address, asset=self.asset, amount=str(self.amount))


def deposit_id(chain: str, tx: bytes, *, index: int) -> bytes:
    """What a payment to us is called: by its chain, its transaction, and its place in that."""
    return tagged_hash("deposit", chain.encode(), tx, str(index).encode())


def deposit_paid(wallet: str, address: str, *, asset: str, amount: str) -> bytes:
    """A hash of what came to whom."""
    return tagged_hash("deposit paid", *(one.encode() for one in (wallet, address, asset, amount)))


class PriceEntry(Struct, frozen=True, gc=False):
    """What one whole ``asset`` is worth, in ``unit`` such as ``usd/8``, by those who watch markets."""

    body: Json
    origin: str
    asset: str
    unit: str
    price: int
    observed_ms: int
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class HoldingsEntry:
    """What ``wallet`` holds of ``asset``, with what came of all requests of the log's first ``size`` entries.

    Of those in ``pending`` it was open whether they still come to anything.
    """

    body: Json
    origin: str
    wallet: str
    asset: str
    amount: int
    observed_ms: int
    size: int
    pending: tuple[bytes, ...]
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class Basis:
    """What a screening says it rests on: a scoring ``model`` by name, a list by its hash, and the shares.

    ``shares`` are the points of each feature; the risk is their sum, cut at 100.
    """

    model: str
    list_hash: bytes
    shares: tuple[tuple[str, int], ...]

    @property
    def risk(self) -> int:
        """The score that follows from the shares."""
        return min(RISK_MAX, sum(points for _, points in self.shares))

    def to_json(self) -> dict[str, Json]:
        """The document; ``_read_basis`` is its inverse."""
        shares: list[Json] = [{"feature": feature, "points": points} for feature, points in self.shares]
        return {"model": self.model, "list": self.list_hash.hex(), "shares": shares}


@dataclass(frozen=True, slots=True)
class ScreeningEntry:
    """What a screening found about a request: a ``result`` in the provider's words, and a ``risk`` to 100.

    Nothing is decided by the ``basis``, which a statement by hand has not: who reads the log makes it again.
    """

    body: Json
    origin: str
    request: bytes
    result: str
    risk: int
    observed_ms: int
    signatures: Signatures
    basis: Basis | None = None


@dataclass(frozen=True, slots=True)
class RejectEntry:
    """One person's no to a request: by the key of the roster, or by an operator's passkey."""

    body: Json
    origin: str
    request: bytes
    by: str
    reason: str
    signatures: Signatures
    assertion: Assertion | None


@dataclass(frozen=True, slots=True)
class NoteEntry:
    """What a backend says that people should find in the log; nothing is ever decided by it."""

    body: Json
    origin: str
    by: str
    about: str
    text: str
    noted_ms: int
    signatures: Signatures


def read_observation(fields: Fields) -> ObservationEntry:
    """Read what became of a transaction."""
    body, inner = raw_body(fields)
    inner.choice("fact", "settled")
    entry = ObservationEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        job=inner.hex("job", length=ID_BYTES),
        tx_hash=checked_tx_hash(inner.hex("tx_hash", length_max=max(TX_HASH_BYTES.values()))),
        block=inner.integer("block"),
        success=inner.boolean("success"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def checked_tx_hash(name: bytes) -> bytes:
    """The name of a transaction on some chain. Raises ``MalformedError`` when no chain has one so long."""
    if len(name) not in TX_HASH_BYTES.values():
        raise MalformedError(f"a transaction's name has 32 bytes, on Solana 64, got {len(name)}")
    return name


def read_deposit(fields: Fields) -> DepositEntry:
    """Read what came to an account of ours."""
    body, inner = raw_body(fields)
    fact, chain = inner.choice("fact", *DEPOSIT_FACTS), inner.chain("chain")
    entry = DepositEntry(
        body=body,
        origin=inner.origin("origin"),
        chain=chain,
        tx=inner.hex("tx", length_max=TX_BYTES_MAX),
        index=inner.integer("index", high=2**32 - 1),
        wallet=inner.name("wallet"),
        address=inner.address("address", chain=chain),
        asset=inner.name("asset"),
        amount=inner.amount("amount", low=1),
        block=inner.integer("block"),
        turn=inner.integer("turn"),
        uses=read_slot(inner.nested("uses")) if inner.has("uses") else None,
        signatures=read_signatures(fields),
    )
    inner.done()
    if fact != DEPOSIT_FACTS[entry.gone] or len(entry.tx) < ID_BYTES:
        raise MalformedError(
            f"turn {entry.turn} of a deposit does not say that it is {fact}, or of no transaction"
        )
    if entry.uses is not None and entry.uses.chain != chain:
        raise MalformedError(f"a transaction on {chain} uses up nothing on {entry.uses.chain}")
    return entry


def read_price(fields: Fields) -> PriceEntry:
    """Read a price."""
    body, inner = raw_body(fields)
    entry = PriceEntry(
        body=body,
        origin=inner.origin("origin"),
        asset=inner.name("asset"),
        unit=inner.text("unit", length_max=70),
        price=inner.amount("price", low=1),
        observed_ms=inner.integer("observed_ms"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def read_holdings(fields: Fields) -> HoldingsEntry:
    """Read a statement of holdings."""
    body, inner = raw_body(fields)
    entry = HoldingsEntry(
        body=body,
        origin=inner.origin("origin"),
        wallet=inner.name("wallet"),
        asset=inner.name("asset"),
        amount=inner.amount("amount"),
        observed_ms=inner.integer("observed_ms"),
        size=inner.integer("size"),
        pending=inner.items("pending", read_id, count_max=PENDING_MAX),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def read_screening(fields: Fields) -> ScreeningEntry:
    """Read a screening."""
    body, inner = raw_body(fields)
    entry = ScreeningEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        result=inner.name("result"),
        risk=inner.integer("risk", high=RISK_MAX),
        observed_ms=inner.integer("observed_ms"),
        signatures=read_signatures(fields),
        basis=_read_basis(inner.nested("basis")) if inner.has("basis") else None,
    )
    inner.done()
    if entry.basis is not None and entry.basis.risk != entry.risk:
        raise MalformedError(f"the risk is {entry.risk}, and by its shares {entry.basis.risk}")
    return entry


def _read_basis(fields: Fields) -> Basis:
    basis = Basis(
        model=fields.name("model"),
        list_hash=fields.hex("list", length=ID_BYTES),
        shares=fields.objects(
            "shares",
            lambda one: (one.name("feature"), one.integer("points", low=1, high=RISK_MAX)),
            count_max=SHARES_MAX,
        ),
    )
    fields.done()
    if len(dict(basis.shares)) != len(basis.shares):
        raise MalformedError("one feature has two shares")
    return basis


def read_reject(fields: Fields) -> RejectEntry:
    """Read a rejection; it has signatures or an assertion, never both."""
    body, inner = raw_body(fields)
    by_passkey = fields.has("assertion")
    entry = RejectEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        by=inner.name("by"),
        reason=inner.text("reason", length_max=REASON_CHARACTERS_MAX),
        signatures={} if by_passkey else read_signatures(fields),
        assertion=parse_assertion(fields.raw("assertion")) if by_passkey else None,
    )
    inner.done()
    return entry


def read_note(fields: Fields) -> NoteEntry:
    """Read a note."""
    body, inner = raw_body(fields)
    entry = NoteEntry(
        body=body,
        origin=inner.origin("origin"),
        by=inner.name("by"),
        about=inner.name("about"),
        text=inner.text("text", length_max=NOTE_TEXT_MAX),
        noted_ms=inner.integer("noted_ms"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry
