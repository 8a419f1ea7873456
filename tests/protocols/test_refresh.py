"""Refresh: new shares of the same key that do not mix with the old, and a cheat is named."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant, InvariantError, ProtocolError, UnknownFault
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1
from signer_nodes.mpc import redeal, refresh
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.refresh import start_refresh
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.keys import WITHOUT_PAIRS, deal_key, give_their_key, secret_behind, sign_with
from tests.protocols.lockstep import Outcome, flip, run_all

COMMITTEES = [(t, n) for n in range(2, 6) for t in range(2, n + 1)]
SESSION = b"r" * 32
Edit = Callable[[bytes], bytes]


def parameters_of(share: KeyShare, *, session: bytes = SESSION) -> KeygenParameters:
    return KeygenParameters(
        session,
        share.suite,
        share.key_id,
        share.min_signers,
        share.participants,
        share.index,
        share.epoch + 1,
    )


def run_of(share: KeyShare, *, seed: int = 0, session: bytes = SESSION) -> Rounds:
    randomness = bytes([seed, share.index]) * 16
    return start_refresh(parameters_of(share, session=session), share, randomness=randomness)


def refreshed(shares: dict[int, KeyShare], *, seed: int = 0) -> dict[int, KeygenResult]:
    outcome = run_all({i: run_of(share, seed=seed) for i, share in shares.items()})
    assert not outcome.errors, outcome.errors
    return {i: result for i, result in outcome.results.items() if isinstance(result, KeygenResult)}


def new_shares(shares: dict[int, KeyShare], *, seed: int = 0) -> dict[int, KeyShare]:
    return {i: result.share for i, result in refreshed(shares, seed=seed).items()}


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
@pytest.mark.parametrize(("t", "n"), COMMITTEES)
def test_any_quorum_of_new_shares_holds_the_same_key_and_fewer_do_not(t: int, n: int, suite: str) -> None:
    old = deal_key(t, n, suite=suite)

    new = new_shares(old)

    assert all(give_their_key(chosen) for chosen in combinations(new.values(), t))
    assert not any(give_their_key(chosen) for chosen in combinations(new.values(), t - 1))
    for i, share in new.items():
        kept = replace(old[i], epoch=1, share=share.share, public_shares=share.public_shares)
        assert share == kept
        assert share.share != old[i].share


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 4), (3, 5)])
def test_shares_of_two_epochs_never_give_the_key(t: int, n: int, suite: str) -> None:
    old = deal_key(t, n, suite=suite)
    new = new_shares(old)
    key = secret_behind(list(old.values())[:t])

    for chosen in combinations(old, t):
        for epochs in product((old, new), repeat=t):
            mixed = secret_behind(shares[i] for shares, i in zip(epochs, chosen, strict=True))
            assert (mixed == key) == (len({id(shares) for shares in epochs}) == 1)


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
def test_all_parties_agree_and_each_refresh_is_another(suite: str) -> None:
    old = deal_key(2, 3, suite=suite)
    once, other = refreshed(old), refreshed(old, seed=1)
    again = new_shares({i: result.share for i, result in once.items()})

    assert len({result.transcript for result in once.values()}) == 1
    assert once[1].transcript != other[1].transcript
    assert once[1].share.share != other[1].share.share
    assert [share.epoch for share in again.values()] == [2, 2, 2]
    assert all(give_their_key(chosen) for chosen in combinations(again.values(), 2))


def test_the_same_randomness_gives_the_same_run_byte_for_byte() -> None:
    old = deal_key(2, 3)

    assert run_all({i: run_of(old[i]) for i in old}) == run_all({i: run_of(old[i]) for i in old})


@pytest.mark.parametrize(("t", "n"), [(2, 2), (3, 3)])
def test_a_refreshed_ecdsa_key_signs_with_its_new_pairs(t: int, n: int) -> None:
    results = refreshed(deal_key(t, n, suite=DKLS23_SECP256K1))
    shares = {i: result.share for i, result in results.items()}
    pairs = {i: result.pairs for i, result in results.items()}

    assert {(p.me, p.peer, p.epoch) for states in pairs.values() for p in states} == {
        (me, peer, 1) for me in shares for peer in shares if me != peer
    }
    sign_with(shares, pairs, tuple(range(1, t + 1)))


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
def test_no_pairs_are_made_where_the_suite_has_none(suite: str) -> None:
    assert all(not result.pairs for result in refreshed(deal_key(2, 3, suite=suite)).values())


@settings(max_examples=25)
@given(st.sampled_from(COMMITTEES), st.integers(0, 250), st.sampled_from(WITHOUT_PAIRS), st.data())
def test_the_key_survives_any_number_of_refreshes(
    committee: tuple[int, int], seed: int, suite: str, data: st.DataObject
) -> None:
    t, n = committee
    shares = deal_key(t, n, suite=suite, seed=seed)
    key = secret_behind(list(shares.values())[:t])
    for number in range(data.draw(st.integers(1, 3))):
        shares = new_shares(shares, seed=number)

    chosen = data.draw(st.permutations(sorted(shares)))[:t]

    assert secret_behind(shares[i] for i in chosen) == key


# What a refresh must not change


def test_a_polynomial_of_another_degree_is_refused() -> None:
    """The dealer opens one point more or one fewer: a lower degree would lower ``min_signers``."""
    old, point = deal_key(3, 4), 33
    for change in (lambda data: data[:-point], lambda data: data + data[-point:]):
        outcome = tampered(old, 2, change)

        assert named(outcome, {1, 3, 4}) == {2}


def test_a_dealer_with_a_constant_term_of_its_own_is_named() -> None:
    """It would move the group key: its values are off the polynomial that its points stand for."""
    old = deal_key(2, 3)
    plan = refresh._plan(parameters_of(old[2]), old[2])
    moving = redeal.start_redeal(plan, 4711, finish=lambda redealt: redealt, randomness=bytes(32))

    outcome = run_all({1: run_of(old[1]), 2: moving, 3: run_of(old[3])})

    assert named(outcome, {1, 3}) == {2}


def test_every_opening_has_one_point_fewer_than_min_signers() -> None:
    for t, n in COMMITTEES:
        old = deal_key(t, n, suite=FROST_SECP256K1)
        openings = [data for _, _, data in run_all({i: run_of(old[i]) for i in old}).payloads if data[0] == 2]

        assert {len(data) for data in openings} == {1 + 33 * (t - 1)}


# Cheats


OPENED = {"first point": 1, "a coordinate": 20, "last byte": -1}
SHARED = {"share": 1, "share end": 32}


@pytest.mark.parametrize("suite", [FROST_SECP256K1, FROST_ED25519])
@pytest.mark.parametrize(
    ("number", "position"),
    [(1, 1), (1, -1), *((2, at) for at in OPENED.values()), *((3, at) for at in SHARED.values())],
)
def test_one_altered_byte_names_its_sender_at_everyone(suite: str, number: int, position: int) -> None:
    outcome = tampered(deal_key(3, 4, suite=suite), number, lambda data: flip(data, position))

    assert named(outcome, {1, 3, 4}) == {2}


ALTERED_PAIRS = {
    "zero commitment": (1, 33),
    "ot request": (1, 70),
    "zero part": (2, 34),
    "ot answer": (2, 80),
    "ot answer, last byte": (2, -1),
    "confirmation": (3, -1),
}


@pytest.mark.parametrize(("number", "position"), ALTERED_PAIRS.values(), ids=ALTERED_PAIRS.keys())
def test_an_altered_byte_of_the_pairs_names_its_sender(number: int, position: int) -> None:
    outcome = tampered(deal_key(2, 2, suite=DKLS23_SECP256K1), number, lambda data: flip(data, position))

    assert named(outcome, {1}) == {2}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\x00"])
@pytest.mark.parametrize("suite", [FROST_SECP256K1, DKLS23_SECP256K1])
def test_a_body_of_the_wrong_length_names_its_sender(suite: str, number: int, change: Edit) -> None:
    outcome = tampered(deal_key(2, 2, suite=suite), number, change)

    assert named(outcome, {1}) == {2}


@pytest.mark.parametrize("share", [bytes(32), b"\xff" * 32])
def test_a_share_out_of_range_names_its_dealer(share: bytes) -> None:
    outcome = tampered(deal_key(2, 3), 3, lambda data: data[:1] + share + data[33:])

    assert named(outcome, {1, 3}) == {2}


def test_another_view_of_the_public_messages_names_nobody() -> None:
    outcome = tampered(deal_key(2, 3), 3, lambda data: flip(data, -1))

    assert named(outcome, {1, 3}) == {None}


def test_a_dealer_that_shows_two_faces_gives_nobody_new_shares() -> None:
    old = deal_key(2, 3)
    second = run_all({1: run_of(old[1], seed=7), 2: run_of(old[2]), 3: run_of(old[3])}).payloads
    face = {data[0]: data for sender, to, data in second if (sender, to) == (1, 3)}

    outcome = run_all(
        {i: run_of(old[i]) for i in old}, lambda who, to, data: face[data[0]] if (who, to) == (1, 3) else data
    )

    assert not {2, 3} & outcome.results.keys()
    assert isinstance(outcome.errors[2], UnknownFault)


def test_a_copied_commitment_cannot_be_opened() -> None:
    first: dict[int, bytes] = {}

    def copy_from_one(sender: int, _to: int, data: bytes) -> bytes:
        if sender == 1:
            first.setdefault(data[0], data)
        return first.get(data[0], data) if sender == 2 else data

    outcome = run_all({i: run_of(share) for i, share in deal_key(2, 3).items()}, copy_from_one)

    assert named(outcome, {3}) == {2}


@pytest.mark.parametrize("change", ["share", "chain code"])
def test_parties_with_other_old_records_notice_and_blame_nobody(change: str) -> None:
    """Party 3 takes part from another epoch's shares of the same key: nobody cheated."""
    old = deal_key(2, 3)
    other = {i: replace(share, epoch=0) for i, share in new_shares(old).items()}
    stale = other[3] if change == "share" else replace(old[3], chain_code=bytes(32))

    outcome = run_all({1: run_of(old[1]), 2: run_of(old[2]), 3: run_of(stale)})

    assert not outcome.results
    assert all(isinstance(error, UnknownFault) for error in outcome.errors.values())


