"""Threshold ECDSA signatures: valid for libraries that are not ours, or no signature at all."""

import random
from collections.abc import Mapping
from dataclasses import replace

import ecdsa as independent
import pytest
from eth_keys.datatypes import Signature as EthSignature
from hypothesis import given
from hypothesis import strategies as st

from policy import ecdsa as public
from policy.errors import (
    CallerError,
    FaultyCoordinator,
    FaultyParticipant,
    MalformedError,
    ProtocolError,
    UnknownFault,
)
from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc.curve import Q, add, base_mul
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.ecdsa import Partial, Signature, SigningTask, combine, partial_signature
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.presign import Presignature
from tests.protocols import dealer
from tests.protocols.lockstep import flip, run_all

DEALT = dealer.deal(min_signers=2, n=3)
RESULTS = dealer.presign(DEALT, (1, 3))
SCALARS = st.integers(0, Q - 1)


def presignatures(b: int = 0) -> dict[int, Presignature]:
    return {i: result.presignatures[b] for i, result in RESULTS.items()}


def task_of(group_key: bytes, *, seed: int = 1, tweak: int | None = None, index: int = 0) -> SigningTask:
    source = random.Random(seed)
    tau = source.randrange(1, Q) if tweak is None else tweak
    derived = add([group_key, base_mul(tau)]) if tau else group_key
    return SigningTask(source.randbytes(32), tau, derived, source.randbytes(32), index)


TASK = task_of(DEALT.shares[1].group_key)


def openings(shares: Mapping[int, Presignature]) -> dict[int, bytes]:
    return {i: share.rho for i, share in shares.items()}


def sign(shares: Mapping[int, Presignature], task: SigningTask) -> Signature:
    rhos = openings(shares)
    partials = {i: partial_signature(share, rhos=rhos, task=task) for i, share in shares.items()}
    return combine(partials, R=next(iter(shares.values())).R, rhos=rhos, task=task)


def honest_partials() -> dict[int, Partial]:
    shares = presignatures()
    return {i: partial_signature(s, rhos=openings(shares), task=TASK) for i, s in shares.items()}


def finish(partials: Mapping[int, Partial], task: SigningTask = TASK) -> Signature:
    shares = presignatures()
    return combine(partials, R=shares[1].R, rhos=openings(shares), task=task)


def assert_valid_elsewhere(signature: Signature, task: SigningTask) -> None:
    """Verified by ``ecdsa`` and recovered by ``eth_keys``, neither of them ours."""
    key = independent.VerifyingKey.from_string(task.derived_key, curve=independent.SECP256k1)
    assert key.verify_digest(signature.to_bytes(), task.message_hash)
    assert key.verify_digest(signature.to_der(), task.message_hash, sigdecode=independent.util.sigdecode_der)
    recovered = EthSignature(vrs=(signature.y_parity(), signature.r, signature.s))
    found = recovered.recover_public_key_from_msg_hash(task.message_hash)
    assert found.to_compressed_bytes() == task.derived_key
    assert signature.s <= Q // 2


@pytest.mark.parametrize(
    ("min_signers", "n", "signers"),
    [(2, 2, (1, 2)), (2, 3, (2, 3)), (3, 3, (1, 2, 3)), (3, 5, (1, 2, 5)), (4, 5, (1, 2, 4, 5))],
)
def test_random_messages_and_tweaks_verify_with_other_libraries(
    min_signers: int, n: int, signers: tuple[int, ...]
) -> None:
    dealt = dealer.deal(min_signers=min_signers, n=n, seed=n)
    results = dealer.presign(dealt, signers)

    for b in range(4):
        task = task_of(dealt.shares[1].group_key, seed=10 * n + b, index=b)
        signature = sign({i: result.presignatures[b] for i, result in results.items()}, task)
        assert_valid_elsewhere(signature, task)


def test_a_key_that_no_dealer_saw_signs() -> None:
    names = ("node-1", "node-2", "node-3")
    outcome = run_all(
        {
            i: start_keygen(
                KeygenParameters(b"k" * 32, DKLS23_SECP256K1, "key", 2, names, i), bytes([i]) * 32
            )
            for i in (1, 2, 3)
        }
    )
    keygens = [result for result in outcome.results.values() if isinstance(result, KeygenResult)]
    shares = {result.share.index: result.share for result in keygens}
    pairs = {result.share.index: {pair.peer: pair for pair in result.pairs} for result in keygens}

    results = dealer.presign(dealer.Dealt(0, shares, pairs), (2, 3))

    task = task_of(shares[1].group_key)
    assert_valid_elsewhere(sign({i: result.presignatures[3] for i, result in results.items()}, task), task)


def test_both_parities_and_both_halves_of_s_are_normalised() -> None:
    seen = set()
    for seed in range(24):
        task = task_of(DEALT.shares[1].group_key, seed=seed)
        signature = sign(presignatures(seed % 4), task)
        assert_valid_elsewhere(signature, task)
        seen.add(signature.recovery_id)

    assert seen == {0, 1}


