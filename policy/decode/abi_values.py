"""Types and values of the contract ABI, read strictly: each value has one encoding.

Types are ``address``, ``bool``, ``uint8`` to ``uint256``, ``int8`` to ``int256``, ``bytes1`` to ``bytes32``,
``bytes``, ``string``, and arrays ``T[]`` and ``T[n]`` of them. Values are integers, booleans, texts and
tuples: an address is ``0x`` and 40 lower-case digits, bytes are lower-case hex without a prefix.

Offsets stand in the order of the values, with no gap and no overlap; padding is clean; what two readers could
read differently is refused. Nothing is read twice: decoding takes time and memory in proportion to the bytes.

Source: Solidity's contract ABI specification, version 0.8, strict mode.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policy.addresses import EVM_ADDRESS
from policy.errors import MalformedError

WORD_BYTES = 32
ARRAY_LENGTH_MAX = 256
ARRAY_DEPTH_MAX = 3
IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_SIZED = re.compile(r"(uint|int|bytes)([1-9][0-9]{0,2})")
_ARRAY = re.compile(r"(.+)\[(|[1-9][0-9]{0,2})\]")

Value: TypeAlias = "int | bool | str | tuple[Value, ...]"


class OtherCall(Exception):
    """The bytes do not encode what they should; the message says why."""


@dataclass(frozen=True, slots=True)
class Elementary:
    """``kind`` is address, bool, uint, int, bytes (``size`` bytes at the left), or dynamic: ``size`` is 0.

    ``size`` is in bytes. The dynamic kinds are bytes and string.
    """

    kind: str
    size: int

    def __str__(self) -> str:
        if self.kind in ("uint", "int"):
            return f"{self.kind}{8 * self.size}"
        return f"{self.kind}{self.size or ''}" if self.kind == "bytes" else self.kind


@dataclass(frozen=True, slots=True)
class Array:
    """``length`` items of one type, or any number of them where it is None."""

    item: "AbiType"
    length: int | None

    def __str__(self) -> str:
        return f"{self.item}[{'' if self.length is None else self.length}]"


AbiType: TypeAlias = Elementary | Array


def parse_type(text: str) -> AbiType:
    """Read a type of the ABI but no tuple. Raises ``MalformedError``."""
    depth = text.count("[")
    if depth > ARRAY_DEPTH_MAX:
        raise MalformedError(f"type {text[:64]!r}: arrays are nested {depth} deep, at most {ARRAY_DEPTH_MAX}")
    return _type(text)


def split_array(text: str) -> tuple[str, int | None] | None:
    """The item's type and the length (None: any) of an array's type; None for a type that is no array."""
    match = _ARRAY.fullmatch(text)
    if match is None:
        return None
    length = int(match[2]) if match[2] else None
    if length is not None and length > ARRAY_LENGTH_MAX:
        raise MalformedError(f"type {text[:64]!r}: an array has at most {ARRAY_LENGTH_MAX} items")
    return match[1], length


def plainest(kind: str) -> Value:
    """Some value of a type: nothing, zero, or as many of them as there must be."""
    item = split_array(kind)
    if item is not None:
        return (plainest(item[0]),) * (item[1] or 0)
    if kind.startswith("bytes") or kind == "string":
        return "00" * int(kind.removeprefix("bytes") or 0) if kind.startswith("bytes") else ""
    if kind == "address":
        return "0x" + "00" * 20
    return False if kind == "bool" else 0


def in_range(kind: Elementary, number: int) -> bool:
    """Whether the number is one of a ``uint`` or ``int`` type."""
    bits = 8 * kind.size
    low, high = (0, 1 << bits) if kind.kind == "uint" else (-1 << bits - 1, 1 << bits - 1)
    return low <= number < high


def decode_values(
    types: Sequence[AbiType], names: Sequence[str], *, data: bytes, base: int
) -> tuple[tuple[Value, ...], int]:
    """The values that stand at ``base`` of ``data``, and where they end. Raises ``OtherCall``.

    Whether anything stands behind them is the caller's to check.
    """
    values: list[Value] = []
    head, end = base, base + sum(map(_head_bytes, types))
    _require(end <= len(data), f"calldata ends before {names[0] if names else 'it should'}")
    for kind, name in zip(types, names, strict=True):
        if _is_dynamic(kind):
            offset = _length(data, head, name)
            _require(offset == end - base, f"{name}: its offset is {offset}, not the next place {end - base}")
            value, end = _dynamic(kind, name, data=data, at=end)
        elif isinstance(kind, Array):
            value, _ = _items(kind, kind.length or 0, name, data=data, at=head)
        else:
            value = _word(kind, _take(data, head, WORD_BYTES, name), name)
        values.append(value)
        head += _head_bytes(kind)
    return tuple(values), end


def encode_values(types: Sequence[AbiType], values: Sequence[Value]) -> bytes:
    """The only bytes that are decoded to these values. Raises ``MalformedError`` for one of another type."""
    heads: list[bytes] = []
    tails = b""
    start = sum(map(_head_bytes, types))
    for kind, value in zip(types, values, strict=True):
        encoded = _encoded(kind, value)
        if _is_dynamic(kind):
            heads.append((start + len(tails)).to_bytes(WORD_BYTES, "big"))
            tails += encoded
        else:
            heads.append(encoded)
    return b"".join(heads) + tails


# --- types ------------------------------------------------------------------------------------------


def _type(text: str) -> AbiType:
    array = split_array(text)
    if array is not None:
        return Array(_type(array[0]), array[1])
    if text in ("address", "bool", "string", "bytes"):
        return Elementary(text, {"address": 20, "bool": 1}.get(text, 0))
    match = _SIZED.fullmatch(text)
    if match is not None:
        size = int(match[2])
        if match[1] == "bytes" and size <= WORD_BYTES:
            return Elementary("bytes", size)
        if match[1] != "bytes" and size % 8 == 0 and size <= 8 * WORD_BYTES:
            return Elementary(match[1], size // 8)
    hint = f", write {text}256" if text in ("uint", "int") else ""
    raise MalformedError(f"{text[:64]!r} is no type that is decoded{hint}")


def _is_dynamic(kind: AbiType) -> bool:
    if isinstance(kind, Array):
        return kind.length is None or _is_dynamic(kind.item)
    return kind.size == 0


def _head_bytes(kind: AbiType) -> int:
    """What a value takes where it stands: itself, or the offset to it."""
    if isinstance(kind, Array) and kind.length is not None and not _is_dynamic(kind.item):
        return kind.length * _head_bytes(kind.item)
    return WORD_BYTES


# --- values -----------------------------------------------------------------------------------------


def _dynamic(kind: AbiType, name: str, *, data: bytes, at: int) -> tuple[Value, int]:
    """What an offset leads to, and where it ends."""
    if isinstance(kind, Array):
        if kind.length is not None:
            return _items(kind, kind.length, name, data=data, at=at)
        count = _length(data, at, name)
        return _items(kind, count, name, data=data, at=at + WORD_BYTES)
    length = _length(data, at, name)
    start = at + WORD_BYTES
    end = start + -(-length // WORD_BYTES) * WORD_BYTES
    padded = _take(data, start, end - start, name)
    _require(not any(padded[length:]), f"{name}: the padding after its {length} bytes is not zero")
    return _text(padded[:length], name) if kind.kind == "string" else padded[:length].hex(), end


def _items(array: Array, count: int, name: str, *, data: bytes, at: int) -> tuple[tuple[Value, ...], int]:
    _require(at + count * _head_bytes(array.item) <= len(data), f"{name}: calldata ends before {count} items")
    return decode_values(
        [array.item] * count, [f"{name}[{index}]" for index in range(count)], data=data, base=at
    )


def _word(kind: Elementary, word: bytes, name: str) -> Value:
    """A value of a fixed size out of its 32 bytes."""
    spare = WORD_BYTES - kind.size
    match kind.kind:
        case "bytes":
            _require(
                not any(word[kind.size :]), f"{name}: the padding after its {kind.size} bytes is not zero"
            )
            return word[: kind.size].hex()
        case "int":
            value = int.from_bytes(word, "big", signed=True)
            _require(in_range(kind, value), f"{name}: {value} is no {kind}")
            return value
        case "address":
            _require(not any(word[:spare]), f"{name}: the padding before the address is not zero")
            return "0x" + word[spare:].hex()
        case "bool":
            _require(
                not any(word[:spare]) and word[-1] < 2, f"{name}: 0x{word.hex()} is neither true nor false"
            )
            return word[-1] == 1
        case _:
            _require(not any(word[:spare]), f"{name}: 0x{word.hex()} is no {kind}")
            return int.from_bytes(word, "big")


def _length(data: bytes, at: int, name: str) -> int:
    """An offset, a count or a length; beyond the calldata's own length it is never right."""
    value = int.from_bytes(_take(data, at, WORD_BYTES, name), "big")
    _require(value <= len(data), f"{name}: {value} is beyond the {len(data)} bytes of calldata")
    return value


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise OtherCall(f"{name}: the string is not UTF-8") from error