def test_another_session_names_who_is_in_it() -> None:
    old = deal_key(2, 3)

    outcome = run_all({1: run_of(old[1]), 2: run_of(old[2]), 3: run_of(old[3], session=b"x" * 32)})

    assert named(outcome, {1, 2}) == {3}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_altered_message_to_one_victim_ends_in_other_shares(number: int) -> None:
    old = deal_key(2, 3)
    honest = new_shares(old)
    for position in range(1, {1: 33, 2: 34, 3: 65}[number], 4):

        def tamper(sender: int, to: int, data: bytes, at: int = position) -> bytes:
            return flip(data, at) if (sender, to, data[0]) == (2, 3, number) else data

        outcome = run_all({i: run_of(old[i]) for i in old}, tamper)

        assert isinstance(outcome.errors[3], UnknownFault) or blamed(outcome.errors[3]) == 2
        for i, result in outcome.results.items():
            assert isinstance(result, KeygenResult)
            assert result.share == honest[i]


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"suite": "frost-secp256k1-taproot"}, "suite"),
        ({"key_id": "other"}, "key_id"),
        ({"min_signers": 3}, "min_signers"),
        ({"participants": ("node-1", "node-2", "node-4")}, "participants"),
        ({"index": 2}, "index"),
        ({"epoch": 0}, "comes 1, not 0"),
        ({"epoch": 2}, "comes 1, not 2"),
    ],
)
def test_parameters_of_another_key_are_refused(change: dict[str, object], match: str) -> None:
    share = deal_key(2, 3)[1]

    with pytest.raises(CallerError, match=match):
        start_refresh(
            replace(parameters_of(share), **change),  # type: ignore[arg-type]
            share,
            randomness=bytes(32),
        )


