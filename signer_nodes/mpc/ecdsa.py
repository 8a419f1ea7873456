"""Threshold ECDSA's secret half: one signer's partial signature from a presignature.

The rules of single use are the caller's: the presignature is bound to one (job id, index) before its ρ
leaves the process, the partial's bytes are durable before they are sent, and the same job gets the
same bytes again. ``partial_signature`` is a pure function and cannot know. Its few products of secrets are
Python's integers, which are not constant-time (they drop leading zero limbs).
"""

import hmac
from collections.abc import Mapping

from policy.ecdsa import Partial, Signature, SigningTask, combine, delta, nonce_point
from policy.errors import CallerError, FaultyCoordinator, FaultyParticipant
from signer_nodes.mpc.curve import Q, add, base_mul
from signer_nodes.mpc.presign import Presignature, rho_commitment

__all__ = ["Partial", "Signature", "SigningTask", "combine", "partial_signature"]


def partial_signature(presignature: Presignature, *, rhos: Mapping[int, bytes], task: SigningTask) -> Partial:
    """w_i = (m + r'·τ)·φ_i + r'·v_i and u'_i = δ·u_i, once every ρ has been checked.

    ``rhos`` has the opening of every signer, this one included. Raises ``FaultyParticipant`` naming the
    signer whose ρ does not match its commitment (which proves it only if its opening was authenticated),
    ``FaultyCoordinator`` for openings of another set or another ρ for ourselves, ``UnknownFault`` for
    δ or r' of zero, ``CallerError`` when ``task.derived_key`` is not the group key plus τ·G.
    """
    _check_openings(presignature, rhos)
    if _derive(presignature.group_key, task.tweak) != task.derived_key:
        raise CallerError("the derived key is not the group key plus tweak·G: refuse to sign for it")
    factor = delta(task, R=presignature.R, rhos=rhos)
    r, _ = nonce_point(presignature.R, factor)
    m = int.from_bytes(task.message_hash, "big")
    w = ((m + r * task.tweak) * presignature.phi + r * presignature.v) % Q
    return Partial(w, factor * presignature.u % Q)


def _check_openings(presignature: Presignature, rhos: Mapping[int, bytes]) -> None:
    if sorted(rhos) != list(presignature.signers):
        raise FaultyCoordinator(f"openings of {sorted(rhos)} for signers {list(presignature.signers)}")
    if not hmac.compare_digest(rhos[presignature.me], presignature.rho):
        raise FaultyCoordinator("the opening relayed as ours is not ours")
    for party, commitment in zip(presignature.signers, presignature.commitments, strict=True):
        opening = rho_commitment(presignature.session, party, b=presignature.index, rho=rhos[party])
        if not hmac.compare_digest(opening, commitment):
            raise FaultyParticipant(party, "its ρ does not match its commitment")


def _derive(group_key: bytes, tweak: int) -> bytes:
    return group_key if tweak == 0 else add([group_key, base_mul(tweak)])
