"""Random vector OLE: correct products, fast equals reference, and cheating senders are banned."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc import vole, vole_reference
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot import lanes
from signer_nodes.mpc.ot.extension import Direction, ReceiverRows, SenderRows, extend_receiver, extend_sender
from signer_nodes.mpc.ot.lanes import LANES, Bytes
from signer_nodes.mpc.zero import zero_share
from tests.protocols import dealer
from tests.protocols.lockstep import flip

DEALT = dealer.deal(min_signers=2, n=2)
DIRECTION = Direction(b"s" * 32, sender=1, receiver=2, batch=4)
GADGET = vole.gadget(DIRECTION.session)
EDGES = [0, 1, Q - 1, Q, Q + 1, 2 * Q - 1, 2 * Q, 2**256 - 1, 2**256, 2**512 - 1, 2**520 - 1]


def extended(seed: int) -> tuple[SenderRows, ReceiverRows]:
    choices = random.Random(seed).randbytes(DIRECTION.column_bytes)
    message, theirs = extend_receiver(DIRECTION, DEALT.pairs[2][1].receiver_seeds, choices=choices)
    mine = DEALT.pairs[1][2]
    return extend_sender(DIRECTION, mine.delta_seeds, delta=mine.delta, message=message), theirs


def inputs_of(seed: int) -> list[vole.SenderInput]:
    source = random.Random(seed)
    return [
        vole.SenderInput((source.randrange(Q), source.randrange(Q)), source.randrange(Q)) for _ in range(4)
    ]


MINE, THEIRS = extended(7)
MESSAGE, PRODUCTS = vole.send(DIRECTION, MINE, vector=GADGET, inputs=inputs_of(7))


def receive(message: bytes) -> list[tuple[int, int]]:
    return vole.receive(DIRECTION, THEIRS, vector=GADGET, message=vole.parse(DIRECTION, message))


def numbers(pads: Bytes) -> list[list[list[int]]]:
    return [[[int.from_bytes(x.tobytes(), "big") % Q for x in row] for row in instance] for instance in pads]


def rows_of(values: list[int]) -> Bytes:
    return np.frombuffer(b"".join(value.to_bytes(32, "big") for value in values), np.uint8).reshape(-1, 32)


@pytest.mark.parametrize("seed", range(3))
def test_shares_add_up_to_input_times_chi(seed: int) -> None:
    mine, theirs = extended(seed)
    inputs = inputs_of(seed)

    message, sent = vole.send(DIRECTION, mine, vector=GADGET, inputs=inputs)
    got = vole.receive(DIRECTION, theirs, vector=GADGET, message=vole.parse(DIRECTION, message))

    for b, chi in enumerate(GADGET.chi(theirs.choices)):
        for k in (0, 1):
            assert (sent[b][k] + got[b][k]) % Q == inputs[b].values[k] * chi % Q


@pytest.mark.parametrize("value", [0, 1, Q - 1])
def test_inputs_at_the_edges_multiply_as_well(value: int) -> None:
    inputs = [vole.SenderInput((value, Q - 1 - value), value)] * 4

    message, sent = vole.send(DIRECTION, MINE, vector=GADGET, inputs=inputs)

    for b, (chi, got) in enumerate(zip(GADGET.chi(THEIRS.choices), receive(message), strict=True)):
        assert (sent[b][0] + got[0]) % Q == value * chi % Q
        assert (sent[b][1] + got[1]) % Q == (Q - 1 - value) * chi % Q


def test_chi_is_the_sum_of_the_chosen_gadget_elements() -> None:
    chis = GADGET.chi(THEIRS.choices)

    for bits, chi in zip(THEIRS.choices.tolist(), chis, strict=True):
        assert chi == sum(g for g, bit in zip(GADGET.values, bits, strict=True) if bit) % Q


def test_the_fast_sender_equals_the_reference_byte_for_byte() -> None:
    zero, one = MINE.pads()
    inputs = [(*values.values, values.check) for values in inputs_of(7)]

    message, outputs = vole_reference.send(
        DIRECTION, MINE.transcript, pads=[numbers(zero), numbers(one)], inputs=inputs
    )

    assert message == MESSAGE
    assert outputs == PRODUCTS


def test_the_fast_receiver_equals_the_reference() -> None:
    outputs = vole_reference.receive(
        DIRECTION,
        THEIRS.transcript,
        pads=numbers(THEIRS.pads()),
        choices=THEIRS.choices.tolist(),
        message=MESSAGE,
    )

    assert outputs == receive(MESSAGE)


def test_the_gadget_equals_the_reference_and_belongs_to_one_session() -> None:
    assert list(GADGET.values) == vole_reference.gadget(DIRECTION.session)
    assert not set(GADGET.values) & set(vole.gadget(b"t" * 32).values)


@pytest.mark.parametrize("j", range(6))
def test_a_wrong_pad_in_one_row_passes_only_where_the_choice_hides_it(j: int) -> None:
    zero, one = (numbers(pads) for pads in MINE.pads())
    one[2][j][0] += 1
    inputs = [(*values.values, values.check) for values in inputs_of(7)]
    message, _ = vole_reference.send(DIRECTION, MINE.transcript, pads=[zero, one], inputs=inputs)

    try:
        receive(message)
        passed = True
    except FaultyParticipant as error:
        passed = not (error.ban and error.participant == 1)

    assert passed is (int(THEIRS.choices[2, j]) == 0)


def test_every_changed_byte_of_the_message_bans_the_sender_or_is_malformed() -> None:
    eta, check = vole.INSTANCE_BYTES - 64, vole.INSTANCE_BYTES - 1
    positions = [31, eta + 31, check, *random.Random(2).sample(range(len(MESSAGE)), 25)]
    bans = 0

    for position in positions:
        with pytest.raises(FaultyParticipant) as caught:
            receive(flip(MESSAGE, position))
        assert caught.value.participant == 1
        bans += caught.value.ban

    assert bans >= len(positions) - 1


@pytest.mark.parametrize("at", [0, 32 * 1247, vole.INSTANCE_BYTES - 64, 2 * vole.INSTANCE_BYTES + 32])
@pytest.mark.parametrize("value", [Q, 2**256 - 1])
def test_a_scalar_of_q_or_above_names_the_sender_without_a_ban(at: int, value: int) -> None:
    with pytest.raises(FaultyParticipant, match="scalar") as caught:
        vole.parse(DIRECTION, MESSAGE[:at] + value.to_bytes(32, "big") + MESSAGE[at + 32 :])

    assert (caught.value.participant, caught.value.ban) == (1, False)


@pytest.mark.parametrize("change", [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b""])
def test_a_wrong_length_names_the_sender_without_a_ban(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FaultyParticipant, match="bytes, expected") as caught:
        vole.parse(DIRECTION, change(MESSAGE))

    assert (caught.value.participant, caught.value.ban) == (1, False)


def test_inputs_of_another_batch_are_refused() -> None:
    with pytest.raises(CallerError, match="3 inputs"):
        vole.send(DIRECTION, MINE, vector=GADGET, inputs=inputs_of(7)[:3])


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**520 - 1), min_size=3, max_size=3))
def test_lanes_are_reduced_like_integers(values: list[int]) -> None:
    lane_values = ([*EDGES, *values] * 40)[:LANES]
    vector = mpz(int.from_bytes(b"".join(value.to_bytes(68, "big") for value in lane_values), "big"))

    reduced = lanes.unpack(lanes.reduce_lanes(vector))

    assert [int.from_bytes(row.tobytes(), "big") for row in reduced] == [value % Q for value in lane_values]


@pytest.mark.parametrize("value", [0, Q - 1, Q, 2 * Q, 4 * Q - 1, 2**258 - 1, 2**300 - 1])
def test_one_fold_reduces_lanes_below_2_to_the_300(value: int) -> None:
    reduced = lanes.unpack(lanes.reduce_lanes(lanes.spread(value), folds=1))

    assert {row.tobytes() for row in reduced} == {(value % Q).to_bytes(32, "big")}


def test_two_columns_pack_into_one_number_and_come_apart() -> None:
    source = random.Random(8)
    left = [source.randrange(2**256) for _ in range(LANES - 1)] + [2**256 - 1]
    right = [2**256 - 1] + [source.randrange(2**256) for _ in range(LANES - 1)]

    packed = lanes.pack(rows_of(left), rows_of(right))

    assert [lanes.unpack(vector).tolist() for vector in packed] == [
        rows_of(left).tolist(),
        rows_of(right).tolist(),
    ]


def test_inner_products_are_exact_at_their_bound() -> None:
    largest = rows_of([2**256 - 1] * LANES)

    products = lanes.inner_products(lanes.limbs(largest), [2 * lanes.limbs(largest), lanes.limbs(largest)])

    assert products == [k * LANES * (2**256 - 1) ** 2 % Q for k in (2, 1)]


@pytest.mark.parametrize("value", [Q, Q + 1, 2**256 - 1, Q + 2**64, Q + 2**100, 2**256 - 2**128])
def test_canonical_means_below_q_in_every_word(value: int) -> None:
    below = [0, 1, Q - 1, Q - 2**64, Q - 2**100, Q - 2**128, 2**64 - 1, 2**128 - 1]

    assert lanes.all_canonical(rows_of(below))
    assert lanes.all_canonical(rows_of([*below, value])) is (value < Q)


def test_zero_shares_of_a_set_sum_to_zero_and_are_fresh() -> None:
    seeds = dealer.deal(min_signers=3, n=4).pairs
    members = (1, 3, 4)
    drawn = set()

    for session, b in ((b"s" * 32, 0), (b"s" * 32, 1), (b"t" * 32, 0)):
        shares = [
            zero_share(
                {peer: seeds[me][peer].zero_seed for peer in members if peer != me},
                me=me,
                session=session,
                b=b,
            )
            for me in members
        ]
        assert sum(shares) % Q == 0
        drawn |= set(shares)

    assert len(drawn) == 9
