"""One RLP list, read strictly: what another library reads and writes again to the same bytes, and no more."""

from typing import Any

import pytest
import rlp
from hypothesis import example, given
from hypothesis import strategies as st

from policy.decode.rlp_list import decode_list
from policy.errors import MalformedError

ITEMS: st.SearchStrategy[Any] = st.binary(max_size=80) | st.just([])
FLAT = st.lists(ITEMS, max_size=12)


@given(FLAT)
@example([bytes(n) for n in (0, 1, 55, 56, 255, 256, 70_000)])
def test_what_the_library_writes_is_read(items: list[Any]) -> None:
    assert decode_list(rlp.encode(items)) == items


@given(FLAT.map(rlp.encode) | st.binary(max_size=60), st.integers(0, 200), st.binary(max_size=3))
def test_nothing_is_read_that_the_library_would_not_write_so(data: bytes, place: int, put: bytes) -> None:
    data = data[:place] + put + data[place + len(put) :]
    try:
        items = decode_list(data)
    except MalformedError:
        return

    if not any(isinstance(item, list) and item for item in items):
        assert rlp.encode(items) == data


@pytest.mark.parametrize(
    "data",
    [
        "",
        "80",
        "c0c0",
        "c1",
        "c18100",  # beyond the end
        "c28100",  # a small byte in two
        "c3b80161",  # a long length for a short string
        "f800",
        "f90000",
        "c2b8",
        "c1b8",
        "f8ff00",
        "ff",
        "f7",
    ],
)
def test_bytes_that_are_not_exactly_one_canonical_list_are_refused(data: str) -> None:
    with pytest.raises(MalformedError, match="RLP"):
        decode_list(bytes.fromhex(data))


def test_a_list_inside_is_told_from_a_string() -> None:
    assert decode_list(bytes.fromhex("c4c26162c0")) == [[b"ab"], []]
