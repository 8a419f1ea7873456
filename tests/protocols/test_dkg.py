"""Key generation: every committee gets one key, and whoever deviates is named or nobody gets one."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from policy.errors import CallerError, FaultyParticipant, ProtocolError, UnknownFault
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, SUITES
from signer_nodes.mpc import dkg
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult, start_dkg
from signer_nodes.mpc.groups import ED25519_GROUP, SECP256K1_GROUP, Group, group_of
from signer_nodes.mpc.proofs import knows_logarithm, prove_knowledge
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.mpc.sharing import (
    Polynomial,
    add_commitments,
    evaluate_commitments,
    interpolate,
    random_polynomial,
    verify_share,
)
from signer_nodes.mpc.stream import RandomStream
from tests.protocols.lockstep import Outcome, flip, run_all, untouched

COMMITTEES = [(t, n) for n in range(2, 6) for t in range(2, n + 1)]
on_either_curve = pytest.mark.parametrize("suite", [DKLS23_SECP256K1, FROST_ED25519])
in_either_group = pytest.mark.parametrize(
    "group", [SECP256K1_GROUP, ED25519_GROUP], ids=["secp256k1", "ed25519"]
)


def parameters(t: int, n: int, index: int, *, suite: str = DKLS23_SECP256K1) -> KeygenParameters:
    names = tuple(f"node-{i}" for i in range(1, n + 1))
    return KeygenParameters(b"s" * 32, suite, "hot-1", t, names, index)


def parties(t: int, n: int, *, seed: int = 0, suite: str = DKLS23_SECP256K1) -> dict[int, Rounds]:
    return {i: start_dkg(parameters(t, n, i, suite=suite), bytes([seed, i]) * 16) for i in range(1, n + 1)}


def results(outcome: Outcome) -> dict[int, KeygenResult]:
    found = {i: result for i, result in outcome.results.items() if isinstance(result, KeygenResult)}
    assert found.keys() == outcome.results.keys()
    return found


@on_either_curve
@pytest.mark.parametrize(("t", "n"), [*COMMITTEES, (9, 9)])
def test_every_quorum_holds_the_group_key_and_fewer_do_not(t: int, n: int, suite: str) -> None:
    shares = {i: result.share for i, result in results(run_all(parties(t, n, suite=suite))).items()}
    group, group_key = group_of(suite), shares[1].group_key

    assert len(shares) == n
    for quorum in combinations(shares, t):
        assert group.base_mul(interpolate(group, {i: shares[i].share for i in quorum})) == group_key
    for too_few in combinations(shares, t - 1):
        assert group.base_mul(interpolate(group, {i: shares[i].share for i in too_few})) != group_key


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(("t", "n"), [(2, 2), (2, 3), (3, 5)])
def test_all_parties_agree_on_everything_public(t: int, n: int, suite: str) -> None:
    found = results(run_all(parties(t, n, suite=suite)))
    first = found[1]

    for index, result in found.items():
        assert replace(result.share, index=1, share=first.share.share) == first.share
        assert result.transcript == first.transcript
        assert group_of(suite).base_mul(result.share.share) == first.share.public_shares[index - 1]


def test_the_same_randomness_gives_the_same_run_byte_for_byte() -> None:
    assert run_all(parties(2, 3)) == run_all(parties(2, 3))


def test_other_randomness_of_one_party_changes_key_and_chain_code() -> None:
    one = results(run_all(parties(2, 3)))[1]
    other = results(run_all({**parties(2, 3), 3: parties(2, 3, seed=9)[3]}))[1]

    assert one.share.group_key != other.share.group_key
    assert one.share.chain_code != other.share.chain_code
    assert one.transcript != other.transcript


def test_rounds_one_and_two_are_the_same_to_every_peer() -> None:
    sent = run_all(parties(3, 5)).payloads

    for sender in range(1, 6):
        for number in (1, 2):
            assert len({data for who, _, data in sent if who == sender and data[0] == number}) == 1


# One party deviates. Offsets are into the body; the payload has one byte before it.
OPENING = {"coefficient": 1, "coefficient 2": 40, "proof": 70, "response": 105, "chain code": -1}
DEALT = {"share": 1, "share end": 32}


def accepted_keys(outcome: Outcome) -> set[bytes]:
    return {result.share.group_key for result in results(outcome).values()}


@pytest.mark.parametrize("position", OPENING.values(), ids=OPENING.keys())
@pytest.mark.parametrize("mask", [1, 0x80])
def test_an_altered_opening_names_its_dealer_at_everyone(position: int, mask: int) -> None:
    outcome = run_all(parties(2, 3), on_round(2, lambda data: flip(data, position, mask=mask)))

    assert named(outcome, {1, 3}) == {2}


def test_an_altered_commitment_names_its_dealer_at_everyone() -> None:
    outcome = run_all(parties(2, 3), on_round(1, lambda data: flip(data, 1)))

    assert named(outcome, {1, 3}) == {2}


@pytest.mark.parametrize("position", DEALT.values(), ids=DEALT.keys())
def test_an_altered_share_names_its_dealer_at_everyone(position: int) -> None:
    outcome = run_all(parties(2, 3), on_round(3, lambda data: flip(data, position)))

    assert named(outcome, {1, 3}) == {2}


@pytest.mark.parametrize(
    ("suite", "share"),
    [
        (DKLS23_SECP256K1, bytes(32)),
        (DKLS23_SECP256K1, SECP256K1_GROUP.order.to_bytes(32, "big")),
        (DKLS23_SECP256K1, b"\xff" * 32),
        (FROST_ED25519, bytes(32)),
        (FROST_ED25519, ED25519_GROUP.order.to_bytes(32, "little")),
        (FROST_ED25519, b"\xff" * 32),
    ],
)
def test_a_share_out_of_range_names_its_dealer(suite: str, share: bytes) -> None:
    outcome = run_all(parties(2, 3, suite=suite), on_round(3, lambda data: data[:1] + share + data[33:]))

    assert named(outcome, {1, 3}) == {2}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\x00"])
def test_a_body_of_the_wrong_length_names_its_sender(number: int, change: Callable[[bytes], bytes]) -> None:
    outcome = run_all(parties(2, 3), on_round(number, change))

    assert named(outcome, {1, 3}) == {2}


def test_another_transcript_ends_the_run_without_a_name() -> None:
    outcome = run_all(parties(2, 3), on_round(3, lambda data: flip(data, -1)))

    assert all(isinstance(outcome.errors[i], UnknownFault) for i in (1, 3))
    assert outcome.results.keys() <= {2}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_altered_message_to_one_victim_ends_in_two_keys(number: int) -> None:
    length = {1: 32, 2: dkg.opening_bytes(parameters(2, 3, 1)), 3: dkg.DEAL_BYTES}[number]
    for position in range(1, length + 1, 5):

        def tamper(sender: int, to: int, data: bytes, at: int = position) -> bytes:
            return flip(data, at) if (sender, to, data[0]) == (2, 3, number) else data

        outcome = run_all(parties(2, 3), tamper)

        error = outcome.errors[3]
        assert isinstance(error, UnknownFault) or blamed(error) == 2
        assert accepted_keys(outcome) <= accepted_keys(run_all(parties(2, 3)))


def test_a_dealer_that_shows_two_faces_gives_nobody_a_key() -> None:
    to_three = parties(2, 3, seed=7)[1]
    runs = parties(2, 3)
    second_face = run_all({1: to_three, 2: parties(2, 3)[2], 3: parties(2, 3)[3]}).payloads
    replies = {data[0]: data for sender, to, data in second_face if (sender, to) == (1, 3)}

    outcome = run_all(runs, lambda who, to, data: replies[data[0]] if (who, to) == (1, 3) else data)

    assert 2 not in outcome.results
    assert 3 not in outcome.results
    assert isinstance(outcome.errors[2], UnknownFault)


def test_a_copied_commitment_cannot_be_opened() -> None:
    copied: dict[tuple[int, int], bytes] = {}

    def copy_from_one(sender: int, to: int, data: bytes) -> bytes:
        copied.setdefault((sender, data[0]), data)
        return copied.get((1, data[0]), data) if sender == 2 else data

    outcome = run_all(parties(2, 3), copy_from_one)

    assert named(outcome, {3}) == {2}


def test_a_commitment_names_its_dealer() -> None:
    """So a copied one cannot be opened even by who learns the opening before its own is due."""
    opening = dkg.deal(parameters(2, 3, 1), RandomStream(bytes(32))).opening
    commitments = {index: dkg._commitment(parameters(2, 3, 1), index, opening) for index in (1, 2, 3)}

    assert len(set(commitments.values())) == 3
    with pytest.raises(FaultyParticipant, match="had committed to") as caught:
        dkg.open_dealings(
            parameters(2, 3, 1),
            dict.fromkeys((1, 2, 3), commitments[1]),
            openings=dict.fromkeys((1, 2, 3), opening),
        )
    assert caught.value.participant == 2


def test_a_longer_polynomial_is_refused() -> None:
    liar = start_dkg(parameters(3, 3, 2), b"r" * 32)

    outcome = run_all({**parties(2, 3), 2: liar})

    assert named(outcome, {1, 3}) == {2}


@pytest.mark.parametrize(
    "change",
    [
        {"session": b"t" * 32},
        {"suite": "frost-secp256k1-taproot"},
        {"key_id": "hot-2"},
        {"epoch": 1},
        {"participants": ("node-1", "node-2", "mallory")},
    ],
)
def test_parties_with_other_parameters_get_no_key(change: dict[str, object]) -> None:
    other = replace(parameters(2, 3, 3), **change)  # type: ignore[arg-type]

    outcome = run_all({**parties(2, 3), 3: start_dkg(other, b"r" * 32)})

    assert not outcome.results
    assert named(outcome, {1, 2}) == {3}


def test_a_commitment_without_knowledge_of_its_logarithm_is_refused() -> None:
    """A rogue key: party 2 opens consistently, but its proof is another party's."""
    mine = parameters(2, 3, 1)
    dealings = {i: dkg.deal(parameters(2, 3, i), RandomStream(bytes([i]) * 32)) for i in (1, 2, 3)}
    proof_at = slice(2 * 33, 2 * 33 + 65)
    rogue = dealings[3].opening[: 2 * 33] + dealings[3].opening[proof_at] + b"c" * 32
    openings = {**{i: dealing.opening for i, dealing in dealings.items()}, 2: rogue}
    commitments = {i: dkg._commitment(mine, i, opening) for i, opening in openings.items()}

    with pytest.raises(FaultyParticipant, match="does not prove knowledge") as caught:
        dkg.open_dealings(mine, commitments, openings=openings)

    assert caught.value.participant == 2


