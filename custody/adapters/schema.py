"""Versions of the coordinator's tables: a new database gets the newest, an older one is brought up to it.

A change is a step in ``migrations/versions``, made by Alembic; what the steps lead to and what
``custody.adapters.tables`` declares are compared by a test, on every kind of database. One transaction does
all of it, so a start that is cut off has changed nothing.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, insert, inspect, select, text

from custody.adapters.tables import METADATA
from policy.errors import OperationalError

HEAD: Final = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"
MEND: Final = "move it away, and restore a backup (docs/backup.md)"
_LOCK = 0x51554F52  # PostgreSQL's advisory locks are numbers: nobody else takes this one
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def bring_up_to_date(engine: Engine, *, holder: str) -> None:
    """Make or change the tables. Raises ``OperationalError`` for a database of a later program.

    Nor are tables changed under another coordinator, which writes them as they are.
    """
    with engine.connect() as db:
        if version_of(db) == HEAD:
            check_whole(db)
            return
    with locked(engine) as db:
        version = version_of(db)
        if version is None:
            _make(db)
        elif version != HEAD:
            _check_unheld(db, holder)
            upgrade(db)


def _check_unheld(db: Connection, holder: str) -> None:
    row = db.execute(text("SELECT holder, until_ms FROM lease")).first()
    if row is not None and row.holder != holder and row.until_ms > time.time_ns() // 1_000_000:
        raise OperationalError(
            f"coordinator {row.holder} writes this database by an older program: stop it, then start this"
        )


def version_of(db: Connection) -> str | None:
    """The version of the tables; None for an empty database."""
    tables = inspect(db).get_table_names()
    version = db.execute(select(_VERSION)).scalar() if _VERSION.name in tables else None
    if version is None and tables:
        raise OperationalError("the database has tables without a version: it is another program's, or older")
    return version


def check_whole(db: Connection) -> None:
    """Raises ``OperationalError`` for a database of this version that lacks something of it."""
    found = inspect(db).get_multi_columns()
    there = {name: {column["name"] for column in columns} for (_, name), columns in found.items()}
    lacking = [
        name if name not in there else f"{name}.{column.name}"
        for name, table in METADATA.tables.items()
        for column in table.columns
        if column.name not in there.get(name, ())
    ]
    if lacking:
        named = ", ".join(dict.fromkeys(lacking))
        raise OperationalError(f"the database is damaged, it has no {named}: {MEND}")


def _make(db: Connection) -> None:
    METADATA.create_all(db)
    _VERSION.create(db)
    db.execute(insert(_VERSION).values(version_num=HEAD))


def upgrade(db: Connection, *, to: str = "head") -> None:
    """Take the steps from the database's version to a later one. Raises ``OperationalError``."""
    from alembic import command  # a tenth of a second that only an older database is worth
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = db
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise OperationalError(
            f"the database is of a later program ({error}): start that, or restore what was kept before it"
        ) from error


@contextlib.contextmanager
def locked(engine: Engine) -> Iterator[Connection]:
    """One transaction that also takes back changed tables, and that nobody else has at the same time."""
    lite = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(**({"isolation_level": "AUTOCOMMIT"} if lite else {})) as db:
        if lite:  # its driver begins no transaction for changes of tables
            db.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            db.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        yield db
        db.commit()
