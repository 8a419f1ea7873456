"""A trusted dealer of keys and OT state, for tests of what comes after key generation only."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc.curve import Q, base_mul
from signer_nodes.mpc.keyshare import COLUMNS, KeyShare, PairState
from signer_nodes.mpc.presign import PresignParameters, PresignResult, presign_session, start_presign
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.lockstep import run_all

KEY_ID = "dealt"


@dataclass(frozen=True)
class Dealt:
    """A key known to the test, its shares by index, and ``pairs[me][peer]``."""

    secret: int
    shares: Mapping[int, KeyShare]
    pairs: Mapping[int, Mapping[int, PairState]]


def deal(*, min_signers: int, n: int, seed: int = 1, epoch: int = 0) -> Dealt:
    """Split a seeded key and make OT state for every pair."""
    source = random.Random(f"dealer {seed} {epoch}")
    coefficients = [source.randrange(1, Q) for _ in range(min_signers)]
    values = {i: sum(c * i**k for k, c in enumerate(coefficients)) % Q for i in range(1, n + 1)}
    names = tuple(f"node-{i}" for i in values)
    public = tuple(base_mul(value) for value in values.values())
    key, chain = base_mul(coefficients[0]), source.randbytes(32)
    shares = {
        i: KeyShare(DKLS23_SECP256K1, KEY_ID, epoch, i, min_signers, names, value, public, key, chain)
        for i, value in values.items()
    }
    return Dealt(coefficients[0], shares, _pairs(tuple(values), source, epoch))


def _pairs(indices: tuple[int, ...], source: random.Random, epoch: int) -> dict[int, dict[int, PairState]]:
    ordered = [(a, b) for a in indices for b in indices if a != b]
    zero = {frozenset(pair): source.randbytes(32) for pair in ordered}
    delta = {pair: source.randbytes(16) for pair in ordered}
    seeds = {
        pair: tuple((source.randbytes(32), source.randbytes(32)) for _ in range(COLUMNS)) for pair in ordered
    }
    pairs: dict[int, dict[int, PairState]] = {i: {} for i in indices}
    for me, peer in ordered:
        bits = [(delta[me, peer][i // 8] >> (i % 8)) & 1 for i in range(COLUMNS)]
        chosen = tuple(both[bit] for both, bit in zip(seeds[me, peer], bits, strict=True))
        pairs[me][peer] = PairState(
            KEY_ID,
            epoch,
            me,
            peer,
            delta[me, peer],
            chosen,
            seeds[peer, me],
            zero[frozenset((me, peer))],
        )
    return pairs


def session_of(dealt: Dealt, signers: tuple[int, ...], batch_id: int = 1) -> bytes:
    """The session id that the nodes of a dealt key would use."""
    share = dealt.shares[signers[0]]
    names = [share.participants[i - 1] for i in signers]
    boots = {name: name.encode().ljust(32, b"\0") for name in names}
    return presign_session(
        version=1, key_id=share.key_id, epoch=share.epoch, signers=names, batch_id=batch_id, boot_ids=boots
    )


def make_runs(
    dealt: Dealt, signers: tuple[int, ...], *, batch: int = 4, batch_id: int = 1
) -> dict[int, Rounds]:
    """One presigning run for every signer, not yet started."""
    params = PresignParameters(session_of(dealt, signers, batch_id), batch)
    return {
        i: start_presign(
            params,
            dealt.shares[i],
            pairs=dealt.pairs[i],
            signers=signers,
            randomness=random.Random(f"run {batch_id} {i}").randbytes(32),
        )
        for i in signers
    }


def presign(dealt: Dealt, signers: tuple[int, ...], *, batch_id: int = 1) -> dict[int, PresignResult]:
    """An honest batch of four: every signer's result."""
    outcome = run_all(make_runs(dealt, signers, batch_id=batch_id))
    assert not outcome.errors, outcome.errors
    return {i: result for i, result in outcome.results.items() if isinstance(result, PresignResult)}
