"""The life cycle of a move: what its table promises, whatever happens in whatever order."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.rebalancing.moves import (
    ANNOUNCED,
    IN_FLIGHT,
    OVER,
    REQUEST_STATES,
    TASKS,
    TRANSITIONS,
    Happening,
    Stage,
    Task,
    advance,
    mermaid,
)
from custody.requests import State

HAPPENINGS = st.lists(st.sampled_from(Happening), max_size=12)


def after(*happenings: Happening, start: Stage = Stage.ANNOUNCED) -> Stage:
    stage = start
    for happening in happenings:
        turn = advance(stage, happening)
        stage = turn.stage if turn else stage
    return stage


def test_every_stage_is_announced_in_flight_or_over_and_only_one_of_them() -> None:
    assert sorted([*ANNOUNCED, *IN_FLIGHT, *OVER]) == sorted(Stage)


def test_every_stage_can_be_reached_and_all_but_the_last_can_be_left() -> None:
    assert set(TRANSITIONS.values()) | {Stage.ANNOUNCED} == set(Stage)
    assert set(Stage) - {stage for stage, _ in TRANSITIONS} == {Stage.ARRIVED, Stage.REFUSED}


def test_what_is_in_flight_always_owes_the_next_step() -> None:
    assert all(TASKS[stage] is not None for stage in IN_FLIGHT)
    assert TASKS[Stage.DECIDED] is Task.SUBMIT


def test_every_state_of_a_request_says_something_of_its_move() -> None:
    assert set(REQUEST_STATES) == {state.value for state in State}


def test_the_usual_way_of_a_top_up() -> None:
    way = (Happening.DUE, Happening.TAKEN_IN, Happening.SIGNED, Happening.SETTLED)

    assert after(*way) is Stage.ARRIVED


def test_a_top_up_above_the_quota_waits_until_it_is_let_go() -> None:
    assert after(Happening.ABOVE_QUOTA) is Stage.HELD
    assert after(Happening.ABOVE_QUOTA, Happening.DUE) is Stage.DECIDED


@pytest.mark.parametrize("given_up", [Happening.REASON_GONE, Happening.EXPIRED])
def test_a_move_that_was_given_up_and_is_signed_all_the_same_is_a_move(given_up: Happening) -> None:
    before = (Happening.DUE, Happening.TAKEN_IN, given_up, Happening.CALLED_BACK)

    assert after(*before) in OVER
    assert after(*before, Happening.SIGNED) is Stage.MOVING
    assert after(*before, Happening.SIGNED, Happening.SETTLED) is Stage.ARRIVED


@given(HAPPENINGS)
def test_nothing_is_asked_for_before_it_is_due(happenings: list[Happening]) -> None:
    early = [one for one in happenings if one is not Happening.DUE]

    assert after(*early) not in {Stage.DECIDED, Stage.ASKED, Stage.CALLING_BACK, Stage.LAPSED}


@given(HAPPENINGS)
def test_what_has_arrived_stays_so(happenings: list[Happening]) -> None:
    assert after(*happenings, start=Stage.ARRIVED) is Stage.ARRIVED


@given(st.sampled_from(Stage), st.sampled_from(Happening))
def test_the_same_news_twice_changes_nothing_the_second_time(stage: Stage, happening: Happening) -> None:
    once = after(happening, start=stage)

    assert after(happening, start=once) is once


def test_the_diagram_has_every_transition() -> None:
    assert mermaid().count("-->") == len(TRANSITIONS) + 2 + len(OVER)


def test_the_page_has_the_diagram_of_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "rebalancing.md"

    assert mermaid() in page.read_text()
