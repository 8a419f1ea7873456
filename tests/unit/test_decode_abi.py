"""Calldata is decoded in one encoding only, to what another library reads and would encode."""

from typing import Any

import pytest
from eth_abi.abi import decode as their_decode
from eth_abi.abi import encode as their_encode
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.decode.abi import (
    ARRAY_LENGTH_MAX,
    CALLDATA_BYTES_MAX,
    AbiType,
    Array,
    Elementary,
    Method,
    Parameter,
    decode_call,
    parse_method,
    parse_type,
)
from policy.decode.decoded import Refusal
from policy.errors import MalformedError

APPROVE = parse_method("approve(address spender,uint256 amount)")
SPENDER = "0x" + "22" * 20
ELEMENTARY = st.one_of(
    st.sampled_from(
        [Elementary("address", 20), Elementary("bool", 1), Elementary("bytes", 0), Elementary("string", 0)]
    ),
    st.builds(Elementary, st.sampled_from(["uint", "int", "bytes"]), st.integers(1, 32)),
)


def arrays(items: st.SearchStrategy[AbiType]) -> st.SearchStrategy[AbiType]:
    return st.builds(Array, items, st.none() | st.integers(1, 3))


TYPES = ELEMENTARY | arrays(ELEMENTARY) | arrays(arrays(ELEMENTARY))
METHODS = st.lists(TYPES, max_size=4).map(
    lambda types: Method("call", tuple(Parameter(f"a{place}", one) for place, one in enumerate(types)))
)


def values(kind: AbiType) -> st.SearchStrategy[Any]:
    if isinstance(kind, Array):
        low, high = (0, 3) if kind.length is None else (kind.length, kind.length)
        return st.lists(values(kind.item), min_size=low, max_size=high).map(tuple)
    match kind.kind:
        case "address":
            return st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex())
        case "bool":
            return st.booleans()
        case "string":
            return st.text(max_size=40)
        case "bytes":
            return st.binary(min_size=kind.size, max_size=kind.size or 70)
        case "int":
            half = 1 << 8 * kind.size - 1
            return st.integers(-half, half - 1)
        case _:
            return st.integers(0, (1 << 8 * kind.size) - 1)


def encoded(method: Method, found: Any) -> bytes:
    """The call as another library encodes it."""
    types = [str(one.type) for one in method.parameters]
    return bytes(function_signature_to_4byte_selector(method.signature)) + bytes(their_encode(types, found))


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def call(text: str, *words: int | bytes) -> tuple[Method, bytes]:
    method = parse_method(text)
    body = b"".join(one if isinstance(one, bytes) else word(one) for one in words)
    return method, method.selector + body


def test_a_method_is_read_as_it_is_written() -> None:
    assert str(APPROVE) == "approve(address spender,uint256 amount)"
    assert APPROVE.signature == "approve(address,uint256)"
    assert APPROVE.selector == bytes.fromhex("095ea7b3")
    assert parse_method("pause()") == Method("pause", ())


@settings(max_examples=60, deadline=None)
@given(METHODS)
def test_every_method_reads_back(method: Method) -> None:
    assert parse_method(str(method)) == method
    assert method.selector == function_signature_to_4byte_selector(method.signature)


@settings(max_examples=80, deadline=None)
@given(METHODS, st.data())
def test_what_another_library_encodes_is_decoded_to_the_same(method: Method, draw: st.DataObject) -> None:
    found = [draw.draw(values(one.type)) for one in method.parameters]

    assert list(decode_call(method, encoded(method, found)).values()) == found


@settings(max_examples=150, deadline=None)
@given(METHODS, st.data())
def test_what_is_decoded_from_changed_bytes_has_only_that_encoding(
    method: Method, draw: st.DataObject
) -> None:
    data = bytearray(encoded(method, [draw.draw(values(one.type)) for one in method.parameters]))
    for _ in range(draw.draw(st.integers(1, 2))):
        place = draw.draw(st.integers(4, max(4, len(data) - 1)))
        piece = draw.draw(
            st.sampled_from([b"", b"\0", b"\1", b"\x20", b"\x40", b"\xff", bytes(32), word(32)])
        )
        data[place : place + draw.draw(st.sampled_from([0, len(piece), 1, 32]))] = piece
    try:
        found = decode_call(method, bytes(data))
    except Refusal:
        return

    types = [str(one.type) for one in method.parameters]
    assert encoded(method, list(found.values())) == bytes(data)
    assert list(their_decode(types, bytes(data[4:]))) == list(found.values())


