"""secp256k1 where a secret scalar meets points, beside the public operations of ``policy.secp256k1``.

Scalars are ``int`` in ``[0, Q)``, points are their 33-byte compressed encoding. A secret scalar meets
a point only through ``base_mul``, ``mul_secret`` or ``shared_secret``: libsecp256k1's constant-time
multiplications, called directly, because coincurve's own ``PublicKey.multiply`` is the variable-time
one. What stays variable-time: Python's integers (they drop leading zero limbs), ``mul_public`` and
``hash_to_point`` (public data only), and the parsing of points (public by definition).
"""

import hashlib
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from policy.errors import CallerError
from policy.secp256k1 import (
    POINT_BYTES,
    SCALAR_BYTES,
    PointAtInfinity,
    Q,
    add,
    base_mul,
    factor,
    mul_public,
    negate,
    parse,
    point_of,
    scalar_bytes,
    scalar_of,
    serialize,
)

__all__ = [
    "POINT_BYTES",
    "SCALAR_BYTES",
    "PointAtInfinity",
    "Q",
    "add",
    "base_mul",
    "hash_to_point",
    "mul_public",
    "mul_secret",
    "negate",
    "point_of",
    "scalar_bytes",
    "scalar_of",
    "shared_secret",
]

_ENCODED_FIELD_PAIR_BYTES: Final = 64


def mul_secret(point: bytes, x: int) -> bytes:
    """``x·point`` in constant time, for a public ``point`` and a secret ``x`` in ``[1, Q)``.

    libsecp256k1's ECDH with a "hash" that hands the product out; no other entry point multiplies a
    variable base in constant time.
    """
    product = ffi.new("unsigned char[]", POINT_BYTES)
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, product, parse(point), factor(x), _copy_point, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return bytes(ffi.buffer(product))


def shared_secret(point: bytes, x: int) -> bytes:
    """SHA-256 of the compressed ``x·point``, in constant time: 32 bytes to derive a key from.

    ``x`` is secret, in ``[1, Q)``. Equals ``sha256(mul_secret(point, x))`` and is a little faster.
    """
    digest = ffi.new("unsigned char[]", hashlib.sha256().digest_size)
    hasher = lib.secp256k1_ecdh_hash_function_sha256
    if not lib.secp256k1_ecdh(GLOBAL_CONTEXT.ctx, digest, parse(point), factor(x), hasher, ffi.NULL):
        raise CallerError("libsecp256k1 refused a scalar in [1, Q)")
    return bytes(ffi.buffer(digest))


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
    return serialize(point)


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)", error=0)  # type: ignore[untyped-decorator]
def _copy_point(output: Any, x: Any, y: Any, _data: Any) -> int:
    output[0] = 2 | (y[SCALAR_BYTES - 1] & 1)
    ffi.memmove(output + 1, x, SCALAR_BYTES)
    return 1
