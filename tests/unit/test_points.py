"""Points that a protocol computes with: right against another library, strict about what comes in."""

import ecdsa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from policy.secp256k1 import PointAtInfinity, Q, add, base_mul
from signer_nodes.mpc.points import base_point, is_product, parse_point, sum_points

scalars = st.one_of(st.integers(1, 5), st.integers(Q - 5, Q - 1), st.integers(1, Q - 1))
G = ecdsa.SECP256k1.generator


@settings(max_examples=40, deadline=None)
@given(scalars, scalars, scalars)
def test_points_agree_with_another_library(x: int, y: int, z: int) -> None:
    point, other = base_point(x), base_point(y)

    assert point.encoded == bytes((G * x).to_bytes("compressed"))
    assert parse_point(point.encoded) == point
    assert is_product(point, y, product=base_point(x * y % Q))
    assert is_product(point, y, product=base_point(z)) is (x * y % Q == z)
    if (x + y) % Q:
        assert sum_points([point, other]).encoded == add([point.encoded, other.encoded])


@pytest.mark.parametrize("data", [b"", bytes(33), b"\2" + b"\xff" * 32, bytes(G.to_bytes("uncompressed"))])
def test_received_points_are_parsed_strictly(data: bytes) -> None:
    assert parse_point(base_mul(1)).encoded == base_mul(1)
    with pytest.raises(MalformedError):
        parse_point(data)


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
