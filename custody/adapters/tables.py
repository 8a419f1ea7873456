"""The coordinator's tables: copies of the log and projections of it, and what it still owes the world."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

METADATA = MetaData()


class Nonce(TypeDecorator[int]):
    """An integer from 0 to 2**256 - 1, stored as 32 bytes, whose order is that of the numbers."""

    impl = LargeBinary(32)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> bytes | None:
        """The bytes to store."""
        return None if value is None else value.to_bytes(32, "big")

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> int | None:
        """The number that was stored."""
        return None if value is None else int.from_bytes(value, "big")


LEASE = Table(  # one row: whose number ``fence`` is may write, and until when nobody may take over
    "lease",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", String(300), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("doors", String(2000), nullable=False),  # where the holder serves, as canonical JSON
)

ENTRIES = Table(
    "entries",
    METADATA,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    Column("quorum", LargeBinary),
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("request", LargeBinary(32), primary_key=True),
    Column("initiator", String(63), nullable=False),
    Column("idempotency_key", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("created_order", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("rule", String(63), nullable=False, default=""),
    Column("chain", String(39), nullable=False, default=""),
    Column("account", String(75), nullable=False, default=""),
    Column("path", String(128), nullable=False, default=""),
    Column("nonce", Nonce),
    Column("tx", LargeBinary, nullable=False, default=b""),
    Column("job", LargeBinary(32), nullable=False, default=b""),
    Column("tx_hash", LargeBinary(64), nullable=False, default=b""),
    Column("block", BigInteger, nullable=False, default=0),
    Column("approvals", Integer, nullable=False, default=0),
    Column("error", String(1000), nullable=False, default=""),
    Column("psbt", LargeBinary, nullable=False, default=b""),
    UniqueConstraint("initiator", "idempotency_key"),
    Index("requests_by_state", "state", "created_order"),
    Index("requests_by_expiry", "expires_ms"),
    Index("requests_by_block", "chain", "block"),
)

REPORTS = Table(  # the newest report of each rebalancer
    "reports",
    METADATA,
    Column("initiator", String(63), primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
)

APPROVALS = Table(  # received, not yet in the log
    "approvals",
    METADATA,
    Column("approval_id", LargeBinary(32), primary_key=True),
    Column("request", LargeBinary(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("assertion", LargeBinary, nullable=False),
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("request", LargeBinary(32), primary_key=True),
    Column("effect", String(16), primary_key=True),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_ms", BigInteger, nullable=False),
    Index("outbox_due", "due_ms"),
)

TRANSACTIONS = Table(  # every signed transaction of a request; at most one of them can confirm
    "transactions",
    METADATA,
    Column("job", LargeBinary(32), primary_key=True),
    Column("request", LargeBinary(32), nullable=False, index=True),
    Column("purpose", String(8), nullable=False),
    Column("tx_hash", LargeBinary(64), nullable=False),
    Column("raw", LargeBinary, nullable=False),
)

DESTINATIONS = Table(  # what was paid to whom, added up as it is signed; a request counts once
    "destinations",
    METADATA,
    Column("chain", String(39), primary_key=True),
    Column("destination", String(90), primary_key=True),
    Column("asset", String(63), primary_key=True),
    Column("initiator", String(63), primary_key=True),
    Column("payments", BigInteger, nullable=False),
    Column("total", Nonce, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("last_request", LargeBinary(32), nullable=False),
)

PRESIGNATURES = Table(
    "presignatures",
    METADATA,
    Column("presignature", LargeBinary(32), primary_key=True),
    Column("nonce_point", LargeBinary(33), nullable=False),
    Column("key", String(63), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("signers", String(1000), nullable=False),
    Column("boots", String(2000), nullable=False),
    Column("state", String(8), nullable=False),
)

SLOTS = Table(
    "slots",
    METADATA,
    Column("chain", String(39), primary_key=True),
    Column("account", String(75), primary_key=True),
    Column("nonce", Nonce, primary_key=True),
    Column("request", LargeBinary(32), nullable=False, unique=True),
)

CEREMONIES = Table(  # at place 0: hellos, burns and ceremony of cold nodes (custody/ceremony_document.py)
    "ceremonies",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
)

FEED = Table(  # one row: the name of this database's feed, so that numbers of another one mean nothing here
    "feed",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("name", String(16), nullable=False),
)

EVENTS = Table(  # every change of a request, in order; dropped when old, never altered
    "events",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("request", LargeBinary(32), nullable=False),
    Column("initiator", String(63), nullable=False),
    Column("number", BigInteger, nullable=False),  # among the initiator's own, who is told no other one
    Column("state", String(32), nullable=False),
    Column("substate", String(16), nullable=False),
    Column("rule", String(63), nullable=False),
    Column("chain", String(39), nullable=False),
    Column("tx_hash", LargeBinary(64), nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("approvals", Integer, nullable=False),
    Column("error", String(1000), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("deposit", LargeBinary, nullable=False, default=b""),  # of a deposit, ``request`` is its id
    Index("events_by_request", "request", "sequence"),
    Index("events_by_initiator", "initiator", "number", unique=True),
)

TRIMMED = Table(  # one row at most: up to which event some are gone
    "trimmed",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)

NONCES = Table(  # of calls over HTTP, for as long as their signatures hold
    "nonces",
    METADATA,
    Column("caller", String(63), primary_key=True),
    Column("nonce", String(128), primary_key=True),
    Column("until_s", BigInteger, nullable=False, index=True),
)

WEBHOOKS = Table(  # up to which event deliveries are queued; also to operators by mail (custody/mail.py)
    "webhooks",
    METADATA,
    Column("webhook", String(68), primary_key=True),
    Column("position", BigInteger, nullable=False),
)

DELIVERIES = Table(  # events that a webhook is still to be told of
    "deliveries",
    METADATA,
    Column("webhook", String(68), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("request", LargeBinary(32), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_ms", BigInteger, nullable=False),
    Column("error", String(300), nullable=False, default=""),
    Index("deliveries_by_request", "webhook", "request", "sequence"),
)

DEPOSITS = Table(  # what observers stated of payments to us, as the log has it
    "deposits",
    METADATA,
    Column("deposit", LargeBinary(32), primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),  # in the order in which they were first stated
    Column("chain", String(39), nullable=False),
    Column("tx", LargeBinary(64), nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("wallet", String(63), nullable=False),
    Column("address", String(90), nullable=False),
    Column("asset", String(63), nullable=False),
    Column("amount", Nonce, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Index("deposits_by_wallet", "wallet", "number"),
)

# Given out to be paid at; an address is given out once, whatever its wallet is called. A row of no chain says
# by its "address" that some may be missing (``custody.adapters.feeds.doubt_addresses``).
ADDRESSES = Table(
    "addresses",
    METADATA,
    Column("chain", String(39), primary_key=True),
    Column("address", String(90), primary_key=True),
    Column("wallet", String(63), nullable=False),
    Column("path", String(128), nullable=False),
    Column("initiator", String(63), nullable=False),
    Column("label", String(128), nullable=False),
    Column("created_order", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("wallet", "initiator", "label"),
)
