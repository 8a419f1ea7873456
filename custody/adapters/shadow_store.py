"""What the shadow policy would have said, in a database file of its own: the real one never waits for it."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    insert,
    select,
)

from policy.backtest import Comparison
from policy.encoding import Json

WHY_MAX = 300
METADATA = MetaData()

VERDICTS = Table(
    "shadow_verdicts",
    METADATA,
    Column("policy", LargeBinary(32), primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("request", LargeBinary(32), nullable=False),
    Column("asset", String(63), nullable=False),
    Column("amount", String(80), nullable=False),
    Column("real_outcome", String(8), nullable=False),
    Column("real_rule", String(63), nullable=False),
    Column("shadow_outcome", String(8), nullable=False),
    Column("shadow_rule", String(63), nullable=False),
    Column("why", String(WHY_MAX), nullable=False),
    Column("way", String(8), nullable=False),
)


class ShadowStore:
    """Implements ``custody.shadow.Shelf`` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}")
        METADATA.create_all(self._engine)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def add(self, policy: bytes, comparisons: Sequence[Comparison]) -> None:
        """Keep what the policy with this hash would have said; on another branch, instead of before."""
        indices = [one.index for one in comparisons]
        with self._engine.begin() as db:
            db.execute(delete(VERDICTS).where(VERDICTS.c.policy == policy, VERDICTS.c.index.in_(indices)))
            db.execute(insert(VERDICTS), [_row(policy, one) for one in comparisons])

    def newest(self, policy: bytes, *, flips: bool, limit: int) -> list[Json]:
        """The newest of one policy, newest first; with ``flips`` only those of another outcome."""
        query = select(VERDICTS).where(VERDICTS.c.policy == policy)
        if flips:
            query = query.where(VERDICTS.c.way != "")
        with self._engine.connect() as db:
            rows = db.execute(query.order_by(VERDICTS.c.index.desc()).limit(limit)).mappings().all()
        return [
            {
                **{name: row[name] for name in ("index", "time_ms", "kind", "asset", "amount", "why", "way")},
                "request": row["request"].hex(),
                "real": {"outcome": row["real_outcome"], "rule": row["real_rule"]},
                "other": {"outcome": row["shadow_outcome"], "rule": row["shadow_rule"]},
            }
            for row in rows
        ]


def _row(policy: bytes, one: Comparison) -> dict[str, object]:
    return {
        "policy": policy,
        "index": one.index,
        "time_ms": one.time_ms,
        "kind": one.kind,
        "request": one.request,
        "asset": one.asset,
        "amount": str(one.amount),
        "real_outcome": one.real.outcome.word,
        "real_rule": one.real.rule,
        "shadow_outcome": one.other.outcome.word,
        "shadow_rule": one.other.rule,
        "why": one.other.reason[:WHY_MAX],
        "way": one.way,
    }
