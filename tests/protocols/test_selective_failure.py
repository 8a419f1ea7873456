"""Without a ban, failed checks tell the victim's secrets bit by bit: the attack works, and takes the key.

The same attack against a node, which bans, is in ``tests/simulation/test_bans.py``.
"""

import random

import pytest

from policy.errors import FaultyParticipant, ProtocolError
from signer_nodes.mpc import vole, vole_reference
from signer_nodes.mpc.groups import SECP256K1_GROUP
from signer_nodes.mpc.keyshare import COLUMNS
from signer_nodes.mpc.ot.extension import Direction, extend_receiver, extend_sender
from signer_nodes.mpc.presign import PresignParameters, start_presign
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.mpc.sharing import interpolate
from signer_nodes.mpc.stream import RandomStream
from tests.protocols import dealer
from tests.protocols.lockstep import run_all
from tests.protocols.pads import sender_pads
from tests.protocols.selective import Recorded, bit, guessing_round_1, packed, victims_share

VICTIM, ATTACKER, BATCH = 1, 2, 4
DEALT = dealer.deal(min_signers=2, n=2, seed=77)
DELTA = DEALT.pairs[VICTIM][ATTACKER].delta
STATE = DEALT.pairs[ATTACKER][VICTIM]


def run_of(party: int, batch_id: int) -> Rounds:
    parameters = PresignParameters(dealer.session_of(DEALT, (1, 2), batch_id), BATCH)
    return start_presign(
        parameters,
        DEALT.shares[party],
        pairs=DEALT.pairs[party],
        signers=(1, 2),
        randomness=randomness(party, batch_id),
    )


def randomness(party: int, batch_id: int) -> bytes:
    return random.Random(f"{party} in {batch_id}").randbytes(32)


def goes_on(batch_id: int, guesses: dict[int, int]) -> bool:
    """Whether a victim that bans nobody answers a guess: one session, all the same pair state."""
    victim = run_of(VICTIM, batch_id)
    victim.start()
    direction = Direction(dealer.session_of(DEALT, (1, 2), batch_id), VICTIM, ATTACKER, BATCH)
    try:
        progress = victim.receive(ATTACKER, guessing_round_1(direction, STATE, guesses=guesses))
    except FaultyParticipant as error:
        assert error.ban
        return False
    return bool(progress.outgoing)


def recorded_session(batch_id: int) -> Recorded:
    """An honest session, as the attacker's own disk has it."""
    outcome = run_all({party: run_of(party, batch_id) for party in (VICTIM, ATTACKER)})
    assert set(outcome.results) == {1, 2}
    direction = Direction(dealer.session_of(DEALT, (1, 2), batch_id), VICTIM, ATTACKER, BATCH)
    choices = RandomStream(randomness(ATTACKER, batch_id)).fork(f"choices/{VICTIM}")
    answer = next(data for sender, _, data in outcome.payloads if (sender, data[0]) == (VICTIM, 2))
    product = answer[1 + 64 + BATCH * 164 :]
    return Recorded(direction, choices.bytes(direction.column_bytes), product)


@pytest.mark.parametrize("guess", [0, 1])
def test_a_guess_of_one_bit_passes_exactly_when_it_is_right(guess: int) -> None:
    passed = {column: goes_on(2 + column, {column: guess}) for column in range(0, COLUMNS, 8)}

    assert passed == {column: bit(DELTA, column) == guess for column in passed}


def test_a_guess_of_many_bits_passes_only_when_all_are_right() -> None:
    right = {column: bit(DELTA, column) for column in range(20)}

    assert goes_on(200, right)
    assert not goes_on(201, right | {7: 1 - right[7]})


def test_without_a_ban_a_session_a_bit_gives_delta_and_then_the_key() -> None:
    old = recorded_session(1000)

    learned = {column: int(not goes_on(1001 + column, {column: 0})) for column in range(COLUMNS)}
    delta = packed(learned)
    share = victims_share(old, delta, attacker=STATE, share=DEALT.shares[ATTACKER])

    assert delta == DELTA
    assert share == DEALT.shares[VICTIM].share
    both = {VICTIM: share, ATTACKER: DEALT.shares[ATTACKER].share}
    assert interpolate(SECP256K1_GROUP, both) == DEALT.secret


def test_a_delta_with_one_wrong_bit_does_not_give_the_share() -> None:
    wrong = bytes([DELTA[0] ^ 1]) + DELTA[1:]

    share = victims_share(recorded_session(1), wrong, attacker=STATE, share=DEALT.shares[ATTACKER])

    assert share != DEALT.shares[VICTIM].share


@pytest.mark.parametrize("row", range(8))
def test_without_a_ban_a_wrong_pad_tells_one_choice_bit_of_a_session(row: int) -> None:
    """The other direction: the attacker multiplies, the victim's β is what it wants; fresh every session."""
    direction = Direction(dealer.session_of(DEALT, (1, 2), 300 + row), ATTACKER, VICTIM, BATCH)
    choices = random.Random(row).randbytes(direction.column_bytes)
    message, kept = extend_receiver(direction, DEALT.pairs[VICTIM][ATTACKER].receiver_seeds, choices=choices)
    mine = extend_sender(direction, STATE.delta_seeds, delta=STATE.delta, message=message)
    zero, one = sender_pads(mine)
    one[0][row][0] += 1
    product, _ = vole_reference.send(direction, mine.transcript, pads=[zero, one], inputs=[(5, 6, 7)] * BATCH)

    try:
        parsed, vector = vole.parse(direction, product), vole.gadget(direction.session)
        vole.receive(direction, kept, vector=vector, message=parsed, memory=vole.Memory(BATCH))
        guessed = 0
    except ProtocolError as error:
        assert isinstance(error, FaultyParticipant) and error.ban
        guessed = 1

    assert guessed == choices[row // 8] >> row % 8 & 1
