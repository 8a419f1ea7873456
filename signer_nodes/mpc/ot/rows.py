"""Rows of the OT extension: the bit transpose that makes them, and the hash that breaks their correlation.

Both work on many rows at once. Memory is reused: on the way from a row to a scalar, touching fresh pages
costs more than the arithmetic. Nothing here branches on or indexes by a secret.
"""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

LANES: Final = 416
"""ξ = κ + 2·λ_s: the number of choice bits, and so of oblivious transfers, a multiplication takes."""
SCALARS: Final = 3
"""Scalars a transfer carries: ℓ = 2 inputs and ρ = 1 check."""
Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint64]

_BLOCKS: Final = 2 * SCALARS  # AES blocks a row is hashed to: two for a scalar
_SWAPS: Final = tuple(
    (distance, np.uint64(mask * 0x0101010101010101)) for distance, mask in ((4, 0x0F), (2, 0x33), (1, 0x55))
)


def transpose_bits(matrix: Bytes) -> Bytes:
    """Turn 128 rows of n bytes into 8·n rows of 16 bytes; bit i of a row is ``row[i//8] >> (i%8) & 1``.

    n is a multiple of 4. Rows 8g + k make plane k; three rounds of masked swaps between planes transpose the
    8 by 8 bits at every place, and one copy puts the bytes in order.
    """
    columns = matrix.shape[1]
    bytewise = np.ascontiguousarray(matrix.reshape(16, 8, columns).transpose(1, 0, 2))
    planes = bytewise.reshape(8, -1).view(np.uint64)
    room = np.empty_like(planes[:4])
    for distance, mask in _SWAPS:
        pairs = planes.reshape(-1, 2, distance, planes.shape[1])
        low, high = pairs[:, 0], pairs[:, 1]
        swap = np.right_shift(low, np.uint64(distance), out=room.reshape(low.shape))
        swap ^= high
        swap &= mask
        high ^= swap
        swap <<= np.uint64(distance)
        low ^= swap
    rows = np.empty((columns, 8, 16), dtype=np.uint8)
    rows[...] = bytewise.transpose(2, 0, 1)
    return rows.reshape(-1, 16)


class RowMemory:
    """What a ``RowHash`` of so many ``rows`` at once works in, and a later one again."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.inner = np.empty(2 * (rows + 1), dtype=np.uint64)
        self.tweaks = np.arange(0, _BLOCKS * rows, _BLOCKS, dtype=np.uint64)
        self.tweaked = np.empty((rows, 2), dtype=np.uint64)
        self.pads = self.room_for_pads(1)[0]

    def room_for_pads(self, calls: int) -> Words:
        """Room for the pads of so many calls of ``RowHash.pads``: each takes one row of it."""
        return np.empty((calls, 2 * (_BLOCKS * self.rows + 1)), dtype=np.uint64)


class RowHash:
    """The tweakable hash of one matrix' rows to three numbers below 2**256 each.

    TMMO (ePrint 2019/074) under AES-256: block k of row j is π(π(x) ⊕ i) ⊕ π(x) for the tweak i = 6·j + k.
    ``key`` (32 bytes) serves one matrix only: a repeated tweak under the same key would break correlation
    robustness.
    """

    def __init__(self, key: bytes, memory: RowMemory) -> None:
        # A block cipher's mode of one block is the permutation π itself.
        self._cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
        self._memory = memory

    def pads(self, rows: Bytes, number: int, *, out: Words) -> Words:
        """The hashes of ``rows`` (n, 16), n as in the memory; the first is row ``number`` of the matrix.

        Returns a view of ``out`` (room for one call): (6, n, 2) words, where scalar k of a row is blocks 2k
        and 2k + 1, little-endian.
        """
        memory, tweaked = self._memory, self._memory.tweaked
        size = tweaked.size
        self._cipher.update_into(rows.data, memory.inner.view(np.uint8).data)
        inner = memory.inner[:size].reshape(-1, 2)
        tweaked[:, 1] = inner[:, 1]
        for block in range(_BLOCKS):
            np.add(memory.tweaks, np.uint64(_BLOCKS * number + block), out=tweaked[:, 0])
            tweaked[:, 0] ^= inner[:, 0]
            # A cipher wants room for one block more than it writes: the next block's place, or the spare one.
            place = out[block * size : (block + 1) * size + 2]
            self._cipher.update_into(tweaked.reshape(-1).view(np.uint8).data, place.view(np.uint8).data)
            place[:size] ^= memory.inner[:size]
        return out[:-2].reshape(_BLOCKS, -1, 2)
