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
CHUNK: Final = 4
"""Instances worked on at once: as many as divide every batch, and few enough for the processor's cache."""
CHUNK_LANES: Final = CHUNK * LANES

Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint64]

_BLOCKS: Final = 2 * SCALARS  # AES blocks a row is hashed to: two for a scalar
_STORAGE_WORDS: Final = 2 * (_BLOCKS * CHUNK_LANES + 1)
_TWEAKS: Final = np.arange(_BLOCKS * CHUNK_LANES, dtype=np.uint64).reshape(CHUNK_LANES, _BLOCKS).T.copy()


def transpose_bits(matrix: Bytes) -> Bytes:
    """Turn 128 rows of n bytes into 8·n rows of 16 bytes; bit i of a row is ``row[i//8] >> (i%8) & 1``."""
    columns = matrix.shape[1]
    words = np.ascontiguousarray(matrix.reshape(16, 8, columns).transpose(2, 0, 1)).view("<u8")[:, :, 0]
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        swap = (words ^ (words >> np.uint64(shift))) & np.uint64(mask)
        words = words ^ swap ^ (swap << np.uint64(shift))
    groups = words.astype("<u8", copy=False).view(np.uint8).reshape(columns, 16, 8)
    return np.ascontiguousarray(groups.transpose(0, 2, 1)).reshape(8 * columns, 16)


def pad_storage(chunks: int) -> Words:
    """Room for the pads of so many chunks: hand one row of it to ``RowHash.pads``."""
    return np.empty((chunks, _STORAGE_WORDS), dtype=np.uint64)


class RowHash:
    """The tweakable hash of one matrix' rows to three numbers below 2**256 each, a chunk at a time.

    TMMO (ePrint 2019/074) under AES-256: block k of row j is π(π(x) ⊕ i) ⊕ π(x) for the tweak i = 6·j + k.
    ``key`` (32 bytes) serves one matrix only: a repeated tweak under the same key would break correlation
    robustness.
    """

    def __init__(self, key: bytes) -> None:
        # A block cipher's mode of one block is the permutation π itself.
        self._cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
        self._inner = np.empty(2 * (CHUNK_LANES + 1), dtype=np.uint64)
        self._tweaked = np.empty((_BLOCKS, CHUNK_LANES, 2), dtype=np.uint64)

    def pads(self, rows: Bytes, number: int, *, storage: Words) -> Words:
        """The hashes of ``rows`` (CHUNK_LANES, 16), the first of which is row ``number`` of the matrix.

        Returns a view of ``storage``, one row of ``pad_storage``: (6, CHUNK_LANES, 2) words, where scalar k
        of a row is blocks 2k and 2k + 1, little-endian.
        """
        self._cipher.update_into(rows.data, self._inner.view(np.uint8).data)
        inner = self._inner[:-2].reshape(CHUNK_LANES, 2)
        np.add(_TWEAKS, np.uint64(_BLOCKS * number), out=self._tweaked[:, :, 0])
        np.bitwise_xor(self._tweaked[:, :, 0], inner[:, 0], out=self._tweaked[:, :, 0])
        self._tweaked[:, :, 1] = inner[:, 1]
        self._cipher.update_into(self._tweaked.reshape(-1).view(np.uint8).data, storage.view(np.uint8).data)
        blocks = storage[:-2].reshape(_BLOCKS, CHUNK_LANES, 2)
        return np.bitwise_xor(blocks, inner, out=blocks)
