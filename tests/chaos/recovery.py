"""When throughput was back after a fault, by when payments were asked for and when they were paid. Pure."""

from collections.abc import Sequence
from typing import Final

WINDOW_S: Final = 3.0
SHARE: Final = 0.75
BOUND_S: Final = 10.0
"""How soon it must be back."""


def back_after_s(times: Sequence[tuple[float, float]], ended_s: float, *, rate: float) -> float | None:
    """The seconds from the end of a fault until ``SHARE`` of the rate is paid again; None while it is not.

    Only payments that were asked for after the fault count (``times`` has asked and paid): what had piled up
    says nothing.
    """
    paid = sorted(paid for asked, paid in times if asked >= ended_s)
    needed = max(1, round(SHARE * rate * WINDOW_S))
    for number in range(len(paid) - needed + 1):
        if paid[number + needed - 1] - paid[number] < WINDOW_S:
            return paid[number] - ended_s
    return None
