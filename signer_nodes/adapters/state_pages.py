"""The pages of a node's stored state in its SQLite file; each function is a part of a transaction.

``page_changes`` says what the last stored state brought and what it replaced, and what is written of the
next one: until that is stored, nothing leads to it, and a start drops it.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

STATE, BEFORE = "state", "state-before"
REPLACED: Final = 0
CAME: Final = 1
COMING: Final = 2


def add(connection: sqlite3.Connection, pages: Mapping[bytes, bytes], *, kind: int) -> None:
    """Write pages, and note what they are."""
    connection.executemany("INSERT OR REPLACE INTO pages (name, page) VALUES (?, ?)", pages.items())
    note(connection, pages, kind=kind)


def note(connection: sqlite3.Connection, names: Collection[bytes], *, kind: int) -> None:
    """Note what pages are."""
    rows = [(name, kind) for name in sorted(names)]
    connection.executemany("INSERT INTO page_changes (name, added) VALUES (?, ?)", rows)


def put(
    connection: sqlite3.Connection,
    root: bytes,
    *,
    before: bytes,
    added: Mapping[bytes, bytes],
    retired: Collection[bytes],
) -> None:
    """Make the pages that were coming, and ``added``, the stored state."""
    with _no_secret(connection):
        if not before:
            connection.execute(
                "DELETE FROM pages WHERE name NOT IN (SELECT name FROM page_changes WHERE added = ?)",
                (COMING,),
            )
        else:
            drop(connection, REPLACED)
    connection.execute("DELETE FROM page_changes WHERE added != ?", (COMING,))
    connection.execute("UPDATE page_changes SET added = ?", (CAME,))
    add(connection, added, kind=CAME)
    note(connection, retired, kind=REPLACED)
    put_meta(connection, STATE, value=root)
    put_meta(connection, BEFORE, value=before)


def resume(connection: sqlite3.Connection, root: bytes) -> bool:
    """Whether the state of ``root`` is the stored one, or was the one before it and is again."""
    query = "SELECT value FROM meta WHERE name = ?"
    found = [connection.execute(query, (name,)).fetchone() for name in (STATE, BEFORE)]
    now, before = (None if row is None else bytes(row[0]) for row in found)
    if not root or root not in (now, before):
        return False
    if root != now:
        drop(connection, CAME)
        connection.execute("DELETE FROM page_changes")
        put_meta(connection, STATE, value=root)
        put_meta(connection, BEFORE, value=b"")
    return True


def forget_before(connection: sqlite3.Connection, count: int) -> bool:
    """Drop up to ``count`` pages that the stored state replaced; whether there were any."""
    put_meta(connection, BEFORE, value=b"")
    connection.execute("DELETE FROM page_changes WHERE added = ?", (CAME,))
    found = connection.execute(
        "SELECT rowid, name FROM page_changes WHERE added = ? LIMIT ?", (REPLACED, count)
    ).fetchall()
    with _no_secret(connection):
        connection.executemany("DELETE FROM pages WHERE name = ?", [(name,) for _, name in found])
    connection.executemany("DELETE FROM page_changes WHERE rowid = ?", [(row,) for row, _ in found])
    return bool(found)


def drop(connection: sqlite3.Connection, kind: int) -> None:
    """Drop the pages of a kind."""
    connection.execute(
        "DELETE FROM pages WHERE name IN (SELECT name FROM page_changes WHERE added = ?)", (kind,)
    )
    connection.execute("DELETE FROM page_changes WHERE added = ?", (kind,))


def clear(connection: sqlite3.Connection) -> None:
    """Drop every stored state."""
    connection.execute("DELETE FROM pages")
    connection.execute("DELETE FROM page_changes")
    connection.execute("DELETE FROM meta WHERE name IN (?, ?)", (STATE, BEFORE))


def put_meta(connection: sqlite3.Connection, name: str, *, value: bytes) -> None:
    """Keep a value by name, in place of an earlier one."""
    connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


@contextmanager
def _no_secret(connection: sqlite3.Connection) -> Iterator[None]:
    """What is dropped meanwhile is not overwritten where that takes writes of its own."""
    connection.execute("PRAGMA secure_delete=FAST")
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete=ON")
