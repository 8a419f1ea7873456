"""OT extension: SoftSpokenOT (Roy, ePrint 2022/192) with k = 1, for batches of B multiplications.

The extension receiver has B·416 choice bits and 256 uniformly random mask bits; both sides end with one
row of 128 bits for each choice bit: t_j with the receiver, q_j with the sender, t_j = q_j ⊕ x_j·Δ.
Rows are then hashed to three scalars a transfer, one set for the receiver and two for the sender.

Rules. A failed consistency check says one bit about Δ: the sender bans the receiver before it answers
anything (``ban=True``). Mask rows are never turned into outputs. B is a multiple of 4, so that the mask
is exactly the last two blocks of 16 bytes of every column. A session id is used once for each ordered
pair: a repeated one would repeat columns and leak choice bits.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc.ot.rows import (
    LANES,
    Bytes,
    RowHash,
    RowMemory,
    Words,
    transpose_bits,
)

COLUMNS = 128
MASK_BYTES = 32
BATCH_MULTIPLE = 4
BATCH_MAX = 128

_TAG_BYTES = 32
_NONCE = bytes(12)  # one message and zeros are hashed under a key; the nonce's pad cancels in the difference


@dataclass(frozen=True, slots=True)
class Direction:
    """One ordered pair in one session: who extends as sender toward whom, and how many multiplications.

    ``session`` is 32 bytes and fresh, ``batch`` a positive multiple of 4 up to 128 (``CallerError``).
    """

    session: bytes
    sender: int
    receiver: int
    batch: int

    def __post_init__(self) -> None:
        check_batch(self.batch)
        if len(self.session) != 32 or self.sender == self.receiver:
            raise CallerError("a direction takes a session id of 32 bytes and two different parties")

    @property
    def pair(self) -> bytes:
        """The ordered pair in every hash: sender, receiver."""
        return self.sender.to_bytes(2, "big") + self.receiver.to_bytes(2, "big")

    @property
    def column_bytes(self) -> int:
        """Bytes of one column of the matrix, and of the receiver's choice string."""
        return self.batch * LANES // 8 + MASK_BYTES

    @property
    def message_bytes(self) -> int:
        """Bytes of the receiver's one message."""
        return COLUMNS * self.column_bytes + _TAG_BYTES * (1 + COLUMNS)


@dataclass(frozen=True, slots=True)
class ReceiverRows:
    """What the extension receiver keeps: choice bits (B, 416), one row a transfer, and two hashes.

    ``row_key`` is the row hash's key; ``transcript`` binds the whole message for later challenges.
    """

    choices: Bytes = field(repr=False)
    rows: Bytes = field(repr=False)
    row_key: bytes = field(repr=False)
    transcript: bytes

    def pads(self, memory: RowMemory) -> Iterator[Words]:
        """The chosen pads of ``memory.rows`` transfers at a time; the next overwrite them.

        They are as ``RowHash.pads`` gives them: three numbers below 2**256 for every transfer.
        """
        hasher = RowHash(self.row_key, memory)
        for number in range(0, len(self.rows), memory.rows):
            yield hasher.pads(self.rows[number : number + memory.rows], number, out=memory.pads)


