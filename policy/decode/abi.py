"""Contract calls: a method's signature, and calldata to named arguments by the contract ABI, strictly.

A method is written ``approve(address spender,uint256 amount)``: every argument has a type and a name, one
space between them, none elsewhere. Types are ``address``, ``bool``, ``uint8`` to ``uint256``, ``int8`` to
``int256``, ``bytes1`` to ``bytes32``, ``bytes``, ``string``, and arrays ``T[]`` and ``T[n]`` of them.

Each call has exactly one encoding that is accepted: offsets in the order of the arguments with no gap and no
overlap, clean padding, nothing after the end. So arguments and calldata determine each other, and a contract
that reads leniently finds nothing that was not read here. Nothing is read twice: decoding takes time and
memory in proportion to the calldata.

Source: the Contract ABI Specification of Solidity, "strict mode".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policy.decode.decoded import Refusal, require
from policy.errors import MalformedError
from policy.intent import keccak256

WORD_BYTES = 32
SELECTOR_BYTES = 4
CALLDATA_BYTES_MAX = 8 * 1024
SIGNATURE_CHARACTERS_MAX = 1024
PARAMETERS_MAX = 32
ARRAY_LENGTH_MAX = 256
ARRAY_DEPTH_MAX = 3
IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")
_METHOD = re.compile(rf"({IDENTIFIER.pattern})\((.*)\)")
_SIZED = re.compile(r"(uint|int|bytes)([1-9][0-9]{0,2})")
_ARRAY = re.compile(r"(.+)\[(|[1-9][0-9]{0,2})\]")

Value: TypeAlias = "int | bool | str | bytes | tuple[Value, ...] | dict[str, Value]"


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


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a method."""

    name: str
    type: AbiType


@dataclass(frozen=True, slots=True)
class Method:
    """A contract's method; ``str`` of it is what ``parse_method`` reads."""

    name: str
    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        return f"{self.name}({','.join(f'{one.type} {one.name}' for one in self.parameters)})"

    @property
    def signature(self) -> str:
        """As contracts know it: types without names."""
        return f"{self.name}({','.join(str(one.type) for one in self.parameters)})"

    @property
    def selector(self) -> bytes:
        """The first 4 bytes of every call of it; two methods can have the same."""
        return keccak256(self.signature.encode())[:SELECTOR_BYTES]


def parse_method(text: str) -> Method:
    """Read a method such as ``approve(address spender,uint256 amount)``. Raises ``MalformedError``."""
    if len(text) > SIGNATURE_CHARACTERS_MAX:
        raise MalformedError(
            f"method has {len(text)} characters, at most {SIGNATURE_CHARACTERS_MAX} are read"
        )
    match = _METHOD.fullmatch(text)
    if match is None:
        raise MalformedError(
            f"{text[:64]!r} is not a method such as 'approve(address spender,uint256 amount)'"
        )
    parts = match[2].split(",") if match[2] else []
    if len(parts) > PARAMETERS_MAX:
        raise MalformedError(
            f"method {match[1]} has {len(parts)} arguments, at most {PARAMETERS_MAX} are read"
        )
    parameters = tuple(_parameter(part, match[1]) for part in parts)
    names = [one.name for one in parameters]
    if len(set(names)) < len(names):
        raise MalformedError(f"method {match[1]}: two arguments have the same name")
    return Method(match[1], parameters)


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


def decode_call(method: Method, data: bytes) -> dict[str, Value]:
    """The arguments of a call of ``method``, by name. Raises ``Refusal`` for all that is not their encoding.

    Numbers are integers, an address is ``0x`` and 40 lower-case digits, an array is a tuple.
    """
    require(len(data) <= CALLDATA_BYTES_MAX, f"{len(data)} bytes of calldata, at most {CALLDATA_BYTES_MAX}")
    selector = data[:SELECTOR_BYTES]
    require(
        selector == method.selector,
        f"calldata calls 0x{selector.hex()}, not 0x{method.selector.hex()} of {method.name}",
    )
    types = [one.type for one in method.parameters]
    names = [f"{method.name}: {one.name}" for one in method.parameters]
    values, end = _sequence(types, names, data=data, base=SELECTOR_BYTES)
    require(end == len(data), f"{len(data) - end} bytes stand after the arguments of {method.name}")
    return dict(zip((one.name for one in method.parameters), values, strict=True))


