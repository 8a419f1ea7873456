"""The claim of docs/spec/log.md, "What limits are", in random interleavings; and that its bound is tight."""

import random

import pytest

from tests.simulation.adversary import Adversary
from tests.simulation.cluster import SimNode
from tests.simulation.interleavings import Numbers, several
from tests.simulation.limits import (
    EARLY,
    OVER_IN_LOG_TIME,
    OVER_IN_REAL_TIME,
    Broken,
    Spent,
    check,
    most_in_a_window,
)
from tests.simulation.weak_nodes import ByLogTime, LeavesWhenAsked, OldReservations, WithoutQuorum

RUNS = 12
TRIES = 5
BOUNDS = {
    "4 / 3": Numbers(3, 1, 3, 1),
    "3 / 2": Numbers(3, 0, 2, 0),
    "5 / 3": Numbers(4, 1, 3, 0),
    "5 / 4": Numbers(4, 1, 4, 2),
    "7 / 5": Numbers(5, 2, 5, 2),
}


def attacked(
    attack: str, numbers: Numbers, corrupt: int, *, kind: type[SimNode] = SimNode
) -> tuple[list[str], int]:
    """What an attack on fresh deployments breaks in the orders tried, and how many payments it gets."""
    world, found, paid = numbers.world(), [], 0
    liars = (*world.witnesses, *reversed(world.nodes))[:corrupt]
    for number in range(TRIES):
        run = Adversary(random.Random(f"{attack} {number}"), corrupt=liars, world=world, kind=kind)
        getattr(run, attack)()
        paid += len(run.signed())
        try:
            check(run)
        except Broken as error:
            found.append(str(error))
    return found, paid


def test_no_interleaving_breaks_a_limit() -> None:
    met, broken = several("quick", range(RUNS))

    assert not broken
    for what in ("reserved", "cosigned", "signed", "signature logged", "restarted", "answer lost", "changed"):
        assert met[what], f"the adversary never got to: {what} ({met})"
    assert met["limit nearly used"] > RUNS // 4


@pytest.mark.parametrize("numbers", BOUNDS.values(), ids=BOUNDS)
def test_the_bound_is_tight(numbers: Numbers) -> None:
    shared = 2 * numbers.w - numbers.nodes - numbers.witnesses  # what two quorums share at least

    exceeded, twice = attacked("two_branches", numbers, shared)

    assert attacked("two_branches", numbers, shared - 1) == ([], TRIES)  # one branch pays, the other never
    assert twice > TRIES
    assert exceeded and all(OVER_IN_LOG_TIME in broken for broken in exceeded)


@pytest.mark.parametrize(
    ("kind", "attack", "what"),
    [
        (WithoutQuorum, "two_branches", OVER_IN_LOG_TIME),
        (LeavesWhenAsked, "two_branches", OVER_IN_LOG_TIME),
        (OldReservations, "from_the_past", OVER_IN_REAL_TIME),
        (ByLogTime, "from_the_past", EARLY),
    ],
)
def test_without_any_of_these_rules_the_claim_breaks(kind: type[SimNode], attack: str, what: str) -> None:
    numbers = BOUNDS["7 / 5"]

    without, _ = attacked(attack, numbers, numbers.f, kind=kind)

    assert attacked(attack, numbers, numbers.f)[0] == []
    assert any(what in broken for broken in without)


def test_a_window_takes_of_each_request_its_largest_transaction_in_it() -> None:
    spendings = [Spent(b"a", 5, 0), Spent(b"a", 7, 9), Spent(b"b", 3, 10)]

    assert most_in_a_window(spendings, 10) == 10
    assert most_in_a_window(spendings, 1) == 7
    assert most_in_a_window([], 10) == 0
