"""Keys of any suite that a test knows whole, and what their shares are good for."""

import random
from collections.abc import Iterable, Mapping

import ecdsa as independent

from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT
from signer_nodes.mpc.curve import add, base_mul
from signer_nodes.mpc.ecdsa import SigningTask, combine, partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.sharing import Polynomial, interpolate
from tests.protocols import dealer

KEY_ID = "dealt"
WITHOUT_PAIRS = (FROST_SECP256K1, FROST_TAPROOT, FROST_ED25519)


def names_of(n: int) -> tuple[str, ...]:
    return tuple(f"node-{i}" for i in range(1, n + 1))


def deal_key(
    t: int, n: int, *, suite: str = FROST_SECP256K1, seed: int = 1, epoch: int = 0
) -> dict[int, KeyShare]:
    """All shares of a seeded key."""
    source, group = random.Random(f"{suite} {seed}"), group_of(suite)
    polynomial = Polynomial(group, tuple(source.randrange(1, group.order) for _ in range(t)))
    public = tuple(group.base_mul(polynomial.at(i)) for i in range(1, n + 1))
    key, chain = polynomial.commit()[0], source.randbytes(32)
    return {
        i: KeyShare(suite, KEY_ID, epoch, i, t, names_of(n), polynomial.at(i), public, key, chain)
        for i in range(1, n + 1)
    }


def secret_behind(shares: Iterable[KeyShare]) -> int:
    """What these shares give together, whether or not it is their key."""
    listed = list(shares)
    return interpolate(listed[0].group, {share.index: share.share for share in listed})


def give_their_key(shares: Iterable[KeyShare]) -> bool:
    listed = list(shares)
    return listed[0].group.base_mul(secret_behind(listed)) == listed[0].group_key


def sign_with(
    shares: Mapping[int, KeyShare], pairs: Mapping[int, Iterable[PairState]], signers: tuple[int, ...]
) -> None:
    """Presign and sign a derived key's message with ``signers``; another library verifies it."""
    states = {i: {pair.peer: pair for pair in pairs[i]} for i in signers}
    results = dealer.presign(dealer.Dealt(0, shares, states), signers)
    made = {i: result.presignatures[0] for i, result in results.items()}
    derived = add([shares[signers[0]].group_key, base_mul(7)])
    task = SigningTask(b"j" * 32, 7, derived, b"m" * 32, 0)
    rhos = {i: presignature.rho for i, presignature in made.items()}
    partials = {i: partial_signature(made[i], rhos=rhos, task=task) for i in signers}
    signature = combine(partials, R=made[signers[0]].R, rhos=rhos, task=task)
    key = independent.VerifyingKey.from_string(derived, curve=independent.SECP256k1)
    assert key.verify_digest(signature.to_bytes(), task.message_hash)
