"""What the evaluation of risk scoring measures, on a few of its worlds: docs/risk.md has the whole of it."""

from functools import cache

from tests.bench.risk import Report, as_text, measure
from tests.bench.risk_world import ATTACKS, INITIATORS, World


@cache
def report() -> Report:
    return measure([0])


def test_a_seed_gives_the_same_world() -> None:
    first, again, other = (list(World(seed).honest(10)) for seed in (7, 7, 8))

    assert first == again != other
    assert {tried.ask.initiator for tried in first} >= {"shop", "desk"}


def test_every_attack_is_found_in_the_end() -> None:
    found = {name: one.found / one.attacks for name, one in report().attacks.items()}

    assert found == dict.fromkeys(ATTACKS, 1.0)


def test_honest_initiators_are_seldom_disturbed() -> None:
    honest = report().honest

    assert set(honest) == {one.name for one in INITIATORS}
    assert all(one.requests > 20 for one in honest.values())
    assert all(one.alarms / one.requests < 0.02 for one in honest.values())


def test_a_threshold_above_all_scores_finds_nothing() -> None:
    none = measure([3], threshold=101)

    assert all(one.alarms == 0 for one in none.honest.values())
    assert all(one.found == 0 for one in none.attacks.values())
    assert "drain" in as_text(none)
    assert none.to_json()["threshold"] == 101
