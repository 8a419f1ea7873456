"""CPU time of both FROST rounds at one signer of a 2-of-3 key: making a nonce pair, and signing with it."""

import secrets
import time
from collections.abc import Callable

from policy.schnorr import SchnorrTask
from policy.suites import FROST_ED25519, FROST_SECP256K1
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair, make_nonces
from signer_nodes.mpc.sharing import random_polynomial
from signer_nodes.mpc.stream import RandomStream

SIGNATURES = 20
REPETITIONS = 5
MESSAGE_BYTES = 32
SIGNERS = (1, 2)


def frost_secp256k1_cpu_ms() -> float:
    """Milliseconds a signature on secp256k1: the least of several means, so that other load adds little."""
    return frost_cpu_ms(FROST_SECP256K1)


def frost_ed25519_cpu_ms() -> float:
    """Milliseconds a signature on Ed25519, measured in the same way."""
    return frost_cpu_ms(FROST_ED25519)


def frost_cpu_ms(suite: str) -> float:
    """Milliseconds a signature in any of the suites."""
    mine, theirs = _shares(suite)
    message, job_id = secrets.token_bytes(MESSAGE_BYTES), secrets.token_bytes(32)
    task = SchnorrTask(suite, message, mine.group_key, 0, None, job_id, 0)

    def sign() -> None:
        for own, other in zip(_nonces(mine), peer, strict=True):
            partial_signature(mine, own, openings={1: own.opening, 2: other.opening}, task=task)

    peer = _nonces(theirs)
    return min(_cpu_ms(sign) for _ in range(REPETITIONS)) / SIGNATURES


def _nonces(share: KeyShare) -> tuple[NoncePair, ...]:
    session, randomness = secrets.token_bytes(32), secrets.token_bytes(32)
    return make_nonces(share, session=session, batch=SIGNATURES, signers=SIGNERS, randomness=randomness)


def _shares(suite: str) -> tuple[KeyShare, KeyShare]:
    group = group_of(suite)
    polynomial = random_polynomial(group, RandomStream(secrets.token_bytes(32)), terms=2)
    public = tuple(group.base_mul(polynomial.at(index)) for index in (1, 2, 3))
    names, key = ("a", "b", "c"), polynomial.commit()[0]
    first, second = (
        KeyShare(suite, "bench", 0, index, 2, names, polynomial.at(index), public, key, bytes(32))
        for index in SIGNERS
    )
    return first, second


def _cpu_ms(action: Callable[[], None]) -> float:
    started = time.thread_time()
    action()
    return (time.thread_time() - started) * 1000
