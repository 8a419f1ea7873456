"""What came and went, and the border between base units (integers) and units (floats)."""

import math
from dataclasses import dataclass
from fractions import Fraction

from policy.errors import CallerError

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Amounts = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Flows:
    """Withdrawals asked for and deposits seen in consecutive steps, oldest first.

    Base units; ``None`` is a step of which nothing is known, which is not the same as zero. ``first_ms`` is
    the start of the first step, a multiple of ``step_ms`` (an hour or a day of UTC).
    """

    step_ms: int
    first_ms: int
    withdrawn_base: Amounts
    deposited_base: Amounts

    def __post_init__(self) -> None:
        if self.step_ms not in (HOUR_MS, DAY_MS) or self.first_ms % self.step_ms:
            raise CallerError(
                f"step {self.step_ms} ms from {self.first_ms} ms: flows come by whole hours or days"
            )
        if len(self.withdrawn_base) != len(self.deposited_base):
            raise CallerError(
                f"{len(self.withdrawn_base)} steps of withdrawals, {len(self.deposited_base)} of deposits"
            )
        if any(amount is not None and amount < 0 for amount in self.withdrawn_base + self.deposited_base):
            raise CallerError("a flow is below zero: withdrawals and deposits are both counted upwards")

    @property
    def end_ms(self) -> int:
        """The end of the last step: the moment from which a forecast looks ahead."""
        return self.first_ms + self.step_ms * len(self.withdrawn_base)


@dataclass(frozen=True, slots=True)
class History:
    """All that a forecast may know of one asset in one tier.

    ``unit_base`` is how many base units make one unit (10**18 for ether): floats count units.
    ``prior_day_base`` is what a day is thought to pay out before there is any history, from the policy: the
    tier's target divided by the days it is meant to last. ``hours`` is wanted only for an hourly forecast.
    """

    unit_base: int
    prior_day_base: int
    days: Flows
    hours: Flows | None = None

    def __post_init__(self) -> None:
        if self.unit_base < 1 or self.prior_day_base < 1:
            raise CallerError("unit_base and prior_day_base are at least 1")
        if self.days.step_ms != DAY_MS or (self.hours is not None and self.hours.step_ms != HOUR_MS):
            raise CallerError("days are steps of a day, hours are steps of an hour")


def units(amount_base: int, unit_base: int) -> float:
    """Base units as a float of units: only for forecasting, never to be signed."""
    return amount_base / unit_base


def base_units(amount: float, unit_base: int) -> int:
    """The whole base units in ``amount`` units, rounded down: the one place where a float becomes money."""
    if not math.isfinite(amount) or amount < 0:
        raise CallerError(f"{amount} units: an amount is finite and not below zero")
    return int(Fraction(amount) * unit_base)
