"""Points that a protocol computes with: right against another library, strict about what comes in."""

import ecdsa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from policy.secp256k1 import PointAtInfinity, Q, add, base_mul
from signer_nodes.mpc.points import base_point, is_product, parse_coordinates, sum_points

scalars = st.one_of(st.integers(1, 5), st.integers(Q - 5, Q - 1), st.integers(1, Q - 1))
G = ecdsa.SECP256k1.generator
FIELD = 2**256 - 2**32 - 977
RAW = bytes(G.to_bytes("raw"))


def curve_y(x: int) -> bytes:
    """A y with y² = x³ + 7, found by one power, as p is 3 modulo 4."""
    return pow(x**3 + 7, (FIELD + 1) // 4, FIELD).to_bytes(32, "big")


@settings(max_examples=40, deadline=None)
@given(scalars, scalars, scalars)
def test_points_agree_with_another_library(x: int, y: int, z: int) -> None:
    point, other = base_point(x), base_point(y)

    assert point.encoded == base_mul(x)
    assert point.coordinates == bytes((G * x).to_bytes("raw"))
    assert parse_coordinates(point.coordinates) == point
    assert is_product(point, y, product=base_point(x * y % Q))
    assert is_product(point, y, product=base_point(z)) is (x * y % Q == z)
    if (x + y) % Q:
        assert sum_points([point, other]).encoded == add([point.encoded, other.encoded])


def test_coordinates_of_x_one_are_a_point_so_that_the_next_test_can_fail() -> None:
    coordinates = (1).to_bytes(32, "big") + curve_y(1)

    assert parse_coordinates(coordinates).coordinates == coordinates


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(64),
        RAW[:-1],
        RAW + b"\0",
        b"\4" + RAW,
        b"\6" + RAW,
        b"\2" + RAW[:32],
        RAW[:63] + b"\0",
        FIELD.to_bytes(32, "big") + RAW[32:],
        (FIELD + 1).to_bytes(32, "big") + curve_y(1),
        (1).to_bytes(32, "big") + FIELD.to_bytes(32, "big"),
    ],
)
def test_received_coordinates_are_parsed_strictly(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_coordinates(data)


@pytest.mark.parametrize("x", [0, Q, -1])
def test_no_product_with_an_unreduced_or_zero_scalar(x: int) -> None:
    point = base_point(1)

    with pytest.raises(CallerError):
        base_point(x)
    with pytest.raises(CallerError):
        is_product(point, x, product=point)


def test_points_have_no_sum_where_it_is_infinity_or_empty() -> None:
    with pytest.raises(PointAtInfinity, match="2 points"):
        sum_points([base_point(7), base_point(Q - 7)])
    with pytest.raises(CallerError):
        sum_points([])
