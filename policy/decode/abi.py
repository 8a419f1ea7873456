"""Calldata of contract calls: a method's signature, and its arguments by name, strictly.

A method is written ``approve(address spender,uint256 amount)``: a type, one space and a name for each
argument. Calldata with bytes too many or too few, or in any other encoding than the one of its values, is
refused: what two readers could read differently is not signed. ``abi_values`` has the types and values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from policy.decode.abi_values import (
    AbiType,
    OtherCall,
    Value,
    decode_values,
    encode_values,
    parse_type,
)
from policy.errors import MalformedError
from policy.intent import ERC20_TRANSFER
from policy.keccak import keccak256

SELECTOR_BYTES = 4
CALLDATA_BYTES_MAX = 8 * 1024
PARAMETERS_MAX, SIGNATURE_MAX = 16, 300
Argument = Value
_METHOD = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,63})\(([^()]*)\)")
_PARAMETER = re.compile(r"([a-z]+[0-9]*[][0-9]*) ([A-Za-z_][A-Za-z0-9_]{0,63})")

__all__ = ["Argument", "Method", "OtherCall", "decode_call", "encode_call", "parse_method"]


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its 4-byte selector, type and name of each parameter in order, and those types, read."""

    signature: str
    selector: bytes
    parameters: tuple[tuple[str, str], ...]
    types: tuple[AbiType, ...]

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
    return Method(text, selector, parameters, tuple(parse_type(kind) for kind, _ in parameters))


def decode_call(method: Method, data: bytes) -> dict[str, Argument]:
    """The arguments of a call, by name. Raises ``OtherCall`` for all that is not their only encoding."""
    _require(
        data[:SELECTOR_BYTES] == method.selector, f"calldata calls 0x{data[:4].hex()}, not {method.signature}"
    )
    _require(len(data) <= CALLDATA_BYTES_MAX, f"{len(data)} bytes of calldata, at most {CALLDATA_BYTES_MAX}")
    names = [name for _, name in method.parameters]
    values, end = decode_values(method.types, names, data=data, base=SELECTOR_BYTES)
    _require(end == len(data), f"{len(data) - end} bytes stand after the arguments")
    return dict(zip(names, values, strict=True))


def encode_call(method: Method, arguments: Mapping[str, Argument]) -> bytes:
    """The only calldata that ``decode_call`` reads as these arguments. Raises ``MalformedError``."""
    if set(arguments) != {name for _, name in method.parameters}:
        wanted = ", ".join(name for _, name in method.parameters)
        raise MalformedError(f"{method.signature} takes {wanted or 'no arguments'}")
    try:
        words = encode_values(method.types, [arguments[name] for _, name in method.parameters])
    except MalformedError as error:
        raise MalformedError(f"{method.signature}: {error}") from error
    return method.selector + words


def _parameter(text: str) -> tuple[str, str]:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise MalformedError(f"{text[:80]!r} is no parameter such as 'uint256 amount'")
    parse_type(match[1])
    return match[1], match[2]


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise OtherCall(reason)
