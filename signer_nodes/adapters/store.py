"""What a node must not forget, in one SQLite file: its log, its marks, what it saw of others.

Every method is one transaction and returns when it is on disk; a crash leaves all of it or nothing. A note
with the node's own cosignature alone is written with what comes next: should it be lost, the node cosigns its
head anew when it starts.
Rules the tables hold by themselves: entries have no gap, a mark is never changed or removed, one (job,
index) is bound once, and is either sent or burned.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from policy.encoding import tagged_hash
from policy.errors import CallerError, InvariantError, OperationalError
from signer_nodes.adapters import state_pages
from signer_nodes.adapters.schema import VERSION, open_database, reporting
from signer_nodes.adapters.state_pages import put_meta
from signer_nodes.ports import Ban, Mark, SealedSecret

CHAIN_START: Final = bytes(32)
ROOM_BYTES: Final = 1024 * 1024
Row: TypeAlias = tuple[Any, ...]  # the tables are STRICT: a column has the type it declares


def extend_chain(previous: bytes, mark: Mark) -> bytes:
    """The head of the chain of marks after ``mark``."""
    index = mark.index.to_bytes(4, "big")
    return tagged_hash("mark", previous, mark.kind.encode(), mark.job, index, mark.data)


class NodeStore:
    """The store at ``path``, held by one process. Methods may be called from any thread.

    ``InvariantError``: the operation contradicts what is stored. ``OperationalError``: the disk.
    """

    def __init__(self, path: Path, *, upgrade: bool = True) -> None:
        self._path = path
        self.trouble = ""  # why the last write, or trial of one, failed; empty when it did not
        self._lock = threading.Lock()
        self._cosigned: Mapping[int, bytes] = {}  # to be written with what comes next; replaced, not changed
        self._quorum: tuple[int, bytes] | None = None  # likewise
        self._connection = open_database(path, upgrade=upgrade)

    def close(self) -> None:
        """Write what waited for company, and let go of the file."""
        try:
            self.flush()
        finally:
            with self._lock:
                self._connection.close()

    def disk_free_bytes(self) -> int:
        """How much room is left where the file is."""
        return shutil.disk_usage(self._path.parent).free

    def try_disk(self) -> None:
        """See whether the disk takes something, and note it in ``trouble``; after a failure by writing."""
        try:
            with reporting(self._path):
                if self.disk_free_bytes() < ROOM_BYTES:
                    raise OSError(errno.ENOSPC, f"less than {ROOM_BYTES} bytes are free")
                if self.trouble:
                    _write_and_remove(self._path.parent)
            if self.trouble:
                with self._writing() as connection:
                    connection.execute(f"PRAGMA user_version = {VERSION}")  # what it is: a write of one page
        except OperationalError as error:
            self.trouble = str(error)

    # --- the log -------------------------------------------------------------------------------

    def size(self) -> int:
        """The number of entries."""
        return int(self._one("SELECT coalesce(max(position) + 1, 0) FROM entries")[0])

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Entries of ``[start, stop)``, as many as there are."""
        rows = self._all(
            "SELECT entry FROM entries WHERE position >= ? AND position < ? ORDER BY position", start, stop
        )
        return [bytes(row[0]) for row in rows]

    def append(
        self, start: int, entries: Sequence[bytes], *, checkpoint: bytes, marks: Sequence[Mark] = ()
    ) -> None:
        """Store ``entries`` from ``start`` on, the note of the checkpoint at their end, and ``marks``.

        Entries that are there already may come again, byte for byte, and the first note of a size
        stays. A gap, another entry in a place, or an end before the stored one is a ``CallerError``.
        """
        with self._writing() as connection:
            size = _size(connection)
            stop = start + len(entries)
            if not 0 <= start <= size or stop < size:
                raise CallerError(f"entries {start} to {stop} do not go on from the {size} stored ones")
            known = connection.execute(
                "SELECT entry FROM entries WHERE position >= ? ORDER BY position", (start,)
            ).fetchall()
            if [bytes(row[0]) for row in known] != list(entries[: size - start]):
                raise CallerError(f"an entry from {start} to {size} differs from the stored one")
            connection.executemany(
                "INSERT INTO entries (position, entry) VALUES (?, ?)",
                [(size + offset, entry) for offset, entry in enumerate(entries[size - start :])],
            )
            connection.execute(
                "INSERT INTO checkpoints (size, note) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (stop, checkpoint),
            )
            _add_marks(connection, marks)

    def checkpoint_at(self, size: int) -> bytes | None:
        """The note of the checkpoint at ``size``: as cosigned, else as it came."""
        if (waiting := self._cosigned.get(size)) is not None:
            return waiting
        row = self._maybe("SELECT coalesce(cosigned, note) FROM checkpoints WHERE size = ?", size)
        return None if row is None else bytes(row[0])

    def latest_checkpoint(self) -> bytes | None:
        """The note of the highest stored checkpoint, cosigned or pending."""
        self.flush()
        row = self._maybe("SELECT coalesce(cosigned, note) FROM checkpoints ORDER BY size DESC LIMIT 1")
        return None if row is None else bytes(row[0])

    def latest_cosigned(self) -> tuple[int, bytes] | None:
        """Size and note of the highest checkpoint that this node cosigned."""
        if waiting := self._cosigned:
            return max(waiting.items())
        row = self._maybe(
            "SELECT size, cosigned FROM checkpoints WHERE cosigned IS NOT NULL ORDER BY size DESC LIMIT 1"
        )
        return None if row is None else (int(row[0]), bytes(row[1]))

    def set_cosigned(self, size: int, note: bytes) -> None:
        """Keep the note at ``size`` with this node's own cosignature; it is written with what comes next."""
        if self._maybe("SELECT 1 FROM checkpoints WHERE size = ?", size) is None:
            raise InvariantError(f"no checkpoint of size {size} is stored: append before cosigning")
        with self._lock:
            self._cosigned = {**self._cosigned, size: note}

    def set_quorum(self, note: bytes, size: int, *, with_next: bool = False) -> None:
        """Keep the highest note with w cosignatures; a lower one than the stored is an error.

        ``with_next``: it is written with what comes next.
        """
        known = self.quorum()
        if known is not None and known[0] > size:
            raise InvariantError(f"quorum note of size {size}, one of size {known[0]} is stored")
        with self._lock:
            self._quorum = size, note
        if not with_next:
            self.flush()

    def quorum(self) -> tuple[int, bytes] | None:
        """Size and note of the highest known checkpoint with w cosignatures."""
        if (waiting := self._quorum) is not None:
            return waiting
        row = self._maybe(
            "SELECT s.value, n.value FROM meta s, meta n WHERE s.name = 'quorum-size' AND n.name = 'quorum'"
        )
        return None if row is None else (int(row[0]), bytes(row[1]))

    def truncate(self, size: int) -> int:
        """Leave the branch above ``size``: move its entries and checkpoints aside; how many entries.

        A quorum note above ``size`` is an ``InvariantError``: that is no branch that can be left.
        """
        with self._writing() as connection:
            known = connection.execute("SELECT value FROM meta WHERE name = 'quorum-size'").fetchone()
            if size < 0 or (known is not None and int(known[0]) > size):
                raise InvariantError(f"cannot leave what is above {size}: it is below a quorum head")
            branch = int(
                connection.execute("SELECT coalesce(max(branch), 0) + 1 FROM abandoned").fetchone()[0]
            )
            for statement in _ABANDON:
                connection.execute(statement, {"branch": branch, "size": size})
            connection.execute("DELETE FROM checkpoints WHERE size > ?", (size,))
            return connection.execute("DELETE FROM entries WHERE position >= ?", (size,)).rowcount

    def abandoned(self) -> list[tuple[int, str, int, bytes]]:
        """Everything ever left, in order: branch number, "entry", "note" or "cosigned", place, bytes."""
        rows = self._all("SELECT branch, kind, position, data FROM abandoned ORDER BY id")
        return [(int(row[0]), str(row[1]), int(row[2]), bytes(row[3])) for row in rows]

    # --- marks ---------------------------------------------------------------------------------

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Add all ``marks`` or none. A repeated or excluded one is an ``InvariantError``."""
        with self._writing() as connection:
            _add_marks(connection, marks)

    def marks_head(self) -> tuple[int, bytes]:
        """The number of marks and the head of their chain (32 zero bytes before the first)."""
        with self._lock, reporting(self._path):
            return _marks_head(self._connection)

    def marks_chain_at(self, count: int) -> bytes | None:
        """The head of the chain after the first ``count`` marks; None if there are fewer."""
        if count == 0:
            return CHAIN_START
        row = self._maybe("SELECT chain FROM marks WHERE number = ?", count - 1)
        return None if row is None else bytes(row[0])

    def marks_for(self, job: bytes) -> list[Mark]:
        """The marks of ``job`` in the order they were made."""
        return _marks(self._all("SELECT kind, job, item, data FROM marks WHERE job = ? ORDER BY number", job))

    def marks(self, start: int = 0) -> list[Mark]:
        """All marks from number ``start`` on: recompute the chain from them at start-up."""
        return _marks(
            self._all("SELECT kind, job, item, data FROM marks WHERE number >= ? ORDER BY number", start)
        )

    # --- what was seen of others ---------------------------------------------------------------

    def add_ban(self, ban: Ban) -> None:
        """Keep a ban; the first reason stays."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO bans (peer, key_id, epoch, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (ban.peer, ban.key_id, ban.epoch, ban.reason),
            )

    def bans(self) -> list[Ban]:
        """All bans, oldest first."""
        rows = self._all("SELECT peer, key_id, epoch, reason FROM bans ORDER BY number")
        return [Ban(str(row[0]), str(row[1]), int(row[2]), str(row[3])) for row in rows]

    def keep_evidence(self, kind: str, data: bytes) -> None:
        """Keep what proves a fault, for ever."""
        with self._writing() as connection:
            connection.execute("INSERT INTO evidence (kind, data) VALUES (?, ?)", (kind, data))

    def evidence(self) -> list[tuple[str, bytes]]:
        """All evidence, oldest first."""
        return [
            (str(row[0]), bytes(row[1]))
            for row in self._all("SELECT kind, data FROM evidence ORDER BY number")
        ]

    def put_statement(self, name: str, data: bytes) -> None:
        """Keep a statement; another one under the same name is an ``InvariantError``."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO statements (name, data) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, data)
            )
            row = connection.execute("SELECT data FROM statements WHERE name = ?", (name,)).fetchone()
            if bytes(row[0]) != data:
                raise InvariantError(f"another statement {name!r} was made before")

    def statement(self, name: str) -> bytes | None:
        """The statement kept under ``name``."""
        return self._value("SELECT data FROM statements WHERE name = ?", name)

    def statements(self) -> dict[str, bytes]:
        """All statements by name."""
        return {
            str(row[0]): bytes(row[1]) for row in self._all("SELECT name, data FROM statements ORDER BY name")
        }

    def put_boot(self, peer: str, counter: int, *, boot_id: bytes) -> None:
        """Keep the highest boot of ``peer``; a lower one, or an equal one with another id, is an error."""
        with self._writing() as connection:
            known = connection.execute(
                "SELECT counter, boot_id FROM boots WHERE peer = ?", (peer,)
            ).fetchone()
            if known is not None and (int(known[0]), bytes(known[1])) == (counter, boot_id):
                return
            if known is not None and counter <= int(known[0]):
                raise InvariantError(
                    f"boot {counter} of {peer!r}, boot {int(known[0])} is stored: check first"
                )
            connection.execute("INSERT OR REPLACE INTO boots VALUES (?, ?, ?)", (peer, counter, boot_id))

    def boot_of(self, peer: str) -> tuple[int, bytes] | None:
        """The highest known boot counter of ``peer`` and its boot id."""
        row = self._maybe("SELECT counter, boot_id FROM boots WHERE peer = ?", peer)
        return None if row is None else (int(row[0]), bytes(row[1]))

    # --- sealed secrets and the rest -----------------------------------------------------------

    def put_sealed(self, name: str, blob: bytes, *, wrapped_key: bytes) -> None:
        """Keep one sealed secret."""
        self.put_all_sealed({name: SealedSecret(blob, wrapped_key)})

    def put_all_sealed(self, secrets: dict[str, SealedSecret]) -> None:
        """Keep several sealed secrets or none; another secret under a used name is an error."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO sealed (name, blob, wrapped_key) VALUES (?, ?, ?)",
                [(name, secret.blob, secret.wrapped_key) for name, secret in secrets.items()],
            )

    def get_sealed(self, name: str) -> SealedSecret | None:
        """The sealed secret ``name``."""
        row = self._maybe("SELECT blob, wrapped_key FROM sealed WHERE name = ?", name)
        return None if row is None else SealedSecret(bytes(row[0]), bytes(row[1]))

    def sealed_names(self, prefix: str = "") -> list[str]:
        """The names of sealed secrets that begin with ``prefix``."""
        rows = self._all(
            "SELECT name FROM sealed WHERE substr(name, 1, ?) = ? ORDER BY name", len(prefix), prefix
        )
        return [str(row[0]) for row in rows]

    def drop_sealed(self, names: Collection[str]) -> int:
        """Overwrite and remove sealed secrets together; how many were there.

        What an SSD or a copy keeps is still sealed: only the destroyed HSM key makes it unreadable.
        """
        with self._writing() as connection:
            rows = [(name,) for name in names]
            dropped = connection.executemany("DELETE FROM sealed WHERE name = ?", rows).rowcount
        with self._lock, reporting(self._path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return max(dropped, 0)

    def put_meta(self, name: str, value: bytes) -> None:
        """Keep a value by name, in place of an earlier one."""
        if name in ("quorum", "quorum-size", state_pages.STATE, state_pages.BEFORE):
            raise CallerError(f"{name!r} is kept by set_quorum or put_state")
        with self._writing() as connection:
            put_meta(connection, name, value=value)

    def meta(self, name: str) -> bytes | None:
        """The value kept by name."""
        return self._value("SELECT value FROM meta WHERE name = ?", name)

    # --- the stored state ----------------------------------------------------------------------

    def page(self, name: bytes) -> bytes | None:
        """A page as it stands there; who reads it compares it with its name."""
        return self._value("SELECT page FROM pages WHERE name = ?", name)

    def forget_before(self, count: int) -> bool:
        """Drop up to ``count`` pages of the state before the stored one; whether there were any.

        Nothing leads back to it from here on: the token must name the stored one.
        """
        with self._writing() as connection:
            return state_pages.forget_before(connection, count)

    def add_pages(self, pages: Mapping[bytes, bytes]) -> None:
        """Write some pages of a state that is to come; a start drops them if it did not come."""
        with self._writing() as connection:
            state_pages.add(connection, pages, kind=state_pages.COMING)

    def put_state(
        self, root: bytes, *, before: bytes, added: Mapping[bytes, bytes], retired: Collection[bytes]
    ) -> None:
        """Store the state of ``root``: pages that come and go after the state of ``before``, empty if none.

        The pages that go stay until the next call, so that a crash can lead back to ``before``.
        """
        with self._writing() as connection:
            if before and not state_pages.resume(connection, before):
                raise InvariantError(f"the state of {before.hex()} is not stored: nothing can follow it")
            state_pages.put(connection, root, before=before, added=added, retired=retired)

    def resume_state(self, root: bytes) -> bool:
        """Whether the state of ``root`` is the stored one, or was the one before it and is again."""
        with self._writing() as connection:
            state_pages.drop(connection, state_pages.COMING)
            return state_pages.resume(connection, root)

    def clear_state(self) -> None:
        """Drop every stored state."""
        with self._writing() as connection:
            state_pages.clear(connection)

    def check(self) -> None:
        """Read everything once. Raises ``InvariantError`` when it does not hang together."""
        problem = self._one("PRAGMA integrity_check(1)")[0]
        count = int(self._one("SELECT count(*) FROM entries")[0])
        chain = CHAIN_START
        for mark in self.marks():
            chain = extend_chain(chain, mark)
        if problem != "ok" or count != self.size() or self.marks_head()[1] != chain:
            raise InvariantError(
                f"store {self._path} is damaged ({problem}): keep it and enrol the node again"
            )

    def flush(self) -> None:
        """Write what waited for company."""
        if self._cosigned or self._quorum is not None:
            with self._writing():
                pass

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._transaction() as connection:
                yield connection
        except OperationalError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, reporting(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                _keep_cosigned(self._connection, self._cosigned)
                _keep_quorum(self._connection, self._quorum)
                yield self._connection
                self._connection.execute("COMMIT")
                self._cosigned, self._quorum = {}, None
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _all(self, query: str, *values: object) -> list[Row]:
        with self._lock, reporting(self._path):
            return self._connection.execute(query, values).fetchall()

    def _maybe(self, query: str, *values: object) -> Row | None:
        with self._lock, reporting(self._path):
            row: Row | None = self._connection.execute(query, values).fetchone()
        return row

    def _one(self, query: str) -> Row:
        with self._lock, reporting(self._path):
            row: Row = self._connection.execute(query).fetchone()
        return row

    def _value(self, query: str, name: str | bytes) -> bytes | None:
        row = self._maybe(query, name)
        return None if row is None else bytes(row[0])


def _write_and_remove(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as trial:
        trial.write(bytes(ROOM_BYTES))
        trial.flush()
        os.fsync(trial.fileno())


_ABANDON: Final = (
    "INSERT INTO abandoned (branch, kind, position, data)"
    " SELECT :branch, 'entry', position, entry FROM entries WHERE position >= :size ORDER BY position",
    "INSERT INTO abandoned (branch, kind, position, data)"
    " SELECT :branch, 'note', size, note FROM checkpoints WHERE size > :size ORDER BY size",
    "INSERT INTO abandoned (branch, kind, position, data) SELECT :branch, 'cosigned', size, cosigned"
    " FROM checkpoints WHERE size > :size AND cosigned IS NOT NULL ORDER BY size",
)


def _size(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(position) + 1, 0) FROM entries").fetchone()[0])


def _marks_head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    row = connection.execute("SELECT number + 1, chain FROM marks ORDER BY number DESC LIMIT 1").fetchone()
    return (0, CHAIN_START) if row is None else (int(row[0]), bytes(row[1]))


def _add_marks(connection: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    number, chain = _marks_head(connection)
    for mark in marks:
        chain = extend_chain(chain, mark)
        connection.execute(
            "INSERT INTO marks (number, kind, job, item, data, chain) VALUES (?, ?, ?, ?, ?, ?)",
            (number, mark.kind, mark.job, mark.index, mark.data, chain),
        )
        number += 1


def _keep_cosigned(connection: sqlite3.Connection, notes: Mapping[int, bytes]) -> None:
    for size, note in notes.items():
        connection.execute("UPDATE checkpoints SET cosigned = ? WHERE size = ?", (note, size))


def _keep_quorum(connection: sqlite3.Connection, quorum: tuple[int, bytes] | None) -> None:
    if quorum is not None:
        put_meta(connection, "quorum", value=quorum[1])
        put_meta(connection, "quorum-size", value=b"%d" % quorum[0])


def _marks(rows: Sequence[Row]) -> list[Mark]:
    return [Mark(row[0], row[1], row[2], row[3]) for row in rows]
