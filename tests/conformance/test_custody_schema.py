"""Versions of the coordinator's tables: the steps lead to what is declared; unknown ones are refused."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from custody.adapters.examining import examine
from custody.adapters.schema import HEAD, MIGRATIONS, locked, upgrade
from custody.adapters.store import Store
from custody.adapters.tables import METADATA
from custody.check.findings import Wrong
from policy.errors import OperationalError

pytest_plugins = ("tests.fixtures_postgres",)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def test_the_steps_lead_to_the_declared_tables(engine: Engine) -> None:
    with locked(engine) as db:
        upgrade(db)

    with engine.connect() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == HEAD


def test_a_new_database_has_the_newest_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_database_that_the_steps_made_is_used_as_it_is(engine: Engine, database_url: str) -> None:
    with locked(engine) as db:
        upgrade(db)

    store = Store(database_url)
    assert store.take_lease(0, 1_000) == 1
    store.close()


def test_a_later_programs_database_is_refused(engine: Engine, database_url: str) -> None:
    Store(database_url).close()
    with engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(OperationalError, match=r"later program .*9999"):
        Store(database_url)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("DROP TABLE deliveries", "has no deliveries: move it away, and restore"),
        ("ALTER TABLE events DROP COLUMN error", "has no events.error: move"),
        ("DELETE FROM alembic_version", "tables without a version"),
    ],
)
def test_a_database_that_lacks_something_is_refused_and_a_check_says_it_too(
    engine: Engine, database_url: str, done: str, said: str
) -> None:
    Store(database_url).close()
    with engine.begin() as db:
        db.execute(text(done))

    with pytest.raises(OperationalError, match=said):
        Store(database_url)
    with pytest.raises(Wrong, match=said):
        examine(database_url, origin="log.example.com/test", genesis=None)


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "custody.db"
    path.write_bytes(b"no database" * 1000)
    for look in (Store, partial(examine, origin="log.example.com/test", genesis=None)):
        with pytest.raises(OperationalError, match="restore a backup"):
            look(f"sqlite:///{path}")


def test_another_programs_database_is_refused_and_left_alone(engine: Engine, database_url: str) -> None:
    with engine.begin() as db:
        db.execute(text("CREATE TABLE theirs (x INTEGER)"))

    with pytest.raises(OperationalError, match="without a version"):
        Store(database_url)
    assert inspect(engine).get_table_names() == ["theirs"]


def test_what_is_cut_off_has_changed_nothing(engine: Engine) -> None:
    with pytest.raises(KeyError), locked(engine) as db:
        upgrade(db)
        raise KeyError

    assert inspect(engine).get_table_names() == []


KILLED = """
import os, signal, sys
from sqlalchemy import create_engine
from custody.adapters.schema import locked, upgrade
with locked(create_engine(sys.argv[1])) as db:
    upgrade(db)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_program_that_is_killed_while_it_changes_tables_has_changed_nothing(
    engine: Engine, database_url: str
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, database_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    with engine.connect() as db:
        assert inspect(db).get_table_names() == []

    store = Store(database_url)
    assert store.take_lease(0, 1_000) == 1
    store.close()


def test_no_tables_are_changed_under_another_coordinator(engine: Engine, database_url: str) -> None:
    first = Store(database_url, holder="first")
    first.take_lease(time.time_ns() // 1_000_000, 60_000)
    with engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    with pytest.raises(OperationalError, match="first writes this database by an older program"):
        Store(database_url, holder="second")
    first.close()


def test_coordinators_that_start_together_make_one_database(database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(database_url), range(4)))

    for store in stores:
        assert store.head() == (0, b"")
        store.close()
