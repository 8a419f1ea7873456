"""Calldata of contract calls: a method's signature, and its arguments by name, strictly.

Only parameters of one 32-byte word are read: ``address``, ``bool``, ``uintN``, ``intN``, ``bytesN``. A word
whose padding is not clean, and bytes too many or too few, are refused: what two readers could read
differently is not signed. Source: Solidity's contract ABI specification, version 0.8.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from policy.errors import MalformedError
from policy.intent import ERC20_TRANSFER, keccak256

SELECTOR_BYTES, WORD = 4, 32
PARAMETERS_MAX, SIGNATURE_MAX = 16, 300
TYPES = frozenset(
    {"address", "bool"}
    | {f"{sign}{bits}" for sign in ("uint", "int") for bits in range(8, 257, 8)}
    | {f"bytes{size}" for size in range(1, 33)}
)
Argument: TypeAlias = int | str | bool
_METHOD = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,63})\(([^()]*)\)")
_PARAMETER = re.compile(r"(address|bool|uint[0-9]+|int[0-9]+|bytes[0-9]+) ([A-Za-z_][A-Za-z0-9_]{0,63})")


class OtherCall(Exception):
    """The calldata is no call of the method; the message says why."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its 4-byte selector, and type and name of each parameter in order."""

    signature: str
    selector: bytes
    parameters: tuple[tuple[str, str], ...]

    def type_of(self, name: str) -> str | None:
        """The type of a parameter; None for one it has not."""
        return next((kind for kind, known in self.parameters if known == name), None)


def parse_method(text: str) -> Method:
    """Read ``approve(address spender,uint256 amount)``. Raises ``MalformedError``.

    The transfer of a token is refused: it is a payment of that asset, and its limits would not see it here.
    """
    match = _METHOD.fullmatch(text) if len(text) <= SIGNATURE_MAX else None
    if match is None:
        raise MalformedError(f"{text[:80]!r} is no method such as 'approve(address spender,uint256 amount)'")
    parts = match[2].split(",") if match[2] else []
    if len(parts) > PARAMETERS_MAX:
        raise MalformedError(f"{text[:80]!r} has {len(parts)} parameters, at most {PARAMETERS_MAX} are read")
    parameters = tuple(_parameter(part) for part in parts)
    if len({name for _, name in parameters}) != len(parameters):
        raise MalformedError(f"{text[:80]!r} names a parameter twice")
    plain = f"{match[1]}({','.join(kind for kind, _ in parameters)})"
    selector = keccak256(plain.encode())[:SELECTOR_BYTES]
    if selector == ERC20_TRANSFER:
        raise MalformedError(f"{plain} is a payment: name the token under 'assets'")
    return Method(text, selector, parameters)


def decode_call(method: Method, data: bytes) -> dict[str, Argument]:
    """The arguments of a call, by name; addresses and ``bytesN`` as lower-case hex. Raises ``OtherCall``."""
    _require(
        data[:SELECTOR_BYTES] == method.selector, f"calldata calls 0x{data[:4].hex()}, not {method.signature}"
    )
    words = data[SELECTOR_BYTES:]
    expected = WORD * len(method.parameters)
    _require(len(words) == expected, f"calldata has {len(words)} bytes of arguments, not {expected}")
    return {
        name: _decode(kind, words[WORD * index : WORD * (index + 1)])
        for index, (kind, name) in enumerate(method.parameters)
    }


def encode_call(method: Method, arguments: Mapping[str, Argument]) -> bytes:
    """The only calldata that ``decode_call`` reads as these arguments. Raises ``MalformedError``."""
    if set(arguments) != {name for _, name in method.parameters}:
        wanted = ", ".join(name for _, name in method.parameters)
        raise MalformedError(f"{method.signature} takes {wanted or 'no arguments'}")
    words = b"".join(_encode(kind, name, arguments[name]) for kind, name in method.parameters)
    return method.selector + words


def _parameter(text: str) -> tuple[str, str]:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise MalformedError(f"{text[:80]!r} is no parameter such as 'uint256 amount'")
    if match[1] not in TYPES:
        raise MalformedError(f"{match[1]!r} is no type of one word")
    return match[1], match[2]


def _decode(kind: str, word: bytes) -> Argument:
    number = int.from_bytes(word, "big")
    family, size = _family(kind)
    if family == "address":
        _require(not any(word[:12]), "the padding of an address is not zero")
        return "0x" + word[12:].hex()
    if family == "bool":
        _require(number <= 1, f"a bool is 0 or 1, not {number}")
        return bool(number)
    if family == "bytes":
        _require(not any(word[size:]), f"the padding of {kind} is not zero")
        return word[:size].hex()
    signed = int.from_bytes(word, "big", signed=True) if family == "int" else number
    low, high = (-(2 ** (size - 1)), 2 ** (size - 1)) if family == "int" else (0, 2**size)
    _require(low <= signed < high, f"{signed} is no {kind}")
    return signed


def _encode(kind: str, name: str, value: Argument) -> bytes:
    family, _ = _family(kind)
    try:
        if family == "address" and isinstance(value, str):
            word = bytes(12) + bytes.fromhex(value.removeprefix("0x"))
        elif family == "bytes" and isinstance(value, str):
            word = bytes.fromhex(value.removeprefix("0x")).ljust(WORD, b"\0")
        elif isinstance(value, int) and not isinstance(value, str):
            word = int(value).to_bytes(WORD, "big", signed=family == "int")
        else:
            raise MalformedError(f"{name}: {value!r} is no {kind}")
        if len(word) != WORD or _decode(kind, word) != value:
            raise MalformedError(f"{name}: {value!r} is no {kind}")
    except (ValueError, OverflowError, OtherCall) as error:
        raise MalformedError(f"{name}: {value!r} is no {kind}") from error
    return word


def _family(kind: str) -> tuple[str, int]:
    family = kind.rstrip("0123456789")
    return family, int(kind[len(family) :] or 0)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise OtherCall(reason)
