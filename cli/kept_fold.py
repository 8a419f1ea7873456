"""A log as an observer folded it last, kept in their folder, so that the next look folds only what is new.

The file is the observer's own and is signed by their key; every page of it is named by its hash. What is read
from it is checked again by what comes after: ``policy.extension``. One that cannot be used is no loss: the
log is folded whole, and kept anew.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.results import progress
from policy.encoding import Json, canonical, statement
from policy.errors import CallerError, MalformedError, OperationalError
from policy.extension import Folded
from policy.log.merkle import Frontier
from policy.stored.pages import Update, checked
from policy.stored.states import (
    FORMAT,
    NO_TABLES,
    Tables,
    read_state,
    rebased_state,
    shape,
    state_document,
    store_tables,
)

FILE, TAG = "fold.db", "kept-fold"
_TABLES = """
CREATE TABLE IF NOT EXISTS pages (name BLOB PRIMARY KEY, page BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (place INTEGER PRIMARY KEY, data BLOB NOT NULL, signature BLOB NOT NULL);
"""


class KeptFold:
    """One observer's fold of the log that begins with ``genesis``."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey, *, genesis: bytes) -> None:
        self._key = key
        self._genesis = genesis
        self._stored = Tables(self._page, NO_TABLES)
        self._db = _opened(folder / FILE)  # open for as long as a state that was kept is in use

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def load(self) -> Folded | None:
        """What was kept; None if there is nothing that this program and this observer can go on from."""
        row = self._db.execute("SELECT data, signature FROM head").fetchone()
        if row is None:
            return None
        data, signature = row
        try:
            self._key.public_key().verify(signature, _signed(data))
            found: dict[str, Any] = json.loads(data)
            if {name: found[name] for name in self._kind()} != self._kind():
                return None
            tables = Tables(self._page, {name: bytes.fromhex(one) for name, one in found["tables"].items()})
            state = read_state(found["state"], tables)
            folded = Folded(state, Frontier.from_bytes(bytes.fromhex(found["frontier"])))
        except (InvalidSignature, MalformedError, CallerError, ValueError, KeyError, TypeError):
            return None
        self._stored = tables
        return folded

    def save(self, folded: Folded) -> Folded:
        """Keep it instead of what was kept before, all of it or nothing; the same, over what is kept now."""
        updates = store_tables(folded.state, self._stored)
        tables: dict[str, Json] = {name: one.root.hex() for name, one in updates.items()}
        data = canonical(
            {
                **self._kind(),
                "frontier": folded.frontier.to_bytes().hex(),
                "state": state_document(folded.state),
                "tables": tables,
            }
        )
        try:
            self._write(updates.values(), data, fresh=self._stored.roots == NO_TABLES)
        except sqlite3.Error as error:
            progress(f"what was folded is not kept, the next look folds it again: {error}")
            return folded
        self._stored = Tables(self._page, {name: one.root for name, one in updates.items()})
        return Folded(rebased_state(folded.state, folded.state, tables=self._stored), folded.frontier)

    def _write(self, updates: Collection[Update], data: bytes, *, fresh: bool) -> None:
        with self._db, contextlib.closing(self._db.cursor()) as cursor:
            if fresh:
                cursor.execute("DELETE FROM pages")
            for one in updates:
                cursor.executemany("DELETE FROM pages WHERE name = ?", [(name,) for name in one.retired])
            for one in updates:
                cursor.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?)", [*one.added.items()])
            cursor.execute(
                "INSERT OR REPLACE INTO head VALUES (0, ?, ?)", (data, self._key.sign(_signed(data)))
            )

    def _kind(self) -> dict[str, Json]:
        return {"format": FORMAT, "shape": shape(), "genesis": self._genesis.hex()}

    def _page(self, name: bytes) -> bytes:
        row = self._db.execute("SELECT page FROM pages WHERE name = ?", (name,)).fetchone()
        return checked(name, None if row is None else row[0])


def _opened(path: Path) -> sqlite3.Connection:
    """The file, or memory where it cannot be written. Raises ``OperationalError`` for one that is damaged."""
    try:
        path.touch(mode=0o600)
        db = sqlite3.connect(path)
        db.executescript(_TABLES)
    except (sqlite3.OperationalError, OSError):
        db = sqlite3.connect(":memory:")
        db.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        raise OperationalError(f"{path}: {error}; remove it, the log is folded anew") from error
    return db


def _signed(data: bytes) -> bytes:
    return statement(TAG, {"head": hashlib.sha256(data).hexdigest()})