# --- types ------------------------------------------------------------------------------------------


def _parameter(text: str, method: str) -> Parameter:
    kind, _, name = text.partition(" ")
    if not IDENTIFIER.fullmatch(name):
        raise MalformedError(f"method {method}: {text[:64]!r} is not a type, one space and a name")
    return Parameter(name, parse_type(kind))


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


def _sequence(
    types: Sequence[AbiType], names: Sequence[str], *, data: bytes, base: int
) -> tuple[tuple[Value, ...], int]:
    """Values one after another from ``base``, the dynamic ones behind all heads; and where they end."""
    values: list[Value] = []
    head, end = base, base + sum(map(_head_bytes, types))
    require(end <= len(data), f"calldata ends before {names[0] if names else 'it should'}")
    for kind, name in zip(types, names, strict=True):
        if _is_dynamic(kind):
            offset = _length(data, head, name)
            require(offset == end - base, f"{name}: its offset is {offset}, not the next place {end - base}")
            value, end = _dynamic(kind, name, data=data, at=end)
        elif isinstance(kind, Array):
            value, _ = _items(kind, kind.length or 0, name, data=data, at=head)
        else:
            value = _word(kind, _take(data, head, WORD_BYTES, name), name)
        values.append(value)
        head += _head_bytes(kind)
    return tuple(values), end


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
    require(not any(padded[length:]), f"{name}: the padding after its {length} bytes is not zero")
    return _text(padded[:length], name) if kind.kind == "string" else padded[:length], end


def _items(array: Array, count: int, name: str, *, data: bytes, at: int) -> tuple[tuple[Value, ...], int]:
    require(at + count * _head_bytes(array.item) <= len(data), f"{name}: calldata ends before {count} items")
    return _sequence([array.item] * count, [f"{name}[{index}]" for index in range(count)], data=data, base=at)


def _word(kind: Elementary, word: bytes, name: str) -> Value:
    """A value of a fixed size out of its 32 bytes."""
    spare = WORD_BYTES - kind.size
    match kind.kind:
        case "bytes":
            require(
                not any(word[kind.size :]), f"{name}: the padding after its {kind.size} bytes is not zero"
            )
            return word[: kind.size]
        case "int":
            value = int.from_bytes(word, "big", signed=True)
            half = 1 << 8 * kind.size - 1
            require(-half <= value < half, f"{name}: {value} is no {kind}")
            return value
        case "address":
            require(not any(word[:spare]), f"{name}: the padding before the address is not zero")
            return "0x" + word[spare:].hex()
        case "bool":
            require(
                not any(word[:spare]) and word[-1] < 2, f"{name}: 0x{word.hex()} is neither true nor false"
            )
            return word[-1] == 1
        case _:
            require(not any(word[:spare]), f"{name}: 0x{word.hex()} is no {kind}")
            return int.from_bytes(word, "big")


def _length(data: bytes, at: int, name: str) -> int:
    """An offset, a count or a length; beyond the calldata's own length it is never right."""
    value = int.from_bytes(_take(data, at, WORD_BYTES, name), "big")
    require(value <= len(data), f"{name}: {value} is beyond the {len(data)} bytes of calldata")
    return value


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refusal(f"{name}: the string is not UTF-8") from error


def _take(data: bytes, at: int, count: int, name: str) -> bytes:
    found = data[at : at + count]
    require(len(found) == count, f"{name}: calldata ends before it does")
    return found
