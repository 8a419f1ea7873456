"""The coordinator's tables as files, and back: one snapshot of any kind of database, for any kind.

A file has a line of columns, then one a row, as JSON; bytes stand as ``["base64"]``. What serves once, or
belongs to a process that ran, is left out: presignatures, nonces of calls, the lease.
"""

import base64
import contextlib
import gzip
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from custody.adapters.leased import driver_said, engine_of
from custody.adapters.schema import HEAD, locked, upgrade, version_of
from custody.adapters.tables import CHECKPOINTS, ENTRIES, FEED, LEASE, NONCES, PRESIGNATURES
from custody.backup.manifest import TableFile
from policy.errors import OperationalError

LEFT_OUT: Final = frozenset({LEASE.name, NONCES.name, PRESIGNATURES.name, "alembic_version"})
AT_ONCE: Final = 500
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
Row = Sequence[Any]
Seen = Callable[[str, Row], None]


@contextlib.contextmanager
def reading(url: str) -> Iterator[Connection]:
    """One snapshot of the database, while others write it. Raises ``OperationalError``."""
    engine = _existing(url)
    try:
        lite = engine.dialect.name == "sqlite"
        level = "AUTOCOMMIT" if lite else "REPEATABLE READ"
        with engine.connect().execution_options(isolation_level=level) as db:
            if lite:
                db.exec_driver_sql("BEGIN")  # the first read that follows takes the snapshot
            yield db
    except SQLAlchemyError as error:
        raise OperationalError(f"cannot read the database: {error}; is it reachable?") from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def filling(url: str, schema: str) -> Iterator[Connection]:
    """One transaction into a new database with the tables of version ``schema``, then of this program."""
    engine = engine_of(url)
    try:
        with locked(engine) as db:
            if inspect(db).get_table_names():
                raise OperationalError(
                    "there is a database already, and nothing is written over: move it away, or name an "
                    "empty one in the line 'database'"
                )
            upgrade(db, to=schema)
            yield db
            upgrade(db)
    except SQLAlchemyError as error:
        raise OperationalError(
            f"cannot write the database: {driver_said(error)}; check its disk and rights"
        ) from error
    finally:
        engine.dispose()


def schema_of(db: Connection) -> str:
    """The version of the tables. Raises ``OperationalError`` for none, and for a later program's."""
    version = version_of(db)
    if version is None:
        raise OperationalError("the database is empty: there is nothing to back up")
    if version > HEAD:
        raise OperationalError(
            f"the database has version {version}, this program {HEAD}: use the later program"
        )
    return version


def tables_of(db: Connection) -> list[str]:
    """Which tables a backup has."""
    return sorted(set(inspect(db).get_table_names()) - LEFT_OUT)


def write_table(db: Connection, name: str, *, path: Path, seen: Seen) -> TableFile:
    """Write a table's rows in the order of its key."""
    quote = db.dialect.identifier_preparer.quote
    order = ", ".join(quote(key) for key in inspect(db).get_pk_constraint(name)["constrained_columns"])
    found = db.execution_options(yield_per=AT_ONCE).execute(
        text(f"SELECT * FROM {quote(name)} ORDER BY {order}")  # noqa: S608 - names of our own tables
    )
    rows = 0
    with path.open("xb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        file.write(_line(list(found.keys())))
        for row in found:
            seen(name, row)
            file.write(_line([_shown(value) for value in row]))
            rows += 1
    return TableFile(rows, _sha256(path))


def read_table(db: Connection, name: str, *, path: Path, said: TableFile, seen: Seen) -> None:
    """Write a file's rows into the table of its name. Raises ``OperationalError`` for a damaged one."""
    if not path.is_file() or _sha256(path) != said.sha256:
        raise OperationalError(f"{path} is missing or damaged: bring another backup")
    rows = 0
    with gzip.open(path) as file:
        columns = json.loads(file.readline(LINE_BYTES_MAX))
        known = [column["name"] for column in inspect(db).get_columns(name)]
        if sorted(columns) != sorted(known):
            raise OperationalError(f"{path} has columns {columns}, the table {known}: bring another backup")
        quote = db.dialect.identifier_preparer.quote
        names = ", ".join(map(quote, columns))
        places = ", ".join(f":c{i}" for i in range(len(columns)))
        insert = text(f"INSERT INTO {quote(name)} ({names}) VALUES ({places})")  # noqa: S608 - compared above
        while some := _rows(file, AT_ONCE):
            for row in some:
                seen(name, row)
            db.execute(insert, [{f"c{i}": value for i, value in enumerate(row)} for row in some])
            rows += len(some)
    if rows != said.rows:
        raise OperationalError(f"{path} has {rows} rows, the manifest says {said.rows}: bring another backup")


def rename_feed(db: Connection) -> None:
    """Events from here on have other numbers than those that were told after the backup was made."""
    db.execute(FEED.update().values(name=secrets.token_hex(4)))


def entry_of(name: str, row: Row) -> bytes | None:
    """The bytes of an entry, of a row of its table; none in it are b""."""
    if name != ENTRIES.name:
        return None
    return bytes(row[1]) if isinstance(row[1], bytes | memoryview) else b""


def newest_note(db: Connection) -> bytes:
    """The newest checkpoint's note; b"" if there is none."""
    query = CHECKPOINTS.select().order_by(CHECKPOINTS.c.size.desc()).limit(1)
    row = db.execute(query).first()
    return bytes(row.note) if row else b""


def _existing(url: str) -> Engine:
    engine = engine_of(url)
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise OperationalError(f"there is no database {engine.url.database}: give the right configuration")
    return engine


def _rows(file: gzip.GzipFile, count: int) -> list[Row]:
    lines = (file.readline(LINE_BYTES_MAX) for _ in range(count))
    return [[_value(value) for value in json.loads(line)] for line in lines if line]


def _line(values: Sequence[object]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _shown(value: object) -> object:
    if isinstance(value, bytes | memoryview):
        return [base64.b64encode(bytes(value)).decode()]
    return value


def _value(value: Any) -> Any:
    return base64.b64decode(value[0]) if isinstance(value, list) else value


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
