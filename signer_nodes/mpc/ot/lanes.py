"""Kernels over many rows at once: bit transpose, row hash, and arithmetic mod q on 416 lanes.

A lane vector is one big integer that holds 416 numbers in fields of 544 bits (SIMD within a bignum):
a product of two 256-bit numbers, and sums of a few of those, fit in a field, so that one call of the
big-integer library works on all lanes. Scalars in arrays are rows of 32 bytes, big-endian.

Nothing here branches on or indexes by a secret; selection is by masks. What is not constant-time: the
big-integer library drops zero limbs at the top of a number, that is, in the first lane.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import mpz

from signer_nodes.mpc.curve import Q

LANES = 416
"""ξ = κ + 2·λ_s: the number of choice bits, and so of oblivious transfers, a multiplication takes."""
BLOCKS = 6
"""AES blocks a row is hashed to: three scalars of 32 bytes."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float64]

_LANE_BITS = 544
_LANE_BYTES = _LANE_BITS // 8
_HALF = _LANE_BYTES // 2
_PADDING = _LANE_BYTES - 32
_ONES = sum((mpz(1) << (_LANE_BITS * lane) for lane in range(LANES)), mpz(0))
_LOW = _ONES * (2**256 - 1)
_HIGH = _ONES * (2**288 - 1)
_FOLD = mpz(2**256 - Q)
_Q_WORDS = tuple((Q >> shift) & (2**64 - 1) for shift in (192, 128, 64, 0))
_LIMBS = 16
_DIAGONALS = np.add.outer(np.arange(_LIMBS), np.arange(_LIMBS)).reshape(-1)
_DIAGONAL_SUMS = (_DIAGONALS[:, np.newaxis] == np.arange(2 * _LIMBS - 1)).astype(np.float64)


def transpose_bits(matrix: Bytes) -> Bytes:
    """Turn 128 rows of n bytes into 8·n rows of 16 bytes; bit i of a row is ``row[i//8] >> (i%8) & 1``."""
    columns = matrix.shape[1]
    words = np.ascontiguousarray(matrix.reshape(16, 8, columns).transpose(2, 0, 1)).view("<u8")[:, :, 0]
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        swap = (words ^ (words >> np.uint64(shift))) & np.uint64(mask)
        words = words ^ swap ^ (swap << np.uint64(shift))
    groups = words.astype("<u8", copy=False).view(np.uint8).reshape(columns, 16, 8)
    return np.ascontiguousarray(groups.transpose(0, 2, 1)).reshape(8 * columns, 16)


def hash_rows(key: bytes, rows: Bytes) -> Bytes:
    """Hash n rows of 16 bytes to 96 bytes each by TMMO (ePrint 2019/074) under AES-256.

    Block k of row j is π(π(x) ⊕ i) ⊕ π(x) for the tweak i = 6·j + k. One key serves one matrix: a
    repeated tweak under the same key would break correlation robustness.
    """
    count = rows.shape[0]
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - a permutation of one block
    inner = np.frombuffer(cipher.update(rows.tobytes()), "<u8").reshape(count, 1, 2)
    blocks = np.repeat(inner, BLOCKS, axis=1)
    blocks[:, :, 0] ^= np.arange(BLOCKS * count, dtype=np.uint64).reshape(count, BLOCKS)
    outer = np.frombuffer(cipher.update(blocks.view(np.uint8).reshape(-1).data), "<u8").reshape(
        count, BLOCKS, 2
    )
    hashed: Bytes = (outer ^ inner).view(np.uint8).reshape(count, 16 * BLOCKS)
    return hashed


def all_canonical(scalars: Bytes) -> bool:
    """Whether every row of 32 bytes is below q. For received values only: they are public to the sender."""
    words = np.ascontiguousarray(scalars).reshape(-1, 32).view(">u8")
    too_large = np.ones(words.shape[0], dtype=bool)
    for column in (3, 2, 1, 0):
        limit = np.uint64(_Q_WORDS[column])
        too_large = (words[:, column] > limit) | ((words[:, column] == limit) & too_large)
    return not bool(too_large.any())


def pack(left: Bytes, right: Bytes) -> tuple[mpz, mpz]:
    """Two lane vectors of 416 rows of 32 bytes each, packed as the halves of one, as packing is slow."""
    padded = np.zeros((LANES, _LANE_BYTES), dtype=np.uint8)
    padded[:, _PADDING:] = left
    padded[:, _HALF - 32 : _HALF] = right
    both = mpz.from_bytes(padded.tobytes(), "big")
    return both & _LOW, (both >> 8 * _HALF) & _LOW


def spread_bits(bits: Bytes) -> mpz:
    """The lane vector of 416 bits, given as bytes of 0 or 1."""
    padded = np.zeros((LANES, _LANE_BYTES), dtype=np.uint8)
    padded[:, -1] = bits
    return mpz.from_bytes(padded.tobytes(), "big")


def unpack(vector: mpz) -> Bytes:
    """The 416 rows of 32 bytes of a lane vector whose lanes are below 2**256."""
    data = vector.to_bytes(LANES * _LANE_BYTES, "big")
    return np.frombuffer(data, np.uint8).reshape(LANES, _LANE_BYTES)[:, _PADDING:]


def spread(scalar: int) -> mpz:
    """The lane vector with ``scalar`` in every lane."""
    return _ONES * scalar


def reduce_lanes(vector: mpz, *, folds: int = 3) -> mpz:
    """Reduce every lane mod q to [0, q). Lanes must be below 2**520, or 2**300 for one fold."""
    for _ in range(folds):  # each takes up to 127 bits off; the last leaves lanes below 2q
        vector = (vector & _LOW) + ((vector >> 256) & _HIGH) * _FOLD
    shifted = vector + _ONES * _FOLD
    carry = (shifted >> 256) & _ONES  # one where the lane is at least q
    mask = (carry << 256) - carry
    return (shifted & mask) | (vector & (_LOW ^ mask))


def limbs(scalars: Bytes) -> Floats:
    """Rows of 32 bytes as 16 limbs of 16 bits each, most significant first, in float64."""
    return np.ascontiguousarray(scalars).view(">u2").astype(np.float64)


def inner_products(left: Floats, rights: Sequence[Floats]) -> list[int]:
    """⟨left, right⟩ mod q for each ``right``: vectors of 416 scalars given as (416, 16) limbs.

    Exact while limbs of ``left`` stay below 2**16 and those of ``rights`` below 2**17, since every sum
    then stays below 2**46.
    """
    products = left.T @ np.concatenate(rights, axis=1)
    sums = products.reshape(_LIMBS, len(rights), _LIMBS).transpose(1, 0, 2).reshape(len(rights), -1)
    return [from_limbs(row) for row in sums @ _DIAGONAL_SUMS]


def from_limbs(row: Floats) -> int:
    """The number mod q of limbs of weight 2**16, most significant first, each an exact integer."""
    total = 0
    for limb in row.astype(np.int64).tolist():
        total = (total << 16) + limb
    return total % Q