@pytest.mark.parametrize("tweak", [0, 1, Q - 1])
@pytest.mark.parametrize("message", [bytes(32), b"\xff" * 32, Q.to_bytes(32, "big")])
def test_tweaks_and_messages_at_the_edges_verify(tweak: int, message: bytes) -> None:
    task = replace(task_of(DEALT.shares[1].group_key, tweak=tweak), message_hash=message)

    signature = sign(presignatures(), task)

    assert_valid_elsewhere(signature, task)


def test_the_same_task_gives_the_same_partial() -> None:
    assert honest_partials() == honest_partials()


def test_delta_depends_on_every_field() -> None:
    rhos, R = openings(presignatures()), presignatures()[1].R
    other_key = base_mul(7)
    variants = [
        public.delta(TASK, R=R, rhos=rhos),
        public.delta(TASK, R=other_key, rhos=rhos),
        public.delta(TASK, R=R, rhos=rhos | {1: bytes(32)}),
        public.delta(TASK, R=R, rhos={1: rhos[3], 3: rhos[1]}),
        public.delta(TASK, R=R, rhos={1: rhos[1], 2: rhos[3]}),
        public.delta(replace(TASK, message_hash=bytes(32)), R=R, rhos=rhos),
        public.delta(replace(TASK, derived_key=other_key), R=R, rhos=rhos),
        public.delta(replace(TASK, job_id=bytes(32)), R=R, rhos=rhos),
        public.delta(replace(TASK, index=1), R=R, rhos=rhos),
    ]

    assert len(set(variants)) == len(variants)
    assert public.delta(TASK, R=R, rhos=dict(reversed(rhos.items()))) == variants[0]


def test_an_opening_that_does_not_match_its_commitment_names_its_sender() -> None:
    shares = presignatures()

    with pytest.raises(FaultyParticipant, match="commitment") as caught:
        partial_signature(shares[1], rhos=openings(shares) | {3: flip(shares[3].rho, 0)}, task=TASK)

    assert (caught.value.participant, caught.value.ban) == (3, False)


def test_the_opening_of_another_instance_or_party_is_no_opening() -> None:
    shares = presignatures()

    for rho in (presignatures(1)[3].rho, shares[1].rho, shares[3].rho[:31], b""):
        with pytest.raises(FaultyParticipant) as caught:
            partial_signature(shares[1], rhos={1: shares[1].rho, 3: rho}, task=TASK)
        assert caught.value.participant == 3


def test_openings_of_another_set_or_another_own_opening_blame_the_coordinator() -> None:
    shares = presignatures()
    rhos = openings(shares)

    for wrong in ({1: rhos[1]}, rhos | {2: rhos[1]}, {1: rhos[1], 2: rhos[3]}, rhos | {1: rhos[3]}):
        with pytest.raises(FaultyCoordinator):
            partial_signature(shares[1], rhos=wrong, task=TASK)


def test_a_derived_key_that_is_not_group_key_plus_tweak_is_refused() -> None:
    shares = presignatures()

    for wrong in (replace(TASK, tweak=TASK.tweak ^ 1), replace(TASK, derived_key=shares[1].group_key)):
        with pytest.raises(CallerError, match="derived key"):
            partial_signature(shares[1], rhos=openings(shares), task=wrong)


def test_a_wrong_w_or_u_gives_no_signature_and_names_nobody() -> None:
    partials = honest_partials()
    good = partials[3]
    assert_valid_elsewhere(finish(partials), TASK)

    for wrong in (
        replace(good, w=(good.w + 1) % Q),
        replace(good, u=(good.u + 1) % Q),
        replace(good, w=good.u, u=good.w),
        Partial(0, 0),
        Partial(good.w, -partials[1].u % Q),
        Partial(-partials[1].w % Q, good.u),
    ):
        with pytest.raises(UnknownFault):
            finish(partials | {3: wrong})


def test_signers_of_different_messages_jobs_or_indices_make_no_signature() -> None:
    shares = presignatures()
    own = partial_signature(shares[1], rhos=openings(shares), task=TASK)

    for other in (
        replace(TASK, message_hash=bytes(32)),
        replace(TASK, job_id=bytes(32)),
        replace(TASK, index=1),
        task_of(DEALT.shares[1].group_key, tweak=5),
    ):
        theirs = partial_signature(shares[3], rhos=openings(shares), task=other)
        for task in (TASK, other):
            with pytest.raises(UnknownFault):
                finish({1: own, 3: theirs}, task)


def test_partials_of_two_instances_make_no_signature() -> None:
    first, second = honest_partials(), presignatures(1)
    theirs = partial_signature(second[3], rhos=openings(second), task=TASK)

    with pytest.raises(UnknownFault):
        finish({1: first[1], 3: theirs})


def test_a_set_without_all_its_partials_or_openings_is_refused() -> None:
    partials = honest_partials()

    for wrong in ({1: partials[1]}, partials | {2: partials[1]}, {}):
        with pytest.raises(CallerError, match="one partial and one ρ"):
            finish(wrong)


