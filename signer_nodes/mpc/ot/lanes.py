"""Arithmetic mod q on the lanes of several instances at once, in NumPy.

A scalar is held in one of two forms, always with one array for each place of all lanes, so that an
operation on a place runs over contiguous memory:

- words: four of 64 bits, exact, added with explicit carries;
- limbs: eight of 32 bits as float64, for products by BLAS. A sum of two pads has limbs below 2**33; times
  entries below 2**16, sixteen of them, it stays below 2**53, where float64 is exact.

c = 2**256 − q has 129 bits, so v mod q comes from v − t·2**256 + t·c with t close to v / 2**256.
Nothing here branches on or indexes by a secret; selection is by masks. A ``Lanes`` owns its memory.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot.rows import LANES, SCALARS, Bytes, Words

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

_C: Final = 2**256 - Q
_C_WORDS: Final = tuple(np.uint64((_C >> shift) & (2**64 - 1)) for shift in (0, 64, 128))
_C_HALVES: Final = np.array(
    [[_C >> (32 * k + h) & 0xFFFF for k in range(5)] for h in (0, 16)], dtype=np.int64
)
_Q_WORDS: Final = tuple((Q >> shift) & (2**64 - 1) for shift in (192, 128, 64, 0))
_LIMBS: Final = 8
_DIGITS: Final = 32
_DIAGONALS: Final = (
    4 * np.arange(_LIMBS)[:, None, None] + np.arange(_DIGITS)[:, None] == np.arange(64)
).reshape(_LIMBS * _DIGITS, 64).astype(np.float64)  # fmt: skip


class Lanes:
    """So many ``instances`` of 416 lanes, three scalars a lane: load limbs, then ask for their products."""

    def __init__(self, instances: int) -> None:
        lanes = instances * LANES
        self._instances = instances
        self._words = np.empty((4, SCALARS, lanes), dtype=np.uint64)
        self._carry = np.empty((SCALARS, lanes), dtype=np.uint64)
        self._term = np.empty((SCALARS, lanes), dtype=np.uint64)
        self._flags = np.empty((3, SCALARS, lanes), dtype=np.bool_)
        self._limbs = np.zeros((SCALARS * _LIMBS + 1, lanes))  # the last row: choice bits
        self._chosen = np.empty((instances, SCALARS, LANES, 4), dtype=np.uint64)
        self._addend = np.empty((SCALARS * _LIMBS, lanes))
        self._sums = np.empty((2 * _LIMBS, lanes))
        self._digits = np.empty((2, _LIMBS, lanes), dtype=np.int64)
        self._shifted = np.empty((2, _LIMBS, lanes), dtype=np.int64)

    def subtract(self, zero: Words, one: Words, *, constants: Words, out: Bytes) -> None:
        """``zero`` − ``one`` + constant mod q in every lane: pads, and ``difference_constants``.

        ``out`` gets (instances, 3, 416, 32) bytes, each scalar big-endian.
        """
        words, carry = self._words, self._carry
        left, right = (pads.reshape(SCALARS, 2, -1, 2) for pads in (zero, one))
        carry.fill(0)
        for place, word in enumerate(words):
            # −y is ~y + 1 − 2**256; the constants make up for the rest
            np.invert(right[:, place // 2, :, place % 2], out=word)
            _add(word, left[:, place // 2, :, place % 2], carry=self._flags[0])
            by_instance = self._flags[1].reshape(SCALARS, -1, LANES)
            _add(word.reshape(SCALARS, -1, LANES), constants[place], carry=by_instance)
            _add(word, carry, carry=self._flags[2])
            np.copyto(carry, self._flags.view(np.uint8).sum(axis=0, dtype=np.uint8))
        self._fold()
        _settle(words, self._carry, term=self._term)
        scalars = out.view(">u8").reshape(-1, SCALARS, LANES, 4)
        scalars[...] = words[::-1].reshape(4, SCALARS, -1, LANES).transpose(2, 1, 3, 0)

    def load(self, pads: Words) -> None:
        """Take the limbs of ``pads`` as the scalars of all lanes."""
        halves = pads.view("<u4").reshape(SCALARS, 2, -1, 4)
        limbs = self._limbs[:-1].reshape(SCALARS, 2, 4, -1)
        np.copyto(limbs, halves.transpose(0, 1, 3, 2))

    def add_chosen(self, differences: Bytes, choices: Bytes) -> None:
        """Add ``differences`` (instances, 3, 416, 32) where ``choices`` (instances, 416) are one. Once."""
        self._limbs[-1] = choices.reshape(-1)
        mask = (np.uint64(0) - choices.astype(np.uint64))[:, np.newaxis, :, np.newaxis]
        received = differences.view(np.uint64).reshape(self._chosen.shape)
        chosen = np.bitwise_and(received, mask, out=self._chosen).byteswap(inplace=True)
        limbs = chosen.view("<u4").reshape(-1, SCALARS, LANES, 4, 2)[:, :, :, ::-1].transpose(1, 3, 4, 0, 2)
        np.copyto(self._addend.reshape(limbs.shape), limbs)
        self._limbs[:-1] += self._addend

    def products(self, vector: Floats, out: Floats) -> None:
        """Digit products of ``vector`` (416, 32) with the first two scalars of the loaded lanes.

        ``out`` (2, 8, instances, 32) is one part of what ``inner_products`` adds up.
        """
        rows = self._limbs[: 2 * _LIMBS].reshape(-1, LANES)
        np.matmul(rows, vector, out=out.reshape(-1, _DIGITS))

    def combine(self, matrices: Floats) -> Bytes:
        """A linear combination of every lane's loaded scalars mod q: (instances, 416, 32) bytes, big-endian.

        ``matrices`` has one of ``combinations`` for each instance.
        """
        limbs, sums = (
            array.reshape(-1, self._instances, LANES).transpose(1, 0, 2)
            for array in (self._limbs, self._sums)
        )
        np.matmul(matrices, limbs, out=sums)
        np.copyto(self._digits, self._sums.reshape(self._digits.shape), casting="unsafe")
        words, over = self._reduce_digits()
        _settle(words, over, term=self._term[0])
        scalars = np.empty((self._instances, LANES, 4), dtype=">u8")
        scalars[...] = words[::-1].reshape(4, -1, LANES).transpose(1, 2, 0)
        return scalars.view(np.uint8)

    def _fold(self) -> None:
        """words + carry·2**256 becomes words + carry·c, and the carry what flows over: 0 or 1."""
        carry, term, flag = self._carry, self._term, self._flags[0]
        np.multiply(carry, _C_WORDS[0], out=term)
        _add(self._words[0], term, carry=flag)
        np.multiply(carry, _C_WORDS[1], out=term)  # below 2**64, as carry is at most 2
        np.add(term, flag, out=term)
        _add(self._words[1], term, carry=flag)
        np.add(carry, flag, out=term)
        _add(self._words[2], term, carry=flag)
        np.copyto(term, flag)
        _add(self._words[3], term, carry=flag)
        np.copyto(carry, flag)

    def _reduce_digits(self) -> tuple[Words, Words]:
        """Digits of weight 2**16, each below 2**53, to the words of r + c and what flows over, r in [0, 2q).

        With e = v / 2**240, known but for 35, t = (e − 256) / 2**16 rounded down gives v − t·q in [0, 2q).
        """
        low, high = self._digits
        shifted = self._shifted[0]
        times = (high[7] + (low[7] >> 16) + (high[6] >> 32) - 256) >> 16
        np.multiply(times + 1, _C_HALVES[:, :, np.newaxis], out=self._shifted[:, :5])
        self._digits[:, :5] += self._shifted[:, :5]
        np.right_shift(high, 16, out=shifted)
        low[1:] += shifted[:-1]
        over = shifted[7] - times
        high &= 0xFFFF
        high <<= 16
        low += high
        for place in range(7):
            low[place + 1] += np.right_shift(low[place], 32, out=shifted[0])
        over += low[7] >> 32
        low &= 0xFFFFFFFF
        words = low.view(np.uint64)
        np.left_shift(words[1::2], np.uint64(32), out=words[1::2])
        np.bitwise_or(words[0::2], words[1::2], out=self._words[:, 0])
        return self._words[:, 0], over.view(np.uint64)


def _add(left: Words, right: Words, *, carry: npt.NDArray[np.bool_]) -> None:
    """``left`` += ``right``, with the carry out of every word."""
    np.add(left, right, out=left)
    np.less(left, right, out=carry)


def _settle(words: Words, over: Words, *, term: Words) -> None:
    """Take c away again where adding it did not flow over: the value was below q."""
    over -= np.uint64(1)  # all ones where nothing flowed over
    np.bitwise_and(over, _C_WORDS[0], out=term)
    borrow = np.less(words[0], term)
    words[0] -= term
    for place in (1, 2):
        np.bitwise_and(over, _C_WORDS[place], out=term)
        np.add(term, borrow, out=term)
        np.less(words[place], term, out=borrow)
        words[place] -= term
    words[3] -= borrow


def difference_constants(scalars: Sequence[Sequence[int]]) -> Words:
    """What ``Lanes.subtract`` takes for three scalars in [0, q) of each instance: (4, 3, instances, 1) words.

    Scalar + 1 − 2**256 mod q, for −y in two's complement, plus c, for the final comparison with q.
    """
    values = ((scalar + 1 - _C) % Q + _C for instance in scalars for scalar in instance)
    data = b"".join(value.to_bytes(32, "little") for value in values)
    words = np.frombuffer(data, dtype="<u8").reshape(-1, SCALARS, 4)
    return np.ascontiguousarray(words.transpose(2, 1, 0))[..., np.newaxis]


def combinations(factors: Sequence[tuple[int, int, int]]) -> Floats:
    """A (16, 25) matrix for each (a, b, e): a·scalar1 + b·scalar2 + scalar3 + e·choice mod q.

    Its rows are digits of weight 2**16 of the result, the even ones first.
    """
    columns = []
    for *scalars, bit_factor in factors:
        for value in scalars:
            columns.append(value)
            for _ in range(1, _LIMBS):
                columns.append((columns[-1] << 32) % Q)
        columns.append(bit_factor)
    data = b"".join(value.to_bytes(32, "little") for value in columns)
    digits = np.frombuffer(data, dtype="<u2").reshape(len(factors), -1, _LIMBS, 2).transpose(0, 3, 2, 1)
    matrices = np.zeros((len(factors), 2, _LIMBS, SCALARS * _LIMBS + 1))
    matrices[..., : 2 * _LIMBS] = digits[..., :-1]
    matrices[:, 0, :, 2 * _LIMBS : 3 * _LIMBS] = np.eye(_LIMBS)
    matrices[..., -1] = digits[..., -1]
    return matrices.reshape(len(factors), 2 * _LIMBS, -1)


def all_canonical(scalars: Bytes) -> bool:
    """Whether every row of 32 bytes, big-endian, is below q. For received values only: variable-time."""
    words = scalars.reshape(-1, 32).view(">u8")
    if not (words[:, 0] == _Q_WORDS[0]).any():  # q begins with 64 ones: nothing can be larger
        return True
    too_large = np.ones(words.shape[0], dtype=bool)
    for column in (3, 2, 1, 0):
        limit = np.uint64(_Q_WORDS[column])
        too_large = (words[:, column] > limit) | ((words[:, column] == limit) & too_large)
    return not bool(too_large.any())


def digits_of(scalars: Sequence[int]) -> Floats:
    """The 32 bytes of each scalar, least significant first, in float64."""
    data = b"".join(scalar.to_bytes(_DIGITS, "little") for scalar in scalars)
    return np.frombuffer(data, np.uint8).reshape(-1, _DIGITS).astype(np.float64)


def limbs_of(scalars: Sequence[int]) -> Floats:
    """The eight 32-bit limbs of each scalar, least significant first, in float64."""
    data = b"".join(scalar.to_bytes(4 * _LIMBS, "little") for scalar in scalars)
    return np.frombuffer(data, "<u4").reshape(-1, _LIMBS).astype(np.float64)


def room_for_products(parts: int, instances: int) -> Floats:
    """Room for so many calls of ``Lanes.products``: each takes one part of it."""
    return np.empty((parts, 2, _LIMBS, instances, _DIGITS))


def inner_products(products: Floats) -> list[tuple[int, int]]:
    """⟨vector, scalar 1⟩ and ⟨vector, scalar 2⟩ mod q of every instance, from all parts.

    Exact: a digit below 2**8 times a limb below 2**33, 416 lanes and 8 places make less than 2**53.
    """
    rows = products.transpose(0, 3, 1, 2, 4).reshape(-1, _LIMBS * _DIGITS)
    values = integers(rows @ _DIAGONALS, bits=8)
    return list(zip(values[::2], values[1::2], strict=True))


def integers(sums: Floats, *, bits: int) -> list[int]:
    """Each row's number mod q: exact non-negative integers below 2**53 of weight 2**bits, lowest first.

    ``bits`` divides 64. Every 64 / bits-th place makes one little-endian number.
    """
    strands = 64 // bits
    rows = sums.astype(np.int64).reshape(sums.shape[0], -1, strands).transpose(0, 2, 1)
    data, size = rows.tobytes(), 8 * rows.shape[2]
    parts = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
    return [
        sum(parts[row + strand] << (bits * strand) for strand in range(strands)) % Q
        for row in range(0, len(parts), strands)
    ]