def test_a_share_that_is_not_behind_its_public_share_deals_nothing() -> None:
    share = replace(deal_key(2, 3)[1], share=4711)

    with pytest.raises(InvariantError, match="not behind its public share"):
        run_of(share)


def test_randomness_has_32_bytes() -> None:
    share = deal_key(2, 3)[1]

    with pytest.raises(CallerError, match="32 bytes"):
        start_refresh(parameters_of(share), share, randomness=bytes(31))


def test_no_secret_is_printed() -> None:
    old = deal_key(2, 3)
    result = refreshed(old)[1]
    redealt = redeal.Redealt(987654321, {}, bytes(32), ())

    assert str(result.share.share) not in repr(result)
    assert "987654321" not in repr(redealt)


def tampered(old: dict[int, KeyShare], number: int, edit: Edit) -> Outcome:
    """Party 2 sends to everybody something else in one round."""
    return run_all(
        {i: run_of(share) for i, share in old.items()},
        lambda sender, _to, data: edit(data) if (sender, data[0]) == (2, number) else data,
    )


def blamed(error: ProtocolError) -> int | str | None:
    return error.participant if isinstance(error, FaultyParticipant) else None


def named(outcome: Outcome, victims: set[int]) -> set[int | str | None]:
    """Whom the victims name; none of them may have got new shares."""
    assert not victims & outcome.results.keys()
    return {blamed(outcome.errors[victim]) for victim in victims}
