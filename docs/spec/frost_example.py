"""One taproot signature of two nodes of three, from fixed seeds, with every public number on the way."""

from collections.abc import Callable

from policy import bip32
from policy.ciphersuites import verify
from policy.encoding import Json
from policy.schnorr import SchnorrTask, combine, output_key, public_key, signing_view
from policy.suites import FROST_TAPROOT
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import make_nonces, nonce_session
from signer_nodes.mpc.sharing import random_polynomial
from signer_nodes.mpc.stream import RandomStream

PATH = "m/0/7"
SIGNERS = (1, 3)
NAMES = ("node-a", "node-b", "node-c")


def shares(seed: Callable[[str], bytes]) -> dict[int, KeyShare]:
    """The shares of a 2-of-3 key; a real one is made by the nodes and known to nobody."""
    group = group_of(FROST_TAPROOT)
    polynomial = random_polynomial(group, RandomStream(seed("frost key")), terms=2)
    public = tuple(group.base_mul(polynomial.at(i)) for i in (1, 2, 3))
    key, chain = polynomial.commit()[0], seed("frost chain code")
    return {
        i: KeyShare(FROST_TAPROOT, "cold", 0, i, 2, NAMES, polynomial.at(i), public, key, chain)
        for i in (1, 2, 3)
    }


def frost_signature(seed: Callable[[str], bytes]) -> Json:
    """The example; ``seed`` gives 32 bytes that belong to a name."""
    key = shares(seed)
    derived = bip32.derive(key[1].group_key, key[1].chain_code, path=bip32.parse_path(PATH))
    boots = {NAMES[i - 1]: seed(f"boot of {NAMES[i - 1]}") for i in SIGNERS}
    session = nonce_session(FROST_TAPROOT, version=1, key_id="cold", epoch=0, batch_id=1, boot_ids=boots)
    nonces = {
        i: make_nonces(
            key[i], session=session, batch=1, signers=SIGNERS, randomness=seed(f"nonces of {NAMES[i - 1]}")
        )[0]
        for i in SIGNERS
    }
    message, job_id = seed("signature hash"), seed("frost job")
    task = SchnorrTask(FROST_TAPROOT, message, key[1].group_key, derived.tweak, b"", job_id, 0)
    openings = {i: pair.opening for i, pair in nonces.items()}
    presign_id, view = nonces[1].presign_id, signing_view(task, openings)
    partials = {
        i: partial_signature(key[i], pair, openings=openings, task=task) for i, pair in nonces.items()
    }
    public = dict(enumerate(key[1].public_shares, 1))
    signature = combine(partials, openings=openings, public_shares=public, task=task)
    return {
        "suite": FROST_TAPROOT,
        "group_key": key[1].group_key.hex(),
        "path": PATH,
        "derived_key": derived.public_key.hex(),
        "output_key": public_key(task).hex(),
        "sign_of_group_key": output_key(task).sign,
        "message": message.hex(),
        "presignature": presign_id.hex(),
        "openings": {NAMES[i - 1]: opening.hex() for i, opening in openings.items()},
        "binding_factors": {NAMES[i - 1]: f"{factor:064x}" for i, factor in view.binding_factors.items()},
        "nonce": view.nonce.hex(),
        "challenge": f"{view.challenge:064x}",
        "partial_signatures": {NAMES[i - 1]: partial.hex() for i, partial in partials.items()},
        "signature": signature.hex(),
        "valid": verify(FROST_TAPROOT, signature, message=message, public_key=public_key(task)),
    }
