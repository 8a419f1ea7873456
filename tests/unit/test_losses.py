"""What the doctor says of losses is what happens: every set of lost names is tried."""

from dataclasses import dataclass, replace
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from policy.losses import Loss, losses
from policy.roster import Cosigner, Roster, parse_roster
from tests.unit.custody_cluster import roster_document

NAMES = ("a", "b", "c", "d", "e")


@dataclass(frozen=True, slots=True)
class Shared:
    min_signers: int
    participants: tuple[str, ...]


def roster_of(names: tuple[str, ...], w: int) -> Roster:
    cosigners = {name: Cosigner(name, bytes(32), "node") for name in names}
    return replace(parse_roster(roster_document()), cosigners=cosigners, w=w)


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, size) for size in range(len(names) + 1)))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.sets(st.sampled_from(NAMES), max_size=2))
def test_signing_stops_with_the_sets_that_are_named_and_no_smaller_one(
    c: int, w: int, min_signers: int, gone: set[str]
) -> None:
    names, key = NAMES[:c], Shared(min_signers, NAMES[:3])
    log, of_key = losses(roster_of(names, w), {"main": key}, gone=gone)

    for lost in subsets(names):
        assert (len(set(names) - gone - set(lost)) < w) == stopped(log, lost)
    for lost in subsets(key.participants):
        assert (len(set(key.participants) - gone - set(lost)) < min_signers) == stopped(of_key, lost)


def stopped(loss: Loss, lost: tuple[str, ...]) -> bool:
    return loss.count == 0 or len(set(lost) & set(loss.among)) >= loss.count


def test_few_sets_are_named_and_many_are_counted() -> None:
    two_of_three = Loss("main", ("a", "b", "c"), 2)
    three_of_seven = Loss("", tuple("abcdefg"), 3)

    assert two_of_three.said() == (
        "if a and b, or a and c, or b and c are lost, nothing can be signed with key main"
    )
    assert three_of_seven.said() == "if any 3 of a, b, c, d, e, f, g are lost, nothing can be signed"
    assert Loss("", ("a",), 0).said().startswith("nothing can be signed now")
