"""Which signers keep presignatures together: whoever fails, some stock is without them."""

import dataclasses
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.signing_sets import SETS_MAX, family, set_without, usable
from policy import ledger
from policy.roster import Cosigner
from policy.state import KeyRecord, State
from policy.suites import DKLS23_SECP256K1
from policy.values import replace
from tests.unit.custody_cluster import KEY, genesis_entry, policy_document

SHAPES = [(t, n) for n in range(2, 10) for t in range(2, n + 1)]


def world(t: int, n: int, *bans: tuple[int, int]) -> tuple[State, KeyRecord]:
    """A state whose roster has n nodes, and a t-of-n key of them; bans are pairs of their numbers."""
    names = tuple(f"node-{i:02}" for i in range(n))
    key = KeyRecord(
        key=KEY,
        epoch=0,
        suite=DKLS23_SECP256K1,
        imported=False,
        min_signers=t,
        participants=names,
        group_key=bytes(33),
        chain_code=bytes(32),
        public_shares=(),
        transcript=bytes(32),
        index=1,
    )
    state, _ = ledger.fold(ledger.initial(), genesis_entry(policy_document()))
    cosigners = {name: Cosigner(name, bytes(32), "node") for name in names}
    banned = frozenset((KEY, 0, names[a], names[b]) for a, b in bans)
    roster = dataclasses.replace(state.roster, cosigners=cosigners)
    return replace(state, roster_or_none=roster, bans=banned, keys=state.keys.set(KEY, key)), key


@pytest.mark.parametrize(("t", "n"), SHAPES)
def test_some_set_lacks_each_node_and_where_it_fits_each_pair(t: int, n: int) -> None:
    state, key = world(t, n)

    sets = [set(group.signers) for group in family(state, key)]

    lacked = 2 if n - t >= 2 and len(sets) > -(-n // (n - t)) else min(1, n - t)
    assert all(len(group) == t for group in sets)
    assert len(sets) <= max(SETS_MAX, n)
    assert all(
        any(not group & set(gone) for group in sets) for gone in combinations(key.participants, lacked)
    )


def test_three_of_six_survive_any_two_with_few_sets() -> None:
    state, key = world(3, 6)

    sets = [set(group.signers) for group in family(state, key)]

    assert len(sets) <= 8
    assert all(any(not group & set(pair) for group in sets) for pair in combinations(key.participants, 2))


@given(
    st.sampled_from(SHAPES),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda p: p[0] != p[1]), max_size=4),
    st.sets(st.integers(0, 8)),
)
def test_sets_on_demand_are_found_exactly_when_there_are_any(
    shape: tuple[int, int], bans: list[tuple[int, int]], absent: set[int]
) -> None:
    t, n = shape
    state, key = world(t, n, *[(a, b) for a, b in bans if max(a, b) < n])
    gone = {key.participants[i] for i in absent if i < n}

    found = set_without(state, key, absent=gone)

    rest = [name for name in key.participants if name not in gone]
    possible = [c for c in combinations(rest, t) if state.mutual_ban(KEY, 0, signers=c) is None]
    assert (found is not None) == bool(possible)
    assert found is None or found.signers in possible


@given(st.sampled_from(SHAPES), st.integers(0, 8), st.integers(0, 8))
def test_a_banned_pair_is_in_no_set_and_the_others_still_sign(shape: tuple[int, int], a: int, b: int) -> None:
    t, n = shape
    if a == b or max(a, b) >= n:
        return
    state, key = world(t, n, (a, b))

    sets = family(state, key)

    assert all(usable(state, key, group=group) for group in sets)
    assert bool(sets) == (n > t)


def test_a_node_that_left_the_roster_is_in_no_set() -> None:
    state, key = world(2, 4)
    cosigners = {name: one for name, one in state.roster.cosigners.items() if name != "node-00"}
    state = replace(state, roster_or_none=dataclasses.replace(state.roster, cosigners=cosigners))

    sets = family(state, key)

    assert sets
    assert all("node-00" not in group.signers for group in sets)
