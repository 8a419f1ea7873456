"""A rebalancer's tables, in a database of its own. Amounts are decimal text: they have any size."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

METADATA = MetaData()


class Amount(TypeDecorator[int]):
    """An integer of any size and sign, stored as decimal text."""

    impl = String(80)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """The text to store."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        """The number that was stored."""
        return None if value is None else int(value)


CURSOR = Table(  # one row: the number of the next movement to ask for
    "cursor",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

MOVEMENTS = Table(
    "movements",
    METADATA,
    Column("request", LargeBinary(32), primary_key=True),
    Column("number", BigInteger, nullable=False, index=True),
    Column("signed_ms", BigInteger, nullable=False, index=True),
    Column("wallet", String(63), nullable=False),
    Column("asset", String(63), nullable=False),
    Column("amount_base", Amount, nullable=False),
    Column("to", String(63), nullable=False),
)

OBSERVED = Table(
    "observed",
    METADATA,
    Column("route", String(63), primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("held_base", Amount, nullable=False),
    Column("carry_base", Amount, nullable=False),
    Column("number", BigInteger, nullable=False),
)

DEPOSITS = Table(  # by the hour in which they were seen; ``known`` is false where a look was missing
    "deposits",
    METADATA,
    Column("route", String(63), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("amount_base", Amount, nullable=False),
    Column("known", Boolean, nullable=False),
)

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("route", String(63), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("hot_base", Amount, nullable=False),
    Column("owed_base", Amount, nullable=False),
    Column("minimum_base", Amount, nullable=False),
    Column("target_base", Amount, nullable=False),
    Column("maximum_base", Amount, nullable=False),
    Column("refill_base", Amount, nullable=False),
    Column("fill_base", Amount, nullable=False),
    Column("sweep_base", Amount, nullable=False),
    Column("rest_base", Amount, nullable=False),
    Column("mode", String(32), nullable=False),
    Column("reasons", Text, nullable=False),
)

FORECASTS = Table(
    "forecasts",
    METADATA,
    Column("route", String(63), primary_key=True),
    Column("made_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("day_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("flow", String(16), primary_key=True),
    Column("levels", Text, nullable=False),
    Column("amounts", Text, nullable=False),
)

MOVES = Table(
    "moves",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("route", String(63), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("stage", String(16), nullable=False, index=True),
    Column("amount_base", Amount, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
    Column("updated_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("period_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("request", LargeBinary(32), nullable=False),
    Column("request_state", String(16), nullable=False),
    Column("tx_hash", String(88), nullable=False),
    Column("error", Text, nullable=False),
    Column("released", Boolean, nullable=False),
    Column("reasons", Text, nullable=False),
    Index("moves_by_period", "route", "direction", "period_ms"),
)

ALARMS = Table(
    "alarms",
    METADATA,
    Column("route", String(63), primary_key=True),
    Column("since_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("rule", String(100), nullable=False),
    Column("observed_base", Amount, nullable=False),
    Column("threshold_base", Amount, nullable=False),
    Column("quota_base", Amount, nullable=False),
    Column("band", Text, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("ended_why", Text, nullable=False),
    Column("new_normal", Boolean, nullable=False),
)

NOTES = Table(
    "notes",
    METADATA,
    Column("time_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("route", String(63), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("text", Text, nullable=False),
    Column("told", Boolean, nullable=False),
)
