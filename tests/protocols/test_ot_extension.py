"""OT extension: what both sides end with, and what a cheating receiver is told."""

import random
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc import vole_reference
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot import extension
from signer_nodes.mpc.ot.extension import Direction, ReceiverRows, SenderRows, extend_receiver, extend_sender
from signer_nodes.mpc.ot.rows import LANES, Bytes, RowHash, RowMemory, transpose_bits
from tests.protocols import dealer
from tests.protocols.lockstep import flip
from tests.protocols.pads import numbers

DEALT = dealer.deal(min_signers=2, n=2)
SENDER, RECEIVER = DEALT.pairs[1][2], DEALT.pairs[2][1]
DIRECTION = Direction(b"s" * 32, sender=1, receiver=2, batch=4)


def choices_of(direction: Direction, seed: int) -> bytes:
    return random.Random(seed).randbytes(direction.column_bytes)


def receiver_message(direction: Direction = DIRECTION, seed: int = 1) -> tuple[bytes, ReceiverRows]:
    return extend_receiver(direction, RECEIVER.receiver_seeds, choices=choices_of(direction, seed))


def sender_rows(message: bytes, direction: Direction = DIRECTION) -> SenderRows:
    return extend_sender(direction, SENDER.delta_seeds, delta=SENDER.delta, message=message)


def cheating_message(column: int, error: bytes) -> bytes:
    """A receiver's message with other choices in one column and tags made to fit all the same."""
    choices = choices_of(DIRECTION, 1)
    zeros = extension._expand(DIRECTION, [zero for zero, _ in RECEIVER.receiver_seeds])
    ones = extension._expand(DIRECTION, [one for _, one in RECEIVER.receiver_seeds])
    matrix = zeros ^ ones ^ np.frombuffer(choices, np.uint8)
    matrix[column] ^= np.frombuffer(error, np.uint8)
    challenge = extension._challenge(DIRECTION, matrix.tobytes())
    strings = [choices, *(column.tobytes() for column in zeros)]
    return matrix.tobytes() + extension._tags(challenge, strings).tobytes()


def hash_rows(key: bytes, rows: Bytes, *, number: int = 0) -> list[list[int]]:
    memory = RowMemory(len(rows))
    return numbers(RowHash(key, memory).pads(rows, number, out=memory.pads))


