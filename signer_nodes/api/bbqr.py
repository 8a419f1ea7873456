"""BBQr: bytes as a series of QR codes that may be read in any order (github.com/coinkite/BBQr, BBQr.md).

We write type ``B`` (octets) in encoding ``2`` (Base32), as what we carry is encrypted and does not
compress; all encodings are read. A series says nothing of who wrote it and nothing of its content's
integrity beyond the codes' own: what it carries proves itself.
"""

import base64
import binascii
import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from policy.errors import CallerError, MalformedError

HEADER_CHARACTERS: Final = 8
BYTES_MAX: Final = 16 * 1024 * 1024
WINDOW_BITS: Final = 10
PARTS_MAX: Final = 36 * 36 - 1
CHARACTERS: Final = {11: 468, 23: 1588, 27: 2132, 40: 4296}
"""What a code of a version holds at error correction L, in the alphanumeric mode."""
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PART: Final = re.compile(r"B\$([H2Z])B([0-9A-Z]{2})([0-9A-Z]{2})([0-9A-Z]+)")


def split(data: bytes, *, version: int) -> list[str]:
    """The texts of the codes of ``data``, of nearly the same length each. Raises ``CallerError``."""
    characters = CHARACTERS.get(version)
    if characters is None:
        raise CallerError(f"codes are of version {', '.join(map(str, CHARACTERS))}, not {version}")
    room = (characters - HEADER_CHARACTERS) // 8 * 5  # whole groups: each part decodes alone
    count = -(-len(data) // room)
    if not 1 <= count <= PARTS_MAX:
        raise CallerError(f"{len(data)} bytes take {count} codes of that size, at most {PARTS_MAX} go")
    each = -(-len(data) // count)
    each += -each % 5
    parts = [data[start : start + each] for start in range(0, len(data), each)]
    return [f"B$2B{_two(len(parts))}{_two(at)}{_base32(part)}" for at, part in enumerate(parts)]


@dataclass(slots=True)
class Reader:
    """Codes of one series, as they are seen; the same one again is fine."""

    header: str = ""
    parts: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> list[int]:
        """Which parts have not been seen; nothing is known before the first one."""
        return [at for at in range(_number(self.header[4:6])) if at not in self.parts] if self.header else []

    @property
    def whole(self) -> bytes | None:
        """The bytes, once every part was seen. Raises ``MalformedError`` for what does not unpack."""
        if not self.header or self.missing:
            return None
        data = b"".join(self.parts[at] for at in sorted(self.parts))
        return _inflated(data) if self.header[2] == "Z" else data

    def see(self, text: str) -> None:
        """Take in the text of one code. Raises ``MalformedError`` for one of no series, or of another."""
        match = _PART.fullmatch(text)
        if match is None:
            raise MalformedError("this code is no part of a BBQr series of octets")
        encoding, total, index, body = match.groups()
        at, header = _number(index), text[:6]
        if at >= _number(total):
            raise MalformedError(f"part {at} of {_number(total)} cannot be")
        if self.header and header != self.header:
            raise MalformedError("this code is of another series: read one series at a time")
        part = _decoded(encoding, body)
        if self.parts.get(at, part) != part:
            raise MalformedError(f"part {at} was seen with another content: read one series at a time")
        self.header, self.parts[at] = header, part


def _decoded(encoding: str, body: str) -> bytes:
    try:
        if encoding == "H":
            return bytes.fromhex(body)
        return base64.b32decode(body + "=" * (-len(body) % 8))
    except (ValueError, binascii.Error) as error:
        raise MalformedError("the code's content is not in its encoding") from error


def _inflated(packed: bytes) -> bytes:
    reading = zlib.decompressobj(wbits=-WINDOW_BITS)
    try:
        data = reading.decompress(packed, BYTES_MAX)
    except zlib.error as error:
        raise MalformedError("the series does not unpack") from error
    if not reading.eof:
        raise MalformedError(f"the series has more than {BYTES_MAX} bytes, or lacks its end")
    return data


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _two(number: int) -> str:
    return _DIGITS[number // 36] + _DIGITS[number % 36]


def _number(two: str) -> int:
    return 36 * _DIGITS.index(two[0]) + _DIGITS.index(two[1])
