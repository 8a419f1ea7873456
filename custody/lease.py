"""Exactly one coordinator writes: a lock on its folder, and a lease in its database.

The lock keeps a second process from starting on the same folder. The lease keeps one elsewhere from the
same database: it has a number that rises with every writer, each transaction checks that it still has
the newest, and while its holder says that it lives no other can take it. What it promises rests on the
number alone; clocks only say when a silent holder may be replaced.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from custody.storage import Database, LeaseLost
from policy.errors import OperationalError

LEASE_MS = 6_000
RENEW_S = 1.5
HOLDER_BYTES = 16
_LOG = logging.getLogger(__name__)


def take_lease(folder: Path, program: str = "coordinator") -> IO[str]:
    """Lock the folder for this process; keep the result open. Raises ``OperationalError``."""
    path = folder / f"{program}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+")
    except OSError as error:
        raise OperationalError(f"cannot keep {path}: {error}; check its disk and rights") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(20) or "unknown"
        file.close()
        raise OperationalError(
            f"another {program} (process {holder.strip()}) runs on {folder}: stop it first"
        ) from error
    with contextlib.suppress(OSError):  # a full disk: whom the lock belongs to is only told to people
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"{os.getpid()}\n".encode())
    return file


def holder_of(folder: Path) -> str:
    """The name under which this folder's coordinator holds the lease; made once, kept beside the lock."""
    file = folder / "lease-holder"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            partial = folder / ".lease-holder.new"
            partial.write_text(secrets.token_hex(HOLDER_BYTES))
            partial.replace(file)
        return file.read_text().strip()
    except OSError as error:
        raise OperationalError(f"cannot keep {file}: {error}; check its disk and rights") from error


@contextlib.asynccontextmanager
async def renewed(database: Database, now_ms: Callable[[], int]) -> AsyncIterator[None]:
    """Take the lease and hold it meanwhile, since a start reads the whole log. Raises as ``held``."""
    await database.take_lease(now_ms(), LEASE_MS)
    async with held(database, now_ms):
        yield


@contextlib.asynccontextmanager
async def held(database: Database, now_ms: Callable[[], int]) -> AsyncIterator[None]:
    """Renew the lease meanwhile. Raises as ``keep_lease``.

    A start that fails gives it up: one that fails at each restart would keep it from those that can start.
    """
    renewing = asyncio.create_task(_renew(database, now_ms))
    try:
        yield
        await _end(renewing)
    except BaseException:
        await _end(renewing)
        await _give_up(database, now_ms)
        raise


async def _end(renewing: "asyncio.Task[None]") -> None:
    """End it; who is cancelled meanwhile is. Raises what it failed by."""
    renewing.cancel()
    await asyncio.wait((renewing,))
    if not renewing.cancelled():
        renewing.result()


async def _give_up(database: Database, now_ms: Callable[[], int]) -> None:
    """Say that this writer ended; one whose database does not answer has lost it when that time is over."""
    with contextlib.suppress(OperationalError, LeaseLost, TimeoutError):
        async with asyncio.timeout(LEASE_MS / 1000):
            await database.renew_lease(now_ms(), 0)


async def _renew(
    database: Database, now_ms: Callable[[], int], done: Callable[[], None] = lambda: None
) -> None:
    while True:
        try:
            await database.renew_lease(now_ms(), LEASE_MS)
            done()
        except OperationalError as error:
            _LOG.warning("the lease is not renewed: %s", error)
        await asyncio.sleep(RENEW_S)


async def keep_lease(database: Database, now_ms: Callable[[], int], *, renewed: Callable[[], None]) -> None:
    """Renew the lease until cancelled, and give it up then; ``renewed`` hears of each time.

    Raises ``LeaseLost`` once it is lost.
    """
    try:
        await _renew(database, now_ms, renewed)
    finally:
        await _give_up(database, now_ms)
