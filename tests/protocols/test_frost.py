"""FROST in every suite: a valid signature for libraries that are not ours, or the cheat's name."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations

import coincurve
import ecdsa as independent
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from policy.ciphersuites import ciphersuite, verify
from policy.errors import CallerError, FaultyCoordinator, FaultyParticipant, ProtocolError, UnknownFault
from policy.schnorr import MESSAGE_BYTES_MAX, SchnorrTask, combine, public_key, signing_view
from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT, suite_named
from signer_nodes.mpc.groups import ED25519_GROUP, group_of
from signer_nodes.mpc.nonces import NoncePair
from tests.protocols.frost_house import (
    SIGNERS,
    SUITES,
    Run,
    deal,
    generated,
    in_every_suite,
    nonces_of,
    openings_of,
    partials_of,
    public_shares,
    sign,
    task_of,
    variants,
)
from tests.protocols.lockstep import flip

COMMITTEES = [(t, n) for n in range(2, 6) for t in range(2, n + 1)]
CURVE = independent.SECP256k1


def assert_valid_elsewhere(signature: bytes, task: SchnorrTask) -> None:
    """Verified by code that this project did not write, as far as there is any."""
    key = public_key(task)
    assert verify(task.suite, signature, message=task.message, public_key=key)
    if task.suite == FROST_ED25519:
        assert VerifyKey(key).verify(task.message, signature) == task.message
        Ed25519PublicKey.from_public_bytes(key).verify(signature, task.message)
    elif task.suite == FROST_TAPROOT:
        assert coincurve.PublicKeyXOnly(key).verify(signature, task.message)
        tag = hashlib.sha256(b"BIP0340/challenge").digest() * 2
        digest = hashlib.sha256(tag + signature[:32] + key + task.message).digest()
        assert_equation(
            b"\x02" + signature[:32], signature[32:], int.from_bytes(digest, "big"), b"\x02" + key
        )
    else:
        challenge = ciphersuite(task.suite).challenge(signature[:33], task.message, public_key=key)
        assert_equation(signature[:33], signature[33:], challenge, key)


def assert_equation(R: bytes, z: bytes, challenge: int, key: bytes) -> None:
    """z·G = R + c·P by another library's arithmetic."""
    nonce, public = (independent.ellipticcurve.PointJacobi.from_bytes(CURVE.curve, data) for data in (R, key))
    assert CURVE.generator * int.from_bytes(z, "big") == nonce + public * (challenge % CURVE.order)


def other_nonces(suite: str) -> dict[int, NoncePair]:
    return nonces_of(generated(suite, 2, 3), SIGNERS, seed=9)


# What comes out is valid


@in_every_suite
@pytest.mark.parametrize(("t", "n"), COMMITTEES)
def test_every_quorum_of_a_key_that_nobody_knew_signs(suite: str, t: int, n: int) -> None:
    shares, task = generated(suite, t, n), task_of(suite, t=t, n=n)

    for signers in combinations(range(1, n + 1), t):
        assert_valid_elsewhere(sign(shares, signers, task), task)


@in_every_suite
@pytest.mark.parametrize("secret", [5, 6, 7, 8])
def test_every_kind_of_key_signs_whatever_its_parity(suite: str, secret: int) -> None:
    shares = deal(suite, [secret, 11], n=3)

    for seed in range(4):
        task = replace(task_of(suite, seed=seed), group_key=shares[1].group_key)
        for one in variants(task):
            assert_valid_elsewhere(sign(shares, (2, 3), one, seed=seed), one)


@in_every_suite
def test_all_kinds_of_keys_are_different(suite: str) -> None:
    tasks = variants(task_of(suite))

    assert len({public_key(task) for task in tasks}) == len(tasks)


@pytest.mark.parametrize("suite", [FROST_SECP256K1, FROST_TAPROOT])
@pytest.mark.parametrize("tweak", [1, CURVE.order - 1])
def test_tweaks_at_the_edges_sign(suite: str, tweak: int) -> None:
    shares, task = generated(suite, 2, 3), replace(task_of(suite), tweak=tweak)

    assert_valid_elsewhere(sign(shares, SIGNERS, task), task)


@in_every_suite
@pytest.mark.parametrize("message", [b"", b"\0", b"m" * MESSAGE_BYTES_MAX])
def test_messages_of_every_length_sign(suite: str, message: bytes) -> None:
    shares, task = generated(suite, 2, 3), replace(task_of(suite), message=message)

    assert_valid_elsewhere(sign(shares, SIGNERS, task), task)


