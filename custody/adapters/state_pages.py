"""The pages of a coordinator's stored state in one SQLite file. It can be thrown away: the log has all of it.

``coming`` names what is written of a state that is to be stored next, ``replaced`` what only the one before
the stored one needs. One process has the file, and may read it from any of its threads.
"""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from policy.errors import OperationalError

CACHE_KIB: Final = 32 * 1024
_PARTS: Final = ("", "-wal", "-shm")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pages (name BLOB PRIMARY KEY, page BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS coming (name BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS replaced (name BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS replaced_by_name ON replaced (name);
CREATE TABLE IF NOT EXISTS stored (one INTEGER PRIMARY KEY CHECK (one = 1), root BLOB NOT NULL) STRICT;
"""


class StatePages:
    """Implements ``policy.stored.keeping.PageStore``. What cannot be written raises ``OperationalError``."""

    def __init__(self, path: Path, *, wait_s: float = 5.0) -> None:
        self._path, self._wait_s = path, wait_s
        with _reporting(path):
            try:
                self._connection = _opened(path, wait_s)
            except sqlite3.OperationalError:  # it is held by somebody, or the disk is full
                raise
            except sqlite3.DatabaseError:
                self._connection = self._anew()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def root(self) -> bytes:
        """Of what is stored; empty for nothing."""
        with contextlib.suppress(sqlite3.DatabaseError):
            row = self._connection.execute("SELECT root FROM stored").fetchone()
            return b"" if row is None else bytes(row[0])
        return b""

    def page(self, name: bytes) -> bytes | None:
        """A page; None for one that cannot be read as well."""
        with contextlib.suppress(sqlite3.DatabaseError):
            row = self._connection.execute("SELECT page FROM pages WHERE name = ?", (name,)).fetchone()
            return None if row is None else bytes(row[0])
        return None

    def forget_before(self, count: int) -> bool:
        """Drop up to ``count`` pages that the stored state replaced; whether there were any."""
        with self._transaction() as db:
            found = db.execute("SELECT rowid, name FROM replaced LIMIT ?", (count,)).fetchall()
            db.executemany("DELETE FROM pages WHERE name = ?", [(name,) for _, name in found])
            db.executemany("DELETE FROM replaced WHERE rowid = ?", [(row,) for row, _ in found])
        return bool(found)

    def add_pages(self, pages: Mapping[bytes, bytes]) -> None:
        """Write pages of the state that is to be stored next."""
        with self._transaction() as db:
            _add(db, pages)
            db.executemany("INSERT INTO coming VALUES (?)", [(name,) for name in pages])

    def put_state(
        self, root: bytes, *, before: bytes, added: Mapping[bytes, bytes], retired: Collection[bytes]
    ) -> None:
        """Store the state of ``root``; of the one ``before`` it what it alone needs goes next time."""
        with self._transaction() as db:
            _add(db, added)
            db.execute("DELETE FROM pages WHERE name IN (SELECT name FROM replaced)")
            db.execute("DELETE FROM replaced")
            db.execute("DELETE FROM coming")
            db.executemany("INSERT INTO replaced VALUES (?)", [(name,) for name in sorted(retired)])
            db.execute("INSERT OR REPLACE INTO stored VALUES (1, ?)", (root,))

    def resume_state(self, root: bytes) -> bool:
        """Whether the state of ``root`` is stored; what is written of a later one goes."""
        with self._transaction() as db:
            db.execute("DELETE FROM pages WHERE name IN (SELECT name FROM coming)")
            db.execute("DELETE FROM coming")
        return root == self.root()

    def clear_state(self) -> None:
        """Begin with an empty file."""
        if not self._is_empty():
            self._connection.close()
            self._connection = self._anew()

    def _is_empty(self) -> bool:
        with contextlib.suppress(sqlite3.DatabaseError):
            return self._connection.execute("SELECT 1 FROM pages LIMIT 1").fetchone() is None
        return False

    def _anew(self) -> sqlite3.Connection:
        with _reporting(self._path):
            for part in _PARTS:
                Path(f"{self._path}{part}").unlink(missing_ok=True)
            return _opened(self._path, self._wait_s)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _reporting(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # one that failed may have ended it
                    self._connection.execute("ROLLBACK")
                raise


def _add(db: sqlite3.Connection, pages: Mapping[bytes, bytes]) -> None:
    """Write pages; what was replaced before and comes again stays."""
    db.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?)", pages.items())
    db.executemany("DELETE FROM replaced WHERE name = ?", [(name,) for name in pages])


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OperationalError(f"{path}: {error}; it can be removed, the log is folded anew then") from error


def _opened(path: Path, wait_s: float) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")  # the index of all pages fits
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
