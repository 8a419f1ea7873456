"""Schnorr's proof of knowledge of a discrete logarithm, non-interactive, bound to a context.

``R = k·G``, ``c = H(context, A, R)``, ``z = k + c·a``; it holds when ``z·G = R + c·A``. The context
must name the session and the prover, so that no proof can be replayed as another party's.
"""

from policy.encoding import tagged_hash
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.groups import SCALAR_BYTES, Group
from signer_nodes.mpc.rounds import parts
from signer_nodes.mpc.stream import RandomStream


def proof_bytes(group: Group) -> int:
    """The length of a proof: a point R and a scalar z."""
    return group.point_bytes + SCALAR_BYTES


def prove_knowledge(group: Group, secret: int, *, context: bytes, stream: RandomStream) -> bytes:
    """A proof (R, z) that the prover knows ``secret``, the logarithm of ``secret·G``.

    The nonce is hedged: it also hashes the secret and the context, so a repeated ``stream`` does
    not repeat it under another challenge.
    """
    point = group.base_mul(secret)
    fields = (stream.bytes(32), group.scalar_bytes(secret), context, point)
    nonce = RandomStream(tagged_hash("mpc/proof/nonce", *fields)).scalar_below(group.order)
    announced = group.base_mul(nonce)
    challenge = _challenge(group, context, point, announced)
    return announced + group.scalar_bytes((nonce + challenge * secret) % group.order)


def knows_logarithm(group: Group, point: bytes, *, proof: bytes, context: bytes) -> bool:
    """Whether ``proof`` shows knowledge of ``point``'s logarithm in this ``context``.

    Raises ``MalformedError`` for what is no proof at all.
    """
    announced, response = parts(proof, group.point_bytes, SCALAR_BYTES)
    z = group.scalar_of(response, nonzero=True)
    challenge = _challenge(group, context, point, group.point_of(announced))
    try:
        return group.base_mul(z) == group.add([announced, group.mul_public(point, challenge)])
    except PointAtInfinity:
        return False


def _challenge(group: Group, context: bytes, point: bytes, announced: bytes) -> int:
    digest = tagged_hash("mpc/proof/challenge", context, point, announced)
    return 1 + int.from_bytes(digest, "big") % (group.order - 1)
