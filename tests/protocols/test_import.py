"""Import: a key split once by a dealer, whose mistakes and lies are its own and not a peer's."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant, MalformedError, UnknownFault
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1, SUITES
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.imported import DEALER, DealtShare, scalar_of_seed, split, start_import
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.keys import WITHOUT_PAIRS, give_their_key, names_of, secret_behind, sign_with
from tests.protocols.lockstep import Outcome, flip, run_all

COMMITTEES = [(t, n) for n in range(2, 6) for t in range(2, n + 1)]
SECRET = 0xC0FFEE
Edit = Callable[[bytes], bytes]


def dealt_to(
    t: int, n: int, *, suite: str = FROST_SECP256K1, secret: int = SECRET, seed: int = 0
) -> dict[int, DealtShare]:
    shares = split(
        group_of(suite).scalar_bytes(secret),
        suite=suite,
        min_signers=t,
        participants=names_of(n),
        chain_code=b"c" * 32,
        randomness=bytes([seed]) * 32,
    )
    return {share.index: share for share in shares}


def parameters(dealt: DealtShare, n: int) -> KeygenParameters:
    t = len(dealt.commitments)
    return KeygenParameters(b"i" * 32, dealt.suite, "old-1", t, names_of(n), dealt.index)


def runs(dealt: dict[int, DealtShare]) -> dict[int, Rounds]:
    return {
        i: start_import(parameters(share, len(dealt)), share, randomness=bytes([i]) * 32)
        for i, share in dealt.items()
    }


def imported(dealt: dict[int, DealtShare]) -> dict[int, KeygenResult]:
    outcome = run_all(runs(dealt))
    assert not outcome.errors, outcome.errors
    return {i: result for i, result in outcome.results.items() if isinstance(result, KeygenResult)}


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
@pytest.mark.parametrize(("t", "n"), COMMITTEES)
def test_every_quorum_holds_the_imported_key_and_fewer_do_not(t: int, n: int, suite: str) -> None:
    found = imported(dealt_to(t, n, suite=suite))
    shares = {i: result.share for i, result in found.items()}

    assert {secret_behind(chosen) for chosen in combinations(shares.values(), t)} == {SECRET}
    assert not any(give_their_key(chosen) for chosen in combinations(shares.values(), t - 1))
    assert len({result.transcript for result in found.values()}) == 1
    for i, share in shares.items():
        share.check()
        assert (share.index, share.epoch, share.chain_code) == (i, 0, b"c" * 32)
        assert share.group_key == group_of(suite).base_mul(SECRET)


@pytest.mark.parametrize(("t", "n"), [(2, 2), (2, 3)])
def test_an_imported_ecdsa_key_signs(t: int, n: int) -> None:
    found = imported(dealt_to(t, n, suite=DKLS23_SECP256K1))

    shares = {i: result.share for i, result in found.items()}
    sign_with(shares, {i: result.pairs for i, result in found.items()}, tuple(range(n - t + 1, n + 1)))


@pytest.mark.parametrize("suite", SUITES)
def test_keys_at_the_edges_are_taken(suite: str) -> None:
    order = group_of(suite).order
    for secret in (1, 2, order - 1):
        dealt = dealt_to(2, 2, suite=suite, secret=secret)

        assert dealt[1].group_key == group_of(suite).base_mul(secret)


@settings(max_examples=30)
@given(st.sampled_from(COMMITTEES), st.integers(1, 2**252), st.sampled_from(WITHOUT_PAIRS), st.data())
def test_any_key_comes_back_from_any_quorum(
    committee: tuple[int, int], secret: int, suite: str, data: st.DataObject
) -> None:
    t, n = committee
    dealt = dealt_to(t, n, suite=suite, secret=secret)
    shares = {i: result.share for i, result in imported(dealt).items()}

    chosen = data.draw(st.permutations(sorted(shares)))[:t]

    assert secret_behind(shares[i] for i in chosen) == secret


def test_a_chain_code_is_kept_or_drawn_fresh() -> None:
    def dealt(chain_code: bytes | None, seed: int) -> DealtShare:
        return split(
            SECRET.to_bytes(32, "big"),
            suite=FROST_SECP256K1,
            min_signers=2,
            participants=names_of(3),
            chain_code=chain_code,
            randomness=bytes([seed]) * 32,
        )[0]

    assert dealt(b"x" * 32, 0).chain_code == b"x" * 32
    assert dealt(None, 0).chain_code != dealt(None, 1).chain_code
    assert dealt(None, 0).share != dealt(None, 1).share


@given(st.binary(min_size=32, max_size=32))
def test_an_ed25519_seed_gives_the_public_key_that_its_wallet_shows(seed: bytes) -> None:
    wallet = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    dealt = split(
        scalar_of_seed(seed),
        suite=FROST_ED25519,
        min_signers=2,
        participants=names_of(2),
        chain_code=None,
        randomness=bytes(32),
    )

    assert dealt[0].group_key == wallet


# What is no key


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda group: bytes(32), "must not be zero"),
        (lambda group: order_bytes(group.order, group), "not below the group order"),
        (lambda group: order_bytes(group.order + 1, group), "not below the group order"),
        (lambda group: b"\xff" * 32, "not below the group order"),
        (lambda group: b"\x01" * 31, "has 32 bytes, got 31"),
        (lambda group: b"\x01" * 33, "has 32 bytes, got 33"),
        (lambda group: b"", "has 32 bytes, got 0"),
    ],
)
def test_an_invalid_private_key_is_refused_by_its_name(
    suite: str, make: Callable[[object], bytes], match: str
) -> None:
    group = group_of(suite)

    with pytest.raises(MalformedError, match=f"private_key: .*{match}"):
        split(
            make(group),
            suite=suite,
            min_signers=2,
            participants=names_of(2),
            chain_code=None,
            randomness=bytes(32),
        )


def order_bytes(x: int, group: object) -> bytes:
    return x.to_bytes(32, "little" if group is group_of(FROST_ED25519) else "big")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"suite": "ecdsa"}, CallerError, "unknown ciphersuite"),
        ({"min_signers": 1}, CallerError, "got 1 of 3"),
        ({"min_signers": 4}, CallerError, "got 4 of 3"),
        ({"participants": ("node-1", "node-1", "node-2")}, CallerError, "distinct names"),
        ({"chain_code": bytes(31)}, MalformedError, "chain_code: has 31 bytes"),
        ({"randomness": bytes(31)}, CallerError, "32 bytes"),
    ],
)
def test_an_impossible_split_is_refused(
    change: dict[str, object], error: type[Exception], match: str
) -> None:
    arguments: dict[str, object] = {
        "suite": FROST_SECP256K1,
        "min_signers": 2,
        "participants": names_of(3),
        "chain_code": None,
        "randomness": bytes(32),
    }

    with pytest.raises(error, match=match):
        split(SECRET.to_bytes(32, "big"), **{**arguments, **change})  # type: ignore[arg-type]


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(MalformedError, match="seed: has 31 bytes"):
        scalar_of_seed(bytes(31))


# The dealer's mistakes and lies


@pytest.mark.parametrize(
    "change",
    [
        {"share": 4711},
        {"index": 3},
        {"suite": "frost-secp256k1-taproot"},
        {"commitments": dealt_to(3, 3)[1].commitments},
        {"commitments": dealt_to(2, 3, seed=1)[1].commitments},
        {"commitments": dealt_to(2, 3)[1].commitments[::-1]},
    ],
)
def test_a_wrong_dealt_share_names_the_dealer_before_anything_is_sent(change: dict[str, object]) -> None:
    dealt = dealt_to(2, 3)[2]

    with pytest.raises(FaultyParticipant) as caught:
        start_import(parameters(dealt, 3), replace(dealt, **change), randomness=bytes(32))  # type: ignore[arg-type]

    assert caught.value.participant == DEALER
    assert not caught.value.ban


def test_commitments_that_give_somebody_no_share_name_the_dealer() -> None:
    dealt, group = dealt_to(2, 3)[1], group_of(FROST_SECP256K1)
    vanishing = (group.base_mul(group.order - 2), group.base_mul(1))  # zero at index 2

    with pytest.raises(FaultyParticipant, match="no share") as caught:
        start_import(parameters(dealt, 3), replace(dealt, commitments=vanishing), randomness=bytes(32))

    assert caught.value.participant == DEALER


@pytest.mark.parametrize("suite", [FROST_SECP256K1, DKLS23_SECP256K1])
@pytest.mark.parametrize("lie", ["another polynomial", "another chain code"])
def test_a_dealer_that_deals_two_keys_gives_nobody_one(suite: str, lie: str) -> None:
    dealt = dealt_to(2, 3, suite=suite)
    other = dealt_to(2, 3, suite=suite, seed=1)[3]
    wrong = other if lie == "another polynomial" else replace(dealt[3], chain_code=bytes(32))

    outcome = run_all(runs({**dealt, 3: wrong}))

    assert not outcome.results
    assert all(isinstance(error, UnknownFault) for error in outcome.errors.values())


# A peer's


def tampered(suite: str, number: int, edit: Edit) -> Outcome:
    return run_all(
        runs(dealt_to(2, 2, suite=suite)),
        lambda sender, _to, data: edit(data) if (sender, data[0]) == (2, number) else data,
    )


@pytest.mark.parametrize(
    ("number", "position"), [(1, 33), (1, 70), (1, -1), (2, 1), (2, 40), (2, -1), (3, 1), (3, -1)]
)
def test_an_altered_byte_of_the_pairs_names_its_sender(number: int, position: int) -> None:
    outcome = tampered(DKLS23_SECP256K1, number, lambda data: flip(data, position))

    error = outcome.errors[1]
    assert isinstance(error, FaultyParticipant)
    assert error.participant == 2
    assert 1 not in outcome.results


@pytest.mark.parametrize(
    ("suite", "number"), [(FROST_SECP256K1, 1), *((DKLS23_SECP256K1, number) for number in (1, 2, 3))]
)
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\x00"])
def test_a_body_of_the_wrong_length_names_its_sender(suite: str, number: int, change: Edit) -> None:
    outcome = tampered(suite, number, change)

    error = outcome.errors[1]
    assert isinstance(error, FaultyParticipant)
    assert error.participant == 2


@pytest.mark.parametrize("suite", [FROST_SECP256K1, DKLS23_SECP256K1])
def test_another_view_names_nobody(suite: str) -> None:
    outcome = tampered(suite, 1, lambda data: flip(data, 1))

    assert isinstance(outcome.errors[1], UnknownFault)


@pytest.mark.parametrize("change", [{"session": b"x" * 32}, {"key_id": "other"}])
def test_parties_of_different_runs_do_not_agree(change: dict[str, object]) -> None:
    dealt = dealt_to(2, 2)
    stray = start_import(
        replace(parameters(dealt[2], 2), **change),  # type: ignore[arg-type]
        dealt[2],
        randomness=bytes(32),
    )

    outcome = run_all({**runs(dealt), 2: stray})

    assert not outcome.results


def test_an_import_begins_at_epoch_0() -> None:
    dealt = dealt_to(2, 2)[1]

    with pytest.raises(CallerError, match="epoch 0, not 1"):
        start_import(replace(parameters(dealt, 2), epoch=1), dealt, randomness=bytes(32))


# The encoding


@pytest.mark.parametrize("suite", SUITES)
def test_a_dealt_share_reads_back_and_nothing_shorter_does(suite: str) -> None:
    dealt = dealt_to(2, 3, suite=suite)[3]
    data = dealt.to_bytes()

    assert DealtShare.from_bytes(data) == dealt
    for length in range(0, len(data), 7):
        with pytest.raises(MalformedError):
            DealtShare.from_bytes(data[:length])


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b'"index":3', b'"index":0', "'index'"),
        (b'"index":3', b'"index":10', "'index'"),
        (b'"index":3', b'"index":"3"', "'index'"),
        (b'"suite":"frost', b'"suite":"frosty', "'suite'"),
        (b'"share":"', b'"share":"00', "'share'"),
        (b'"chain_code":"63', b'"chain_code":"', "'chain_code'"),
        (b'"commitments":["0', b'"commitments":["8', "commitments"),
        (b'"share"', b'"shares"', "'share' is missing"),
        (b'"share"', b'"more":1,"share"', "unknown field 'more'"),
    ],
)
def test_a_wrong_field_of_a_dealt_share_is_named(old: bytes, new: bytes, match: str) -> None:
    data = dealt_to(2, 3)[3].to_bytes()
    assert old in data

    with pytest.raises(MalformedError, match=match):
        DealtShare.from_bytes(data.replace(old, new, 1))


def test_a_dealt_share_of_zero_or_of_the_order_is_refused() -> None:
    dealt, group = dealt_to(2, 3)[3], group_of(FROST_SECP256K1)
    honest = group.scalar_bytes(dealt.share).hex().encode()

    for wrong in (bytes(32), group.order.to_bytes(32, "big")):
        with pytest.raises(MalformedError, match="dealt share: share"):
            DealtShare.from_bytes(dealt.to_bytes().replace(honest, wrong.hex().encode()))


def test_no_secret_is_printed() -> None:
    dealt = dealt_to(2, 3)[1]

    assert str(dealt.share) not in repr(dealt)
