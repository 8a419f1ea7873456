"""Signing by FROST as the mutator sees it. Everything names the attacker: partial signatures are checked.

The coordinator relays openings and partial signatures, the same to everybody; so an attacker has one face.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from policy.ciphersuites import verify
from policy.schnorr import SchnorrTask, combine, public_key
from policy.suites import FROST_SECP256K1
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import SCALAR_BYTES, group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair, make_nonces
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult
from tests.protocols import frost_house, layouts
from tests.protocols.attack_model import Cheat, Protocol, Table, Verdict, seed_of

HARMLESS, NAMED, UNNAMED = Verdict.HARMLESS, Verdict.NAMED, Verdict.UNNAMED

FROST_TABLE: Table = {(1, "D"): NAMED, (1, "E"): NAMED, (2, "z"): NAMED}


def frost_protocol(t: int, n: int, suite: str = FROST_SECP256K1) -> Protocol:
    """Openings and partial signatures of the last t of n parties, each its own combiner."""
    signers = tuple(range(n - t + 1, n + 1))
    return Protocol(
        name=f"signing {t} of {n} {suite}",
        parties=signers,
        start=partial(_start, t, n, suite),
        layouts=layouts.frost(suite),
        table=FROST_TABLE,
        replayed={1: NAMED, 2: NAMED},
        swapped={1: HARMLESS, 2: HARMLESS},
        conclude=partial(_conclude, _task(t, n, suite, 1)),
        cheats=partial(_cheats, t, n, suite),
        broadcast=True,
    )


def frost_run(share: KeyShare, nonces: NoncePair, task: SchnorrTask) -> Rounds:
    """A signer's two rounds as a machine, and the coordinator's sum."""
    peers = tuple(peer for peer in nonces.signers if peer != nonces.me)

    def opening(_bodies: Mapping[int, bytes]) -> StepResult:
        return Send(dict.fromkeys(peers, nonces.opening), signing)

    def signing(bodies: Mapping[int, bytes]) -> StepResult:
        openings = {**bodies, nonces.me: nonces.opening}
        own = partial_signature(share, nonces, openings=openings, task=task)
        return Send(dict.fromkeys(peers, own), partial(combining, openings, own))

    def combining(openings: Mapping[int, bytes], own: bytes, bodies: Mapping[int, bytes]) -> StepResult:
        public = dict(enumerate(share.public_shares, start=1))
        partials = {**bodies, nonces.me: own}
        return Done(combine(partials, openings=openings, public_shares=public, task=task))

    limit = max(len(nonces.opening), SCALAR_BYTES)
    return Rounds(nonces.me, peers, first=opening, body_bytes_max=limit)


def _start(t: int, n: int, suite: str, party: int, session: int, face: int) -> Rounds:
    share = frost_house.generated(suite, t, n)[party]
    return frost_run(share, _nonces(t, n, suite, party, session + face), _task(t, n, suite, session))


def _nonces(t: int, n: int, suite: str, party: int, session: int) -> NoncePair:
    share, signers = frost_house.generated(suite, t, n)[party], tuple(range(n - t + 1, n + 1))
    made = make_nonces(
        share,
        session=frost_house.session_of(share, signers, session),
        batch=1,
        signers=signers,
        randomness=seed_of(party, session),
    )
    return made[0]


def _task(t: int, n: int, suite: str, session: int) -> SchnorrTask:
    return frost_house.task_of(suite, n=n, t=t, seed=session)


def _conclude(task: SchnorrTask, results: Mapping[int, object]) -> None:
    assert len(set(results.values())) <= 1
    for signature in results.values():
        assert isinstance(signature, bytes)
        assert verify(task.suite, signature, message=task.message, public_key=public_key(task))


def _cheats(t: int, n: int, suite: str, attacker: int) -> Mapping[str, Cheat]:
    task, share = _task(t, n, suite, 1), frost_house.generated(suite, t, n)[attacker]
    group, source = group_of(suite), random.Random(f"cheat {suite}")
    other_share = replace(share, share=share.share % (group.order - 1) + 1)
    victim = next(party for party in range(n - t + 1, n + 1) if party != attacker)

    def start(share: KeyShare = share, task: SchnorrTask = task, *, session: int = 1) -> Rounds:
        return frost_run(share, _nonces(t, n, suite, attacker, session), task)

    def copied() -> Rounds:
        mine, theirs = (_nonces(t, n, suite, party, 1) for party in (attacker, victim))
        place = (mine.session, mine.index, mine.signers, attacker)
        pair = NoncePair(suite, *place, mine.group_key, theirs.opening, mine.take())
        return frost_run(share, pair, task)

    return {
        "another message": Cheat(partial(start, task=replace(task, message=source.randbytes(32))), NAMED),
        "another share": Cheat(partial(start, other_share), NAMED),
        "a copied opening": Cheat(copied, UNNAMED),
    }