def _take(data: bytes, at: int, count: int, name: str) -> bytes:
    found = data[at : at + count]
    _require(len(found) == count, f"{name}: calldata ends before it does")
    return found


def _encoded(kind: AbiType, value: Value) -> bytes:
    if isinstance(kind, Elementary):
        return _encoded_elementary(kind, value)
    if not isinstance(value, tuple) or kind.length not in (None, len(value)):
        raise MalformedError(f"{value!r:.80} is no {kind}")
    items = encode_values([kind.item] * len(value), value)
    return items if kind.length is not None else len(value).to_bytes(WORD_BYTES, "big") + items


def _encoded_elementary(kind: Elementary, value: Value) -> bytes:
    """A value of one word; of a dynamic kind, its length and its bytes."""
    match kind.kind, value:
        case "string", str():
            return _padded(_utf8(value))
        case "bytes", str() if not kind.size and _HEX.fullmatch(value):
            return _padded(bytes.fromhex(value))
        case "bytes", str() if _HEX.fullmatch(value) and len(value) == 2 * kind.size:
            return bytes.fromhex(value).ljust(WORD_BYTES, b"\0")
        case "address", str() if EVM_ADDRESS.fullmatch(value):
            return bytes(WORD_BYTES - kind.size) + bytes.fromhex(value[2:])
        case "bool", bool():
            return int(value).to_bytes(WORD_BYTES, "big")
        case "uint" | "int", int() if not isinstance(value, bool) and in_range(kind, value):
            return value.to_bytes(WORD_BYTES, "big", signed=kind.kind == "int")
    raise MalformedError(f"{value!r:.80} is no {kind}")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a string with a lone surrogate has no encoding") from error


def _padded(data: bytes) -> bytes:
    length = len(data).to_bytes(WORD_BYTES, "big")
    return length + data + bytes(-len(data) % WORD_BYTES)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise OtherCall(reason)
