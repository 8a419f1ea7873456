"""The prime-order group of Ed25519 at the borders of the protocols: integers in, 32-byte points out.

Scalars are ``int`` in ``[0, L)``, points are their 32-byte canonical encoding (RFC 8032). All products go
through libsodium, whose multiplications are constant-time: their scalar may be secret. A received point is
refused unless it is canonical, on the curve, in the prime-order subgroup and not the neutral element, so
cofactors play no part.
"""

import functools
from collections.abc import Sequence
from typing import Final

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from policy.errors import CallerError, MalformedError
from policy.secp256k1 import PointAtInfinity

L: Final = 2**252 + 27742317777372353535851937790883648493
SCALAR_BYTES: Final = 32
POINT_BYTES: Final = 32
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_NEUTRAL: Final = b"\x01" + bytes(31)


def scalar_bytes(x: int) -> bytes:
    """The 32-byte little-endian encoding of a scalar in ``[0, L)``, as RFC 8032 and RFC 9591 have it."""
    if not 0 <= x < L:
        raise CallerError("a scalar must be reduced modulo the group order before it is encoded")
    return x.to_bytes(SCALAR_BYTES, "little")


def scalar_of(data: bytes, *, nonzero: bool = False) -> int:
    """Decode a received scalar: exactly 32 bytes, below L, and not zero where ``nonzero``.

    Raises ``MalformedError``; its text never repeats the bytes, which may be secret.
    """
    if len(data) != SCALAR_BYTES:
        raise MalformedError(f"a scalar has {SCALAR_BYTES} bytes, got {len(data)}")
    x = int.from_bytes(data, "little")
    if x >= L:
        raise MalformedError("a scalar is not below the group order")
    if nonzero and x == 0:
        raise MalformedError("a scalar that must not be zero is zero")
    return x


def point_of(data: bytes) -> bytes:
    """Check a received point. Returns the same bytes. Raises ``MalformedError``."""
    if len(data) != POINT_BYTES:
        raise MalformedError(f"a point has {POINT_BYTES} bytes, got {len(data)}")
    if not bindings.crypto_core_ed25519_is_valid_point(bytes(data)):
        raise MalformedError("32 bytes are not a point of the prime-order group of Ed25519")
    return bytes(data)


def is_on_curve(data: bytes) -> bool:
    """Whether 32 bytes are read as a point of the curve by curve25519-dalek, and so by Solana's programs.

    That takes in what ``point_of`` refuses: points of small order, encodings that are not reduced. A ``y`` is
    of a point when (y² - 1) / (dy² + 1) is a square; dy² is never -1.
    """
    if len(data) != POINT_BYTES:
        raise CallerError(f"a point has {POINT_BYTES} bytes, got {len(data)}")
    square = pow(int.from_bytes(data, "little") % 2**255, 2, _P)
    return pow((square - 1) * (_D * square + 1), (_P - 1) // 2, _P) != _P - 1


def base_mul(x: int) -> bytes:
    """``x·B`` in constant time, for a secret ``x`` in ``[1, L)``."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(_factor(x))


def mul(point: bytes, x: int) -> bytes:
    """``x·point`` in constant time, for ``x`` in ``[1, L)``. Raises ``MalformedError`` for no point.

    libsodium itself refuses what ``point_of`` refuses.
    """
    if len(point) != POINT_BYTES:
        raise MalformedError(f"a point has {POINT_BYTES} bytes, got {len(point)}")
    try:
        return bindings.crypto_scalarmult_ed25519_noclamp(_factor(x), bytes(point))
    except SodiumError as error:
        raise MalformedError("32 bytes are not a point of the prime-order group of Ed25519") from error


def add(points: Sequence[bytes]) -> bytes:
    """The sum of one or more points. Raises ``PointAtInfinity`` when it is the neutral element."""
    return add_checked([point_of(point) for point in points])


def add_checked(points: Sequence[bytes]) -> bytes:
    """The same sum, of points that ``point_of`` has accepted or a product or sum has given: no second check.

    The check of one point costs three additions.
    """
    if not points:
        raise CallerError("a sum of no points is the neutral element, which is refused everywhere")
    total = functools.reduce(bindings.crypto_core_ed25519_add, points)
    if total == _NEUTRAL:
        raise PointAtInfinity(f"the sum of {len(points)} points is the neutral element")
    return total


def _factor(x: int) -> bytes:
    if not 0 < x < L:
        raise CallerError("a point is multiplied by a scalar in [1, L) only")
    return x.to_bytes(SCALAR_BYTES, "little")
