"""Key generation with set-up in one run: the pair states fit, and no altered message gets through."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest

from policy.errors import CallerError, FaultyParticipant, UnknownFault
from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc import dkg, setup
from signer_nodes.mpc.curve import base_mul
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.groups import SECP256K1_GROUP
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.keyshare import COLUMNS, KeyShare, PairState
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.mpc.setup import start_setup
from signer_nodes.mpc.sharing import interpolate
from signer_nodes.mpc.stream import RandomStream
from tests.protocols.lockstep import Outcome, flip, run_all


def parties(t: int, n: int, *, session: bytes = b"s" * 32, seed: int = 0) -> dict[int, Rounds]:
    names = tuple(f"node-{i}" for i in range(1, n + 1))
    return {
        i: start_keygen(
            KeygenParameters(session, DKLS23_SECP256K1, "hot-1", t, names, i), bytes([seed, i]) * 16
        )
        for i in range(1, n + 1)
    }


@cache
def finished(t: int, n: int) -> dict[int, KeygenResult]:
    return results(run_all(parties(t, n)))


def results(outcome: Outcome) -> dict[int, KeygenResult]:
    found = {i: result for i, result in outcome.results.items() if isinstance(result, KeygenResult)}
    assert found.keys() == outcome.results.keys()
    return found


def state(result: KeygenResult, peer: int) -> PairState:
    return next(pair for pair in result.pairs if pair.peer == peer)


def check_pair(mine: PairState, theirs: PairState) -> None:
    """What the later OT-extension sender holds is what its Δ selects from the receiver's seeds."""
    for index in range(COLUMNS):
        bit = mine.delta[index // 8] >> index % 8 & 1
        assert mine.delta_seeds[index] == theirs.receiver_seeds[index][bit]
        assert mine.delta_seeds[index] != theirs.receiver_seeds[index][1 - bit]


@pytest.mark.parametrize(("t", "n"), [(2, 2), (2, 3), (3, 4)])
def test_a_run_gives_one_key_and_fitting_pair_states(t: int, n: int) -> None:
    found = finished(t, n)

    assert len({result.transcript for result in found.values()}) == 1
    for quorum in combinations(found, t):
        secret = interpolate(SECP256K1_GROUP, {i: found[i].share.share for i in quorum})
        assert base_mul(secret) == found[1].share.group_key
    for one, two in combinations(found, 2):
        check_pair(state(found[one], two), state(found[two], one))
        check_pair(state(found[two], one), state(found[one], two))
        assert state(found[one], two).zero_seed == state(found[two], one).zero_seed


def test_pair_states_are_ordered_by_peer_and_named() -> None:
    found = finished(2, 3)

    assert [(p.me, p.peer, p.key_id, p.epoch) for p in found[2].pairs] == [
        (2, 1, "hot-1", 0),
        (2, 3, "hot-1", 0),
    ]


def test_no_secret_of_one_pair_is_in_another() -> None:
    pairs = [pair for result in finished(2, 3).values() for pair in result.pairs]
    deltas = {pair.delta for pair in pairs}
    seeds = {seed for pair in pairs for both in pair.receiver_seeds for seed in both}

    assert len(deltas) == 6
    assert len(seeds) == 6 * COLUMNS * 2
    assert len({pair.zero_seed for pair in pairs}) == 3


def test_results_survive_their_encoding() -> None:
    result = finished(2, 3)[1]

    assert KeyShare.from_bytes(result.share.to_bytes()) == result.share
    assert [PairState.from_bytes(pair.to_bytes()) for pair in result.pairs] == list(result.pairs)


def test_the_same_randomness_gives_the_same_run_byte_for_byte() -> None:
    assert run_all(parties(2, 2)) == run_all(parties(2, 2))


def test_another_session_with_the_same_randomness_gives_other_seeds() -> None:
    other = results(run_all(parties(2, 2, session=b"t" * 32)))
    seeds = set(finished(2, 2)[1].pairs[0].delta_seeds)

    assert not seeds & set(other[1].pairs[0].delta_seeds)
    assert finished(2, 2)[1].transcript != other[1].transcript
    assert finished(2, 2)[1].pairs[0].zero_seed != other[1].pairs[0].zero_seed


OPENING = dkg.opening_bytes(KeygenParameters(b"s" * 32, DKLS23_SECP256K1, "hot-1", 2, ("a", "b"), 1))
ALTERED = {
    "commitment": (1, 1),
    "zero commitment": (1, 33),
    "ot request, first sign": (1, 65),
    "ot request, a coordinate": (1, 70),
    "ot request, last byte": (1, -1),
    "coefficient": (2, 1),
    "proof": (2, 67),
    "chain code": (2, OPENING),
    "zero part": (2, OPENING + 1),
    "ot answer, first sign": (2, OPENING + 33),
    "ot answer, a coordinate": (2, OPENING + 40),
    "ot answer, last byte": (2, -1),
    "share": (3, 32),
    "confirmation": (3, 65),
}


@pytest.mark.parametrize(("number", "position"), ALTERED.values(), ids=ALTERED.keys())
def test_one_altered_byte_names_its_sender(number: int, position: int) -> None:
    def tamper(sender: int, _to: int, data: bytes) -> bytes:
        return flip(data, position) if (sender, data[0]) == (2, number) else data

    outcome = run_all(parties(2, 2), tamper)

    error = outcome.errors[1]
    assert isinstance(error, FaultyParticipant)
    assert error.participant == 2
    assert 1 not in outcome.results


def test_an_altered_transcript_ends_the_run_without_a_name() -> None:
    def tamper(sender: int, _to: int, data: bytes) -> bytes:
        return flip(data, 33) if (sender, data[0]) == (2, 3) else data

    outcome = run_all(parties(2, 2), tamper)

    assert isinstance(outcome.errors[1], UnknownFault)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: data[:1]]
)
def test_a_body_of_the_wrong_length_names_its_sender(number: int, change: Callable[[bytes], bytes]) -> None:
    def tamper(sender: int, _to: int, data: bytes) -> bytes:
        return change(data) if (sender, data[0]) == (2, number) else data

    outcome = run_all(parties(2, 2), tamper)

    assert isinstance(outcome.errors[1], FaultyParticipant)
    assert outcome.errors[1].participant == 2


