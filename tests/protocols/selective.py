"""The selective-failure attack on OT extension, by a peer that wants the victim's Δ bit by bit.

The victim is sender of the OT extension, with Δ; the attacker is its receiver. In column i the attacker
uses other choice bits than in all other columns, off by an error e. The victim's column then is
q_i = t_i ⊕ Δ_i·(x ⊕ e), so the consistency check holds with the honest tag of t_i exactly when Δ_i = 0,
and with that tag off by h(e) exactly when Δ_i = 1. Whether the victim goes on tells the bit; that is what
the ban is for. With all of Δ, the messages of any earlier session give the victim's inputs away.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.groups import lagrange
from signer_nodes.mpc.keyshare import COLUMNS, KeyShare, PairState
from signer_nodes.mpc.ot import extension
from signer_nodes.mpc.ot.extension import Direction, SenderRows, extend_receiver
from signer_nodes.mpc.presign_messages import Commit, Commitments
from signer_nodes.mpc.zero import zero_share
from tests.protocols.pads import sender_pads


def bit(delta: bytes, column: int) -> int:
    """Bit ``column`` of Δ."""
    return delta[column // 8] >> column % 8 & 1


def guessing_extension(
    direction: Direction, attacker: PairState, *, guesses: Mapping[int, int], seed: int = 0
) -> bytes:
    """An OT-extension message that passes exactly when all ``guesses`` (bits of Δ by column) are right."""
    source = random.Random(f"{direction.session.hex()} {seed}")
    choices = source.randbytes(direction.column_bytes)
    seeds = attacker.receiver_seeds
    zeros, ones = (extension._expand(direction, [pair[k] for pair in seeds]) for k in (0, 1))
    matrix = zeros ^ ones ^ np.frombuffer(choices, np.uint8)
    errors = {column: source.randbytes(direction.column_bytes) for column in guesses}
    for column, error in errors.items():
        matrix[column] ^= np.frombuffer(error, np.uint8)
    challenge = extension._challenge(direction, matrix.tobytes())
    tags = extension._tags(challenge, [choices, *(column.tobytes() for column in zeros)]).copy()
    for column, guess in guesses.items():
        if guess:
            tags[1 + column] ^= extension._tags(challenge, [errors[column]])[0]
    return matrix.tobytes() + tags.tobytes()


def guessing_round_1(direction: Direction, attacker: PairState, *, guesses: Mapping[int, int]) -> bytes:
    """The same as a whole payload of presigning's round 1; its commitments will never be opened."""
    commitments = Commitments(bytes(32), (bytes(32),) * direction.batch)
    message = guessing_extension(direction, attacker, guesses=guesses)
    return b"\x01" + Commit(commitments, message).to_bytes()


@dataclass(frozen=True)
class Recorded:
    """What the attacker has of an honest session: its own choices, its own message's hash, the answer."""

    direction: Direction
    choices: bytes
    product: bytes


def victims_share(recorded: Recorded, delta: bytes, *, attacker: PairState, share: KeyShare) -> int:
    """The victim's share of a two-party set, from one recorded session and Δ. ``share`` is the attacker's.

    t_j = q_j ⊕ x_j·Δ gives the victim's rows, these its pads, and ã = α0 − α1 + a its inputs.
    """
    direction = recorded.direction
    _, mine = extend_receiver(direction, attacker.receiver_seeds, choices=recorded.choices)
    flips = mine.choices.reshape(-1, 1) * np.frombuffer(delta, np.uint8)
    theirs = SenderRows(mine.rows ^ flips, delta, mine.row_key, mine.transcript)
    zero, one = (pads[0][0][1] for pads in sender_pads(theirs))
    difference = int.from_bytes(recorded.product[416 * 32 :][:32], "big")
    secret = (difference - zero + one) % Q
    seeds = {attacker.me: attacker.zero_seed}
    victim = attacker.peer
    secret -= zero_share(seeds, me=victim, session=direction.session, b=0)
    factor = lagrange(victim, sorted((victim, share.index)), order=Q)
    return secret * pow(factor, -1, Q) % Q


def packed(bits: Mapping[int, int]) -> bytes:
    """Bits by column as bytes of Δ."""
    return sum(bits[column] << column for column in range(COLUMNS)).to_bytes(COLUMNS // 8, "little")
