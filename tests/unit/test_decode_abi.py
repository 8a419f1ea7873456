"""Arguments of calls: what we read, a library of others reads alike, and only one calldata says it."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from policy.decode.abi import (
    TYPES,
    Argument,
    Method,
    OtherCall,
    decode_call,
    encode_call,
    parse_method,
)
from policy.errors import MalformedError


def value_of(kind: str) -> st.SearchStrategy[Argument]:
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex())
    if kind == "bool":
        return st.booleans()
    if kind.startswith("bytes"):
        size = int(kind[5:])
        return st.binary(min_size=size, max_size=size).map(bytes.hex)
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    bits = int(kind[3:])
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Method, dict[str, Argument]]:
    kinds = draw(st.lists(st.sampled_from(sorted(TYPES)), max_size=6))
    parameters = ",".join(f"{kind} p{index}" for index, kind in enumerate(kinds))
    values = {f"p{index}": draw(value_of(kind)) for index, kind in enumerate(kinds)}
    return parse_method(f"act({parameters})"), values


def theirs(method: Method, values: dict[str, Argument]) -> bytes:
    kinds = [kind for kind, _ in method.parameters]
    plain: list[Any] = [
        bytes.fromhex(str(values[name])) if kind.startswith("bytes") else values[name]
        for kind, name in method.parameters
    ]
    selector = keccak(f"act({','.join(kinds)})".encode())[:4]
    return bytes(selector) + bytes(encode(kinds, plain))


@given(calls())
def test_a_call_is_encoded_and_read_as_another_library_does(call: tuple[Method, dict[str, Argument]]) -> None:
    method, values = call
    data = encode_call(method, values)

    assert data == theirs(method, values)
    assert decode_call(method, data) == values


@given(calls(), st.data())
def test_calldata_that_reads_as_something_is_the_only_one_that_does(
    call: tuple[Method, dict[str, Argument]], data: st.DataObject
) -> None:
    method, values = call
    changed = bytearray(encode_call(method, values))
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        read = decode_call(method, bytes(changed))
    except OtherCall:
        return

    assert read != values
    assert encode_call(method, read) == bytes(changed)


@pytest.mark.parametrize("change", [b"", b"\0", b"\0" * 32])
def test_too_much_or_too_little_is_refused(change: bytes) -> None:
    method = parse_method("act(uint256 a)")
    data = encode_call(method, {"a": 5})

    with pytest.raises(OtherCall):
        decode_call(method, data + change if change else data[:-1])


@pytest.mark.parametrize("values", [{}, {"a": 2**8}, {"a": -1}, {"a": "5"}, {"a": 5, "b": 6}, {"b": 5}])
def test_arguments_that_do_not_fit_are_refused(values: dict[str, Argument]) -> None:
    with pytest.raises(MalformedError):
        encode_call(parse_method("act(uint8 a)"), values)


@pytest.mark.parametrize(
    "text",
    ["", "act", "act(", "act()x", "act(uint a)", "act(uint256)", "act(uint256  a)", "act(uint256 a,)",
     "act(uint256 a,uint256 a)", "act(uint256[] a)", "act((uint256 b) a)", "transfer(address a,uint256 b)"],
)  # fmt: skip
def test_what_is_no_method_of_single_words_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_method(text)
