"""Points of secp256k1 that a protocol computes with: parsed once, then added, multiplied and compared.

Secret scalars meet points in ``base_point`` and ``is_product`` only, in constant time. The rest is for public
points. Elsewhere points are their encoding (``curve``); this form is for where many are used again.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from policy.errors import CallerError
from policy.secp256k1 import PointAtInfinity, factor, parse, serialize

_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the curve, never infinity: its 33-byte encoding, and libsecp256k1's form of it."""

    encoded: bytes
    _parsed: Any = field(repr=False, compare=False)


def parse_point(data: bytes) -> Point:
    """Check a received point: 33 bytes, compressed, on the curve. Raises ``MalformedError``."""
    return Point(bytes(data), parse(data))


def base_point(x: int) -> Point:
    """``x·G`` in constant time, for a secret ``x`` in ``[1, Q)``."""
    parsed = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_create(GLOBAL_CONTEXT.ctx, parsed, factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return Point(serialize(parsed), parsed)


def sum_points(points: Sequence[Point]) -> Point:
    """The sum of one or more points. Raises ``PointAtInfinity`` when it has no encoding."""
    if not points:
        raise CallerError("a sum of no points is infinity, which has no encoding")
    parsed = ffi.new("secp256k1_pubkey *")
    summands = [point._parsed for point in points]
    if not lib.secp256k1_ec_pubkey_combine(GLOBAL_CONTEXT.ctx, parsed, summands, len(summands)):
        raise PointAtInfinity(f"the sum of {len(points)} points is infinity")
    return Point(serialize(parsed), parsed)


def is_product(point: Point, x: int, *, product: Point) -> bool:
    """Whether ``x·point`` is ``product``, in constant time, for a secret ``x`` in ``[1, Q)``.

    Compares SHA-256 of both, which is how libsecp256k1 gives a constant-time product away.
    """
    digest = ffi.new("unsigned char[]", _DIGEST_BYTES)
    hasher = lib.secp256k1_ecdh_hash_function_sha256
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, digest, point._parsed, factor(x), hasher, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return hmac.compare_digest(bytes(ffi.buffer(digest)), hashlib.sha256(product.encoded).digest())
