"""One list of byte strings in RLP, Ethereum's encoding, strictly: only its one canonical encoding is read.

A list inside the list is told from a byte string, and is read no further than to know whether it is empty.
Source: Ethereum yellow paper, appendix B; what a shorter encoding exists for is refused, as by every client.
"""

from collections.abc import Iterable
from typing import TypeAlias

from policy.errors import MalformedError

Item: TypeAlias = "bytes | list[bytes]"
_STRING, _LONG_STRING, _LIST, _LONG_LIST = 0x80, 0xB7, 0xC0, 0xF7
_SHORT_MAX = 55


def decode_list(data: bytes) -> list[Item]:
    """The items of the list that ``data`` is; of a list inside it the bytes, as one item, unless it is empty.

    Raises ``MalformedError`` for anything else, and for bytes before the end or beyond it.
    """
    start, end, is_list = _span(data, 0, len(data))
    if not is_list or end != len(data):
        raise MalformedError("RLP: not exactly one list")
    items: list[Item] = []
    while start < end:
        first = data[start]
        if first < _STRING:
            items.append(data[start : start + 1])
            start += 1
            continue
        begin, start, nested = _span(data, start, end)
        item = data[begin:start]
        items.append(([item] if item else []) if nested else item)
    return items


def encode_list(items: Iterable[bytes], *, before: bytes = b"") -> bytes:
    """The list of some byte strings, after the payload of others that are encoded already."""
    payload = before + b"".join(map(_encoded, items))
    return _head(len(payload), _LIST) + payload


def payload_of(data: bytes) -> bytes:
    """What stands in the list that ``data`` is, as it is encoded. Raises ``MalformedError``."""
    start, end, is_list = _span(data, 0, len(data))
    if not is_list or end != len(data):
        raise MalformedError("RLP: not exactly one list")
    return data[start:end]


def _encoded(item: bytes) -> bytes:
    return item if len(item) == 1 and item[0] < _STRING else _head(len(item), _STRING) + item


def _head(length: int, short: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes([short + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([short + _SHORT_MAX + len(size)]) + size


def _span(data: bytes, at: int, limit: int) -> tuple[int, int, bool]:
    """Where the payload of the item at ``at`` begins and ends, and whether it is a list."""
    if at >= limit:
        raise MalformedError("RLP: the data ends before the item")
    first = data[at]
    is_list = first >= _LIST
    short, long = (_LIST, _LONG_LIST) if is_list else (_STRING, _LONG_STRING)
    if first < _STRING:
        return at, at + 1, False
    begin = at + 1
    if first <= long:
        length = first - short
    else:
        begin += first - long
        size = data[at + 1 : begin]
        length = int.from_bytes(size, "big")
        if length <= _SHORT_MAX or size[0] == 0:
            raise MalformedError("RLP: a length has a shorter encoding")
    if begin + length > limit:
        raise MalformedError(f"RLP: an item of {length} bytes goes beyond its end")
    if length == 1 and not is_list and data[begin] < _STRING:
        raise MalformedError("RLP: a byte has a shorter encoding")
    return begin, begin + length, is_list
