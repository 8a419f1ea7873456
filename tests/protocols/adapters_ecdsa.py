"""Presigning and signing as the mutator sees them, with the tables of what altered fields lead to.

Why a row is not ``NAMED``: ``BANNED``, because a check on secrets fails (OT extension, multiplication, Γ)
and a retry would tell bits of them. ``UNNAMED``, because two views differ and either of their holders may
lie (view, a commitment that only the view covers), or because DKLs23 has no identifiable abort there (pk,
ψ, w and u).
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from policy.ecdsa import Partial, Signature, SigningTask, combine
from policy.errors import UnknownFault
from signer_nodes.mpc.curve import Q, add, base_mul
from signer_nodes.mpc.ecdsa import partial_signature
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.presign import Presignature, PresignParameters, PresignResult, start_presign
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult, blaming
from tests.protocols import dealer, layouts
from tests.protocols.attack_model import Cheat, Protocol, Table, Verdict, seed_of

BATCH = 4
NAMED, BANNED, UNNAMED, HARMLESS = Verdict.NAMED, Verdict.BANNED, Verdict.UNNAMED, Verdict.HARMLESS

PRESIGN_TABLE: Table = {
    (1, "commitment to R"): NAMED,
    (1, "commitment to rho"): UNNAMED,
    (1, "matrix"): BANNED,
    (1, "tag of x"): BANNED,
    (1, "tags of columns"): BANNED,
    (2, "view"): UNNAMED,
    (2, "salt"): NAMED,
    (2, "R"): NAMED,
    (2, "pk"): UNNAMED,
    (2, "gamma u"): BANNED,
    (2, "gamma v"): BANNED,
    (2, "psi"): UNNAMED,
    (2, "difference 1"): BANNED,
    (2, "difference 2"): BANNED,
    (2, "difference 3"): BANNED,
    (2, "eta"): BANNED,
    (2, "hash of mu"): BANNED,
}


FINISH_TABLE: Table = {(1, "rho"): NAMED, (2, "w"): UNNAMED, (2, "u"): UNNAMED}


def presign_protocol(t: int, n: int, *, batch: int = BATCH) -> Protocol:
    """Presigning by the last t of n parties of a dealt key, then a signature from every presignature."""
    dealt = _dealt(t, n)
    signers = tuple(range(n - t + 1, n + 1))

    def start(party: int, session: int, face: int) -> Rounds:
        params = PresignParameters(dealer.session_of(dealt, signers, session), batch)
        share, pairs = dealt.shares[party], dealt.pairs[party]
        seed = seed_of(party, session, face)
        return start_presign(params, share, pairs=pairs, signers=signers, randomness=seed)

    return Protocol(
        name=f"presigning {t} of {n}",
        parties=signers,
        start=start,
        layouts=layouts.presign(batch),
        table=PRESIGN_TABLE,
        replayed={1: BANNED, 2: NAMED},
        swapped={1: BANNED, 2: BANNED},
        conclude=partial(_conclude_presign, dealt, signers),
        cheats=partial(_presign_cheats, dealt, signers, batch),
    )


def finish_protocol(t: int, n: int) -> Protocol:
    """Signing from a presignature: openings, then partial signatures, each party its own combiner."""
    signers = tuple(range(n - t + 1, n + 1))

    def start(party: int, session: int, face: int) -> Rounds:
        task = _task(t, n, session)
        return finish_run(_presignature(t, n, party, session), replace(task, index=task.index + face))

    return Protocol(
        name=f"finish {t} of {n}",
        parties=signers,
        start=start,
        layouts=layouts.finish(),
        table=FINISH_TABLE,
        replayed={1: NAMED, 2: UNNAMED},
        swapped={1: HARMLESS, 2: HARMLESS},  # the same to everybody
        conclude=partial(_conclude_signature, _task(t, n, 1)),
        cheats=partial(_finish_cheats, t, n),
    )


def finish_run(presignature: Presignature, task: SigningTask) -> Rounds:
    """The finish as a machine: nodes and coordinator do the same over the coordinator's calls."""
    peers = tuple(peer for peer in presignature.signers if peer != presignature.me)

    def opening(_bodies: Mapping[int, bytes]) -> StepResult:
        return Send(dict.fromkeys(peers, presignature.rho), signing)

    def signing(bodies: Mapping[int, bytes]) -> StepResult:
        rhos = {**bodies, presignature.me: presignature.rho}
        own = partial_signature(presignature, rhos=rhos, task=task)
        return Send(dict.fromkeys(peers, own.to_bytes()), partial(combining, rhos, own))

    def combining(rhos: Mapping[int, bytes], own: Partial, bodies: Mapping[int, bytes]) -> StepResult:
        partials = {presignature.me: own}
        for sender, body in bodies.items():
            with blaming(sender):
                partials[sender] = Partial.from_bytes(body)
        return Done(combine(partials, R=presignature.R, rhos=rhos, task=task))

    return Rounds(presignature.me, peers, first=opening, body_bytes_max=64)