def random_bytes(shape: tuple[int, ...], seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("batch", [4, 8, 20])
def test_rows_differ_by_delta_where_the_choice_is_one(batch: int) -> None:
    direction = replace(DIRECTION, batch=batch)
    message, theirs = receiver_message(direction, seed=batch)

    mine = sender_rows(message, direction)

    delta = np.frombuffer(SENDER.delta, np.uint8)
    assert np.array_equal(theirs.rows, mine.rows ^ theirs.choices.reshape(-1, 1) * delta)
    assert (mine.row_key, mine.transcript) == (theirs.row_key, theirs.transcript)


def test_the_receiver_gets_the_chosen_pad_and_not_the_other() -> None:
    message, theirs = receiver_message()
    memory = RowMemory(2 * LANES)

    sent = [(numbers(zero), numbers(one)) for zero, one in sender_rows(message).pads(memory)]
    got = [numbers(pads) for pads in theirs.pads(memory)]

    choices = theirs.choices.reshape(2, 2 * LANES).tolist()
    for both, found, bits in zip(sent, got, choices, strict=True):
        assert found == [both[bit][row] for row, bit in enumerate(bits)]
        assert not any(pad in both[1 - bit][row] for row, bit in enumerate(bits) for pad in found[row])


def test_pads_for_choice_zero_outlive_the_next_ones() -> None:
    mine = sender_rows(receiver_message()[0])

    kept = [numbers(zero) for zero in [zero for zero, _ in mine.pads(RowMemory(LANES))]]

    assert kept == [numbers(zero) for zero, _ in mine.pads(RowMemory(LANES))]


def test_choice_bits_are_read_little_end_first() -> None:
    choices = choices_of(DIRECTION, 1)

    rows = receiver_message()[1]

    expected = [(choices[i // 8] >> (i % 8)) & 1 for i in range(4 * LANES)]
    assert rows.choices.reshape(-1).tolist() == expected


def test_mask_bits_fill_whole_blocks_and_are_never_outputs() -> None:
    for batch in range(4, extension.BATCH_MAX + 1, 4):
        direction = replace(DIRECTION, batch=batch)
        assert (direction.column_bytes - extension.MASK_BYTES) % 16 == 0

    assert receiver_message()[1].rows.shape == (4 * LANES, 16)


@pytest.mark.parametrize("batch", [-4, 0, 1, 2, 3, 5, 6, 63, 132])
def test_a_batch_that_is_no_multiple_of_four_or_too_large_is_refused(batch: int) -> None:
    with pytest.raises(CallerError, match=f"batch is {batch}"):
        Direction(b"s" * 32, 1, 2, batch)


def test_every_changed_byte_of_the_message_bans_the_receiver() -> None:
    message, _ = receiver_message()
    tags = DIRECTION.message_bytes - 129 * 32
    positions = [
        0,
        tags - 1,
        tags,
        tags + 31,
        tags + 32,
        -1,
        *random.Random(1).sample(range(len(message)), 20),
    ]

    for position in positions:
        with pytest.raises(FaultyParticipant, match="consistency") as caught:
            sender_rows(flip(message, position, mask=0x10))
        assert (caught.value.participant, caught.value.ban) == (2, True)


@pytest.mark.parametrize("column", range(16))
def test_other_choices_in_one_column_pass_only_where_delta_is_zero(column: int) -> None:
    message = cheating_message(column, random.Random(column).randbytes(DIRECTION.column_bytes))
    guessed = (SENDER.delta[column // 8] >> (column % 8)) & 1 == 0

    try:
        sender_rows(message)
        passed = True
    except FaultyParticipant as error:
        passed = not error.ban

    assert passed is guessed


def test_the_cheating_message_without_an_error_is_the_honest_one() -> None:
    assert cheating_message(0, bytes(DIRECTION.column_bytes)) == receiver_message()[0]


@pytest.mark.parametrize("change", [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b""])
def test_a_wrong_length_names_the_receiver_without_a_ban(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FaultyParticipant, match="bytes, expected") as caught:
        sender_rows(change(receiver_message()[0]))

    assert (caught.value.participant, caught.value.ban) == (2, False)


def test_a_message_of_another_session_or_pair_bans() -> None:
    message, _ = receiver_message(replace(DIRECTION, session=b"t" * 32))

    with pytest.raises(FaultyParticipant) as caught:
        sender_rows(message)

    assert caught.value.ban


def test_another_session_shares_no_column_and_no_row_key() -> None:
    first, second = receiver_message(), receiver_message(replace(DIRECTION, session=b"t" * 32))

    assert not (first[1].rows == second[1].rows).all(axis=1).any()
    assert first[1].row_key != second[1].row_key


def test_the_check_hash_is_linear_and_the_bare_tag_is_not() -> None:
    x, y = random_bytes((2, 240), seed=3)
    strings = [x.tobytes(), y.tobytes(), (x ^ y).tobytes(), bytes(240)]

    hashed = extension._tags(b"c" * 32, strings)

    assert np.array_equal(hashed[0] ^ hashed[1], hashed[2])
    assert not hashed[3].any() and hashed[0].any()
    bare = [AESGCM(b"k" * 32).encrypt(bytes(12), b"", string) for string in strings[:3]]
    assert bytes(a ^ b for a, b in zip(bare[0], bare[1], strict=True)) != bare[2]


def test_the_two_halves_of_the_check_hash_have_keys_of_their_own() -> None:
    hashed = extension._tags(b"c" * 32, [b"x" * 240])

    assert not np.array_equal(hashed[0, :16], hashed[0, 16:])


def test_the_fast_expansion_equals_the_reference_and_binds_its_place() -> None:
    seeds = [random.Random(number).randbytes(32) for number in range(3)]

    columns = extension._expand(DIRECTION, [*seeds, seeds[0]])

    expected = [vole_reference.column(DIRECTION, seed, number=at) for at, seed in enumerate(seeds)]
    assert [column.tobytes() for column in columns[:3]] == expected
    assert columns[3].tobytes() != columns[0].tobytes()
    reverse = extension._expand(replace(DIRECTION, sender=2, receiver=1), seeds)
    assert reverse[0].tobytes() != columns[0].tobytes()


def test_the_fast_transpose_equals_the_reference() -> None:
    matrix = random_bytes((128, 24), seed=4)

    rows = transpose_bits(matrix)

    assert [row.tobytes() for row in rows] == vole_reference.transpose([c.tobytes() for c in matrix])


@pytest.mark.parametrize("first", [0, 40, 53248 - 40])
def test_the_fast_row_hash_equals_the_reference(first: int) -> None:
    rows, key = random_bytes((40, 16), seed=5), b"k" * 32

    hashed = hash_rows(key, rows, number=first)

    for at, row in enumerate(rows):
        expected = vole_reference.hash_row(key, row.tobytes(), number=first + at)
        assert tuple(number % Q for number in hashed[at]) == expected


def test_equal_rows_hash_differently_at_every_place() -> None:
    hashed = hash_rows(b"k" * 32, np.zeros((50, 16), dtype=np.uint8))

    halves = {half for row in hashed for number in row for half in divmod(number, 2**128)}
    assert len(halves) == 50 * 6


def test_secrets_do_not_show() -> None:
    message, theirs = receiver_message()
    mine = sender_rows(message)

    assert "delta" not in repr(mine) and "rows=" not in repr(mine)
    assert "choices" not in repr(theirs) and "row_key" not in repr(theirs)
