"""A PIN that the token refused, where whoever supervises the node starts it again whatever ended it.

Each start would try that PIN once more, until a real HSM locks for good. So the process stays, answers that
it is not ready, and ends once it is handed another PIN: the next start tries that one.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from signer_nodes.api.health import answering
from signer_nodes.config import NodeConfig
from signer_nodes.hsm.errors import HsmError, PinRejectedError

PIN_REFUSED: Final = "pin-refused"
LOOK_S: Final = 5.0
T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)


def opened_or_held(config: NodeConfig, opening: Callable[[], T], *, pin: Callable[[], str], hold: bool) -> T:
    """What ``opening`` returns. With ``hold`` a refused PIN is raised only when ``pin`` gives another one."""
    try:
        return opening()
    except PinRejectedError as error:
        if hold:
            _LOG.error("%s; this process waits for another one", error)
            asyncio.run(until_another_pin(config.data_dir, config.name, pin=pin))
        raise


async def until_another_pin(
    folder: Path, name: str, *, pin: Callable[[], str], look_s: float = LOOK_S
) -> None:
    """Return once ``pin`` gives another one than now. Nothing is tried at the token meanwhile."""
    refused = pin()
    async with answering(folder, name, state=lambda: PIN_REFUSED):
        while _given(pin, refused) == refused:  # noqa: ASYNC110 - nobody tells of a file that is replaced
            await asyncio.sleep(look_s)


def _given(pin: Callable[[], str], refused: str) -> str:
    """A PIN that is just being replaced is no other one yet."""
    try:
        return pin()
    except HsmError:
        return refused
