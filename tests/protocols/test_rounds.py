"""The driver: what it waits for, what it ignores, what it refuses and whom it names."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant, InvariantError, MalformedError, ProtocolError
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.rounds import Done, Progress, Rounds, RunState, Send, StepResult, blaming, parts

ME, PEERS = 2, (1, 3)


def two_rounds() -> Rounds:
    """Sends b"hello", echoes what came in, ends with everything seen, in the order handed over."""

    def first(_bodies: Mapping[int, bytes]) -> StepResult:
        return Send(dict.fromkeys(PEERS, b"hello"), second)

    def second(bodies: Mapping[int, bytes]) -> StepResult:
        heard = tuple(bodies.items())
        return Send({peer: bodies[peer] for peer in PEERS}, lambda last: Done((heard, tuple(last.items()))))

    return Rounds(ME, PEERS, first=first, body_bytes_max=8)


def started() -> Rounds:
    run = two_rounds()
    run.start()
    return run


def test_a_run_waits_for_every_peer_and_hands_them_over_sorted() -> None:
    run = two_rounds()

    first = run.start()
    silent = run.receive(3, b"\x01c")
    second = run.receive(1, b"\x01a")
    run.receive(3, b"\x02C")
    last = run.receive(1, b"\x02A")

    assert first.outgoing == ((1, b"\x01hello"), (3, b"\x01hello"))
    assert silent == Progress()
    assert second.outgoing == ((1, b"\x02a"), (3, b"\x02c"))
    assert last.result == (((1, b"a"), (3, b"c")), ((1, b"A"), (3, b"C")))
    assert run.state is RunState.FINISHED


def test_missing_names_the_peers_still_awaited() -> None:
    run = started()

    run.receive(3, b"\x01c")

    assert run.missing == (1,)


MESSAGES = [(1, b"\x01a"), (3, b"\x01c"), (1, b"\x02A"), (3, b"\x02C")]


@given(st.permutations(MESSAGES), st.integers(0, 4), st.lists(st.sampled_from(MESSAGES[:2]), max_size=2))
def test_no_order_and_no_repetition_changes_the_result(
    order: list[tuple[int, bytes]], started_after: int, repeated: list[tuple[int, bytes]]
) -> None:
    first_answer = min(order.index(message) for message in MESSAGES[2:])  # it answers our start
    started_after = min(started_after, first_answer)
    run = two_rounds()
    outcomes = [run.receive(*message) for message in order[:started_after]]
    outcomes.append(run.start())
    for message in order[started_after:]:
        outcomes.append(run.receive(*message))
        outcomes.extend(run.receive(*again) for again in repeated if again == message)

    sent = [payload for progress in outcomes for payload in progress.outgoing]
    assert sent == [(1, b"\x01hello"), (3, b"\x01hello"), (1, b"\x02a"), (3, b"\x02c")]
    assert [p.result for p in outcomes if p.result] == [(((1, b"a"), (3, b"c")), ((1, b"A"), (3, b"C")))]


def test_an_answer_to_a_run_that_has_not_started_is_refused() -> None:
    with pytest.raises(FaultyParticipant, match="sent round 2 while round 0 is open"):
        two_rounds().receive(1, b"\x02A")


def test_messages_before_the_start_are_kept() -> None:
    run = two_rounds()
    run.receive(1, b"\x01a")
    run.receive(3, b"\x01c")

    progress = run.start()

    assert [payload for _, payload in progress.outgoing] == [b"\x01hello", b"\x01hello", b"\x02a", b"\x02c"]


@pytest.mark.parametrize("payload", [b"\x03x", b"\xffx", b"\x00x", b"", b"\x01" + bytes(9)])
def test_an_impossible_payload_names_its_sender_and_ends_the_run(payload: bytes) -> None:
    run = started()

    with pytest.raises(FaultyParticipant) as caught:
        run.receive(3, payload)

    assert caught.value.participant == 3
    assert run.state is RunState.FAILED


def test_a_body_of_the_largest_size_is_accepted() -> None:
    assert started().receive(3, b"\x01" + bytes(8)) == Progress()


def test_a_second_different_message_for_a_round_names_its_sender() -> None:
    run = started()
    run.receive(1, b"\x01a")

    with pytest.raises(FaultyParticipant, match="two different messages for round 1"):
        run.receive(1, b"\x01b")


def test_a_different_message_for_a_past_round_names_its_sender() -> None:
    run = started()
    run.receive(1, b"\x01a")
    run.receive(3, b"\x01c")

    assert run.receive(1, b"\x01a") == Progress()
    with pytest.raises(FaultyParticipant, match="two different messages for round 1"):
        run.receive(1, b"\x01b")


def test_a_stranger_is_refused_and_cannot_end_the_run() -> None:
    run = started()

    with pytest.raises(FaultyParticipant, match="not one of the peers"):
        run.receive(9, b"\x01a")
    with pytest.raises(FaultyParticipant, match="not one of the peers"):
        run.receive(ME, b"\x01a")

    assert run.state is RunState.RUNNING


def test_what_comes_after_the_end_is_ignored() -> None:
    failed, finished = started(), started()
    with pytest.raises(FaultyParticipant):
        failed.receive(1, b"")
    for sender, payload in MESSAGES:
        finished.receive(sender, payload)

    assert finished.state is RunState.FINISHED
    assert [run.receive(1, b"\x02Z") for run in (failed, finished)] == [Progress(), Progress()]


def test_a_step_that_fails_ends_the_run_with_its_error() -> None:
    def refuse(_bodies: Mapping[int, bytes]) -> StepResult:
        raise FaultyParticipant(1, "no")

    run = Rounds(ME, PEERS, first=lambda _: Send(dict.fromkeys(PEERS, b""), refuse), body_bytes_max=8)
    run.start()
    run.receive(1, b"\x01")

    with pytest.raises(FaultyParticipant, match="participant 1: no"):
        run.receive(3, b"\x01")
    assert run.state is RunState.FAILED


def test_a_run_starts_once() -> None:
    run = started()

    with pytest.raises(CallerError, match="starts once"):
        run.start()


def test_last_bodies_go_out_with_the_result() -> None:
    run = Rounds(ME, PEERS, first=lambda _: Done("result", dict.fromkeys(PEERS, b"bye")), body_bytes_max=8)

    progress = run.start()

    assert progress == Progress(((1, b"\x01bye"), (3, b"\x01bye")), "result")


def test_a_step_that_forgets_a_peer_is_our_own_error() -> None:
    run = Rounds(ME, PEERS, first=lambda _: Done("result", {1: b"bye"}), body_bytes_max=8)

    with pytest.raises(InvariantError, match="one body to each"):
        run.start()
    assert run.state is RunState.FAILED


@pytest.mark.parametrize("peers", [(), (1, 2), (1, 1)])
def test_impossible_committees_are_refused(peers: tuple[int, ...]) -> None:
    with pytest.raises(CallerError, match="distinct peers"):
        Rounds(ME, peers, first=lambda _: Done(1), body_bytes_max=8)


@pytest.mark.parametrize("error", [MalformedError("x"), PointAtInfinity("x")])
def test_blaming_names_the_sender_of_what_is_malformed(error: ProtocolError) -> None:
    with pytest.raises(FaultyParticipant) as caught, blaming(3):
        raise error

    assert caught.value.participant == 3


def test_parts_cut_exactly() -> None:
    assert parts(b"abcdef", 1, 0, 5) == (b"a", b"", b"bcdef")
    for body in (b"abcde", b"abcdefg"):
        with pytest.raises(MalformedError, match="instead of 6"):
            parts(body, 1, 0, 5)


def test_no_secret_shows_in_what_the_driver_prints() -> None:
    progress = started().receive(1, b"\x01a")

    assert "hello" not in repr(Send({1: b"hello"}, lambda _: Done(1)))
    assert "hello" not in repr(Done("hello")) + repr(Progress(((1, b"hello"),), "hello")) + repr(progress)
