"""One database for one writer: the lease that says who writes, and transactions that check it.

Every transaction that writes first checks, and locks, that the lease still has the number this writer took.
"""

import contextlib
import functools
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    event,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from custody.adapters.schema import MEND, bring_up_to_date
from custody.adapters.tables import LEASE
from custody.secret_files import read_password
from custody.storage import LeaseLost, LeaseTaken
from policy.errors import OperationalError

WEAKER_COMMITS = (("off",), ("local",), ("remote_write",))
PATIENCE: Final[Mapping[str, int]] = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}
"""Unless the URL has others: how long a server may be silent. The system's own time is two hours for
an answer that is waited for, as when its machine is lost in a commit."""
_STILL_MINE = update(LEASE).where(LEASE.c.fence == bindparam("mine")).values(fence=bindparam("mine"))


# The number of a server's history, which each promotion raises, is in the name of every file of its log.
_TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"


class _Shared(threading.local):
    """The transaction that several calls of one thread are, once one of them has begun it."""

    scope: contextlib.ExitStack | None = None
    db: Connection | None = None


class Leased:
    """One database, for one writer: ``holder`` names it, as the same one after a restart.

    Raises ``OperationalError`` when it cannot be reached or written, ``LeaseLost`` once another
    writer has taken the lease.
    """

    def __init__(self, url: str, *, holder: str = "coordinator") -> None:
        self._engine = engine_of(url)
        self._holder = holder
        self._fence = 0
        self._timeline = 0
        self._taken_ms = 0
        self._shared = _Shared()
        if self._engine.dialect.name == "postgresql":
            event.listen(self._engine, "connect", self._check_timeline)
        try:
            bring_up_to_date(self._engine, holder=holder)
        except SQLAlchemyError as error:
            to_do = MEND if is_damage(error) else "check its URL and rights"
            raise OperationalError(f"cannot open the database: {driver_said(error)}; {to_do}") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer; the fencing number. Raises ``LeaseTaken`` while another one is."""
        with _Transaction(self._engine) as db:
            timeline = _timeline_of(db)
            # Of two that find none, one waits here for the other to have made it.
            none = {"place": 0, "fence": 0, "holder": self._holder, "until_ms": 0, "doors": "{}"}
            db.execute(insert_or_ignore(db, LEASE), none)
            row = db.execute(select(LEASE).with_for_update()).one()
            if row.holder != self._holder and row.until_ms > now_ms:
                raise LeaseTaken(row.holder, until_ms=row.until_ms, doors=json.loads(row.doors))
            fence: int = row.fence + 1
            taken = {"fence": fence, "holder": self._holder, "until_ms": now_ms + lease_ms, "doors": "{}"}
            if db.execute(update(LEASE).where(LEASE.c.fence == fence - 1).values(taken)).rowcount != 1:
                raise OperationalError("another coordinator took the lease at the same time: try again")
        self._fence, self._timeline, self._taken_ms = fence, timeline, now_ms
        return fence

    def renew_lease(self, now_ms: int, lease_ms: int) -> None:
        """Say that this writer lives; with 0 that it ended."""
        with self._transaction() as db:
            db.execute(update(LEASE).values(until_ms=now_ms + lease_ms if lease_ms else 0))

    def show_doors(self, doors: Mapping[str, str]) -> None:
        """Tell those who wait for the lease where this writer serves."""
        with self._transaction() as db:
            db.execute(update(LEASE).values(doors=json.dumps(dict(doors))))

    def _check_timeline(self, connection: Any, _: object) -> None:
        """Refuse a server that was promoted since: what is in memory may be later than what it has."""
        with connection.cursor() as cursor:
            cursor.execute(_TIMELINE)
            timeline = int(cursor.fetchone()[0], 16)
        connection.commit()
        if self._timeline not in (0, timeline):
            raise LeaseLost(
                f"the database failed over to another server (timeline {self._timeline}, now {timeline}): "
                "this coordinator stops; the next start goes on with what that one and the cosigners have"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What this thread does until the end is one transaction, from its first call that writes on.

        Taking the lease is not for here.
        """
        with contextlib.ExitStack() as scope:
            self._shared.scope = scope
            try:
                yield
            finally:
                self._shared.scope = self._shared.db = None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection to read by."""
        if self._shared.db is not None:
            yield self._shared.db
            return
        try:
            with self._engine.connect() as db:
                yield db
        except SQLAlchemyError as error:
            raise OperationalError(
                f"cannot read the database: {driver_said(error)}; is it reachable?"
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction of the one writer, or this thread's part of a larger one."""
        if self._shared.scope is None:
            with self._locked() as db:
                yield db
            return
        if self._shared.db is None:
            self._shared.db = self._shared.scope.enter_context(self._locked())
        yield self._shared.db

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Connection]:
        """The update locks the lease's row until the transaction ends."""
        with _Transaction(self._engine) as db:
            if db.execute(_STILL_MINE, {"mine": self._fence}).rowcount != 1:
                raise LeaseLost(
                    f"the lease on the database is not number {self._fence} any more: another coordinator "
                    "writes it; this one stops"
                )
            yield db


