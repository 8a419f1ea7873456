"""Arguments of calls: what we read, a library of others reads alike, and only one calldata says it."""

from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.decode.abi import (
    CALLDATA_BYTES_MAX,
    Argument,
    Method,
    OtherCall,
    decode_call,
    encode_call,
    parse_method,
)
from policy.decode.abi_values import ARRAY_LENGTH_MAX, AbiType, Array, Elementary, parse_type
from policy.errors import MalformedError

APPROVE = parse_method("approve(address spender,uint256 amount)")
ELEMENTARY = st.one_of(
    st.sampled_from(
        [Elementary("address", 20), Elementary("bool", 1), Elementary("bytes", 0), Elementary("string", 0)]
    ),
    st.builds(Elementary, st.sampled_from(["uint", "int", "bytes"]), st.integers(1, 32)),
)


def arrays(items: st.SearchStrategy[AbiType]) -> st.SearchStrategy[AbiType]:
    return st.builds(Array, items, st.none() | st.integers(1, 3))


TYPES = ELEMENTARY | arrays(ELEMENTARY) | arrays(arrays(ELEMENTARY))
METHODS = st.lists(TYPES.map(str), max_size=5).map(
    lambda kinds: parse_method(f"act({','.join(f'{kind} p{place}' for place, kind in enumerate(kinds))})")
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
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
        case "bytes":
            return st.binary(min_size=kind.size, max_size=kind.size or 70).map(bytes.hex)
        case "int":
            half = 1 << 8 * kind.size - 1
            return st.integers(-half, half - 1)
        case _:
            return st.integers(0, (1 << 8 * kind.size) - 1)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Method, dict[str, Argument]]:
    method = draw(METHODS)
    return method, {
        name: draw(values(kind)) for (_, name), kind in zip(method.parameters, method.types, strict=True)
    }


def plain(kind: AbiType, value: Any) -> Any:
    """A value as the other library has it."""
    if isinstance(kind, Array):
        return [plain(kind.item, item) for item in value]
    return bytes.fromhex(value) if kind.kind == "bytes" else value


def theirs(method: Method, found: dict[str, Argument]) -> bytes:
    kinds = [kind for kind, _ in method.parameters]
    selector = keccak(f"act({','.join(kinds)})".encode())[:4]
    return bytes(selector) + bytes(encode(kinds, list(map(plain, method.types, found.values()))))


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def call(text: str, *words: int | bytes) -> tuple[Method, bytes]:
    method = parse_method(text)
    return method, method.selector + b"".join(one if isinstance(one, bytes) else word(one) for one in words)


@settings(max_examples=100, deadline=None)
@given(calls())
def test_a_call_is_encoded_and_read_as_another_library_does(call: tuple[Method, dict[str, Argument]]) -> None:
    method, found = call
    data = encode_call(method, found)

    assert data == theirs(method, found)
    assert decode_call(method, data) == found


@settings(max_examples=150, deadline=None)
@given(calls(), st.data())
def test_calldata_that_reads_as_something_is_the_only_one_that_does(
    call: tuple[Method, dict[str, Argument]], draw: st.DataObject
) -> None:
    method, found = call
    changed = bytearray(encode_call(method, found))
    for _ in range(draw.draw(st.integers(1, 2))):
        place = draw.draw(st.integers(4, max(4, len(changed) - 1)))
        piece = draw.draw(
            st.sampled_from([b"", b"\0", b"\1", b"\x20", b"\x40", b"\xff", bytes(32), word(32)])
        )
        changed[place : place + draw.draw(st.sampled_from([0, len(piece), 1, 32]))] = piece
    try:
        read = decode_call(method, bytes(changed))
    except OtherCall:
        return

    kinds = [kind for kind, _ in method.parameters]
    assert encode_call(method, read) == theirs(method, read) == bytes(changed)
    assert list(decode(kinds, bytes(changed[4:]))) == [
        tuple(one) if isinstance(one, list) else one for one in as_tuples(method, read)
    ]


