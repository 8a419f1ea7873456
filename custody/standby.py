"""A coordinator that waits for another one's lease, and hands calls on to it meanwhile."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Protocol

from custody.following import Followed
from custody.lease import LEASE_MS
from custody.storage import Database, LeaseTaken
from policy.errors import OperationalError

LOOK_S = 0.5
_LOG = logging.getLogger(__name__)


class Door(Protocol):
    """What ``custody.adapters.relay.Relay`` does."""

    target: str

    async def start(self) -> None:
        """Begin to listen."""

    async def stop(self) -> None:
        """Give the port back."""


async def stand_by(
    database: Database, now_ms: Callable[[], int], *, doors: Mapping[str, Door], followed: Followed
) -> None:
    """Return once this coordinator has the lease; until then ``doors`` lead to the one that has it.

    The log is followed meanwhile, so that it is not first read when everybody waits.
    """
    said = missed = ""
    async with _opened(doors.values()):
        while (refusal := await _refused(database, now_ms())) is not None:
            if str(refusal) != said:
                said = str(refusal)
                _LOG.info("standing by: %s", said)
            if isinstance(refusal, LeaseTaken):
                for name, door in doors.items():
                    door.target = refusal.doors.get(name, "")
            unread = await _unread(followed)
            if unread and unread != missed:
                _LOG.warning("standing by, and the log cannot be followed: %s", unread)
            missed = unread
            await asyncio.sleep(LOOK_S)
    _LOG.info("has the lease")


async def _unread(followed: Followed) -> str:
    """Follow the log for a moment; why that cannot be done, or "" when it can."""
    try:
        await followed.look(LOOK_S)
    except OperationalError as error:
        return str(error)
    return ""


async def _refused(database: Database, now_ms: int) -> OperationalError | None:
    """Why this coordinator does not have the lease; None once it has."""
    try:
        await database.take_lease(now_ms, LEASE_MS)
    except OperationalError as error:
        return error
    return None


@contextlib.asynccontextmanager
async def _opened(doors: Iterable[Door]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as open_doors:
        for door in doors:
            await door.start()
            open_doors.push_async_callback(door.stop)
        yield
