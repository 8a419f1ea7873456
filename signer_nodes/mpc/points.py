"""Points of secp256k1 that a protocol computes with: parsed once, then added, multiplied and sent.

A second canonical encoding, x and y of 64 bytes, takes no square root to read; it is for messages that hold
many points. Secret scalars meet points in ``base_point`` and ``is_product`` only, in constant time. The
rest is for public points.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from policy.errors import CallerError, MalformedError
from policy.secp256k1 import SCALAR_BYTES, PointAtInfinity, factor

COORDINATES_BYTES: Final = 64
_UNCOMPRESSED: Final = b"\4"
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the curve, never infinity: its coordinates, and libsecp256k1's form of it."""

    coordinates: bytes
    _parsed: Any = field(repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The 33-byte compressed encoding."""
        return bytes([2 | self.coordinates[-1] & 1]) + self.coordinates[:SCALAR_BYTES]


def parse_coordinates(data: bytes) -> Point:
    """Check a received point: 64 bytes, both coordinates below p, on the curve (so never infinity).

    Raises ``MalformedError``.
    """
    if len(data) != COORDINATES_BYTES:
        raise MalformedError(f"the coordinates of a point have {COORDINATES_BYTES} bytes, got {len(data)}")
    parsed, encoded = ffi.new("secp256k1_pubkey *"), _UNCOMPRESSED + data
    if not lib.secp256k1_ec_pubkey_parse(GLOBAL_CONTEXT.ctx, parsed, encoded, len(encoded)):
        raise MalformedError("64 bytes are not the coordinates of a point of secp256k1")
    return Point(bytes(data), parsed)


def base_point(x: int) -> Point:
    """``x·G`` in constant time, for a secret ``x`` in ``[1, Q)``."""
    parsed = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_create(GLOBAL_CONTEXT.ctx, parsed, factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return _point(parsed)


def sum_points(points: Sequence[Point]) -> Point:
    """The sum of one or more points. Raises ``PointAtInfinity`` when it has no encoding."""
    if not points:
        raise CallerError("a sum of no points is infinity, which has no encoding")
    parsed = ffi.new("secp256k1_pubkey *")
    summands = [point._parsed for point in points]
    if not lib.secp256k1_ec_pubkey_combine(GLOBAL_CONTEXT.ctx, parsed, summands, len(summands)):
        raise PointAtInfinity(f"the sum of {len(points)} points is infinity")
    return _point(parsed)


def is_product(point: Point, x: int, *, product: Point) -> bool:
    """Whether ``x·point`` is ``product``, in constant time, for a secret ``x`` in ``[1, Q)``.

    Compares SHA-256 of both compressed, which is how libsecp256k1 gives a constant-time product away.
    """
    digest = ffi.new("unsigned char[]", _DIGEST_BYTES)
    hasher = lib.secp256k1_ecdh_hash_function_sha256
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, digest, point._parsed, factor(x), hasher, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    expected = hashlib.sha256(product.encoded).digest()
    return hmac.compare_digest(bytes(ffi.buffer(digest)), expected)


def _point(parsed: Any) -> Point:
    size = 1 + COORDINATES_BYTES
    encoded, length = ffi.new("unsigned char[]", size), ffi.new("size_t *", size)
    lib.secp256k1_ec_pubkey_serialize(
        GLOBAL_CONTEXT.ctx, encoded, length, parsed, lib.SECP256K1_EC_UNCOMPRESSED
    )
    return Point(ffi.buffer(encoded)[1:], parsed)
