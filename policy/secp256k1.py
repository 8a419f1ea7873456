"""The group secp256k1 at the borders of every protocol here: integers in, 33-byte points out.

Scalars are ``int`` in ``[0, Q)``, points are their 33-byte compressed encoding. ``base_mul`` is constant-time
and may take a secret scalar; ``mul_public`` is VARIABLE time and may not. Products of a secret scalar with
another point than the generator are in ``signer_nodes.mpc.curve``.
"""

from collections.abc import Sequence
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from policy.errors import CallerError, MalformedError, ProtocolError

Q: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of the group."""
SCALAR_BYTES: Final = 32
POINT_BYTES: Final = 33


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
    parse(data)
    return bytes(data)


def base_mul(x: int) -> bytes:
    """``x·G`` in constant time, for a secret ``x`` in ``[1, Q)``."""
    product = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_create(GLOBAL_CONTEXT.ctx, product, factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return serialize(product)


def mul_public(point: bytes, x: int) -> bytes:
    """``x·point`` in VARIABLE time: both must be public. ``x`` in ``[1, Q)``."""
    product = parse(point)
    if not lib.secp256k1_ec_pubkey_tweak_mul(GLOBAL_CONTEXT.ctx, product, factor(x)):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return serialize(product)


def add(points: Sequence[bytes]) -> bytes:
    """The sum of one or more points. Raises ``PointAtInfinity`` when it has no encoding."""
    if not points:
        raise CallerError("a sum of no points is infinity, which has no encoding")
    total = ffi.new("secp256k1_pubkey *")
    parsed = [parse(point) for point in points]
    if not lib.secp256k1_ec_pubkey_combine(GLOBAL_CONTEXT.ctx, total, parsed, len(parsed)):
        raise PointAtInfinity(f"the sum of {len(points)} points is infinity")
    return serialize(total)


def negate(point: bytes) -> bytes:
    """``-point``: the same x coordinate, the other sign byte."""
    return bytes([point_of(point)[0] ^ 1]) + point[1:]


def factor(x: int) -> bytes:
    """The encoding of a scalar that a point is multiplied by: in ``[1, Q)``."""
    if not 0 < x < Q:
        raise CallerError("a point is multiplied by a scalar in [1, Q) only")
    return x.to_bytes(SCALAR_BYTES, "big")


def parse(data: bytes) -> Any:
    """libsecp256k1's form of a compressed point. Raises ``MalformedError``."""
    if len(data) != POINT_BYTES:
        raise MalformedError(f"a point has {POINT_BYTES} bytes, got {len(data)}")
    point = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_parse(GLOBAL_CONTEXT.ctx, point, bytes(data), POINT_BYTES):
        raise MalformedError("33 bytes are not a compressed point of secp256k1")
    return point


def serialize(point: Any) -> bytes:
    """The compressed encoding of a point in libsecp256k1's form."""
    encoded = ffi.new("unsigned char[]", POINT_BYTES)
    length = ffi.new("size_t *", POINT_BYTES)
    lib.secp256k1_ec_pubkey_serialize(GLOBAL_CONTEXT.ctx, encoded, length, point, lib.SECP256K1_EC_COMPRESSED)
    return bytes(ffi.buffer(encoded))