@pytest.mark.parametrize("party", [1, 3])
def test_an_opening_of_another_length_names_its_party_at_the_combiner(party: int) -> None:
    shares = presignatures()

    with pytest.raises(FaultyParticipant) as caught:
        combine(honest_partials(), R=shares[1].R, rhos=openings(shares) | {party: b"\0" * 31}, task=TASK)

    assert caught.value.participant == party


@given(SCALARS, SCALARS)
def test_a_partial_reads_back(w: int, u: int) -> None:
    assert Partial.from_bytes(Partial(w, u).to_bytes()) == Partial(w, u)


@pytest.mark.parametrize(
    "data",
    [b"", bytes(63), bytes(65), Q.to_bytes(32, "big") + bytes(32), bytes(32) + b"\xff" * 32],
)
def test_a_partial_of_another_length_or_out_of_range_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Partial.from_bytes(data)


@given(st.integers(1, Q - 1), st.integers(1, Q // 2))
def test_der_is_what_another_library_writes(r: int, s: int) -> None:
    assert Signature(r, s, 0).to_der() == independent.util.sigencode_der(r, s, Q)


def test_verification_refuses_every_change() -> None:
    signature = sign(presignatures(), TASK)
    key, message = TASK.derived_key, TASK.message_hash
    changed = [
        replace(signature, recovery_id=signature.recovery_id ^ 1),
        replace(signature, recovery_id=signature.recovery_id ^ 2),
        replace(signature, s=signature.s - 1),
        replace(signature, r=signature.r ^ 1),
    ]

    assert public.verify(signature, message, public_key=key)
    assert not any(public.verify(other, message, public_key=key) for other in changed)
    assert not public.verify(signature, flip(message, 0), public_key=key)
    assert not public.verify(signature, message, public_key=base_mul(7))


def test_high_s_zero_and_out_of_range_are_no_signature() -> None:
    for r, s, recovery_id in ((0, 1, 0), (1, 0, 0), (Q, 1, 0), (1, Q // 2 + 1, 0), (1, 1, 4), (1, 1, -1)):
        with pytest.raises(CallerError):
            Signature(r, s, recovery_id)


def test_low_s_flips_the_parity_with_s() -> None:
    assert public.low_s(5, Q - 3, recovery_id=2) == Signature(5, 3, 3)
    assert public.low_s(5, Q // 2, recovery_id=1) == Signature(5, Q // 2, 1)


def test_v_is_what_each_kind_of_transaction_carries() -> None:
    assert [Signature(1, 1, parity).eth_v() for parity in (0, 1)] == [27, 28]
    assert [Signature(1, 1, parity).eth_v(1) for parity in (0, 1)] == [37, 38]
    with pytest.raises(UnknownFault, match="EVM"):
        Signature(1, 1, 2).y_parity()


@pytest.mark.parametrize(
    "change",
    [
        {"message_hash": bytes(31)},
        {"job_id": bytes(33)},
        {"derived_key": bytes(32)},
        {"tweak": Q},
        {"tweak": -1},
        {"index": -1},
        {"index": 2**32},
    ],
)
def test_a_task_of_wrong_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CallerError):
        replace(TASK, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", range(4))
def test_a_changed_psi_passes_presigning_and_never_gives_a_signature(place: int) -> None:
    at = 1 + 64 + place * 164 + 4 * 33 + 31

    def tamper(sender: int, to: int, payload: bytes) -> bytes:
        return flip(payload, at) if (sender, to, payload[0]) == (3, 1, 2) else payload

    outcome = run_all(dealer.make_runs(DEALT, (1, 3)), tamper)

    for b in range(4):
        shares = {i: result.presignatures[b] for i, result in outcome.results.items()}  # type: ignore[attr-defined]
        if b == place:
            with pytest.raises(UnknownFault):
                sign(shares, TASK)
        else:
            assert_valid_elsewhere(sign(shares, TASK), TASK)


@pytest.mark.parametrize("seed", range(25))
def test_a_change_anywhere_ends_in_a_valid_signature_or_an_abort(seed: int) -> None:
    source = random.Random(seed)
    target = (source.choice((1, 3)), source.choice((1, 2)))
    mask, where = (
        1 << source.randrange(8),
        source.random() ** 3,
    )  # the front, with every kind of field, more often

    def tamper(sender: int, _to: int, payload: bytes) -> bytes:
        hit = (sender, payload[0]) == target
        return flip(payload, 1 + int(where * (len(payload) - 1)), mask=mask) if hit else payload

    outcome = run_all(dealer.make_runs(DEALT, (1, 3)), tamper)

    aborted = [isinstance(error, FaultyParticipant | UnknownFault) for error in outcome.errors.values()]
    assert all(aborted)
    if not aborted:
        for b in range(4):
            shares = {i: result.presignatures[b] for i, result in outcome.results.items()}  # type: ignore[attr-defined]
            try:
                assert_valid_elsewhere(sign(shares, TASK), TASK)
            except ProtocolError as error:
                assert isinstance(error, UnknownFault)
