"""What an endpoint answers, as far as there is room: bytes are counted as they come, and weighed as JSON.

Three bytes of JSON can take a hundred as objects, so a limit of bytes alone is none of memory. Small answers
of an endpoint are read side by side; of those that are large it has one at a time. Whoever gets one takes
what is needed of it before waiting for the next.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import aiohttp

MIB: Final = 1024 * 1024
LARGE_BYTES: Final = 256 * 1024
DECIMALS_MAX: Final = 2**18
_ASCII, _WIDE = 3, 9
"""The bytes, the text and its parts; a character takes four bytes where one of the text is beyond U+FFFF."""
_WHOLE, _CONTAINER, _STRING, _KEY, _VALUE = 4096, 192, 72, 56, 56


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes an answer may have, and how many its objects may take."""

    bytes_max: int
    memory_max: int


SMALL: Final = Room(MIB, 64 * MIB)


class Answers:
    """Reads the answers of one endpoint."""

    def __init__(self) -> None:
        self._large = asyncio.Lock()

    async def read(self, content: aiohttp.StreamReader, room: Room) -> Any:
        """The JSON that comes. Raises ``ValueError`` for none, and for what there is no room for."""
        data = bytearray()
        async with contextlib.AsyncExitStack() as turn:
            async for part in content.iter_any():
                if len(data) <= LARGE_BYTES < len(data) + len(part):
                    await turn.enter_async_context(self._large)
                data += part
                if len(data) > room.bytes_max:
                    raise ValueError(f"more than {room.bytes_max} bytes")
            if len(data) > LARGE_BYTES:
                return await asyncio.to_thread(parsed, data, room)
            return parsed(data, room)


def parsed(data: bytes | bytearray, room: Room) -> Any:
    """JSON as objects, with decimals where it has them. Raises ``ValueError``."""
    if (needed := weight(data)) > room.memory_max:
        raise ValueError(f"{len(data)} bytes that take {needed} as objects, more than {room.memory_max}")
    try:
        return json.loads(data.decode(), parse_float=_counted())
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def weight(data: bytes | bytearray) -> int:
    """The bytes that JSON takes at most while it is read, but for its decimals."""
    wide = _ASCII if data.isascii() and b"\\u" not in data else _WIDE
    containers = data.count(b"{") + data.count(b"[")
    strings = max(0, data.count(b'"') // 2 - data.count(b'""'))  # an empty one takes nothing
    values = data.count(b",") + containers
    return (
        _WHOLE
        + wide * len(data)
        + _CONTAINER * containers
        + _STRING * strings
        + _KEY * data.count(b":")
        + _VALUE * values
    )


def _counted() -> Callable[[str], Decimal]:
    left = DECIMALS_MAX

    def decimal(text: str) -> Decimal:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {DECIMALS_MAX} decimals")
        try:
            return Decimal(text)
        except ArithmeticError as error:
            raise ValueError("a decimal that is none") from error

    return decimal
