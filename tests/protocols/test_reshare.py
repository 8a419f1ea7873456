"""Reshare: the same key for every sensible new committee, and a cheating dealer is named."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant, InvariantError, ProtocolError, UnknownFault
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1
from signer_nodes.mpc import redeal, reshare
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.redeal import OldCommittee
from signer_nodes.mpc.reshare import ReshareParameters, ReshareResult, start_reshare
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.keys import (
    KEY_ID,
    WITHOUT_PAIRS,
    deal_key,
    give_their_key,
    names_of,
    secret_behind,
    sign_with,
)
from tests.protocols.lockstep import Outcome, flip, run_all

SESSION = b"s" * 32
Edit = Callable[[bytes], bytes]
Committee = tuple[int, tuple[str, ...]]


def nodes(*numbers: int) -> tuple[str, ...]:
    return tuple(f"node-{i}" for i in numbers)


def parameters_of(
    old: Mapping[int, KeyShare], dealers: Iterable[int], to: Committee, name: str
) -> ReshareParameters:
    record, (t, participants) = OldCommittee.of(old[1]), to
    return ReshareParameters(
        session=SESSION,
        suite=old[1].suite,
        key_id=KEY_ID,
        epoch=record.epoch + 1,
        old=record,
        dealers=tuple(sorted(nodes(*dealers))),
        min_signers=t,
        participants=participants,
        name=name,
    )


def runs(
    old: Mapping[int, KeyShare], dealers: Iterable[int], to: Committee, *, seed: int = 0
) -> dict[int, Rounds]:
    """A run for every party, by party number."""
    chosen = tuple(dealers)
    own = {share.participants[i - 1]: share for i, share in old.items() if i in chosen}
    parties = parameters_of(old, chosen, to, nodes(chosen[0])[0]).parties
    return {
        number: start_reshare(
            parameters_of(old, chosen, to, name), own.get(name), randomness=bytes([seed, number]) * 16
        )
        for number, name in enumerate(parties, start=1)
    }


def results(outcome: Outcome) -> list[ReshareResult]:
    assert not outcome.errors, outcome.errors
    by_party = sorted(outcome.results.items())
    return [result for _, result in by_party if isinstance(result, ReshareResult)]


def reshared(
    old: Mapping[int, KeyShare], dealers: Iterable[int], to: Committee, *, seed: int = 0
) -> dict[int, KeyShare]:
    """The new shares by index."""
    found = results(run_all(runs(old, dealers, to, seed=seed)))
    return {result.share.index: result.share for result in found if result.share is not None}


NEW = {
    "the same": (2, nodes(1, 2, 3)),
    "the same in another order": (2, nodes(3, 1, 2)),
    "one replaced": (2, nodes(1, 2, 4)),
    "one less": (2, nodes(1, 2)),
    "two more": (2, nodes(1, 2, 3, 4, 5)),
    "others": (2, nodes(4, 5, 6)),
    "others, fewer": (2, nodes(4, 5)),
    "more signers": (3, nodes(1, 2, 3)),
    "more signers of more": (4, nodes(1, 2, 3, 4, 5)),
    "more signers of others": (5, nodes(4, 5, 6, 7, 8)),
    "one that stays": (3, nodes(3, 7, 8, 9)),
}


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
@pytest.mark.parametrize("to", NEW.values(), ids=NEW.keys())
@pytest.mark.parametrize("dealers", [(1, 2), (1, 3), (3, 2)])
def test_every_quorum_of_the_new_committee_holds_the_old_key(
    suite: str, to: Committee, dealers: tuple[int, ...]
) -> None:
    old = deal_key(2, 3, suite=suite)

    new = reshared(old, dealers, to)

    t, participants = to
    for i, share in new.items():
        facts = (share.index, share.min_signers, share.participants, share.epoch)
        assert facts == (i, t, participants, 1)
        assert (share.group_key, share.chain_code) == (old[1].group_key, old[1].chain_code)
    assert sorted(new) == list(range(1, len(participants) + 1))
    assert all(give_their_key(chosen) for chosen in combinations(new.values(), t))
    assert not any(give_their_key(chosen) for chosen in combinations(new.values(), t - 1))


@pytest.mark.parametrize(("old_t", "old_n"), [(t, n) for n in range(2, 6) for t in range(2, n + 1)])
@pytest.mark.parametrize(("t", "n"), [(t, n) for n in range(2, 6) for t in range(2, n + 1)])
def test_from_any_t_of_n_to_any_other(old_t: int, old_n: int, t: int, n: int) -> None:
    """The new committee overlaps with the old in about half of its members."""
    old = deal_key(old_t, old_n)
    to = (t, nodes(*range(1 + old_n // 2, 1 + old_n // 2 + n)))

    new = reshared(old, range(old_n - old_t + 1, old_n + 1), to)

    key = secret_behind(list(old.values())[:old_t])
    assert {secret_behind(chosen) for chosen in combinations(new.values(), t)} == {key}
    assert key not in {secret_behind(chosen) for chosen in combinations(new.values(), t - 1)}


def test_all_parties_agree_and_a_dealer_that_leaves_has_no_share() -> None:
    old = deal_key(2, 3)

    found = results(run_all(runs(old, (1, 2), (2, nodes(2, 4, 5)))))

    assert [result.share is None for result in found] == [True, False, False, False]
    assert len({result.transcript for result in found}) == 1
    assert len({result.public_shares for result in found}) == 1
    assert found[1].share is not None
    assert found[1].share.public_shares == found[0].public_shares


@pytest.mark.parametrize("suite", WITHOUT_PAIRS)
def test_old_and_new_shares_do_not_mix(suite: str) -> None:
    old = deal_key(3, 4, suite=suite)
    new = reshared(old, (1, 2, 4), (3, nodes(1, 2, 3, 4)))
    key = secret_behind(list(old.values())[:3])

    for chosen in combinations(range(1, 5), 3):
        for stale in (*combinations(chosen, 1), *combinations(chosen, 2)):
            mixed = secret_behind(old[i] if i in stale else new[i] for i in chosen)
            assert mixed != key


def test_two_reshares_from_the_same_shares_give_other_shares() -> None:
    old, to = deal_key(2, 3), (2, nodes(1, 2, 3))

    assert reshared(old, (1, 2), to)[1].share != reshared(old, (1, 2), to, seed=1)[1].share


@pytest.mark.parametrize(
    ("dealers", "to"),
    [((1, 2), (2, nodes(1, 2, 3))), ((1, 3), (2, nodes(3, 4))), ((2, 3), (3, nodes(4, 5, 6)))],
    ids=["same", "overlapping", "disjoint"],
)
def test_a_reshared_ecdsa_key_signs(dealers: tuple[int, ...], to: Committee) -> None:
    old = deal_key(2, 3, suite=DKLS23_SECP256K1)

    found = results(run_all(runs(old, dealers, to)))

    shares = {result.share.index: result.share for result in found if result.share is not None}
    pairs = {result.share.index: result.pairs for result in found if result.share is not None}
    assert all(not result.pairs for result in found if result.share is None)
    assert {(p.me, p.peer, p.epoch) for states in pairs.values() for p in states} == {
        (me, peer, 1) for me in shares for peer in shares if me != peer
    }
    sign_with(shares, pairs, tuple(sorted(shares)[-to[0] :]))


@settings(max_examples=20)
@given(st.data(), st.sampled_from(WITHOUT_PAIRS))
def test_a_key_survives_any_chain_of_committees(data: st.DataObject, suite: str) -> None:
    shares = deal_key(2, 3, suite=suite)
    key = secret_behind(list(shares.values())[:2])
    for seed in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.permutations(range(1, 8)))[: data.draw(st.integers(2, 5))]
        t = data.draw(st.integers(2, len(names)))
        named_shares = {share.participants[i - 1]: share for i, share in shares.items()}
        chosen = data.draw(st.permutations(sorted(named_shares)))[: shares[1].min_signers]
        shares = reshared_by_name(shares, chosen, (t, nodes(*names)), seed=seed)

    quorum = data.draw(st.permutations(sorted(shares)))[: shares[1].min_signers]

    assert secret_behind(shares[i] for i in quorum) == key


def reshared_by_name(
    old: Mapping[int, KeyShare], dealers: Iterable[str], to: Committee, *, seed: int
) -> dict[int, KeyShare]:
    numbers = [int(name.removeprefix("node-")) for name in dealers]
    own = {share.participants[i - 1]: share for i, share in old.items()}
    first = parameters_of(old, numbers, to, nodes(numbers[0])[0])
    machines = {
        number: start_reshare(
            replace(first, name=name),
            own[name] if name in first.dealers else None,
            randomness=bytes([seed, number]) * 16,
        )
        for number, name in enumerate(first.parties, start=1)
    }
    found = results(run_all(machines))
    return {result.share.index: result.share for result in found if result.share is not None}


# Cheats. Parties 1 to 4 are node-1 (dealer, leaves), node-2 (dealer, stays), node-4 and node-5.

OLD = deal_key(2, 3)
TO = (3, nodes(2, 4, 5))


def tampered(number: int, edit: Edit, *, sender: int = 2, old: Mapping[int, KeyShare] = OLD) -> Outcome:
    """One party sends to everybody something else in one round."""
    return run_all(
        runs(old, (1, 2), TO),
        lambda who, _to, data: edit(data) if (who, data[0]) == (sender, number) else data,
    )


def blamed(error: ProtocolError) -> int | str | None:
    return error.participant if isinstance(error, FaultyParticipant) else None


def named(outcome: Outcome, victims: set[int]) -> set[int | str | None]:
    """Whom the victims name; none of them may have got new shares."""
    assert not victims & outcome.results.keys()
    return {blamed(outcome.errors[victim]) for victim in victims}


@pytest.mark.parametrize("suite", [FROST_SECP256K1, FROST_ED25519])
@pytest.mark.parametrize(("number", "position"), [(1, 1), (1, -1), (2, 1), (2, 20), (2, 40), (2, -1)])
def test_an_altered_public_byte_names_its_dealer_at_everyone(suite: str, number: int, position: int) -> None:
    old = deal_key(2, 3, suite=suite)

    outcome = tampered(number, lambda data: flip(data, position), old=old)

    assert named(outcome, {1, 3, 4}) == {2}


@pytest.mark.parametrize("position", [1, 32])
@pytest.mark.parametrize("dealer", [1, 2])
def test_an_altered_share_names_its_dealer_at_every_receiver(position: int, dealer: int) -> None:
    outcome = run_all(
        runs(OLD, (1, 2), TO),
        lambda who, to, data: flip(data, position) if (who, data[0]) == (dealer, 3) and to > 1 else data,
    )

    assert named(outcome, {3, 4}) == {dealer}


def test_a_dealer_that_deals_from_something_else_than_its_share_is_named() -> None:
    """Else the new committee would hold another key."""
    parameters = parameters_of(OLD, (1, 2), TO, "node-2")
    liar = redeal.start_redeal(
        reshare._plan(parameters), 4711, finish=lambda redealt: redealt, randomness=bytes(32)
    )

    outcome = run_all({**runs(OLD, (1, 2), TO), 2: liar})

    assert named(outcome, {3, 4}) == {2}


def test_a_dealer_with_its_share_but_the_wrong_coefficient_is_named() -> None:
    parameters = parameters_of(OLD, (1, 2), TO, "node-2")
    forgot = redeal.start_redeal(
        reshare._plan(parameters), OLD[2].share, finish=lambda redealt: redealt, randomness=bytes(32)
    )

    outcome = run_all({**runs(OLD, (1, 2), TO), 2: forgot})

    assert named(outcome, {3, 4}) == {2}


@pytest.mark.parametrize("sender", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1] if len(data) > 1 else b"", lambda data: data + b"x"]
)
def test_a_body_of_the_wrong_length_names_its_sender(sender: int, number: int, change: Edit) -> None:
    outcome = tampered(number, change, sender=sender)

    assert named(outcome, {4}) == {sender}


def test_who_deals_nothing_cannot_deal() -> None:
    """Party 3, a new member, sends a commitment as dealers do."""
    outcome = tampered(1, lambda data: data + bytes(32), sender=3)

    assert named(outcome, {1, 2, 4}) == {3}


@pytest.mark.parametrize("sender", [1, 2, 3])
def test_another_view_of_the_public_messages_names_nobody(sender: int) -> None:
    outcome = tampered(3, lambda data: flip(data, -1), sender=sender)

    assert named(outcome, {4}) == {None}


def test_a_dealer_that_shows_two_faces_gives_nobody_new_shares() -> None:
    second = runs(OLD, (1, 2), TO, seed=9)[1]
    other = run_all({**runs(OLD, (1, 2), TO), 1: second}).payloads
    face = {data[0]: data for sender, to, data in other if (sender, to) == (1, 4)}

    outcome = run_all(
        runs(OLD, (1, 2), TO), lambda who, to, data: face[data[0]] if (who, to) == (1, 4) else data
    )

    assert not {2, 3, 4} & outcome.results.keys()


def test_a_new_member_with_another_old_record_notices_and_blames_nobody() -> None:
    """node-4 was given the record of another key."""
    other = deal_key(2, 3, seed=2)
    misled = start_reshare(parameters_of(other, (1, 2), TO, "node-4"), None, randomness=bytes(32))

    outcome = run_all({**runs(OLD, (1, 2), TO), 3: misled})

    assert not outcome.results
    assert all(isinstance(error, UnknownFault) for error in outcome.errors.values())


ALTERED_PAIRS = {
    "zero commitment": (1, 33),
    "ot request": (1, 70),
    "zero part": (2, 67),
    "ot answer": (2, 120),
    "confirmation": (3, -1),
}


@pytest.mark.parametrize(("number", "position"), ALTERED_PAIRS.values(), ids=ALTERED_PAIRS.keys())
def test_an_altered_byte_of_the_pairs_names_the_party_not_the_index(number: int, position: int) -> None:
    """Party 2 is node-2 with the new index 1: what the set-up finds is told of party 2."""
    old, to = deal_key(2, 3, suite=DKLS23_SECP256K1), (2, nodes(2, 4))

    outcome = run_all(
        runs(old, (1, 2), to),
        lambda who, to, data: flip(data, position) if (who, to, data[0]) == (2, 3, number) else data,
    )

    assert named(outcome, {3}) == {2}


@pytest.mark.parametrize("sender", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_altered_message_to_one_victim_ends_in_other_shares(sender: int, number: int) -> None:
    honest = results(run_all(runs(OLD, (1, 2), TO)))
    length = max(len(data) for who, to, data in run_all(runs(OLD, (1, 2), TO)).payloads if data[0] == number)
    for position in range(1, length, 5):

        def tamper(who: int, to: int, data: bytes, at: int = position) -> bytes:
            hit = (who, to, data[0]) == (sender, 4, number) and at < len(data)
            return flip(data, at) if hit else data

        outcome = run_all(runs(OLD, (1, 2), TO), tamper)

        for party, result in outcome.results.items():
            assert result == honest[party - 1]
        for error in outcome.errors.values():
            assert isinstance(error, UnknownFault) or blamed(error) == sender


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"session": bytes(31)}, "32 bytes"),
        ({"suite": "ecdsa"}, "unknown ciphersuite"),
        ({"epoch": 0}, "comes 1, not 0"),
        ({"epoch": 2}, "comes 1, not 2"),
        ({"dealers": nodes(1)}, "need 2 distinct dealers"),
        ({"dealers": nodes(1, 1)}, "need 2 distinct dealers"),
        ({"dealers": nodes(2, 1)}, "sorted"),
        ({"dealers": nodes(1, 2, 3)}, "need 2 distinct dealers"),
        ({"dealers": nodes(1, 4)}, "node-4 cannot deal"),
        ({"min_signers": 1}, "min_signers"),
        ({"min_signers": 4}, "got 4 of 3"),
        ({"participants": nodes(2, 2, 4)}, "distinct names"),
        ({"participants": names_of(10)}, "n <= 9"),
        ({"name": "node-9"}, "neither a dealer nor"),
        ({"name": "node-3"}, "neither a dealer nor"),
        ({"old": replace(OldCommittee.of(OLD[1]), public_shares=())}, "as many public shares"),
        ({"old": replace(OldCommittee.of(OLD[1]), min_signers=4)}, "got 4 of 3"),
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(CallerError, match=match):
        replace(parameters_of(OLD, (1, 2), TO, "node-1"), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "share",
    [
        None,
        OLD[2],
        replace(OLD[1], key_id="other"),
        replace(OLD[1], epoch=1),
        replace(OLD[1], chain_code=bytes(32)),
        deal_key(2, 3, seed=2)[1],
    ],
)
def test_a_dealer_takes_part_with_its_share_of_this_key_and_epoch_only(share: KeyShare | None) -> None:
    with pytest.raises(CallerError, match="share"):
        start_reshare(parameters_of(OLD, (1, 2), TO, "node-1"), share, randomness=bytes(32))


def test_who_deals_nothing_hands_in_no_share() -> None:
    with pytest.raises(CallerError, match="deals nothing"):
        start_reshare(parameters_of(OLD, (1, 2), TO, "node-4"), OLD[3], randomness=bytes(32))


def test_a_record_whose_points_give_another_key_is_refused_by_everyone() -> None:
    parameters = parameters_of(OLD, (1, 2), TO, "node-4")
    wrong = replace(parameters.old, group_key=deal_key(2, 3, seed=2)[1].group_key)

    with pytest.raises(InvariantError, match="another group key"):
        start_reshare(replace(parameters, old=wrong), None, randomness=bytes(32))


def test_a_share_that_is_not_behind_its_public_share_deals_nothing() -> None:
    with pytest.raises(InvariantError, match="not behind its public share"):
        start_reshare(
            parameters_of(OLD, (1, 2), TO, "node-1"), replace(OLD[1], share=4711), randomness=bytes(32)
        )


@pytest.mark.parametrize(
    "change",
    [
        {"session": b"t" * 32},
        {"key_id": "other"},
        {"min_signers": 2},
        {"participants": nodes(4, 2, 5)},
    ],
)
def test_a_party_with_other_parameters_gets_nothing_and_is_named(change: dict[str, object]) -> None:
    parameters = replace(parameters_of(OLD, (1, 2), TO, "node-2"), **change)  # type: ignore[arg-type]
    share = replace(OLD[2], key_id=parameters.key_id)
    stray = start_reshare(parameters, share, randomness=bytes(32))

    outcome = run_all({**runs(OLD, (1, 2), TO), 2: stray})

    assert not outcome.results
    assert named(outcome, {1, 3, 4}) == {2}


def test_no_secret_is_printed() -> None:
    result = results(run_all(runs(OLD, (1, 2), TO)))[1]
    assert result.share is not None

    assert str(result.share.share) not in repr(result)
