"""Bytes in order, for binary formats: every read is bounded by what is left."""

from policy.decode.decoded import Refusal, require


class Reader:
    """Reads ``data`` from its start; ``done`` refuses what nobody read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int, name: str) -> bytes:
        """The next ``count`` bytes."""
        found = self._data[self._at : self._at + count]
        require(len(found) == count, f"{name}: need {count} bytes, {len(found)} are left")
        self._at += count
        return found

    def integer(self, count: int, name: str) -> int:
        """The next ``count`` bytes as a little-endian integer."""
        return int.from_bytes(self.take(count, name), "little")

    def compact_u16(self, name: str) -> int:
        """Solana's length: 7 bits a byte, low ones first, at most 3 bytes, in its shortest form."""
        value = 0
        for place in range(3):
            byte = self.integer(1, name)
            value |= (byte & 127) << 7 * place
            if byte < 128:
                require(value < 2**16 and (byte > 0 or place == 0), f"{name}: not the shortest form")
                return value
        raise Refusal(f"{name}: a length has at most 3 bytes")

    def compact_size(self, name: str) -> int:
        """Bitcoin's length: 1, 3, 5 or 9 bytes, in its shortest form."""
        first = self.integer(1, name)
        if first < 253:
            return first
        count = {253: 2, 254: 4, 255: 8}[first]
        value = self.integer(count, name)
        require(value >= (253 if count == 2 else 1 << 4 * count), f"{name}: not the shortest form")
        return value

    def done(self) -> None:
        """Refuse bytes after the end."""
        left = len(self._data) - self._at
        require(left == 0, f"{left} bytes stand after the end")
