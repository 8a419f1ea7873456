"""Base oblivious transfer: the receiver gets exactly the chosen keys, the sender learns no choice."""

from dataclasses import replace

import pytest

from policy.errors import CallerError, MalformedError
from signer_nodes.mpc.curve import POINT_BYTES, add, base_mul
from signer_nodes.mpc.keyshare import COLUMNS
from signer_nodes.mpc.ot import base
from signer_nodes.mpc.ot.base import MESSAGE_BYTES, OtDirection, OtReceiver, answer, receive, request
from signer_nodes.mpc.stream import RandomStream
from tests.protocols.lockstep import flip

DIRECTION = OtDirection(b"c" * 32, receiver=1, sender=2)
CHOICES = bytes(range(100, 116))
NOT_A_POINT = b"\x02" + (5).to_bytes(32, "big")
Keys = tuple[tuple[bytes, bytes], ...]


def requested(choices: bytes = CHOICES, *, direction: OtDirection = DIRECTION) -> OtReceiver:
    return request(direction, choices, stream=RandomStream(b"r" * 32))


def answered(message: bytes, *, direction: OtDirection = DIRECTION) -> tuple[bytes, Keys]:
    return answer(direction, message, stream=RandomStream(b"s" * 32))


def bit(index: int, choices: bytes = CHOICES) -> int:
    return choices[index // 8] >> index % 8 & 1


@pytest.mark.parametrize("choices", [CHOICES, bytes(16), b"\xff" * 16, b"\x01" + bytes(15)])
def test_the_receiver_gets_the_chosen_key_of_every_transfer_and_not_the_other(choices: bytes) -> None:
    state = requested(choices)
    reply, keys = answered(state.message)

    received = receive(state, reply)

    assert len(received) == len(keys) == COLUMNS
    for index in range(COLUMNS):
        assert received[index] == keys[index][bit(index, choices)]
        assert received[index] != keys[index][1 - bit(index, choices)]


def test_all_keys_differ() -> None:
    _, keys = answered(requested().message)

    assert len({key for pair in keys for key in pair}) == 2 * COLUMNS


def test_messages_have_the_documented_length_and_repeat_no_point() -> None:
    state = requested()
    reply, _ = answered(state.message)

    for message in (state.message, reply):
        points = {message[at : at + POINT_BYTES] for at in range(0, len(message), POINT_BYTES)}
        assert len(message) == MESSAGE_BYTES
        assert len(points) == 2 * COLUMNS


def test_the_receiver_knows_the_logarithm_of_the_chosen_branch_only() -> None:
    """Both branches look alike; only the scalars, which stay at home, tell them apart."""
    state = requested()
    label = DIRECTION.label

    for index in range(COLUMNS):
        at = 2 * POINT_BYTES * index
        zero, one = (
            state.message[at : at + POINT_BYTES],
            state.message[at + POINT_BYTES : at + 2 * POINT_BYTES],
        )
        m = (
            add([zero, base._to_curve(label, index, 0, one)]),
            add([one, base._to_curve(label, index, 1, zero)]),
        )
        assert m[bit(index)] == base_mul(state.scalars[index])
        assert m[1 - bit(index)] != base_mul(state.scalars[index])


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("index", [0, 1, 2, 127])
def test_a_malformed_answer_is_refused_whatever_was_chosen(index: int, branch: int) -> None:
    at = (2 * index + branch) * POINT_BYTES
    for choices in (bytes(16), b"\xff" * 16):
        state = requested(choices)
        reply, _ = answered(state.message)

        with pytest.raises(MalformedError):
            receive(state, reply[:at] + NOT_A_POINT + reply[at + POINT_BYTES :])


@pytest.mark.parametrize("position", [0, 1, 255])
def test_a_malformed_request_is_refused(position: int) -> None:
    message = requested().message
    at = position * POINT_BYTES

    with pytest.raises(MalformedError):
        answered(message[:at] + NOT_A_POINT + message[at + POINT_BYTES :])


@pytest.mark.parametrize("length", [0, MESSAGE_BYTES - 1, MESSAGE_BYTES - POINT_BYTES, MESSAGE_BYTES + 1])
def test_messages_of_another_length_are_refused(length: int) -> None:
    state = requested()
    reply, _ = answered(state.message)

    with pytest.raises(MalformedError):
        answered((state.message + bytes(33))[:length])
    with pytest.raises(MalformedError):
        receive(state, (reply + bytes(33))[:length])


@pytest.mark.parametrize(
    "other",
    [
        replace(DIRECTION, context=b"d" * 32),
        replace(DIRECTION, receiver=3),
        replace(DIRECTION, sender=3),
        OtDirection(b"c" * 32, receiver=2, sender=1),
    ],
)
def test_keys_belong_to_one_session_and_one_ordered_pair(other: OtDirection) -> None:
    state = requested()
    reply, keys = answered(state.message, direction=other)

    received = receive(state, reply)

    assert not {key for pair in keys for key in pair} & set(received)


def test_an_altered_message_spoils_every_key() -> None:
    state = requested()
    altered = flip(state.message, 0)  # the other sign of the first point: still a point
    reply, keys = answered(altered)

    received = receive(state, reply)

    assert not {key for pair in keys for key in pair} & set(received)


def test_the_first_message_shows_no_pattern_of_the_choices() -> None:
    """The sign bytes of both branches are balanced for all-zero and for all-one choices."""
    for choices in (bytes(16), b"\xff" * 16):
        message = requested(choices).message
        for branch in (0, 1):
            odd = sum(message[at] == 3 for at in range(branch * POINT_BYTES, MESSAGE_BYTES, 2 * POINT_BYTES))
            assert 30 < odd < 98


def test_a_direction_of_its_own_has_a_label_of_its_own() -> None:
    assert DIRECTION.label != OtDirection(DIRECTION.context, receiver=2, sender=1).label


def test_every_transfer_and_branch_has_a_hash_to_the_curve_of_its_own() -> None:
    places = [(b"a" * 32, 0, 0), (b"b" * 32, 0, 0), (b"a" * 32, 1, 0), (b"a" * 32, 0, 1)]

    hashed = {
        base._to_curve(label, index, branch, base_mul(k)) for label, index, branch in places for k in (1, 2)
    }

    assert len(hashed) == 8


def test_there_are_128_choices() -> None:
    with pytest.raises(CallerError):
        requested(bytes(15))


def test_the_receivers_state_prints_no_secret() -> None:
    state = requested()

    assert str(state.scalars[0]) not in repr(state)
    assert repr(CHOICES) not in repr(state)


def test_selection_by_mask_is_selection() -> None:
    zero, one = base_mul(1), base_mul(2)

    assert (base._select(0, zero, one), base._select(1, zero, one)) == (zero, one)
