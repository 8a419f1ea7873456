"""Both groups keep the same promises: canonical encodings, nothing outside the prime-order group."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from policy.suites import SUITES
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.groups import ED25519_GROUP, SECP256K1_GROUP, Group, group_of, lagrange

in_either_group = pytest.mark.parametrize("group", [SECP256K1_GROUP, ED25519_GROUP])
SMALL_ORDER = [
    bytes([1]) + bytes(31),  # the neutral element
    bytes(32),  # order 4
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),  # order 2
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),  # order 8
]


@in_either_group
@given(st.data())
def test_products_add_up_as_their_scalars_do(group: Group, data: st.DataObject) -> None:
    a, b = (data.draw(st.integers(1, group.order - 1)) for _ in range(2))
    point = group.base_mul(a)

    assert group.mul_public(point, b) == group.mul_secret(point, b) == group.base_mul(a * b % group.order)
    if (a + b) % group.order:
        terms = [point, group.base_mul(b)]
        assert group.add(terms) == group.add_checked(terms) == group.base_mul((a + b) % group.order)


@in_either_group
def test_the_neutral_element_is_nowhere(group: Group) -> None:
    point, opposite = group.base_mul(7), group.base_mul(group.order - 7)

    for add in (group.add, group.add_checked):
        with pytest.raises(PointAtInfinity):
            add([point, opposite])
        with pytest.raises(CallerError):
            add([])
    for factor in (0, group.order):
        with pytest.raises(CallerError):
            group.base_mul(factor)
        with pytest.raises(CallerError):
            group.mul_public(point, factor)


@in_either_group
def test_scalars_have_one_encoding(group: Group) -> None:
    for scalar in (0, 1, group.order - 1):
        assert group.scalar_of(group.scalar_bytes(scalar)) == scalar
    with pytest.raises(CallerError):
        group.scalar_bytes(group.order)
    for data in (b"\xff" * 32, bytes(31), bytes(33)):
        with pytest.raises(MalformedError):
            group.scalar_of(data)
    with pytest.raises(MalformedError):
        group.scalar_of(bytes(32), nonzero=True)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(MalformedError):
        ED25519_GROUP.point_of(point)
    with pytest.raises(MalformedError):
        ED25519_GROUP.add([ED25519_GROUP.base_mul(3), point])
    with pytest.raises(MalformedError):
        ED25519_GROUP.mul_public(point, 3)


def test_a_point_off_the_subgroup_is_refused() -> None:
    """A valid point plus one of order 8 is on the curve and in no prime-order group."""
    from nacl import bindings

    mixed = bindings.crypto_core_ed25519_add(ED25519_GROUP.base_mul(5), SMALL_ORDER[3])

    with pytest.raises(MalformedError):
        ED25519_GROUP.point_of(mixed)
    with pytest.raises(MalformedError):
        ED25519_GROUP.mul_public(mixed, 3)


def test_a_non_canonical_point_is_refused() -> None:
    y_above_p = (2**255 - 19 + 3).to_bytes(32, "little")

    with pytest.raises(MalformedError):
        ED25519_GROUP.point_of(y_above_p)
    with pytest.raises(MalformedError):
        ED25519_GROUP.mul_public(y_above_p, 3)


def test_the_generator_is_that_of_rfc_8032() -> None:
    import hashlib

    seed = bytes(range(32))
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = (digest[31] & 127) | 64
    scalar = int.from_bytes(digest, "little") % ED25519_GROUP.order

    expected = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    assert ED25519_GROUP.base_mul(scalar) == expected


def test_every_suite_has_a_group_and_unknown_ones_are_named() -> None:
    assert all(group_of(name).point_bytes == suite.point_bytes for name, suite in SUITES.items())
    with pytest.raises(CallerError, match="unknown ciphersuite 'ecdsa'"):
        group_of("ecdsa")


@in_either_group
def test_lagrange_coefficients_take_distinct_indices(group: Group) -> None:
    assert sum(lagrange(i, (1, 2, 5), order=group.order) for i in (1, 2, 5)) % group.order == 1
    for index, indices in ((1, (1, 1)), (3, (1, 2)), (0, (0, 1))):
        with pytest.raises(CallerError):
            lagrange(index, indices, order=group.order)
