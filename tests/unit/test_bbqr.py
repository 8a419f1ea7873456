"""A series of codes brings its bytes back whatever the order; a code that does not fit is no part of it."""

import base64
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from signer_nodes.api.bbqr import CHARACTERS, HEADER_CHARACTERS, Reader, split

VERSIONS = sorted(CHARACTERS)


@given(data=st.binary(min_size=1, max_size=6000), version=st.sampled_from(VERSIONS), seed=st.integers())
@settings(max_examples=60)
def test_a_series_is_read_in_any_order_and_twice(data: bytes, version: int, seed: int) -> None:
    texts = split(data, version=version)
    order = [*texts, *texts]
    random.Random(seed).shuffle(order)
    reader = Reader()

    for text in order:
        reader.see(text)

    assert reader.whole == data
    assert reader.missing == []


@given(data=st.binary(min_size=1, max_size=6000), version=st.sampled_from(VERSIONS))
@settings(max_examples=60)
def test_every_code_is_as_the_format_has_it(data: bytes, version: int) -> None:
    texts = split(data, version=version)

    assert all(len(text) <= CHARACTERS[version] for text in texts)
    assert all(text.startswith("B$2B") for text in texts)
    assert all(set(text) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$") for text in texts)
    assert len({len(text) for text in texts[:-1]}) <= 1, "all but the last are of one length"
    assert all((len(text) - HEADER_CHARACTERS) % 8 == 0 for text in texts[:-1]), "each decodes to whole bytes"


def test_a_series_that_lacks_a_code_is_not_whole() -> None:
    texts = split(bytes(2000), version=11)
    reader = Reader()
    for text in texts[:-1]:
        reader.see(text)

    assert reader.whole is None
    assert reader.missing == [len(texts) - 1]


def test_the_hexadecimal_series_of_the_format_is_read_too() -> None:
    reader = Reader()
    for text in ("B$HB0201CAFE", "B$HB0200DEAD"):
        reader.see(text)

    assert reader.whole == bytes.fromhex("DEADCAFE")


def test_a_compressed_series_is_read_and_a_bomb_is_not() -> None:
    for data, fits in ((b"text " * 400, True), (bytes(17 << 20), False)):
        packing = zlib.compressobj(9, zlib.DEFLATED, -10)
        packed = base64.b32encode(packing.compress(data) + packing.flush()).decode().rstrip("=")
        reader = Reader()
        reader.see(f"B$ZB0100{packed}")
        if fits:
            assert reader.whole == data
        else:
            with pytest.raises(MalformedError, match="more than"):
                _ = reader.whole


@pytest.mark.parametrize(
    "text",
    ["", "hello", "B$2P0100AAAA", "B$2B0101AAAA", "B$2B01000189", "B$HB0100ABC", "B$2B0100"],
)
def test_what_is_no_part_is_refused(text: str) -> None:
    reader = Reader()
    with pytest.raises(MalformedError):
        reader.see(text)

    assert reader.whole is None


def test_codes_of_two_series_do_not_mix() -> None:
    first, second = split(bytes(1000), version=11), split(b"\x01" * 1000, version=11)
    longer = split(bytes(4000), version=11)
    reader = Reader()
    reader.see(first[0])

    for other in (second[0], longer[0]):
        with pytest.raises(MalformedError, match="one series at a time"):
            reader.see(other)


def test_more_than_a_series_holds_is_not_split() -> None:
    with pytest.raises(CallerError, match="at most 1295"):
        split(bytes(2_000_000), version=11)
    with pytest.raises(CallerError, match="at most 1295"):
        split(b"", version=11)
    with pytest.raises(CallerError, match="version 11, 23, 27, 40"):
        split(b"x", version=12)
