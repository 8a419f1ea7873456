"""Random vector OLE: correct products, fast equals reference, and cheating senders are banned."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc import vole, vole_reference
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot import lanes
from signer_nodes.mpc.ot.extension import Direction, ReceiverRows, SenderRows, extend_receiver, extend_sender
from signer_nodes.mpc.ot.lanes import Lanes
from signer_nodes.mpc.ot.rows import LANES, Bytes, Words
from signer_nodes.mpc.zero import zero_share
from tests.protocols import dealer
from tests.protocols.lockstep import flip
from tests.protocols.pads import instances, sender_pads

DEALT = dealer.deal(min_signers=2, n=2)
DIRECTION = Direction(b"s" * 32, sender=1, receiver=2, batch=4)
GADGET = vole.gadget(DIRECTION.session)
ETAS = 4 * vole.DIFFERENCES_BYTES  # of the message of a batch of four: here the η begin
C = 2**256 - Q
EDGES = [
    0,
    1,
    C - 1,
    C,
    C + 1,
    Q - 1,
    Q,
    Q + 1,
    2**64 - 1,
    2**192 - 1,
    2**255,
    2**256 - C,
    2**256 - 2,
    2**256 - 1,
]
PADS = st.sampled_from(EDGES) | st.integers(0, 2**256 - 1)
SCALARS = st.sampled_from([edge for edge in EDGES if edge < Q]) | st.integers(0, Q - 1)


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


def send(rows: SenderRows, inputs: list[vole.SenderInput]) -> tuple[bytes, list[tuple[int, int]]]:
    message, products = vole.send(DIRECTION, rows, vector=GADGET, inputs=inputs, memory=vole.Memory(4))
    return b"".join(message.parts()), products


MINE, THEIRS = extended(7)
MESSAGE, PRODUCTS = send(MINE, inputs_of(7))


def receive(message: bytes, rows: ReceiverRows = THEIRS) -> list[tuple[int, int]]:
    parsed = vole.parse(DIRECTION, message)
    return vole.receive(DIRECTION, rows, vector=GADGET, message=parsed, memory=vole.Memory(4))


def rows_of(values: list[int]) -> Bytes:
    return np.frombuffer(b"".join(value.to_bytes(32, "big") for value in values), np.uint8).reshape(-1, 32)


def pads_of(columns: list[list[int]]) -> Words:
    """Pads of one instance: each of three columns repeats its few values over all lanes."""
    values = [(column * LANES)[:LANES] for column in columns]
    data = b"".join(
        (value >> shift & 2**128 - 1).to_bytes(16, "little")
        for column in values
        for shift in (0, 128)
        for value in column
    )
    return np.frombuffer(data, "<u8").reshape(6, LANES, 2).copy()


def integers_of(scalars: Bytes) -> list[int]:
    return [int.from_bytes(row.tobytes(), "big") for row in scalars.reshape(-1, 32)]


@pytest.mark.parametrize("seed", range(3))
def test_shares_add_up_to_input_times_chi(seed: int) -> None:
    mine, theirs = extended(seed)
    inputs = inputs_of(seed)

    message, sent = send(mine, inputs)
    got = receive(message, theirs)

    for b, chi in enumerate(GADGET.chi(theirs.choices)):
        for k in (0, 1):
            assert (sent[b][k] + got[b][k]) % Q == inputs[b].values[k] * chi % Q


@pytest.mark.parametrize("value", [0, 1, Q - 1])
def test_inputs_at_the_edges_multiply_as_well(value: int) -> None:
    inputs = [vole.SenderInput((value, Q - 1 - value), value)] * 4

    message, sent = send(MINE, inputs)

    for b, (chi, got) in enumerate(zip(GADGET.chi(THEIRS.choices), receive(message), strict=True)):
        assert (sent[b][0] + got[0]) % Q == value * chi % Q
        assert (sent[b][1] + got[1]) % Q == (Q - 1 - value) * chi % Q


def test_chi_is_the_sum_of_the_chosen_gadget_elements() -> None:
    chis = GADGET.chi(THEIRS.choices)

    for bits, chi in zip(THEIRS.choices.tolist(), chis, strict=True):
        assert chi == sum(g for g, bit in zip(GADGET.values, bits, strict=True) if bit) % Q


def test_the_fast_sender_equals_the_reference_byte_for_byte() -> None:
    inputs = [(*values.values, values.check) for values in inputs_of(7)]

    message, outputs = vole_reference.send(DIRECTION, MINE.transcript, pads=sender_pads(MINE), inputs=inputs)

    assert message == MESSAGE
    assert outputs == PRODUCTS


def test_the_fast_receiver_equals_the_reference() -> None:
    (pads,) = THEIRS.pads(vole.Memory(4).rows)

    outputs = vole_reference.receive(
        DIRECTION,
        THEIRS.transcript,
        pads=instances(pads),
        choices=THEIRS.choices.tolist(),
        message=MESSAGE,
    )

    assert outputs == receive(MESSAGE)


def test_the_gadget_equals_the_reference_and_belongs_to_one_session() -> None:
    assert list(GADGET.values) == vole_reference.gadget(DIRECTION.session)
    assert not set(GADGET.values) & set(vole.gadget(b"t" * 32).values)


@pytest.mark.parametrize("j", range(6))
def test_a_wrong_pad_in_one_row_passes_only_where_the_choice_hides_it(j: int) -> None:
    zero, one = sender_pads(MINE)
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
    positions = [31, ETAS + 31, len(MESSAGE) - 1, *random.Random(2).sample(range(len(MESSAGE)), 25)]
    bans = 0

    for position in positions:
        with pytest.raises(FaultyParticipant) as caught:
            receive(flip(MESSAGE, position))
        assert caught.value.participant == 1
        bans += caught.value.ban

    assert bans >= len(positions) - 1


@pytest.mark.parametrize("at", [0, 32 * 1247, ETAS - 32, ETAS, ETAS + 96])
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
        send(MINE, inputs_of(7)[:3])


@settings(max_examples=25, deadline=None)
@given(
    zero=st.lists(st.lists(PADS, min_size=1, max_size=9), min_size=3, max_size=3),
    one=st.lists(st.lists(PADS, min_size=1, max_size=8), min_size=3, max_size=3),
    constants=st.lists(SCALARS, min_size=3, max_size=3),
)
def test_lanes_are_subtracted_like_integers(
    zero: list[list[int]], one: list[list[int]], constants: list[int]
) -> None:
    found = np.empty((1, 3, LANES, 32), dtype=np.uint8)

    Lanes(1).subtract(
        pads_of(zero), pads_of(one), constants=lanes.difference_constants([constants]), out=found
    )

    expected = [
        (left[j % len(left)] - right[j % len(right)] + constant) % Q
        for left, right, constant in zip(zero, one, constants, strict=True)
        for j in range(LANES)
    ]
    assert integers_of(found) == expected


@settings(max_examples=25, deadline=None)
@given(
    pads=st.lists(st.lists(PADS, min_size=1, max_size=9), min_size=3, max_size=3),
    added=st.lists(st.lists(SCALARS, min_size=1, max_size=8), min_size=3, max_size=3),
    bits=st.lists(st.integers(0, 1), min_size=1, max_size=7),
    factors=st.tuples(SCALARS, SCALARS, SCALARS),
)
def test_lanes_are_combined_and_multiplied_like_integers(
    pads: list[list[int]], added: list[list[int]], bits: list[int], factors: tuple[int, int, int]
) -> None:
    work, choices = Lanes(1), np.array([(bits * LANES)[:LANES]], dtype=np.uint8)
    differences = rows_of([column[j % len(column)] for column in added for j in range(LANES)])
    products = lanes.room_for_products(1, 1)

    work.load(pads_of(pads))
    work.add_chosen(differences.reshape(1, 3, LANES, 32), choices)
    work.products(GADGET.digits, products[0])
    found = integers_of(work.combine(lanes.combinations([factors])))

    beta = choices[0].tolist()
    d = [
        [column[j % len(column)] + beta[j] * more[j % len(more)] for j in range(LANES)]
        for column, more in zip(pads, added, strict=True)
    ]
    a, b, e = factors
    assert found == [(a * d[0][j] + b * d[1][j] + d[2][j] + e * beta[j]) % Q for j in range(LANES)]
    assert lanes.inner_products(products) == [
        tuple(sum(g * x for g, x in zip(GADGET.values, d[k], strict=True)) % Q for k in (0, 1))
    ]


def test_sums_are_exact_at_their_bounds() -> None:
    work, largest, products = Lanes(1), 2**256 - 1, lanes.room_for_products(1, 1)
    vector = lanes.digits_of([largest] * LANES)

    work.load(pads_of([[largest]] * 3))
    work.add_chosen(rows_of([largest] * 3 * LANES).reshape(1, 3, LANES, 32), np.ones((1, LANES), np.uint8))
    work.products(vector, products[0])
    # Factors whose every shifted digit is as large as can be do not exist: this matrix stands for them.
    matrix = np.full((1, 16, 25), 2.0**16 - 1)
    matrix[..., 16:24] = lanes.combinations([(0, 0, 0)])[..., 16:24]
    found = set(integers_of(work.combine(matrix)))

    everything = sum((2**16 - 1) << (16 * place) for place in range(16))
    limbs = 2 * 8 * 2 * (2**32 - 1)
    assert found == {((limbs + 1) * everything + 2 * largest) % Q}
    assert lanes.inner_products(products) == [(2 * LANES * largest**2 % Q,) * 2]


def test_the_whole_batch_is_cut_into_chunks_that_fit() -> None:
    for batch in range(4, 129, 4):
        memory = vole.Memory(batch)
        covered = [b for chunk in memory.chunks(batch) for b in range(chunk.start, chunk.stop)]
        assert covered == list(range(batch))
        assert memory.chunk in (4, 8)


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
