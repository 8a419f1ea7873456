"""Logarithms, medians and deviations by integers alone: the same on every machine, in any year."""

from collections.abc import Iterable

LOG_BITS = 10
ONE = 1 << LOG_BITS
"""One doubling, as ``log2`` counts."""
_PLACES = 64


def log2(number: int) -> int:
    """The logarithm to base 2 of a number from 1 on, in 1024ths, rounded down."""
    whole = number.bit_length() - 1
    rest = number << _PLACES >> whole  # from 1 to below 2, with 64 binary places
    found = whole
    for _ in range(LOG_BITS):
        rest = rest * rest >> _PLACES
        bit = rest >> (_PLACES + 1)
        rest >>= bit
        found = found * 2 + bit
    return found


def median(numbers: Iterable[int]) -> int:
    """The middle one, the lower of two. Raises ``IndexError`` for none."""
    ordered = sorted(numbers)
    return ordered[(len(ordered) - 1) // 2]


def deviation(numbers: list[int]) -> int:
    """A robust standard deviation: 1.4826 times the median distance from the median."""
    middle = median(numbers)
    return median(abs(one - middle) for one in numbers) * 14826 // 10000


def between(value: int, bounds: tuple[int, int], *, points: int) -> int:
    """Points that rise from 0 at the lower bound to all of them at the upper one."""
    low, high = bounds
    return points * min(max(value - low, 0), high - low) // (high - low)
