"""secp256k1 at the borders: right against another library, strict about what comes in."""

import hashlib
from collections.abc import Callable

import ecdsa
import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import tagged_hash
from policy.errors import CallerError, MalformedError
from signer_nodes.mpc import curve
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.stream import RandomStream

scalars = st.one_of(st.integers(1, 5), st.integers(Q - 5, Q - 1), st.integers(1, Q - 1))
G = ecdsa.SECP256k1.generator


def by_ecdsa(x: int) -> bytes:
    return bytes((G * x).to_bytes("compressed"))


@settings(max_examples=40, deadline=None)
@given(scalars, scalars)
def test_every_multiplication_agrees_with_another_library(x: int, y: int) -> None:
    point = curve.base_mul(x)
    expected = by_ecdsa(x * y % Q)

    assert point == by_ecdsa(x)
    assert curve.mul_secret(point, y) == curve.mul_public(point, y) == expected
    assert curve.shared_secret(point, y) == hashlib.sha256(expected).digest()


@settings(max_examples=40, deadline=None)
@given(st.lists(scalars, min_size=1, max_size=6))
def test_sums_agree_with_sums_of_scalars(values: list[int]) -> None:
    points = [curve.base_mul(value) for value in values]
    total = sum(values) % Q

    if total == 0:
        with pytest.raises(curve.PointAtInfinity):
            curve.add(points)
    else:
        assert curve.add(points) == curve.base_mul(total)


def test_a_point_and_its_negative_have_no_sum() -> None:
    point = curve.base_mul(7)

    assert curve.negate(point) == curve.base_mul(Q - 7)
    with pytest.raises(curve.PointAtInfinity, match="2 points"):
        curve.add([point, curve.negate(point)])
    with pytest.raises(CallerError):
        curve.add([])


@pytest.mark.parametrize("x", [0, Q, -1, Q + 1])
def test_no_product_with_an_unreduced_or_zero_scalar(x: int) -> None:
    point = curve.base_mul(1)

    products: tuple[Callable[[], object], ...] = (
        lambda: curve.base_mul(x),
        lambda: curve.mul_secret(point, x),
        lambda: curve.mul_public(point, x),
        lambda: curve.shared_secret(point, x),
    )

    for product in products:
        with pytest.raises(CallerError):
            product()


NOT_ON_CURVE = b"\x02" + (5).to_bytes(32, "big")
X_ABOVE_FIELD = b"\x02" + b"\xff" * 32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes(33),
        NOT_ON_CURVE,
        X_ABOVE_FIELD,
        b"\x04" + curve.base_mul(1)[1:],
        curve.base_mul(1)[:-1],
        curve.base_mul(1) + b"\x00",
        G.to_bytes("uncompressed"),
        G.to_bytes("hybrid"),
    ],
)
def test_received_points_are_parsed_strictly(data: bytes) -> None:
    good = curve.base_mul(1)

    uses: tuple[Callable[[], object], ...] = (
        lambda: curve.point_of(data),
        lambda: curve.negate(data),
        lambda: curve.add([good, data]),
        lambda: curve.mul_secret(data, 5),
        lambda: curve.mul_public(data, 5),
        lambda: curve.shared_secret(data, 5),
    )

    for use in uses:
        with pytest.raises(MalformedError):
            use()


def test_points_have_one_encoding() -> None:
    assert curve.point_of(by_ecdsa(9)) == curve.base_mul(9)


@given(st.integers(0, Q - 1))
def test_scalars_survive_encoding(x: int) -> None:
    assert curve.scalar_of(curve.scalar_bytes(x)) == x


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33), Q.to_bytes(32, "big"), b"\xff" * 32])
def test_received_scalars_are_parsed_strictly(data: bytes) -> None:
    with pytest.raises(MalformedError):
        curve.scalar_of(data)


def test_zero_is_a_scalar_only_where_it_may_be() -> None:
    assert curve.scalar_of(bytes(32)) == 0
    with pytest.raises(MalformedError, match="zero"):
        curve.scalar_of(bytes(32), nonzero=True)


@pytest.mark.parametrize("x", [-1, Q])
def test_only_reduced_scalars_are_encoded(x: int) -> None:
    with pytest.raises(CallerError):
        curve.scalar_bytes(x)


# Source: BIP 324, ellswift_decode_test_vectors.csv, rows 1 and 2 (x coordinates).
@pytest.mark.parametrize(
    ("encoded", "x"),
    [
        ("00" * 64, "edd1fd3e327ce90cc7a3542614289aee9682003e9cf7dcc9cf2ca9743be5aa0c"),
        (
            "00" * 32 + "01d3475bf7655b0fb2d852921035b2ef607f49069b97454e6795251062741771",
            "b5da00b73cd6560520e7c364086e7cd23a34bf60d0e707be9fc34d4cd5fdfa2c",
        ),
    ],
)
def test_hashing_to_a_point_is_the_decoding_of_bip_324(encoded: str, x: str) -> None:
    assert curve.hash_to_point(bytes.fromhex(encoded))[1:].hex() == x


def test_hashing_to_a_point_takes_64_bytes() -> None:
    with pytest.raises(CallerError):
        curve.hash_to_point(bytes(63))


# The streams


def test_a_stream_is_aes_256_in_counter_mode_under_a_key_derived_from_its_seed() -> None:
    seed = bytes(range(32))
    key = tagged_hash("mpc/stream/bytes", seed)
    reference = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=bytes(16)).encrypt(bytes(100))
    stream = RandomStream(seed)

    assert stream.bytes(1) + stream.bytes(60) + stream.bytes(39) == reference


def test_forks_differ_from_each_other_and_from_their_origin() -> None:
    stream = RandomStream(bytes(32))
    drawn = [stream.fork("a").bytes(32), stream.fork("b").bytes(32), stream.bytes(32)]

    assert len(set(drawn)) == 3
    assert RandomStream(bytes(32)).fork("a").bytes(32) == drawn[0]


def test_a_label_forks_once() -> None:
    stream = RandomStream(bytes(32))
    stream.fork("a")

    with pytest.raises(CallerError, match="already forked"):
        stream.fork("a")


@given(st.binary(min_size=32, max_size=32))
def test_drawn_scalars_are_reduced_and_nonzero(seed: bytes) -> None:
    stream = RandomStream(seed)
    first, second = stream.scalar(), stream.scalar()

    assert 0 < first < Q
    assert 0 < second < Q
    assert first != second


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(CallerError):
        RandomStream(bytes(length))


def test_a_stream_does_not_print_its_seed() -> None:
    assert repr(RandomStream(b"secret!!" * 4)) == "RandomStream(<secret>)"