@pytest.mark.parametrize(
    "change",
    [
        {"min_signers": 1},
        {"min_signers": 4},
        {"index": 0},
        {"index": 4},
        {"session": bytes(31)},
        {"participants": ("node-1",)},
        {"participants": tuple(f"node-{i}" for i in range(10))},
        {"participants": ("node-1", "node-1", "node-2")},
        {"key_id": "Hot 1"},
        {"suite": "ecdsa"},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(CallerError):
        replace(parameters(2, 3, 1), **change)  # type: ignore[arg-type]


def test_randomness_has_32_bytes() -> None:
    with pytest.raises(CallerError, match="32 bytes"):
        start_dkg(parameters(2, 3, 1), bytes(31))


# The parts


@in_either_group
def test_proofs_hold_for_their_point_and_context_only(group: Group) -> None:
    proof = prove_knowledge(group, 7, context=b"here", stream=RandomStream(bytes(32)))

    assert knows_logarithm(group, group.base_mul(7), proof=proof, context=b"here")
    assert not knows_logarithm(group, group.base_mul(7), proof=proof, context=b"there")
    assert not knows_logarithm(group, group.base_mul(8), proof=proof, context=b"here")
    assert not knows_logarithm(group, group.base_mul(7), proof=flip(proof, -32), context=b"here")


@in_either_group
def test_repeated_randomness_does_not_repeat_a_nonce(group: Group) -> None:
    one = prove_knowledge(group, 7, context=b"here", stream=RandomStream(bytes(32)))
    other = prove_knowledge(group, 7, context=b"there", stream=RandomStream(bytes(32)))

    assert one[: group.point_bytes] != other[: group.point_bytes]


@in_either_group
def test_commitments_give_shares_in_the_exponent(group: Group) -> None:
    stream = RandomStream(bytes(32))
    one = random_polynomial(group, stream, terms=4)
    two = random_polynomial(group, stream, terms=4, constant=5)
    summed = add_commitments(group, [one.commit(), two.commit()])

    for index in range(1, 10):
        added = (one.at(index) + two.at(index)) % group.order
        assert verify_share(group, one.commit(), index=index, share=one.at(index))
        assert not verify_share(group, one.commit(), index=index, share=two.at(index))
        assert evaluate_commitments(group, summed, index=index) == group.base_mul(added)
    assert two.commit()[0] == group.base_mul(5)


def test_index_zero_is_never_dealt() -> None:
    polynomial = Polynomial(SECP256K1_GROUP, (1, 2))

    with pytest.raises(CallerError):
        polynomial.at(0)
    with pytest.raises(CallerError):
        evaluate_commitments(SECP256K1_GROUP, polynomial.commit(), index=0)


def on_round(number: int, change: Callable[[bytes], bytes]) -> Callable[[int, int, bytes], bytes]:
    """Party 2 sends to everybody something else in one round."""
    return lambda sender, to, data: (
        change(data) if (sender, data[0]) == (2, number) else untouched(sender, to, data)
    )


def blamed(error: ProtocolError) -> int | str | None:
    return error.participant if isinstance(error, FaultyParticipant) else None


def named(outcome: Outcome, victims: set[int]) -> set[int | str | None]:
    """Whom the victims name; none of them may have got a key."""
    assert not victims & outcome.results.keys()
    return {blamed(outcome.errors[victim]) for victim in victims}