@settings(max_examples=20)
@given(
    st.sampled_from(SUITES),
    st.binary(max_size=80),
    st.integers(0, 2**250),
    st.sampled_from([None, b"", b"r" * 32]),
)
def test_any_task_signs(suite: str, message: bytes, tweak: int, merkle_root: bytes | None) -> None:
    key = generated(suite, 2, 3)[1].group_key
    tau = tweak if suite_named(suite).derivable else 0
    root = merkle_root if suite == FROST_TAPROOT else None
    task = SchnorrTask(suite, message, key, tau, root, bytes(32), 0)

    assert_valid_elsewhere(sign(generated(suite, 2, 3), (2, 3), task), task)


def test_a_key_imported_from_a_seed_signs_under_its_old_address() -> None:
    """An Ed25519 private key is a hash of a seed, clamped; no share of it has a seed."""
    seed = bytes(range(32))
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    secret = int.from_bytes(digest, "little") % ED25519_GROUP.order
    address = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    shares = deal(FROST_ED25519, [secret, 12345], n=3)
    task = SchnorrTask(FROST_ED25519, b"payment", shares[1].group_key, 0, None, bytes(32), 0)

    signature = sign(shares, SIGNERS, task)

    address.verify(signature, task.message)
    assert address.public_bytes_raw() == public_key(task)


@in_every_suite
def test_refreshed_shares_sign_for_the_same_key_and_do_not_mix(suite: str) -> None:
    old, new = deal(suite, [77, 5], n=3), deal(suite, [77, 6], n=3)
    task = replace(task_of(suite), group_key=old[1].group_key)

    assert_valid_elsewhere(sign(new, SIGNERS, task), task)
    with pytest.raises(FaultyParticipant) as caught:
        sign({1: old[1], 3: replace(new[3], public_shares=old[3].public_shares)}, SIGNERS, task)
    assert caught.value.participant == 3


@in_every_suite
def test_a_signature_is_of_nothing_else(suite: str) -> None:
    task = task_of(suite)
    signature, key = sign(generated(suite, 2, 3), SIGNERS, task), public_key(task)
    other = public_key(replace(task, group_key=group_of(suite).base_mul(5)))
    order = group_of(suite).order.to_bytes(32, "little" if suite == FROST_ED25519 else "big")

    assert not verify(suite, signature, message=task.message + b"\0", public_key=key)
    assert not verify(suite, signature, message=task.message, public_key=other)
    for wrong in (
        signature[:-1],
        signature + b"\0",
        b"",
        signature[:-32] + order,
        signature[:-32] + bytes(32),
    ):
        assert not verify(suite, wrong, message=task.message, public_key=key)
    for wrong in (key[:-1], key + b"\0", b"", bytes(len(key)), b"\xff" * len(key)):
        assert not verify(suite, signature, message=task.message, public_key=wrong)
    for at in range(len(signature)):
        assert not verify(suite, flip(signature, at), message=task.message, public_key=key)


# Round 2 refuses


@in_every_suite
@pytest.mark.parametrize("change", [lambda z: flip(z, 0), lambda z: flip(z, 31), lambda z: bytes(32)])
@pytest.mark.parametrize("cheat", SIGNERS)
def test_a_wrong_partial_signature_names_its_signer(
    suite: str, change: Callable[[bytes], bytes], cheat: int
) -> None:
    run = Run(suite)
    partials = run.partials()

    with pytest.raises(FaultyParticipant) as caught:
        run.combine(partials | {cheat: change(partials[cheat])})

    assert (caught.value.participant, caught.value.ban) == (cheat, False)


@in_every_suite
@pytest.mark.parametrize("cheat", SIGNERS)
def test_a_malformed_partial_signature_names_its_signer(suite: str, cheat: int) -> None:
    run = Run(suite)
    partials = run.partials()
    order = group_of(suite).order

    for wrong in (
        b"",
        bytes(31),
        bytes(33),
        b"\xff" * 32,
        order.to_bytes(32, "little" if suite == FROST_ED25519 else "big"),
    ):
        with pytest.raises(FaultyParticipant) as caught:
            run.combine(partials | {cheat: wrong})
        assert caught.value.participant == cheat


@in_every_suite
def test_a_partial_signature_for_another_task_names_its_signer(suite: str) -> None:
    for change in ({"message": b"other"}, {"tweak": 5}, {"merkle_root": b""}, {"merkle_root": b"r" * 32}):
        run = Run(suite)
        try:
            other = replace(run.task, **change)
        except CallerError:
            continue  # the suite has no such key
        partials = {1: run.partial(1), 3: run.partial(3, task=other)}

        with pytest.raises(FaultyParticipant) as caught:
            run.combine(partials)

        assert caught.value.participant == 3


@in_every_suite
def test_job_and_index_bind_by_single_use_and_not_by_hash(suite: str) -> None:
    """The same pair, openings and message give the same bytes, so a repetition tells nothing new."""
    first, second = Run(suite), Run(suite)
    other = replace(first.task, job_id=bytes(32), index=7)

    assert second.partial(1, task=other) == first.partial(1)


