"""The tables of a node's store, and opening them: one SQLite file, readable by its owner only.

WAL with synchronous=FULL: what a transaction committed is on disk when the call returns.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from policy.errors import InvariantError, OperationalError
from signer_nodes.ports import StoreBusy, StoreOlder

VERSION: Final = 2
DAMAGED: Final = "it is damaged: keep the file, put the node on a new disk, and enrol it again"
FULL: Final = "free space on the disk: a running node goes on by itself then"
CACHE_KIB: Final = 16 * 1024
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_TABLES: Final = """
CREATE TABLE entries (position INTEGER PRIMARY KEY CHECK (position >= 0), entry BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY CHECK (size >= 0), note BLOB NOT NULL, cosigned BLOB
) STRICT;
CREATE TABLE abandoned (
    id INTEGER PRIMARY KEY, branch INTEGER NOT NULL, kind TEXT NOT NULL, position INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE marks (
    number INTEGER PRIMARY KEY CHECK (number >= 0),
    kind TEXT NOT NULL CHECK (kind IN ('bound', 'sent', 'burned')),
    job BLOB NOT NULL, item INTEGER NOT NULL CHECK (item >= 0), data BLOB NOT NULL, chain BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_bound ON marks (job, item) WHERE kind = 'bound';
CREATE UNIQUE INDEX sent_or_burned ON marks (job, item) WHERE kind IN ('sent', 'burned');
CREATE TRIGGER marks_stay BEFORE UPDATE ON marks BEGIN SELECT RAISE(ABORT, 'marks stay'); END;
CREATE TRIGGER marks_keep BEFORE DELETE ON marks BEGIN SELECT RAISE(ABORT, 'marks stay'); END;
CREATE TABLE bans (
    number INTEGER PRIMARY KEY, peer TEXT NOT NULL, key_id TEXT NOT NULL, epoch INTEGER NOT NULL,
    reason TEXT NOT NULL, UNIQUE (peer, key_id, epoch)
) STRICT;
CREATE TABLE evidence (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE statements (name TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE sealed (name TEXT PRIMARY KEY, blob BLOB NOT NULL, wrapped_key BLOB NOT NULL) STRICT;
CREATE TABLE boots (peer TEXT PRIMARY KEY, counter INTEGER NOT NULL, boot_id BLOB NOT NULL) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
"""
_PAGES: Final = """
CREATE TABLE pages (name BLOB PRIMARY KEY, page BLOB NOT NULL) STRICT;
CREATE TABLE page_changes (name BLOB NOT NULL, added INTEGER NOT NULL) STRICT;
"""
_STEPS: Final = (_TABLES, _PAGES)  # what leads from each version to the next


def open_database(path: Path, *, upgrade: bool = True) -> sqlite3.Connection:
    """Open or create the store at ``path``. Raises ``OperationalError`` that says what to do.

    Without ``upgrade`` one of an older program is refused and stays as it is.
    """
    with reporting(path):
        _create_file(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # two processes must not hold one store
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")  # the index of all pages fits
            connection.execute("PRAGMA trusted_schema=OFF")
            _migrate(connection, path, upgrade=upgrade)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into errors of ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise InvariantError(f"store {path}: {error}") from error
    except (sqlite3.Error, OSError) as error:
        kind = StoreBusy if _primary_code(error) in _BUSY else OperationalError
        raise kind(f"store {path}: {error}: {_advice(error)}") from error


def _create_file(path: Path) -> None:
    if path.exists():
        if not path.is_file():
            raise OperationalError(
                f"store {path} is no file: move away what is there, and put the store back"
            )
        if path.stat().st_mode & 0o077:
            raise OperationalError(f"store {path} is open to others: chmod 600 it, and look who read it")
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # -wal and -shm take its mode


def _migrate(connection: sqlite3.Connection, path: Path, *, upgrade: bool) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise OperationalError(
            f"store {path} has version {version}, this program knows {VERSION}: start the newer program"
        )
    if version == VERSION:
        connection.execute("BEGIN IMMEDIATE")  # takes the lock now, not at the first write
        connection.execute("COMMIT")
        return
    if version and not upgrade:
        raise StoreOlder(
            f"store {path} has version {version}, this program makes it {VERSION} when it runs: look by the "
            "program that ran last, or start this one"
        )
    connection.execute("BEGIN IMMEDIATE")
    for step in _STEPS[version:]:
        for table in _statements(step):
            connection.execute(table)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Split a script; ``executescript`` would commit each statement by itself."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _primary_code(error: sqlite3.Error | OSError) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _advice(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            return FULL
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return "mount the data folder writable for the node's user, then restart"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another process holds it: stop that one, a store belongs to one node"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DAMAGED
        case sqlite3.SQLITE_IOERR:
            return "check the disk, then restart"
        case _:
            if str(error).startswith(("no such table", "no such column")):
                return DAMAGED
            return "check the data folder, its owner and its disk, then restart"
