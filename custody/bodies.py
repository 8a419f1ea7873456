"""The body of a call over HTTP, as it arrives: bounded in size and in time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from custody.api.errors import CallRefused, Code

BODY_BYTES_MAX: Final = 64 * 1024
BODY_S: Final = 10.0
LENGTH_CHARACTERS_MAX: Final = 20


async def read_body(stream: AsyncIterator[bytes], *, length: str, left: type[Exception]) -> bytes:
    """All of it, of which ``length`` is said; ``left`` is raised by a stream whose sender has left.

    Raises ``CallRefused`` when it is too large or too slow, or nobody waits for the answer.
    """
    if not length.isdecimal() or len(length) > LENGTH_CHARACTERS_MAX or int(length) > BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in stream:
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
    except TimeoutError as error:
        raise CallRefused(Code.MALFORMED, f"the body did not arrive within {BODY_S:.0f} s") from error
    except left as error:
        raise CallRefused(Code.MALFORMED, "the caller left before the body was there") from error
    return bytes(body)


def _too_large() -> CallRefused:
    return CallRefused(Code.TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes")