@in_every_suite
def test_openings_of_another_set_or_another_own_opening_blame_the_coordinator(suite: str) -> None:
    run, other = Run(suite), openings_of(other_nonces(suite))
    right = run.openings

    for wrong in ({1: right[1]}, right | {2: other[3]}, {1: right[1], 2: right[3]}, right | {1: other[1]}):
        with pytest.raises(FaultyCoordinator):
            run.partial(1, wrong)
    assert run.combine(run.partials())


@in_every_suite
def test_an_opening_that_is_no_two_points_names_its_signer(suite: str) -> None:
    run = Run(suite)
    length = group_of(suite).point_bytes
    point, neutral = run.openings[3][:length], b"\x01".ljust(length, b"\0")
    wrongs = [b"", point, run.openings[3] + b"\0", bytes(2 * length), b"\xff" * 2 * length]
    wrongs += [point + bytes(length), bytes(length) + point, point + neutral, neutral + point]

    for wrong in wrongs:
        for attempt in (partial(run.partial, 1), partial(signing_view, run.task)):
            with pytest.raises(FaultyParticipant) as caught:
                attempt(run.openings | {3: wrong})
            assert caught.value.participant == 3


@in_every_suite
def test_nonces_depend_on_message_key_and_every_opening(suite: str) -> None:
    """Else whoever chooses one of them last could try many challenges against the same R."""
    run, other = Run(suite), openings_of(other_nonces(suite))
    another_key = replace(run.task, group_key=run.shares[1].public_shares[0])
    tasks = [*variants(run.task), replace(run.task, message=b"other"), another_key]
    views = [signing_view(task, run.openings) for task in tasks]
    views += [signing_view(run.task, run.openings | {i: other[i]}) for i in SIGNERS]

    for i in SIGNERS:
        assert len({view.binding_factors[i] for view in views}) == len(views)
    assert len({view.nonce for view in views}) == len(views)


@in_every_suite
def test_a_copied_opening_is_refused(suite: str) -> None:
    run = Run(suite)

    with pytest.raises(UnknownFault, match="copy"):
        run.partial(1, run.openings | {3: run.openings[1]})


@in_every_suite
def test_an_opening_altered_for_one_signer_gives_no_signature_and_names_who_signed_with_it(
    suite: str,
) -> None:
    """An honest combiner relays the same openings to all; one that does not can only mislead itself."""
    run = Run(suite)
    altered = run.openings | {3: openings_of(other_nonces(suite))[3]}
    partials = {1: run.partial(1, altered), 3: run.partial(3)}

    for seen in (run.openings, altered):
        with pytest.raises(FaultyParticipant):
            run.combine(partials, seen)
    with pytest.raises(FaultyParticipant) as caught:
        run.combine(partials)
    assert caught.value.participant == 1


@in_every_suite
def test_a_set_without_all_its_partials_openings_or_public_shares_is_refused(suite: str) -> None:
    run = Run(suite)
    partials = run.partials()

    for wrong in ({1: partials[1]}, partials | {2: partials[1]}, {}):
        with pytest.raises(CallerError, match="a partial, an opening and a public share"):
            run.combine(wrong)
    with pytest.raises(CallerError, match="a partial, an opening and a public share"):
        combine(
            partials, openings=run.openings, public_shares={1: run.shares[1].public_shares[0]}, task=run.task
        )


@in_every_suite
def test_public_shares_of_another_key_name_nobody_when_all_fit(suite: str) -> None:
    run = Run(suite)
    task = replace(run.task, group_key=group_of(suite).base_mul(3))
    shares = {i: replace(share, group_key=task.group_key) for i, share in run.shares.items()}
    nonces = nonces_of(shares, SIGNERS)

    with pytest.raises(UnknownFault, match="record"):
        combine(
            partials_of(shares, nonces, task),
            openings=openings_of(nonces),
            public_shares=public_shares(run.shares),
            task=task,
        )


@settings(max_examples=40)
@given(st.sampled_from(SUITES), st.sampled_from(["opening", "partial"]), st.data())
def test_one_altered_byte_ends_in_a_named_cheat(suite: str, what: str, data: st.DataObject) -> None:
    """One signer shows and sends what it likes, the rest is honest: never a signature or another's name."""
    run = Run(suite)
    length = 32 if what == "partial" else len(run.openings[3])
    at, mask = data.draw(st.integers(0, length - 1)), data.draw(st.integers(1, 255))
    openings = dict(run.openings)
    honest = run.partial(3)
    if what == "opening":
        openings[3] = flip(openings[3], at, mask=mask)

    with pytest.raises(ProtocolError) as caught:
        sent = flip(honest, at, mask=mask) if what == "partial" else honest
        run.combine({1: run.partial(1, openings), 3: sent}, openings)

    assert isinstance(caught.value, FaultyParticipant)
    assert caught.value.participant == 3