class _Transaction:
    """``engine.begin()`` whose failures are ``OperationalError``s that say what to do."""

    def __init__(self, engine: Engine) -> None:
        self._scope = engine.begin()

    def __enter__(self) -> Connection:
        try:
            return self._scope.__enter__()
        except SQLAlchemyError as error:
            raise OperationalError(
                f"cannot begin a database transaction: {driver_said(error)}; is it reachable?"
            ) from error

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            self._scope.__exit__(kind, value, trace)
        except SQLAlchemyError as error:
            raise OperationalError(
                f"cannot write the database: {driver_said(error)}; check its disk"
            ) from error
        if isinstance(value, SQLAlchemyError):
            raise OperationalError(
                f"cannot write the database: {driver_said(value)}; check its disk"
            ) from value


def driver_said(error: SQLAlchemyError) -> str:
    """What a driver said, in one line without the statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file is no database any more; PostgreSQL keeps its own."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _timeline_of(db: Connection) -> int:
    """Which history of its server a database has; 0 where there is one only."""
    return int(db.exec_driver_sql(_TIMELINE).scalar_one(), 16) if db.dialect.name == "postgresql" else 0


def insert_or_ignore(db: Connection, table: Table) -> Any:
    """An insertion of what it is carried out with, that leaves a row alone that is there."""
    return _insertion(db.dialect.name, table)


@functools.cache  # there are few tables, and making one costs more than carrying it out
def _insertion(dialect: str, table: Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table).on_conflict_do_nothing()


def values_of(item: Any) -> dict[str, Any]:
    """The fields of a record, as columns of their names."""
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def engine_of(url: str) -> Engine:
    """Connections that write through. A failure's text never has what was written.

    ``password_file=`` in a URL names the file of its password, read anew for each connection: a changed one
    needs no restart. Raises ``OperationalError`` for a URL that cannot be used.
    """
    try:
        return _engine_of(url)
    except (SQLAlchemyError, ValueError, ImportError):  # what they say may have its password
        raise OperationalError("the database's URL is none that can be used: correct it") from None


def _engine_of(url: str) -> Engine:
    if url.startswith("sqlite"):
        wait = {"check_same_thread": False, "timeout": 30}
        engine = create_engine(url, connect_args=wait, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    known = make_url(url)
    if "passfile" in known.query:  # libpq leaves alone, without a word, what it does not like
        raise OperationalError(
            "passfile in the database's URL: name a file of the password alone, by password_file="
        )
    unsaid = {name: value for name, value in PATIENCE.items() if name not in known.query}
    file = known.query.get("password_file")
    bare = known.difference_update_query(["password_file"])
    engine = create_engine(bare, connect_args=unsaid, pool_pre_ping=True, hide_parameters=True)
    if file is not None:
        event.listen(engine, "do_connect", functools.partial(_add_password, _password_file(known, file)))
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _password_file(url: URL, named: str | tuple[str, ...]) -> Path:
    path = Path(named if isinstance(named, str) else "")
    if not path.is_absolute() or url.password is not None or "password" in url.query:
        raise OperationalError(
            "password_file= in the database's URL: one absolute path, and no password beside it"
        )
    return path


def _add_password(file: Path, _: object, __: object, ___: object, parameters: dict[str, Any]) -> None:
    parameters["password"] = read_password(file, of="the database")


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _set_up_postgresql(connection: Any, _: object) -> None:
    """Refuse a server that loses what it said was written; a standby that must have it stays so."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        if cursor.fetchone() != ("on",):
            raise OperationalError("the database server has fsync off and may lose what it took: turn it on")
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone() in WEAKER_COMMITS:
            cursor.execute("SET synchronous_commit TO on")
    connection.commit()
