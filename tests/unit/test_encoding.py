"""The canonical encoding: one document, one encoding, one hash."""

import hashlib
import json
from typing import Any, cast

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from policy.encoding import (
    DEPTH_MAX,
    INTEGER_MAX,
    Json,
    canonical,
    document_hash,
    parse_canonical,
    statement,
    tagged_hash,
)
from policy.errors import CallerError, MalformedError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DOCUMENTS = st.recursive(
    st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(DOCUMENTS)
def test_what_is_encoded_is_read_back(value: Json) -> None:
    data = canonical(value)

    assert parse_canonical(data, bytes_max=len(data)) == value


@given(DOCUMENTS, st.integers(0, 10_000), st.integers(0, 255))
def test_no_other_bytes_are_read_as_the_same_document(value: Json, place: int, byte: int) -> None:
    data = bytearray(canonical(value))
    original = bytes(data)
    data[place % len(data)] = byte
    if bytes(data) == original:
        return
    try:
        other = parse_canonical(bytes(data), bytes_max=len(data))
    except MalformedError:
        return

    assert canonical(other) != original


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1, "b":2}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'"\\u0061"',
        b"1.0",
        b"1e3",
        b"-0",
        b"01",
        b"NaN",
        b"null",
        b"9007199254740992",
        b"9" * 5000,
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b"{} ",
        b"",
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_an_encoding_other_than_the_canonical_one_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_canonical(data, bytes_max=20_000)


def test_a_document_longer_than_its_bound_is_refused_with_both_numbers() -> None:
    with pytest.raises(MalformedError, match="4 bytes, at most 3"):
        parse_canonical(b"true", bytes_max=3)


@pytest.mark.parametrize("value", [1.5, None, INTEGER_MAX + 1, b"x", {1: "x"}, {"a": [None]}])
def test_what_has_no_canonical_encoding_is_the_callers_mistake(value: object) -> None:
    with pytest.raises(CallerError):
        canonical(value)  # type: ignore[arg-type]


def test_nesting_is_bounded() -> None:
    value: Json = "x"
    for _ in range(DEPTH_MAX + 1):
        value = [value]

    with pytest.raises(CallerError, match="nested deeper"):
        canonical(value)


@given(st.binary(max_size=4), st.binary(max_size=4), st.binary(max_size=4))
def test_moving_a_byte_between_fields_changes_a_tagged_hash(a: bytes, b: bytes, c: bytes) -> None:
    assert tagged_hash("t", a + b"\x01", b, c) != tagged_hash("t", a, b"\x01" + b, c)
    assert tagged_hash("t", a, b + c) != tagged_hash("t", a, b, c)


def test_a_tagged_hash_is_sha256_over_prefixed_fields() -> None:
    expected = hashlib.sha256(bytes(7) + b"\x03tag" + bytes(7) + b"\x02ab").digest()

    assert tagged_hash("tag", b"ab") == expected


def test_the_tag_separates_documents_of_one_text() -> None:
    assert document_hash("request", {"a": 1}) != document_hash("policy", {"a": 1})


def test_a_statement_is_a_domain_line_and_the_canonical_body() -> None:
    message = statement("request", {"b": "2", "a": 1})

    assert message == b'quorumkeep/v1 request\n{"a":1,"b":"2"}'
    assert json.loads(message.split(b"\n", 1)[1]) == {"a": 1, "b": "2"}


def by_the_reference(data: bytes) -> Json | None:
    """What RFC 8785's own library lets stand, by way of every rule written out; None for nothing."""

    def plain(value: object, depth: int) -> bool:
        if depth > DEPTH_MAX or value is None or isinstance(value, float):
            return False
        if isinstance(value, dict):
            return all(plain(item, depth + 1) for item in value.values())
        if isinstance(value, list):
            return all(plain(item, depth + 1) for item in value)
        return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) <= INTEGER_MAX)

    try:
        value = json.loads(data.decode())
        same = plain(value, 0) and rfc8785.dumps(value) == data
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return None
    return cast("Json", value) if same else None


TRICKY = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["\x7f", "\x1f", '"\\/', "\u2028", "\ue000", "\U00010000", "null", "é"]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers(-(2**54), 2**54)
    | st.integers(INTEGER_MAX - 1, INTEGER_MAX + 1)
    | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_the_encoding_is_that_of_rfc_8785(value: Json) -> None:
    assert canonical(value) == rfc8785.dumps(cast("Any", value))


@given(ANYTHING, st.booleans(), st.booleans())
def test_what_is_read_is_what_the_reference_reads(value: Any, ascii_only: bool, sort: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, sort_keys=sort, separators=(",", ":")).encode()
    expected = by_the_reference(data)
    try:
        found: Json | None = parse_canonical(data, bytes_max=len(data))
    except MalformedError:
        found = None

    assert repr(found) == repr(expected)


@pytest.mark.parametrize("depth", range(DEPTH_MAX - 2, DEPTH_MAX + 3))
@pytest.mark.parametrize("leaf", ['"a"', "1", "[]", "{}", '"null"', '"é"'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"a":[1],"b":', "}")])
def test_nesting_is_bounded_as_the_reference_says(depth: int, leaf: str, opening: str, closing: str) -> None:
    data = (opening * depth + leaf + closing * depth).encode()
    try:
        found: Json | None = parse_canonical(data, bytes_max=len(data))
    except MalformedError:
        found = None

    assert found == by_the_reference(data)
