"""Keys and nonces for tests of FROST: dealt from known numbers, or made by the parties themselves."""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from policy.schnorr import SchnorrTask, combine
from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT, suite_named
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult, start_dkg
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair, make_nonces, nonce_session
from signer_nodes.mpc.sharing import Polynomial
from tests.protocols.lockstep import run_all

SUITES = (FROST_SECP256K1, FROST_TAPROOT, FROST_ED25519)
KEY_ID = "hot-1"
SIGNERS = (1, 3)
in_every_suite = pytest.mark.parametrize("suite", SUITES)


def deal(suite: str, coefficients: Sequence[int], *, n: int) -> dict[int, KeyShare]:
    """The shares of the polynomial with these coefficients; the first is the private key."""
    group = group_of(suite)
    polynomial = Polynomial(group, tuple(coefficients))
    values = {i: polynomial.at(i) for i in range(1, n + 1)}
    names = tuple(f"node-{i}" for i in values)
    public = tuple(group.base_mul(value) for value in values.values())
    key, t = group.base_mul(coefficients[0]), len(coefficients)
    return {
        i: KeyShare(suite, KEY_ID, 0, i, t, names, value, public, key, bytes(32))
        for i, value in values.items()
    }


@functools.cache
def generated(suite: str, t: int, n: int) -> Mapping[int, KeyShare]:
    """The shares of a key that nobody ever knew."""
    names = tuple(f"node-{i}" for i in range(1, n + 1))
    runs = {
        i: start_dkg(KeygenParameters(b"s" * 32, suite, KEY_ID, t, names, i), bytes([i]) * 32)
        for i in range(1, n + 1)
    }
    outcome = run_all(runs)
    assert not outcome.errors
    found = (result for result in outcome.results.values() if isinstance(result, KeygenResult))
    return {result.share.index: result.share for result in found}


def session_of(share: KeyShare, signers: Sequence[int], batch_id: int = 1) -> bytes:
    """The session id that the nodes of a key would use."""
    names = [share.participants[i - 1] for i in signers]
    return nonce_session(
        share.suite,
        version=1,
        key_id=share.key_id,
        epoch=share.epoch,
        batch_id=batch_id,
        boot_ids={name: name.encode().ljust(32, b"\0") for name in names},
    )


def nonces_of(
    shares: Mapping[int, KeyShare], signers: tuple[int, ...], *, seed: int = 0
) -> dict[int, NoncePair]:
    """One fresh pair of each signer, all of one id."""
    return {
        i: make_nonces(
            shares[i],
            session=session_of(shares[i], signers, seed),
            batch=1,
            signers=signers,
            randomness=random.Random(f"nonces {seed} {i}").randbytes(32),
        )[0]
        for i in signers
    }


def openings_of(nonces: Mapping[int, NoncePair]) -> dict[int, bytes]:
    return {i: pair.opening for i, pair in nonces.items()}


def public_shares(shares: Mapping[int, KeyShare]) -> dict[int, bytes]:
    return {i: share.public_shares[i - 1] for i, share in shares.items()}


def partials_of(
    shares: Mapping[int, KeyShare], nonces: Mapping[int, NoncePair], task: SchnorrTask
) -> dict[int, bytes]:
    """Every signer's partial signature, all given the same openings."""
    openings = openings_of(nonces)
    return {i: partial_signature(shares[i], pair, openings=openings, task=task) for i, pair in nonces.items()}


def sign(
    shares: Mapping[int, KeyShare], signers: tuple[int, ...], task: SchnorrTask, *, seed: int = 0
) -> bytes:
    """Both rounds among honest signers, and the combiner."""
    nonces = nonces_of(shares, signers, seed=seed)
    partials = partials_of(shares, nonces, task)
    return combine(partials, openings=openings_of(nonces), public_shares=public_shares(shares), task=task)


def task_of(suite: str, *, n: int = 3, t: int = 2, seed: int = 1) -> SchnorrTask:
    """A task with a tweak where the suite has them."""
    source = random.Random(seed)
    tweak = source.randrange(1, 2**250) if suite_named(suite).derivable else 0
    key = generated(suite, t, n)[1].group_key
    return SchnorrTask(suite, source.randbytes(32), key, tweak, None, source.randbytes(32), 0)


def variants(task: SchnorrTask) -> list[SchnorrTask]:
    """The task without a tweak, with one, and for each kind of taproot key, as far as the suite has them."""
    tasks = [replace(task, tweak=0)] + [task] * suite_named(task.suite).derivable
    if task.suite == FROST_TAPROOT:
        tasks += [replace(one, merkle_root=root) for one in tasks for root in (b"", b"r" * 32)]
    return tasks


class Run:
    """Round 1 and round 2 of signers 1 and 3 of a 2-of-3 key, for a hand to change something in between."""

    def __init__(self, suite: str, *, seed: int = 0) -> None:
        self.shares = generated(suite, 2, 3)
        self.task = task_of(suite)
        self.nonces = nonces_of(self.shares, SIGNERS, seed=seed)
        self.openings = openings_of(self.nonces)

    def partial(
        self, i: int, openings: Mapping[int, bytes] | None = None, task: SchnorrTask | None = None
    ) -> bytes:
        return partial_signature(
            self.shares[i], self.nonces[i], openings=openings or self.openings, task=task or self.task
        )

    def partials(self) -> dict[int, bytes]:
        return partials_of(self.shares, self.nonces, self.task)

    def combine(self, partials: Mapping[int, bytes], openings: Mapping[int, bytes] | None = None) -> bytes:
        public = public_shares(self.shares)
        return combine(partials, openings=openings or self.openings, public_shares=public, task=self.task)
