"""Bytes with something wrong in them, by a seeded generator."""

from dataclasses import dataclass
from random import Random
from typing import Any

ODD_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class RawRlp:
    """Stands in RLP as it is."""

    data: bytes


def chance(random: Random, probability: float) -> bool:
    """Whether it happens this time."""
    return random.random() < probability


def spoiled(random: Random, data: bytes) -> bytes:
    """One change of bytes: one flipped, some cut off, put in, doubled or overwritten."""
    at = random.randrange(len(data) + 1)
    until = min(len(data), at + random.choice((1, 1, 2, 4, 32)))
    piece = random.choice((b"\0", b"\xff", b"\0\0\0\0", random.randbytes(1), random.randbytes(4)))
    flipped = bytes(byte ^ 1 << random.randrange(8) for byte in data[at : at + 1])
    return random.choice(
        (
            data[:at] + flipped + data[at + 1 :],
            data[:at] + data[until:],
            data[:at] + piece + data[at:],
            data[:until] + data[at:],
            data[:at] + piece + data[at + len(piece) :],
            data[:at],
            data + piece,
        )
    )


def rlp_oddly(random: Random | None, item: Any) -> bytes:
    """RLP; with a generator, some headers are in a form that is not the shortest or tell a wrong length."""
    if isinstance(item, RawRlp):
        return item.data
    if isinstance(item, list):
        payload, base = b"".join(rlp_oddly(random, one) for one in item), 0xC0
    else:
        payload, base = item, 0x80
    if random is not None and chance(random, ODD_SHARE):
        return _odd_header(random, base, payload) + payload
    if base == 0x80 and len(payload) == 1 and payload[0] < 0x80:
        return bytes(payload)
    return _header(base, len(payload)) + payload


def _header(base: int, length: int) -> bytes:
    if length < 56:
        return bytes([base + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(size)]) + size


def _odd_header(random: Random, base: int, payload: bytes) -> bytes:
    length, wide = len(payload), random.choice((1, 2, 3, 8))
    return random.choice(
        (
            bytes([base + 55 + wide]) + length.to_bytes(8, "big")[8 - wide :],
            _header(base, length + 1),
            _header(base, max(0, length - 1)),
            _header(base ^ 0x40, length),
            bytes([base + min(length, 55)]),
        )
    )