@dataclass(frozen=True, slots=True)
class SenderRows:
    """What the extension sender keeps after the consistency check: one row a transfer, and Δ."""

    rows: Bytes = field(repr=False)
    delta: bytes = field(repr=False)
    row_key: bytes = field(repr=False)
    transcript: bytes

    def pads(self, memory: RowMemory) -> Iterator[tuple[Words, Words]]:
        """The pads of ``memory.rows`` transfers at a time: for 0, and for 1, which the next overwrite."""
        hasher = RowHash(self.row_key, memory)
        flipped = (self.rows.view(np.uint64) ^ np.frombuffer(self.delta, np.uint64)).view(np.uint8)
        for at, room in enumerate(memory.room_for_pads(len(self.rows) // memory.rows)):
            number = at * memory.rows
            part = slice(number, number + memory.rows)
            zero = hasher.pads(self.rows[part], number, out=room)
            yield zero, hasher.pads(flipped[part], number, out=memory.pads)


def check_batch(batch: int) -> None:
    """Refuse (``CallerError``) a batch that is not a positive multiple of 4 up to 128."""
    if not 0 < batch <= BATCH_MAX or batch % BATCH_MULTIPLE:
        raise CallerError(f"batch is {batch}, must be a multiple of {BATCH_MULTIPLE} from 4 to {BATCH_MAX}")


def extend_receiver(
    direction: Direction, seeds: Sequence[tuple[bytes, bytes]], *, choices: bytes
) -> tuple[bytes, ReceiverRows]:
    """Make the receiver's message and rows.

    ``seeds`` are the 128 pairs from the base OTs; ``choices`` is ``column_bytes`` of fresh uniform bytes,
    bit i being ``choices[i//8] >> (i%8) & 1``, the last 32 of them the mask.
    """
    if len(choices) != direction.column_bytes or len(seeds) != COLUMNS:
        raise CallerError(f"need {direction.column_bytes} bytes of choices and {COLUMNS} pairs of seeds")
    zeros = _expand(direction, [pair[0] for pair in seeds])
    ones = _expand(direction, [pair[1] for pair in seeds])
    matrix = (zeros ^ ones ^ np.frombuffer(choices, np.uint8)).tobytes()
    challenge = _challenge(direction, matrix)
    tags = _tags(challenge, [choices, *(column.data for column in zeros)]).tobytes()
    bits = np.unpackbits(np.frombuffer(choices[:-MASK_BYTES], np.uint8), bitorder="little")
    rows = ReceiverRows(
        bits.reshape(direction.batch, LANES),
        _rows(zeros),
        _row_key(direction, challenge),
        _transcript(challenge, tags),
    )
    return matrix + tags, rows


def extend_sender(
    direction: Direction, seeds: Sequence[bytes], *, delta: bytes, message: bytes
) -> SenderRows:
    """Check the receiver's message and make the sender's rows.

    Raises ``FaultyParticipant`` naming the receiver: without a ban for a wrong length, with ``ban=True``
    for a failed consistency check, after which the OT state toward it must be destroyed.
    """
    if len(delta) != COLUMNS // 8 or len(seeds) != COLUMNS:
        raise CallerError(f"need {COLUMNS // 8} bytes of delta and {COLUMNS} seeds")
    if len(message) != direction.message_bytes:
        reason = f"OT extension message has {len(message)} bytes, expected {direction.message_bytes}"
        raise FaultyParticipant(direction.receiver, reason)
    split = COLUMNS * direction.column_bytes
    matrix, tags = message[:split], message[split:]
    mask = _delta_mask(delta)
    received = np.frombuffer(matrix, np.uint8).reshape(COLUMNS, direction.column_bytes)
    columns = _expand(direction, seeds) ^ (received & mask)
    challenge = _challenge(direction, matrix)
    _check(direction, _tags(challenge, [column.data for column in columns]), mask=mask, tags=tags)
    return SenderRows(_rows(columns), delta, _row_key(direction, challenge), _transcript(challenge, tags))


def _check(direction: Direction, own: Bytes, *, mask: Bytes, tags: bytes) -> None:
    """h(q_i) = h(t_i) ⊕ Δ_i·h(x) for all 128 columns, compared at once."""
    received = np.frombuffer(tags, np.uint8).reshape(1 + COLUMNS, _TAG_BYTES)
    expected = received[1:] ^ (received[:1] & mask)
    if not hmac.compare_digest(own.tobytes(), expected.tobytes()):
        raise FaultyParticipant(direction.receiver, "the OT extension's consistency check failed", ban=True)


def _expand(direction: Direction, seeds: Sequence[bytes]) -> Bytes:
    """One column of pseudorandom bytes from each seed, bound to session, pair and column number.

    AES-256-CTR under a key of its own for every column, as AES-GCM's ciphertext of zeros: that is counter
    mode from block 2, in a call that costs less than setting up counter mode by itself. Its tag is dropped.
    """
    prefix = tagged_hash("quorumkeep/mpc/ot-extension/column/v1", direction.session, direction.pair)
    zeros = bytes(direction.column_bytes)
    columns = []
    for number, seed in enumerate(seeds):
        key = hashlib.sha256(prefix + number.to_bytes(2, "big") + seed).digest()
        columns.append(AESGCM(key).encrypt(_NONCE, zeros, None))
    return np.frombuffer(b"".join(columns), np.uint8).reshape(len(seeds), -1)[:, : direction.column_bytes]


def _challenge(direction: Direction, matrix: bytes) -> bytes:
    tag = "quorumkeep/mpc/ot-extension/challenge/v1"
    return tagged_hash(tag, direction.session, direction.pair, direction.batch.to_bytes(2, "big"), matrix)


def _transcript(challenge: bytes, tags: bytes) -> bytes:
    return tagged_hash("quorumkeep/mpc/ot-extension/transcript/v1", challenge, tags)


def _row_key(direction: Direction, challenge: bytes) -> bytes:
    tag = "quorumkeep/mpc/ot-extension/row-hash/v1"
    return tagged_hash(tag, direction.session, direction.pair, challenge)


def _tags(challenge: bytes, strings: Sequence[bytes | memoryview]) -> Bytes:
    """h(x) = tag(x) ⊕ tag(0) under two keys, 32 bytes a string: linear over GF(2), as the tag is affine."""
    zero = bytes(len(strings[0]))
    halves = []
    for number in (b"\1", b"\2"):
        key = tagged_hash("quorumkeep/mpc/ot-extension/check-key/v1", challenge, number)
        cipher = AESGCM(key)
        tags = b"".join(cipher.encrypt(_NONCE, b"", string) for string in (zero, *strings))
        parts = np.frombuffer(tags, np.uint8).reshape(1 + len(strings), 16)
        halves.append(parts[1:] ^ parts[0])
    return np.concatenate(halves, axis=1)


def _delta_mask(delta: bytes) -> Bytes:
    """(128, 1): 0xFF where the bit of Δ is one."""
    bits = np.unpackbits(np.frombuffer(delta, np.uint8), bitorder="little")
    return (np.uint8(0) - bits).reshape(COLUMNS, 1)


def _rows(columns: Bytes) -> Bytes:
    """The transposed matrix without its mask rows, which must never become outputs."""
    return transpose_bits(columns[:, :-MASK_BYTES])
