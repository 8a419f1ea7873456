"""A scoring observer's memory in one SQLite file. It can be thrown away: the log has all of it."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from custody.risk.habits import Payment
from policy.errors import OperationalError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), document BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS pages (name BLOB PRIMARY KEY, page BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payments (
    number INTEGER PRIMARY KEY, initiator TEXT NOT NULL, chain TEXT NOT NULL, destination TEXT NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;
"""


class RiskStore:
    """Implements ``custody.risk.keeping.Shelf``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._reporting():
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def head(self) -> bytes | None:
        """The document of what is kept."""
        with self._reporting():
            row = self._connection.execute("SELECT document FROM head").fetchone()
        return None if row is None else bytes(row[0])

    def page(self, name: bytes) -> bytes | None:
        """A page by its hash."""
        with self._reporting():
            row = self._connection.execute("SELECT page FROM pages WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def payments(self) -> Sequence[Payment]:
        """Every first payment, in order."""
        query = "SELECT initiator, chain, destination, time_ms FROM payments ORDER BY number"
        with self._reporting():
            return [Payment(*row) for row in self._connection.execute(query)]

    def keep(
        self,
        head: bytes,
        *,
        added: Mapping[bytes, bytes],
        retired: Collection[bytes],
        payments: Sequence[Payment],
    ) -> None:
        """Keep another head with its pages, and more payments."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM pages WHERE name = ?", [(name,) for name in retired])
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?)", added.items())
            connection.executemany(
                "INSERT INTO payments (initiator, chain, destination, time_ms) VALUES (?, ?, ?, ?)",
                [(one.initiator, one.chain, one.destination, one.time_ms) for one in payments],
            )
            connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?)", (head,))

    def clear(self) -> None:
        """Throw all of it away."""
        with self._transaction() as connection:
            for table in ("head", "pages", "payments"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OperationalError(
                f"{self._path}: {error}; look at its disk, or remove it: the log has all of it"
            ) from error
