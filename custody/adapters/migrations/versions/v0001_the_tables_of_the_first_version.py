"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables."""
    op.create_table(
        "addresses",
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("address", sa.String(length=90), nullable=False),
        sa.Column("wallet", sa.String(length=63), nullable=False),
        sa.Column("path", sa.String(length=128), nullable=False),
        sa.Column("initiator", sa.String(length=63), nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("created_order", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "address"),
        sa.UniqueConstraint("wallet", "initiator", "label"),
    )
    op.create_table(
        "approvals",
        sa.Column("approval_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("assertion", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("approval_id"),
    )
    op.create_table(
        "ceremonies",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("quorum", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "deliveries",
        sa.Column("webhook", sa.String(length=68), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("webhook", "sequence"),
    )
    op.create_index("deliveries_by_request", "deliveries", ["webhook", "request", "sequence"], unique=False)
    op.create_table(
        "deposits",
        sa.Column("deposit", sa.LargeBinary(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("tx", sa.LargeBinary(length=64), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("wallet", sa.String(length=63), nullable=False),
        sa.Column("address", sa.String(length=90), nullable=False),
        sa.Column("asset", sa.String(length=63), nullable=False),
        sa.Column("amount", sa.LargeBinary(length=32), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("deposit"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("deposits_by_wallet", "deposits", ["wallet", "number"], unique=False)
    op.create_table(
        "destinations",
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("destination", sa.String(length=90), nullable=False),
        sa.Column("asset", sa.String(length=63), nullable=False),
        sa.Column("initiator", sa.String(length=63), nullable=False),
        sa.Column("payments", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.LargeBinary(length=32), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_request", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chain", "destination", "asset", "initiator"),
    )
    op.create_table(
        "entries",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("initiator", sa.String(length=63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("substate", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=63), nullable=False),
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(length=64), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=1000), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("deposit", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("events_by_initiator", "events", ["initiator", "number"], unique=True)
    op.create_index("events_by_request", "events", ["request", "sequence"], unique=False)
    op.create_table(
        "feed",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
    op.create_table(
        "lease",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=300), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("doors", sa.String(length=2000), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
    op.create_table(
        "nonces",
        sa.Column("caller", sa.String(length=63), nullable=False),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("until_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "nonce"),
    )
    op.create_index(op.f("ix_nonces_until_s"), "nonces", ["until_s"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("effect", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request", "effect"),
    )
    op.create_index("outbox_due", "outbox", ["due_ms"], unique=False)
    op.create_table(
        "presignatures",
        sa.Column("presignature", sa.LargeBinary(length=32), nullable=False),
        sa.Column("nonce_point", sa.LargeBinary(length=33), nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("signers", sa.String(length=1000), nullable=False),
        sa.Column("boots", sa.String(length=2000), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("presignature"),
    )
    op.create_table(
        "reports",
        sa.Column("initiator", sa.String(length=63), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.PrimaryKeyConstraint("initiator"),
    )
    op.create_table(
        "requests",
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("initiator", sa.String(length=63), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("created_order", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.String(length=63), nullable=False),
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("account", sa.String(length=75), nullable=False),
        sa.Column("path", sa.String(length=128), nullable=False),
        sa.Column("nonce", sa.LargeBinary(length=32), nullable=True),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("job", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(length=64), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=1000), nullable=False),
        sa.Column("psbt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request"),
        sa.UniqueConstraint("initiator", "idempotency_key"),
    )
    op.create_index("requests_by_block", "requests", ["chain", "block"], unique=False)
    op.create_index("requests_by_expiry", "requests", ["expires_ms"], unique=False)
    op.create_index("requests_by_state", "requests", ["state", "created_order"], unique=False)
    op.create_table(
        "slots",
        sa.Column("chain", sa.String(length=39), nullable=False),
        sa.Column("account", sa.String(length=75), nullable=False),
        sa.Column("nonce", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chain", "account", "nonce"),
        sa.UniqueConstraint("request"),
    )
    op.create_table(
        "transactions",
        sa.Column("job", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(length=64), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_index(op.f("ix_transactions_request"), "transactions", ["request"], unique=False)
    op.create_table(
        "trimmed",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
    op.create_table(
        "webhooks",
        sa.Column("webhook", sa.String(length=68), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("webhook"),
    )
