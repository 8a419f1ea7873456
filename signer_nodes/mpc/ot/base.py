"""128 base oblivious transfers in two messages: Masny and Rindal's endemic OT over Diffie-Hellman.

"Endemic Oblivious Transfer", ePrint 2019/706, two-round protocol with a key agreement for each
branch. For transfer i the receiver with choice b draws x, sets ``A = x·G``, draws a random point
``r_{1-b}`` and sets ``r_b = A - H_b(r_{1-b})``. The sender computes ``m_k = r_k + H_k(r_{1-k})`` for
both k, so ``m_b = A`` and the receiver knows no logarithm of the other; it answers
``Y_k = y_k·G`` and derives key k from ``y_k·m_k``; the receiver derives key b from ``x·Y_b``.
Fresh ``y`` for each transfer and branch, so that plain CDH suffices. Both sides' keys hash context,
ordered pair, both messages, i and k.

*Endemic* means that a corrupt party may influence its own keys; SoftSpokenOT is proven for that.
Δ must not show in what the receiver does: it selects with masks, parses both branches of an answer
before it uses one (an abort must not depend on a choice bit), and hashes to the curve for both.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from policy.encoding import tagged_hash
from policy.errors import CallerError
from signer_nodes.mpc.curve import POINT_BYTES, add, base_mul, hash_to_point, negate, point_of, shared_secret
from signer_nodes.mpc.keyshare import COLUMNS, DELTA_BYTES
from signer_nodes.mpc.rounds import parts
from signer_nodes.mpc.stream import RandomStream

MESSAGE_BYTES: Final = COLUMNS * 2 * POINT_BYTES  # of either side


@dataclass(frozen=True, slots=True)
class OtDirection:
    """Which transfers these are: the session's context hash and who receives from whom."""

    context: bytes
    receiver: int
    sender: int

    @property
    def label(self) -> bytes:
        """32 bytes that differ for every session and ordered pair."""
        return tagged_hash("mpc/ot/base/direction", self.context, bytes([self.receiver, self.sender]))


@dataclass(frozen=True, slots=True)
class OtReceiver:
    """The receiver's state between its message and the answer. ``choices``: 16 bytes, bit i first."""

    direction: OtDirection
    choices: bytes = field(repr=False)
    scalars: tuple[int, ...] = field(repr=False)
    message: bytes = field(repr=False)


def request(direction: OtDirection, choices: bytes, *, stream: RandomStream) -> OtReceiver:
    """The receiver's start; its ``message`` (8448 bytes) goes to the sender.

    ``choices`` are 128 secret bits, uniform and used for no other transfer.
    """
    if len(choices) != DELTA_BYTES:
        raise CallerError(f"the choices are {DELTA_BYTES} bytes, got {len(choices)}")
    label, scalars, message = direction.label, [], bytearray()
    for index in range(COLUMNS):
        x = stream.scalar()
        scalars.append(x)
        message += _blinded_pair(label, index, bit=_bit(choices, index), x=x, r=stream.scalar())
    return OtReceiver(direction, choices, tuple(scalars), bytes(message))


def answer(
    direction: OtDirection, message: bytes, *, stream: RandomStream
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The sender's only step: its answer (8448 bytes) and both 32-byte keys of each transfer.

    Raises ``MalformedError`` for a message that is not 256 points, ``PointAtInfinity`` for one that
    cancels against its own hash.
    """
    label, offers = direction.label, []
    for index, (zero, one) in enumerate(_point_pairs(message)):
        m = (add([zero, _to_curve(label, index, 0, one)]), add([one, _to_curve(label, index, 1, zero)]))
        offers.append((m, (stream.scalar(), stream.scalar())))
    reply = b"".join(base_mul(y) for _, ys in offers for y in ys)
    transcript = _transcript(label, message, reply)
    keys = tuple(
        (
            _key(transcript, index, 0, shared_secret(m[0], y[0])),
            _key(transcript, index, 1, shared_secret(m[1], y[1])),
        )
        for index, (m, y) in enumerate(offers)
    )
    return reply, keys


def receive(state: OtReceiver, reply: bytes) -> tuple[bytes, ...]:
    """The receiver's end: the chosen 32-byte key of each transfer. ``state`` is used once.

    Raises ``MalformedError`` for a reply that is not 256 points, whichever of them would be used.
    """
    pairs = tuple(_point_pairs(reply))
    transcript = _transcript(state.direction.label, state.message, reply)
    keys = []
    for index, (zero, one) in enumerate(pairs):
        bit = _bit(state.choices, index)
        secret = shared_secret(_select(bit, zero, one), state.scalars[index])
        keys.append(_key(transcript, index, bit, secret))
    return tuple(keys)


def _blinded_pair(label: bytes, index: int, *, bit: int, x: int, r: int) -> bytes:
    unchosen = base_mul(r)
    chosen = add([base_mul(x), negate(_to_curve(label, index, bit, unchosen))])
    # Decoding to a point takes a time that depends on its input, which the sender can compute for
    # both branches. Doing the other branch too makes the sum of the two times the same for either bit.
    _to_curve(label, index, 1 - bit, chosen)
    return _select(bit, chosen, unchosen) + _select(bit, unchosen, chosen)


def _to_curve(label: bytes, index: int, branch: int, point: bytes) -> bytes:
    place = bytes([index, branch])
    first, second = (tagged_hash("mpc/ot/base/curve", label, place, bytes([k]), point) for k in (0, 1))
    return hash_to_point(first + second)


def _key(transcript: bytes, index: int, branch: int, secret: bytes) -> bytes:
    return tagged_hash("mpc/ot/base/key", transcript, bytes([index, branch]), secret)


def _transcript(label: bytes, message: bytes, reply: bytes) -> bytes:
    return tagged_hash("mpc/ot/base/transcript", label, message, reply)


def _point_pairs(message: bytes) -> Iterator[tuple[bytes, bytes]]:
    points = [point_of(part) for part in parts(message, *[POINT_BYTES] * (2 * COLUMNS))]
    return zip(points[::2], points[1::2], strict=True)


def _bit(data: bytes, index: int) -> int:
    return (data[index // 8] >> (index % 8)) & 1


def _select(bit: int, zero: bytes, one: bytes) -> bytes:
    a, b = int.from_bytes(zero, "big"), int.from_bytes(one, "big")
    return (a ^ ((a ^ b) & -bit)).to_bytes(POINT_BYTES, "big")