def test_two_pairs_messages_cannot_be_exchanged() -> None:
    """Party 2's set-up messages for party 1 reach party 3 and the other way round."""
    kept: dict[tuple[int, int], bytes] = {}
    for sender, to, data in run_all(parties(2, 3)).payloads:
        if sender == 2:
            kept[to, data[0]] = data

    outcome = run_all(parties(2, 3), lambda sender, to, data: kept[4 - to, data[0]] if sender == 2 else data)

    assert not {1, 3} & outcome.results.keys()
    assert {getattr(outcome.errors[i], "participant", None) for i in (1, 3)} == {2}


# The zero seed against a party that lies consistently, so that no comparison of messages would tell.


def offered(me: int, *, seed: int) -> setup.Offered:
    name = setup.PairName(b"c" * 32, "hot-1", 0, me, 3 - me)
    return setup.offer(name, RandomStream(bytes([seed]) * 32))


def test_a_zero_seed_part_chosen_after_the_fact_names_its_owner() -> None:
    honest, liar = offered(1, seed=1), offered(2, seed=2)
    replied = setup.reply(honest, liar.body)
    second_thought = setup.reply(replace(liar, zero_part=bytes(32)), honest.body)

    with pytest.raises(FaultyParticipant, match="zero-seed part") as caught:
        setup.confirm(replied, second_thought.body)

    assert caught.value.participant == 2


def test_a_zero_seed_part_cannot_be_mirrored() -> None:
    """Else the pair's seed would be a function of one value, which its owner does not choose alone."""
    honest, liar = offered(1, seed=1), offered(2, seed=2)
    mirrored = honest.body[:32] + liar.body[32:]
    replied = setup.reply(honest, mirrored)
    echoed = setup.reply(replace(liar, zero_part=honest.zero_part, body=mirrored), honest.body)

    with pytest.raises(FaultyParticipant, match="zero-seed part") as caught:
        setup.confirm(replied, echoed.body)

    assert caught.value.participant == 2


def setup_runs(*, epoch: int = 1) -> dict[int, Rounds]:
    return {
        me: start_setup(
            b"c" * 32,
            me,
            peers=tuple(i for i in (1, 2, 3) if i != me),
            key_id="hot-1",
            epoch=epoch,
            randomness=bytes([me]) * 32,
        )
        for me in (1, 2, 3)
    }


def test_a_set_up_alone_gives_fitting_states_of_its_epoch() -> None:
    outcome = run_all(setup_runs())
    pairs = {(p.me, p.peer): p for states in outcome.results.values() for p in states}  # type: ignore[attr-defined]

    assert len(pairs) == 6
    for (me, peer), mine in pairs.items():
        check_pair(mine, pairs[peer, me])
        assert mine.zero_seed == pairs[peer, me].zero_seed
        assert mine.epoch == 1


def test_randomness_and_context_have_32_bytes() -> None:
    parameters = KeygenParameters(b"s" * 32, DKLS23_SECP256K1, "hot-1", 2, ("a", "b"), 1)

    with pytest.raises(CallerError, match="32 bytes"):
        start_keygen(parameters, bytes(31))
    with pytest.raises(CallerError, match="32 bytes"):
        start_setup(b"", 1, peers=(2,), key_id="hot-1", epoch=0, randomness=bytes(32))
    with pytest.raises(CallerError, match="two distinct parties"):
        setup.PairName(bytes(32), "hot-1", 0, 1, 1)


def test_results_print_no_secret() -> None:
    result = finished(2, 2)[1]

    assert str(result.share.share) not in repr(result)
    assert "delta" not in repr(result)
    assert repr(result.pairs[0].zero_seed) not in repr(replace(result))
