"""Nonce pairs are made alone, named alike by all, and used once; tasks have one shape."""

import functools
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.ciphersuites import verify
from policy.errors import CallerError, FaultyParticipant, MalformedError
from policy.schnorr import MESSAGE_BYTES_MAX, output_key, public_key
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT
from signer_nodes.api.presignature_ids import nonce_id
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.nonces import BATCH_MAX, NoncePair, make_nonces, nonce_session
from tests.protocols.frost_house import (
    SIGNERS,
    SUITES,
    Run,
    deal,
    generated,
    in_every_suite,
    nonces_of,
    session_of,
    task_of,
    variants,
)
from tests.protocols.lockstep import flip


@functools.cache
def encoded(suite: str) -> bytes:
    return Run(suite).nonces[1].to_bytes()


# Nonces


@in_every_suite
def test_nonces_are_used_once(suite: str) -> None:
    run = Run(suite)
    first = run.partial(1)

    for again in (functools.partial(run.partial, 1), run.nonces[1].take, run.nonces[1].to_bytes):
        with pytest.raises(CallerError, match="was used"):
            again()
    assert run.combine({1: first, 3: run.partial(3)})
    assert run.nonces[1]._nonces is None


@in_every_suite
def test_a_refusal_leaves_the_nonces_for_the_right_openings(suite: str) -> None:
    run = Run(suite)

    with pytest.raises(FaultyParticipant):
        run.partial(1, run.openings | {3: b""})
    with pytest.raises(CallerError):
        run.partial(1, task=replace(run.task, group_key=group_of(suite).base_mul(5)))

    signature = run.combine(run.partials())
    assert verify(suite, signature, message=run.task.message, public_key=public_key(run.task))


@in_every_suite
def test_nonces_show_no_secret(suite: str) -> None:
    run = Run(suite)
    shown = repr(run.nonces[1]) + str(run.nonces[1])
    with pytest.raises(CallerError) as caught:
        run.partial(1)
        run.partial(1)

    d, e = nonces_of(run.shares, SIGNERS)[1].take()
    for secret in (d, e, run.shares[1].share):
        assert str(secret) not in shown + str(caught.value)
        assert f"{secret:x}" not in shown + str(caught.value)


@in_every_suite
def test_nonces_of_another_key_or_party_are_refused(suite: str) -> None:
    run, other = Run(suite), deal(suite, [5, 6], n=3)

    with pytest.raises(CallerError, match="party 3"):
        partial_signature(run.shares[1], run.nonces[3], openings=run.openings, task=run.task)
    with pytest.raises(CallerError, match="another key"):
        partial_signature(other[1], run.nonces[1], openings=run.openings, task=run.task)
    with pytest.raises(CallerError, match="another key"):
        run.partial(1, task=task_of(next(name for name in SUITES if name != suite)))


@in_every_suite
def test_a_batch_never_repeats_a_nonce_and_hedges_with_the_share(suite: str) -> None:
    shares = generated(suite, 2, 3)

    def make(i: int, randomness: bytes) -> list[NoncePair]:
        session = session_of(shares[i], SIGNERS)
        return list(make_nonces(shares[i], session=session, batch=8, signers=SIGNERS, randomness=randomness))

    batches = [make(1, bytes(32)), make(1, b"r" * 32), make(3, bytes(32))]
    openings = [pair.opening for batch in batches for pair in batch]
    nonces = [nonce for batch in batches for pair in batch for nonce in pair.take()]

    assert len(set(openings)) == 24
    assert len(set(nonces)) == 48
    assert [pair.opening for pair in make(1, bytes(32))] == openings[:8]


@in_every_suite
def test_ids_are_the_same_at_every_signer_and_of_one_place_only(suite: str) -> None:
    run = Run(suite)
    ids = {
        nonce_id(session_of(run.shares[1], SIGNERS, batch_id), b) for batch_id in range(4) for b in range(4)
    }

    assert (
        run.nonces[1].presign_id
        == run.nonces[3].presign_id
        == nonce_id(session_of(run.shares[3], SIGNERS, 0), 0)
    )
    assert len(ids) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"suite": FROST_TAPROOT},
        {"version": 2},
        {"key_id": "hot-2"},
        {"epoch": 1},
        {"batch_id": 2},
        {"boot_ids": {"node-1": b"a" * 32, "node-3": b"b" * 32}},
        {"boot_ids": {"node-1": b"a" * 32, "node-2": b"c" * 32}},
    ],
)
def test_a_session_id_covers_every_field(change: dict[str, object]) -> None:
    boots = {"node-2": b"b" * 32, "node-1": b"a" * 32}
    fields = {
        "suite": FROST_SECP256K1,
        "version": 1,
        "key_id": "hot-1",
        "epoch": 0,
        "batch_id": 1,
        "boot_ids": boots,
    }
    session = nonce_session(**fields)  # type: ignore[arg-type]

    assert session == nonce_session(**fields | {"boot_ids": dict(sorted(boots.items()))})  # type: ignore[arg-type]
    assert session != nonce_session(**fields | change)  # type: ignore[arg-type]


