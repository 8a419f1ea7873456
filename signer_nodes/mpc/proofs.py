"""Schnorr's proof of knowledge of a discrete logarithm, non-interactive, bound to a context.

``R = k·G``, ``c = H(context, A, R)``, ``z = k + c·a``; it holds when ``z·G = R + c·A``. The context
must name the session and the prover, so that no proof can be replayed as another party's.
"""

from typing import Final

from policy.encoding import tagged_hash
from signer_nodes.mpc.curve import (
    POINT_BYTES,
    SCALAR_BYTES,
    PointAtInfinity,
    Q,
    add,
    base_mul,
    mul_public,
    point_of,
    scalar_bytes,
    scalar_of,
)
from signer_nodes.mpc.rounds import parts
from signer_nodes.mpc.stream import RandomStream

PROOF_BYTES: Final = POINT_BYTES + SCALAR_BYTES


def prove_knowledge(secret: int, *, context: bytes, stream: RandomStream) -> bytes:
    """A proof of 65 bytes (R, z) that the prover knows ``secret``, the logarithm of ``secret·G``.

    The nonce is hedged: it also hashes the secret and the context, so a repeated ``stream`` does
    not repeat it under another challenge.
    """
    point = base_mul(secret)
    fields = (stream.bytes(32), scalar_bytes(secret), context, point)
    nonce = RandomStream(tagged_hash("mpc/proof/nonce", *fields)).scalar()
    announced = base_mul(nonce)
    return announced + scalar_bytes((nonce + _challenge(context, point, announced) * secret) % Q)


def knows_logarithm(proof: bytes, point: bytes, *, context: bytes) -> bool:
    """Whether ``proof`` shows knowledge of ``point``'s logarithm in this ``context``.

    Raises ``MalformedError`` for what is no proof at all.
    """
    announced, response = parts(proof, POINT_BYTES, SCALAR_BYTES)
    z = scalar_of(response, nonzero=True)
    challenge = _challenge(context, point, point_of(announced))
    try:
        return base_mul(z) == add([announced, mul_public(point, challenge)])
    except PointAtInfinity:
        return False


def _challenge(context: bytes, point: bytes, announced: bytes) -> int:
    digest = tagged_hash("mpc/proof/challenge", context, point, announced)
    return 1 + int.from_bytes(digest, "big") % (Q - 1)
