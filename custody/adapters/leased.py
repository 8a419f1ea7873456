"""One database for one writer: the lease that says who writes, and transactions that check it.

Every transaction that writes first checks, and locks, that the lease still has the number this writer took.
"""

import contextlib
import functools
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, event, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from custody.adapters.schema import bring_up_to_date
from custody.adapters.tables import LEASE
from custody.storage import LeaseLost, LeaseTaken
from policy.errors import OperationalError

WEAKER_COMMITS = (("off",), ("local",), ("remote_write",))
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
        self._shared = _Shared()
        if self._engine.dialect.name == "postgresql":
            event.listen(self._engine, "connect", self._check_timeline)
        try:
            bring_up_to_date(self._engine, holder=holder)
        except SQLAlchemyError as error:
            raise OperationalError(f"cannot open the database: {error}; check its URL and rights") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer; the fencing number. Raises ``LeaseTaken`` while another one is."""
        with _Transaction(self._engine) as db:
            timeline = _timeline_of(db)
            row = db.execute(select(LEASE).with_for_update()).first()
            if row is None:
                db.execute(
                    insert(LEASE).values(place=0, fence=0, holder=self._holder, until_ms=0, doors="{}")
                )
            elif row.holder != self._holder and row.until_ms > now_ms:
                raise LeaseTaken(row.holder, until_ms=row.until_ms, doors=json.loads(row.doors))
            fence = (row.fence if row else 0) + 1
            taken = {"fence": fence, "holder": self._holder, "until_ms": now_ms + lease_ms, "doors": "{}"}
            if db.execute(update(LEASE).where(LEASE.c.fence == fence - 1).values(taken)).rowcount != 1:
                raise OperationalError("another coordinator took the lease at the same time: try again")
        self._fence, self._timeline = fence, timeline
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
            raise OperationalError(f"cannot read the database: {error}; is it reachable?") from error

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
                f"cannot begin a database transaction: {error}; is it reachable?"
            ) from error

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            self._scope.__exit__(kind, value, trace)
        except SQLAlchemyError as error:
            raise OperationalError(f"cannot write the database: {error}; check its disk") from error
        if isinstance(value, SQLAlchemyError):
            raise OperationalError(f"cannot write the database: {value}; check its disk") from value


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
    """Connections that write through. A failure's text never has what was written."""
    if url.startswith("sqlite"):
        wait = {"check_same_thread": False, "timeout": 30}
        engine = create_engine(url, connect_args=wait, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


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