@in_every_suite
def test_a_nonce_pair_reads_back(suite: str) -> None:
    run, again = Run(suite), Run(suite)
    read = NoncePair.from_bytes(run.nonces[1].to_bytes())

    assert read.to_bytes() == run.nonces[1].to_bytes()
    assert (read.presign_id, read.opening) == (run.nonces[1].presign_id, run.nonces[1].opening)
    assert partial_signature(run.shares[1], read, openings=run.openings, task=run.task) == again.partial(1)


@in_every_suite
def test_a_malformed_nonce_pair_is_refused(suite: str) -> None:
    data = encoded(suite)
    other_suite = data.replace(
        suite.encode(), DKLS23_SECP256K1.encode().ljust(len(suite), b"x")[: len(suite)]
    )
    wrongs = [
        b"",
        data[:-1],
        data + b"\0",
        flip(data, 0),
        other_suite,
        data[:-64] + bytes(64),
        data[:-32] + b"\xff" * 32,
    ]

    for wrong in [*wrongs, *(data[:length] for length in range(0, len(data), 7))]:
        with pytest.raises(MalformedError):
            NoncePair.from_bytes(wrong)


@given(st.sampled_from(SUITES), st.integers(0, 400), st.integers(1, 255))
def test_a_changed_encoding_is_refused_or_says_something_else(suite: str, at: int, mask: int) -> None:
    data = encoded(suite)
    changed = flip(data, at % len(data), mask=mask)

    with suppress(MalformedError):
        assert NoncePair.from_bytes(changed).to_bytes() == changed


@in_every_suite
@pytest.mark.parametrize(
    "change",
    [
        {"batch": 0},
        {"batch": BATCH_MAX + 1},
        {"session": bytes(31)},
        {"signers": (1, 2, 3)},
        {"signers": (1,)},
        {"signers": (1, 1)},
        {"signers": (2, 3)},
        {"signers": (1, 4)},
        {"signers": (0, 1)},
        {"randomness": bytes(31)},
    ],
)
def test_impossible_batches_are_refused(suite: str, change: dict[str, object]) -> None:
    fields = {"session": bytes(32), "batch": 1, "signers": SIGNERS, "randomness": bytes(32)} | change

    with pytest.raises(CallerError):
        make_nonces(generated(suite, 2, 3)[1], **fields)  # type: ignore[arg-type]


def test_a_key_for_another_scheme_makes_no_nonces() -> None:
    share = replace(generated(FROST_SECP256K1, 2, 3)[1], suite=DKLS23_SECP256K1)

    with pytest.raises(CallerError, match="not one of FROST's"):
        make_nonces(share, session=bytes(32), batch=1, signers=SIGNERS, randomness=bytes(32))


# Tasks


@in_every_suite
@pytest.mark.parametrize(
    "change",
    [
        {"suite": DKLS23_SECP256K1},
        {"suite": "schnorr"},
        {"message": bytes(MESSAGE_BYTES_MAX + 1)},
        {"group_key": bytes(31)},
        {"group_key": bytes(34)},
        {"tweak": -1},
        {"tweak": 2**256},
        {"job_id": bytes(31)},
        {"index": -1},
        {"index": 2**32},
        {"merkle_root": bytes(31)},
    ],
)
def test_a_task_of_wrong_shape_is_refused(suite: str, change: dict[str, object]) -> None:
    with pytest.raises(CallerError):
        replace(task_of(suite), **change)  # type: ignore[arg-type]


def test_tweaks_and_taproot_are_for_the_suites_that_have_them() -> None:
    with pytest.raises(CallerError, match="derives no keys"):
        replace(task_of(FROST_ED25519), tweak=1)
    for suite in (FROST_ED25519, FROST_SECP256K1):
        with pytest.raises(CallerError, match="taproot"):
            replace(task_of(suite), merkle_root=b"")


@in_every_suite
def test_an_output_key_says_how_it_is_made_of_the_group_key(suite: str) -> None:
    group = group_of(suite)
    for secret in range(1, 9):
        for task in variants(replace(task_of(suite, seed=secret), group_key=group.base_mul(secret))):
            key = output_key(task)

            assert group.base_mul((key.sign * secret + key.addend) % group.order) == key.point
            assert key.point[0] == 2 or suite != FROST_TAPROOT
