"""The two groups as one interface, for protocols that run on either: key generation, resharing, FROST.

A group takes integers in ``[0, order)`` and encoded points. A secret scalar meets a point only through
``base_mul`` or ``mul_secret``, which are constant-time; ``mul_public`` need not be.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from policy.errors import CallerError
from policy.suites import ED25519, SECP256K1, suite_named
from signer_nodes.mpc import curve, ed25519

SCALAR_BYTES: Final = 32


class Group(Protocol):
    """A group of prime order with a fixed generator; the modules it stands for say what each call raises."""

    @property
    def order(self) -> int:
        """The number of elements, a prime."""

    @property
    def point_bytes(self) -> int:
        """The length of an encoded point."""

    def scalar_bytes(self, x: int) -> bytes:
        """The 32-byte encoding of a scalar in ``[0, order)``."""

    def scalar_of(self, data: bytes, *, nonzero: bool = False) -> int:
        """Decode a received scalar. Raises ``MalformedError``."""

    def point_of(self, data: bytes) -> bytes:
        """Check a received point, which is never the neutral element. Raises ``MalformedError``."""

    def base_mul(self, x: int) -> bytes:
        """``x`` times the generator in constant time, ``x`` in ``[1, order)``."""

    def mul_secret(self, point: bytes, x: int) -> bytes:
        """``x·point`` in constant time, for a secret ``x`` in ``[1, order)``."""

    def mul_public(self, point: bytes, x: int) -> bytes:
        """``x·point`` for public values, ``x`` in ``[1, order)``; may be VARIABLE time."""

    def add(self, points: Sequence[bytes]) -> bytes:
        """The sum of one or more points. Raises ``PointAtInfinity``."""


class _Secp256k1:
    """``signer_nodes.mpc.curve`` as a group."""

    order = curve.Q
    point_bytes = curve.POINT_BYTES
    scalar_bytes = staticmethod(curve.scalar_bytes)
    scalar_of = staticmethod(curve.scalar_of)
    point_of = staticmethod(curve.point_of)
    base_mul = staticmethod(curve.base_mul)
    mul_secret = staticmethod(curve.mul_secret)
    mul_public = staticmethod(curve.mul_public)
    add = staticmethod(curve.add)


class _Ed25519:
    """``signer_nodes.mpc.ed25519`` as a group."""

    order = ed25519.L
    point_bytes = ed25519.POINT_BYTES
    scalar_bytes = staticmethod(ed25519.scalar_bytes)
    scalar_of = staticmethod(ed25519.scalar_of)
    point_of = staticmethod(ed25519.point_of)
    base_mul = staticmethod(ed25519.base_mul)
    mul_secret = staticmethod(ed25519.mul)
    mul_public = staticmethod(ed25519.mul)
    add = staticmethod(ed25519.add)


SECP256K1_GROUP: Final[Group] = _Secp256k1()
ED25519_GROUP: Final[Group] = _Ed25519()
_BY_CURVE: Final[Mapping[str, Group]] = {SECP256K1: SECP256K1_GROUP, ED25519: ED25519_GROUP}


def group_of(suite: str) -> Group:
    """The group of a suite. Raises ``CallerError`` for an unknown one."""
    return _BY_CURVE[suite_named(suite).curve]


def lagrange(index: int, indices: Sequence[int], *, order: int) -> int:
    """The coefficient λ of party ``index`` at 0 among the distinct ``indices`` (each at least 1)."""
    if index not in indices or len(set(indices)) != len(indices) or min(indices) < 1:
        raise CallerError(f"{index} needs distinct indices from 1 that include it, got {tuple(indices)}")
    numerator, denominator = 1, 1
    for other in indices:
        if other != index:
            numerator = numerator * other % order
            denominator = denominator * (other - index) % order
    return numerator * pow(denominator, -1, order) % order


def interpolate_points(group: Group, points: Mapping[int, bytes]) -> bytes:
    """The value at 0 in the exponent: Σ λ_i·points[i] over public points by party index."""
    indices = tuple(points)
    terms = [
        group.mul_public(points[index], lagrange(index, indices, order=group.order)) for index in indices
    ]
    return group.add(terms)