def as_tuples(method: Method, read: dict[str, Argument]) -> list[Any]:
    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return [tuples(plain(kind, value)) for kind, value in zip(method.types, read.values(), strict=True)]


@settings(max_examples=80, deadline=None)
@given(METHODS, st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(method: Method, data: bytes) -> None:
    try:
        assert encode_call(method, decode_call(method, method.selector + data)) == method.selector + data
    except OtherCall:
        assert data or method.parameters


@pytest.mark.parametrize("change", [b"", b"\0", b"\0" * 32])
def test_too_much_or_too_little_is_refused(change: bytes) -> None:
    method = parse_method("act(uint256 a)")
    data = encode_call(method, {"a": 5})

    with pytest.raises(OtherCall):
        decode_call(method, data + change if change else data[:-1])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ((APPROVE, bytes.fromhex("a9059cbb") + bytes(64)), "calls 0xa9059cbb, not approve"),
        ((APPROVE, APPROVE.selector[:3]), "calls 0x095ea7,"),
        ((APPROVE, APPROVE.selector + bytes(CALLDATA_BYTES_MAX)), "at most"),
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
    with pytest.raises(OtherCall, match=reason):
        decode_call(*made)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("uint8", value) for value in (2**8, -1, "5", True, (5,), b"")],
        *[("int8", value) for value in (128, -129, False)],
        *[("bool", value) for value in (1, 0, "true")],
        *[("address", value) for value in ("0x" + "AB" * 20, "ab" * 20, "0x" + "ab" * 19, 5)],
        *[("bytes4", value) for value in ("", "0xabcdef01", "abcdef", "ABCDEF01", "abcdef0102", 5)],
        *[("bytes", value) for value in ("0x", "a", "zz", 5)],
        *[("string", value) for value in (5, "\ud800")],
        *[("uint8[2]", value) for value in ((1,), (1, 2, 3), 1, (1, 256))],
        *[("bytes[]", value) for value in (("zz",), "ab")],
    ],
)
def test_arguments_that_do_not_fit_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(MalformedError):
        encode_call(parse_method(f"act({kind} a)"), {"a": value})


@pytest.mark.parametrize("found", [{}, {"a": 5, "b": 6}, {"b": 5}])
def test_a_call_has_exactly_its_arguments(found: dict[str, Argument]) -> None:
    with pytest.raises(MalformedError, match="takes a"):
        encode_call(parse_method("act(uint8 a)"), found)


@pytest.mark.parametrize(
    "text",
    ["", "act", "act(", "act()x", " act()", "act()\n", "9act()", "act(uint a)", "act(int a)", "act(uint256)",
     "act(uint256  a)", "act(uint256 a,)", "act(,uint256 a)", "act(uint256 a, uint256 b)",
     "act(uint256 a,uint256 a)", "act((uint256 b) a)", "act(uint7 a)", "act(uint08 a)", "act(uint264 a)",
     "act(bytes0 a)", "act(bytes33 a)", "act(byte a)", "act(function a)", "act(fixed128x18 a)",
     "act(address payable a)", "act(uint256[0] a)", "act(uint256[01] a)", "act([] a)", "act(uint256[ a)",
     f"act(uint256[{ARRAY_LENGTH_MAX + 1}] a)", "act(uint256[][][][] a)", "act(uint256][ a)",
     "transfer(address a,uint256 b)", f"act({','.join(f'bool a{place}' for place in range(17))})", "a" * 301],
)  # fmt: skip
def test_what_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_method(text)


def test_types_that_have_no_bits_are_told_how() -> None:
    with pytest.raises(MalformedError, match="write uint256"):
        parse_type("uint[]")


def test_a_call_takes_work_in_proportion_to_its_bytes() -> None:
    """Offsets that all lead to the same place would otherwise multiply at every level."""
    method = parse_method("f(bytes[][][] a)")
    data = method.selector + word(32) + word(200) + word(32) * 250

    with pytest.raises(OtherCall, match="not the next place"):
        decode_call(method, data)
