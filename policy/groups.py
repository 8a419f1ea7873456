"""The two groups as one interface, for what runs on either: verification, key generation, resharing, FROST.

A group takes integers in ``[0, order)`` and encoded points. Of these operations a secret scalar may meet a
point in ``base_mul`` alone, which is constant-time.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from policy import ed25519, secp256k1
from policy.errors import CallerError
from policy.suites import ED25519, SECP256K1, suite_named

SCALAR_BYTES: Final = 32


class PublicGroup(Protocol):
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

    def mul_public(self, point: bytes, x: int) -> bytes:
        """``x·point`` for public values, ``x`` in ``[1, order)``; may be VARIABLE time."""

    def add(self, points: Sequence[bytes]) -> bytes:
        """The sum of one or more points. Raises ``PointAtInfinity``."""

    def add_checked(self, points: Sequence[bytes]) -> bytes:
        """The same, of points that ``point_of`` has accepted or an operation here has given."""


class Secp256k1:
    """``policy.secp256k1`` as a group."""

    order = secp256k1.Q
    point_bytes = secp256k1.POINT_BYTES
    scalar_bytes = staticmethod(secp256k1.scalar_bytes)
    scalar_of = staticmethod(secp256k1.scalar_of)
    point_of = staticmethod(secp256k1.point_of)
    base_mul = staticmethod(secp256k1.base_mul)
    mul_public = staticmethod(secp256k1.mul_public)
    add = staticmethod(secp256k1.add)
    add_checked = staticmethod(secp256k1.add)  # parsing is the check, and cheap


class Ed25519:
    """``policy.ed25519`` as a group."""

    order = ed25519.L
    point_bytes = ed25519.POINT_BYTES
    scalar_bytes = staticmethod(ed25519.scalar_bytes)
    scalar_of = staticmethod(ed25519.scalar_of)
    point_of = staticmethod(ed25519.point_of)
    base_mul = staticmethod(ed25519.base_mul)
    mul_public = staticmethod(ed25519.mul)
    add = staticmethod(ed25519.add)
    add_checked = staticmethod(ed25519.add_checked)


_BY_CURVE: Final[Mapping[str, PublicGroup]] = {SECP256K1: Secp256k1(), ED25519: Ed25519()}


def public_group(suite: str) -> PublicGroup:
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