@settings(max_examples=80, deadline=None)
@given(METHODS, st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(method: Method, data: bytes) -> None:
    try:
        assert isinstance(decode_call(method, method.selector + data), dict)
    except Refusal:
        assert len(data) > 0 or method.parameters


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ((APPROVE, bytes.fromhex("a9059cbb") + bytes(64)), "0xa9059cbb, not 0x095ea7b3 of approve"),
        ((APPROVE, APPROVE.selector[:3]), "calls 0x095ea7,"),
        ((APPROVE, APPROVE.selector + bytes(63)), "ends before"),
        ((APPROVE, APPROVE.selector + bytes(65)), "1 bytes stand after"),
        ((APPROVE, bytes(CALLDATA_BYTES_MAX + 1)), "at most"),
        (call("f(address a)", 1 << 160), "padding before the address"),
        (call("f(uint8 a)", 256), "is no uint8"),
        (call("f(int8 a)", 128), "128 is no int8"),
        (call("f(int8 a)", 2**256 - 129), "-129 is no int8"),
        (call("f(bool a)", 2), "neither true nor false"),
        (call("f(bytes4 a)", b"abcd" + bytes(27) + b"\1"), "padding after its 4 bytes"),
        (call("f(bytes a)", 64, 0, 0), "not the next place 32"),
        (call("f(bytes a)", 0, 0), "not the next place 32"),
        (call("f(bytes a,bytes b)", 96, 64, 0, 0), "not the next place 64"),
        (call("f(bytes a,bytes b)", 64, 64, 0), "not the next place 96"),
        (call("f(bytes a)", 32, 1, b"a" + bytes(30) + b"\1"), "padding after its 1 bytes"),
        (call("f(bytes a)", 32, 1, b"a"), "ends before"),
        (call("f(bytes a)", 32, 0, 0), "32 bytes stand after"),
        (call("f(bytes a)", 32, 2**256 - 1), "beyond"),
        (call("f(string a)", 32, 1, b"\xff" + bytes(31)), "not UTF-8"),
        (call("f(uint256[] a)", 32, 2, 1), "ends before 2 items"),
        (call("f(uint256[] a)", 32, 2**255, 1), "beyond"),
        (call("f(bytes[] a)", 32, 2, 64, 64, 0), "not the next place 96"),
        (call("f(uint256[2] a)", 1), "ends before"),
        (call("f(uint256[256][256][256] a)", 1), "ends before"),
    ],
)
def test_another_encoding_is_refused(made: tuple[Method, bytes], reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        decode_call(*made)


@pytest.mark.parametrize(
    "text",
    [
        "approve",
        "approve(",
        "approve()(",
        "approve(address)",
        "approve(address spender, uint256 amount)",
        "approve(address  spender)",
        "approve(address spender,)",
        "approve(,address spender)",
        "approve(address a,uint256 a)",
        " approve(address a)",
        "approve(address a)\n",
        "approve(uint a)",
        "approve(int a)",
        "approve(uint7 a)",
        "approve(uint08 a)",
        "approve(uint264 a)",
        "approve(bytes0 a)",
        "approve(bytes33 a)",
        "approve(byte a)",
        "approve((address,uint256) a)",
        "approve(function a)",
        "approve(fixed128x18 a)",
        "approve(address payable a)",
        "approve(uint256[0] a)",
        "approve(uint256[01] a)",
        f"approve(uint256[{ARRAY_LENGTH_MAX + 1}] a)",
        "approve(uint256[][][][] a)",
        "approve([] a)",
        "9approve()",
        "approve(" + ",".join(f"bool a{place}" for place in range(33)) + ")",
        "a" * 2000,
    ],
)
def test_a_method_that_is_not_written_right_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_method(text)


def test_types_that_have_no_bits_are_told_how() -> None:
    with pytest.raises(MalformedError, match="write uint256"):
        parse_type("uint[]")


def test_a_call_takes_work_in_proportion_to_its_bytes() -> None:
    """Offsets that all lead to the same place would otherwise multiply at every level."""
    method = parse_method("f(bytes[][][] a)")
    data = method.selector + word(32) + word(200) + word(32) * 250

    with pytest.raises(Refusal, match="not the next place"):
        decode_call(method, data)