def assert_valid_elsewhere(signature: Signature, task: SigningTask) -> None:
    """The signature verifies with OpenSSL."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), task.derived_key)
    try:
        key.verify(signature.to_der(), task.message_hash, ec.ECDSA(Prehashed(SHA256())))
    except InvalidSignature as error:
        raise AssertionError("a wrong signature came out") from error


@cache
def _dealt(t: int, n: int) -> dealer.Dealt:
    return dealer.deal(min_signers=t, n=n, seed=10 * t + n)


@cache
def _presignatures(t: int, n: int) -> Mapping[int, PresignResult]:
    return dealer.presign(_dealt(t, n), tuple(range(n - t + 1, n + 1)))


def _presignature(t: int, n: int, party: int, session: int) -> Presignature:
    return _presignatures(t, n)[party].presignatures[session]


def _task(t: int, n: int, session: int) -> SigningTask:
    return task_for(_dealt(t, n).shares[1].group_key, seed=session)


def task_for(group_key: bytes, *, seed: int) -> SigningTask:
    """A seeded message and tweak under a key."""
    source = random.Random(f"task {seed}")
    tweak = source.randrange(1, Q)
    derived = add([group_key, base_mul(tweak)])
    return SigningTask(source.randbytes(32), tweak, derived, source.randbytes(32), seed)


def _conclude_presign(dealt: dealer.Dealt, signers: tuple[int, ...], results: Mapping[int, object]) -> None:
    """Equal public parts; and where everybody has a share, a signature that OpenSSL takes, or none."""
    made = {party: result for party, result in results.items() if isinstance(result, PresignResult)}
    assert made.keys() == results.keys()
    unusable = []
    for b in range(min((len(result.presignatures) for result in made.values()), default=0)):
        shares = {party: result.presignatures[b] for party, result in made.items()}
        assert len({(s.presign_id, s.R, s.commitments, s.signers) for s in shares.values()}) == 1
        if set(shares) == set(signers):
            try:
                sign(shares, task_for(dealt.shares[1].group_key, seed=b))
            except UnknownFault as error:
                unusable.append(error)
    if unusable:
        raise unusable[0]


def sign(shares: Mapping[int, Presignature], task: SigningTask) -> Signature:
    """A signature from everybody's share, checked by another library."""
    rhos = {party: share.rho for party, share in shares.items()}
    partials = {party: partial_signature(share, rhos=rhos, task=task) for party, share in shares.items()}
    signature = combine(partials, R=next(iter(shares.values())).R, rhos=rhos, task=task)
    assert_valid_elsewhere(signature, task)
    return signature


def _conclude_signature(task: SigningTask, results: Mapping[int, object]) -> None:
    for signature in results.values():
        assert isinstance(signature, Signature)
        assert_valid_elsewhere(signature, task)
    assert len(set(results.values())) <= 1


def _presign_cheats(
    dealt: dealer.Dealt, signers: tuple[int, ...], batch: int, attacker: int
) -> Mapping[str, Cheat]:
    share, pairs = dealt.shares[attacker], dealt.pairs[attacker]
    victim = next(party for party in signers if party != attacker)

    def with_pair(**changed: object) -> dict[int, PairState]:
        return {**pairs, victim: replace(pairs[victim], **changed)}  # type: ignore[arg-type]

    def start(
        share: KeyShare = share,
        pairs: Mapping[int, PairState] = pairs,
        *,
        session: int = 1,
        size: int = batch,
    ) -> Rounds:
        params = PresignParameters(dealer.session_of(dealt, signers, session), size)
        seed = seed_of(attacker, session)
        return start_presign(params, share, pairs=pairs, signers=signers, randomness=seed)

    # A wrong delta of its own makes the attacker's own check fail: it ends, and the others wait.
    delta = bytes(x ^ 1 for x in pairs[victim].delta)
    seeds = pairs[victim].receiver_seeds
    return {
        "another share": Cheat(partial(start, replace(share, share=share.share % Q + 1)), UNNAMED),
        "another zero seed": Cheat(partial(start, pairs=with_pair(zero_seed=bytes(32))), UNNAMED),
        "another delta": Cheat(partial(start, pairs=with_pair(delta=delta)), Verdict.WAITS),
        "other seeds": Cheat(partial(start, pairs=with_pair(receiver_seeds=seeds[::-1])), BANNED),
        "seeds the other way": Cheat(
            partial(start, pairs=with_pair(receiver_seeds=tuple((b, a) for a, b in seeds))), BANNED
        ),
        "another session": Cheat(partial(start, session=2), BANNED),
        "a larger batch": Cheat(partial(start, size=batch + 4), NAMED),
    }


def _finish_cheats(t: int, n: int, attacker: int) -> Mapping[str, Cheat]:
    task, mine, other = _task(t, n, 1), *(_presignature(t, n, attacker, b) for b in (1, 2))
    other_tweak = (task.tweak + 1) % Q
    tasks = {
        "another message": replace(task, message_hash=bytes(32)),
        "another job": replace(task, job_id=bytes(32)),
        "another index": replace(task, index=task.index + 1),
        "another derived key": replace(
            task, tweak=other_tweak, derived_key=add([mine.group_key, base_mul(other_tweak)])
        ),
    }
    shares = {
        "another R": replace(mine, R=base_mul(7)),
        "another phi": replace(mine, phi=(mine.phi + 1) % Q),
        "another u": replace(mine, u=(mine.u + 1) % Q),
        "another v": replace(mine, v=(mine.v + 1) % Q),
        "R, u and v of another presignature": replace(
            _presignature(t, n, attacker, 2),
            commitments=mine.commitments,
            rho=mine.rho,
            session=mine.session,
            index=mine.index,
        ),
    }
    lies = {name: Cheat(partial(finish_run, mine, other), UNNAMED) for name, other in tasks.items()}
    lies |= {name: Cheat(partial(finish_run, share, task), UNNAMED) for name, share in shares.items()}
    return {**lies, "another presignature": Cheat(partial(finish_run, other, task), NAMED)}
