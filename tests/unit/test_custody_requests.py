"""The table of a request's life: what it can and cannot do."""

from hypothesis import given
from hypothesis import strategies as st

from custody.requests import FINAL, START, TRANSITIONS, Effect, Event, State, advance, is_over, mermaid

PAYING = {Effect.RESERVE, Effect.PLAN}


def run(events: list[Event]) -> State:
    state = START.state
    for event in events:
        step = advance(state, event)
        state = step.state if step else state
    return state


def test_the_shortest_way_to_a_settlement() -> None:
    way = [
        Event.ENTRY_ACCEPTED,
        Event.PLANNED,
        Event.RESERVATION_LOGGED,
        Event.SIGNATURE_LOGGED,
        Event.SENT,
        Event.MINED,
    ]

    assert run(way) is State.SETTLED


@given(st.lists(st.sampled_from(Event), max_size=30), st.lists(st.sampled_from(Event), max_size=10))
def test_what_is_final_stays_as_it_is(before: list[Event], after: list[Event]) -> None:
    state = run(before)

    if state in FINAL:
        settled = [event for event in after if event is not Event.UNDONE]  # by a deep reorganisation alone
        assert run([*before, *settled]) is state


@given(st.lists(st.sampled_from(Event), max_size=30), st.lists(st.sampled_from(Event), max_size=10))
def test_what_is_over_is_never_paid_again(before: list[Event], after: list[Event]) -> None:
    state = run(before)
    if not is_over(state):
        return

    for event in after:
        if event is Event.SIGNATURE_LOGGED:
            return  # the log has the payment's signature all the same: then it is not over
        step = advance(state, event)
        if step is not None:
            assert not PAYING & set(step.effects)
            state = step.state


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    reached = {START.state} | {step.state for step in TRANSITIONS.values()}
    left = {state for state, _ in TRANSITIONS}

    assert reached == set(State)
    assert left == set(State) - {State.DELIVERED}
    assert {event for state, event in TRANSITIONS if state in FINAL} == {Event.UNDONE}


def test_every_event_and_effect_has_a_place() -> None:
    effects = {effect for step in (START, *TRANSITIONS.values()) for effect in step.effects}

    assert {event for _, event in TRANSITIONS} == set(Event)
    assert effects == set(Effect)


def test_every_open_state_but_waiting_for_people_owes_something() -> None:
    idle = {step.state for step in TRANSITIONS.values() if not step.effects}

    assert idle == FINAL | {State.DENIED, State.EXPIRED, State.WAITING, State.AWAITING_CEREMONY}


def test_the_diagram_has_every_transition() -> None:
    drawn = mermaid()

    assert drawn.startswith("stateDiagram-v2\n")
    assert drawn.count(" --> ") == len(TRANSITIONS) + 1 + len(FINAL)
    assert "reserved --> ready: signers-failed / reserve" in drawn
