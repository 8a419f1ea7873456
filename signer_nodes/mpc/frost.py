"""FROST's secret half (RFC 9591 section 5.2): one signer's partial signature.

Symbols as in ``policy.schnorr``. The rules of single use are the caller's, as in
``signer_nodes.mpc.ecdsa``: the nonce pair is bound to one (job id, index) before its opening leaves, the
partial's bytes are durable before they are sent, and the same job gets the same bytes again. What can be
held here is: a pair gives its nonces once. The few products of secrets are Python's integers, which are not
constant-time (they drop leading zero limbs).
"""

from collections.abc import Mapping

from policy.ciphersuites import ciphersuite
from policy.errors import CallerError, FaultyCoordinator
from policy.schnorr import SchnorrTask, signing_view
from signer_nodes.mpc.groups import lagrange
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair


def partial_signature(
    share: KeyShare, nonces: NoncePair, *, openings: Mapping[int, bytes], task: SchnorrTask
) -> bytes:
    """z_i = σ·(d_i + f_i·e_i) + c·λ_i·s·x_i in 32 bytes, and the nonces are gone.

    ``openings`` has that of every signer, this one included. Every check comes before the nonces are taken,
    so that an error leaves them as they were. Raises ``FaultyCoordinator`` for openings of another set or
    another one for ourselves, ``FaultyParticipant`` naming the signer whose opening is no two points (which
    proves it only if its opening was authenticated), ``UnknownFault`` for copied openings or an R at
    infinity, ``CallerError`` for a task of another key and for nonces of another key, party, or used
    before.

    An opening that the coordinator altered for this signer alone gives a z that fits no other signer's: there
    is no signature, the pair is spent, and nothing is learned of the share.
    """
    _check_same_key(share, nonces, task)
    if sorted(openings) != list(nonces.signers):
        raise FaultyCoordinator(f"openings of {sorted(openings)} for signers {list(nonces.signers)}")
    if openings[nonces.me] != nonces.opening:
        raise FaultyCoordinator("the opening relayed as ours is not ours")
    view = signing_view(task, openings)
    group = ciphersuite(share.suite).group
    weight = view.challenge * lagrange(nonces.me, nonces.signers, order=group.order) * view.key.sign
    hiding, binding = nonces.take()
    nonce = view.nonce_sign * (hiding + view.binding_factors[nonces.me] * binding)
    return group.scalar_bytes((nonce + weight * share.share) % group.order)


def _check_same_key(share: KeyShare, nonces: NoncePair, task: SchnorrTask) -> None:
    key = (share.suite, share.group_key)
    if (task.suite, task.group_key) != key or (nonces.suite, nonces.group_key) != key:
        raise CallerError(f"task or nonces are of another key than share {share.index} of {share.key_id}")
    if nonces.me != share.index:
        raise CallerError(f"nonces of party {nonces.me} cannot serve party {share.index}")
