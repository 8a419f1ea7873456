"""The group secp256k1 at the borders of every protocol here: integers in, 33-byte points out.

Scalars are ``int`` in ``[0, Q)``, points are their 33-byte compressed encoding. A secret scalar meets
a point only through ``base_mul``, ``mul_secret`` or ``shared_secret``: libsecp256k1's constant-time
multiplications, called directly, because coincurve's own ``PublicKey.multiply`` is the variable-time
one. What stays variable-time: Python's integers (they drop leading zero limbs), ``mul_public`` and
``hash_to_point`` (public data only), and the parsing of points (public by definition).
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from policy.errors import CallerError, MalformedError, ProtocolError

Q: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SCALAR_BYTES: Final = 32
POINT_BYTES: Final = 33
COORDINATES_BYTES: Final = 64
_ENCODED_FIELD_PAIR_BYTES: Final = 64
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the curve, never infinity, parsed once: its coordinates, and libsecp256k1's form of it.

    ``coordinates`` are x and y, 64 bytes: a second canonical encoding, which takes no square root to read.
    """

    coordinates: bytes
    _parsed: Any = field(repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The 33-byte compressed encoding."""
        return bytes([2 | self.coordinates[-1] & 1]) + self.coordinates[:SCALAR_BYTES]


class PointAtInfinity(ProtocolError):
    """A sum of points is the neutral element, which has no encoding and no honest cause."""


def scalar_bytes(x: int) -> bytes:
    """The 32-byte big-endian encoding of a scalar in ``[0, Q)``."""
    if not 0 <= x < Q:
        raise CallerError("a scalar must be reduced modulo the group order before it is encoded")
    return x.to_bytes(SCALAR_BYTES, "big")


def scalar_of(data: bytes, *, nonzero: bool = False) -> int:
    """Decode a received scalar: exactly 32 bytes, below Q, and not zero where ``nonzero``.

    Raises ``MalformedError``; its text never repeats the bytes, which may be secret.
    """
    if len(data) != SCALAR_BYTES:
        raise MalformedError(f"a scalar has {SCALAR_BYTES} bytes, got {len(data)}")
    x = int.from_bytes(data, "big")
    if x >= Q:
        raise MalformedError("a scalar is not below the group order")
    if nonzero and x == 0:
        raise MalformedError("a scalar that must not be zero is zero")
    return x


def point_of(data: bytes) -> bytes:
    """Check a received point: 33 bytes, compressed, on the curve (so never infinity).

    Returns the same bytes, the one canonical encoding. Raises ``MalformedError``.
    """
    _parse(data)
    return bytes(data)


def parse_coordinates(data: bytes) -> Point:
    """Check a received point: 64 bytes, both coordinates below p, on the curve (so never infinity).

    Raises ``MalformedError``.
    """
    if len(data) != COORDINATES_BYTES:
        raise MalformedError(f"the coordinates of a point have {COORDINATES_BYTES} bytes, got {len(data)}")
    point = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_parse(GLOBAL_CONTEXT.ctx, point, b"\4" + data, 1 + COORDINATES_BYTES):
        raise MalformedError("64 bytes are not the coordinates of a point of secp256k1")
    return Point(bytes(data), point)


def base_mul(x: int) -> bytes:
    """``x·G`` in constant time, for a secret ``x`` in ``[1, Q)``."""
    return _serialize(_base_product(x))


def base_point(x: int) -> Point:
    """``base_mul`` for a product that is computed with."""
    return _point(_base_product(x))


def mul_secret(point: bytes, x: int) -> bytes:
    """``x·point`` in constant time, for a public ``point`` and a secret ``x`` in ``[1, Q)``.

    libsecp256k1's ECDH with a "hash" that hands the product out; no other entry point multiplies a
    variable base in constant time.
    """
    product = ffi.new("unsigned char[]", POINT_BYTES)
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, product, _parse(point), _factor(x), _copy_point, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return bytes(ffi.buffer(product))


def shared_secret(point: bytes, x: int) -> bytes:
    """SHA-256 of the compressed ``x·point``, in constant time: 32 bytes to derive a key from.

    ``x`` is secret, in ``[1, Q)``. Equals ``sha256(mul_secret(point, x))`` and is a little faster.
    """
    return _product_digest(_parse(point), x)


def is_product(point: Point, x: int, *, product: Point) -> bool:
    """Whether ``x·point`` is ``product``, in constant time, for a secret ``x`` in ``[1, Q)``.

    Compares SHA-256 of both, which is what libsecp256k1's constant-time product hands out by itself.
    """
    return hmac.compare_digest(_product_digest(point._parsed, x), hashlib.sha256(product.encoded).digest())


def mul_public(point: bytes, x: int) -> bytes:
    """``x·point`` in VARIABLE time: both must be public. ``x`` in ``[1, Q)``."""
    product = _parse(point)
    if not lib.secp256k1_ec_pubkey_tweak_mul(GLOBAL_CONTEXT.ctx, product, _factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return _serialize(product)


def add(points: Sequence[bytes]) -> bytes:
    """The sum of one or more points. Raises ``PointAtInfinity`` when it has no encoding."""
    if not points:
        raise CallerError("a sum of no points is infinity, which has no encoding")
    return _serialize(_sum([_parse(point) for point in points]))


def sum_points(points: Sequence[Point]) -> Point:
    """``add`` for points that are parsed, and for a sum that is computed with."""
    if not points:
        raise CallerError("a sum of no points is infinity, which has no encoding")
    return _point(_sum([point._parsed for point in points]))


def negate(point: bytes) -> bytes:
    """``-point``: the same x coordinate, the other sign byte."""
    return bytes([point_of(point)[0] ^ 1]) + point[1:]


def invert_blinded(x: int, blind: int) -> int:
    """``1/x mod Q`` computed on ``x·blind``, so that the timing of the inversion says nothing of x.

    ``blind`` is fresh, secret and uniform in ``[1, Q)``; ``x`` is in ``[1, Q)``.
    """
    if not (0 < x < Q and 0 < blind < Q):
        raise CallerError("an inversion needs a value and a blind in [1, Q)")
    return pow(x * blind % Q, -1, Q) * blind % Q


def hash_to_point(digest: bytes) -> bytes:
    """A point of unknown discrete logarithm from 64 bytes of hash output, as a random oracle.

    ElligatorSwift decoding: two field elements to a point, indifferentiable from a random oracle
    into the group (Chavez-Saab, Rodriguez-Henriquez, Tibouchi, "SwiftEC", ePrint 2022/759).
    """
    if len(digest) != _ENCODED_FIELD_PAIR_BYTES:
        raise CallerError(f"hash_to_point takes {_ENCODED_FIELD_PAIR_BYTES} bytes, got {len(digest)}")
    point = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ellswift_decode(GLOBAL_CONTEXT.ctx, point, digest):
        raise CallerError("libsecp256k1 refused to decode 64 bytes")
    return _serialize(point)


def _base_product(x: int) -> Any:
    product = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_create(GLOBAL_CONTEXT.ctx, product, _factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return product


def _product_digest(parsed: Any, x: int) -> bytes:
    digest = ffi.new("unsigned char[]", _DIGEST_BYTES)
    hasher = lib.secp256k1_ecdh_hash_function_sha256
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, digest, parsed, _factor(x), hasher, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return bytes(ffi.buffer(digest))


def _sum(parsed: Sequence[Any]) -> Any:
    total = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_combine(GLOBAL_CONTEXT.ctx, total, parsed, len(parsed)):
        raise PointAtInfinity(f"the sum of {len(parsed)} points is infinity")
    return total


def _factor(x: int) -> bytes:
    if not 0 < x < Q:
        raise CallerError("a point is multiplied by a scalar in [1, Q) only")
    return x.to_bytes(SCALAR_BYTES, "big")


def _parse(data: bytes) -> Any:
    if len(data) != POINT_BYTES:
        raise MalformedError(f"a point has {POINT_BYTES} bytes, got {len(data)}")
    point = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_parse(GLOBAL_CONTEXT.ctx, point, bytes(data), POINT_BYTES):
        raise MalformedError("33 bytes are not a compressed point of secp256k1")
    return point


def _point(parsed: Any) -> Point:
    encoded, length = (
        ffi.new("unsigned char[]", 1 + COORDINATES_BYTES),
        ffi.new("size_t *", 1 + COORDINATES_BYTES),
    )
    lib.secp256k1_ec_pubkey_serialize(
        GLOBAL_CONTEXT.ctx, encoded, length, parsed, lib.SECP256K1_EC_UNCOMPRESSED
    )
    return Point(bytes(ffi.buffer(encoded))[1:], parsed)


def _serialize(point: Any) -> bytes:
    encoded = ffi.new("unsigned char[]", POINT_BYTES)
    length = ffi.new("size_t *", POINT_BYTES)
    lib.secp256k1_ec_pubkey_serialize(GLOBAL_CONTEXT.ctx, encoded, length, point, lib.SECP256K1_EC_COMPRESSED)
    return bytes(ffi.buffer(encoded))


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)", error=0)  # type: ignore[untyped-decorator]
def _copy_point(output: Any, x: Any, y: Any, _data: Any) -> int:
    output[0] = 2 | (y[SCALAR_BYTES - 1] & 1)
    ffi.memmove(output + 1, x, SCALAR_BYTES)
    return 1
