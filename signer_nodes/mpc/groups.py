"""The groups of ``policy.groups`` where secrets are: with the product of a point and a secret scalar.

A secret scalar meets a point only through ``base_mul`` or ``mul_secret``, which are constant-time;
``mul_public`` need not be.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from policy import ed25519
from policy.groups import SCALAR_BYTES, Ed25519, PublicGroup, Secp256k1, lagrange
from policy.suites import ED25519, SECP256K1, suite_named
from signer_nodes.mpc import curve

__all__ = [
    "ED25519_GROUP",
    "SCALAR_BYTES",
    "SECP256K1_GROUP",
    "Group",
    "group_of",
    "interpolate_points",
    "lagrange",
]


class Group(PublicGroup, Protocol):
    """A group in which secrets are computed with."""

    def mul_secret(self, point: bytes, x: int) -> bytes:
        """``x·point`` in constant time, for a secret ``x`` in ``[1, order)``."""


class _Secp256k1(Secp256k1):
    mul_secret = staticmethod(curve.mul_secret)


class _Ed25519(Ed25519):
    mul_secret = staticmethod(ed25519.mul)


SECP256K1_GROUP: Final[Group] = _Secp256k1()
ED25519_GROUP: Final[Group] = _Ed25519()
_BY_CURVE: Final[Mapping[str, Group]] = {SECP256K1: SECP256K1_GROUP, ED25519: ED25519_GROUP}


def group_of(suite: str) -> Group:
    """The group of a suite. Raises ``CallerError`` for an unknown one."""
    return _BY_CURVE[suite_named(suite).curve]


def interpolate_points(group: Group, points: Mapping[int, bytes]) -> bytes:
    """The value at 0 in the exponent: Σ λ_i·points[i] over public points by party index."""
    indices = tuple(points)
    terms = [
        group.mul_public(points[index], lagrange(index, indices, order=group.order)) for index in indices
    ]
    return group.add(terms)
