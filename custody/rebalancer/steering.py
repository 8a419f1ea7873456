"""From the service that people ask for to the price of a delay, and how that price follows what really came.

A price alone gives each series another service. So it starts from a price that suits the asked service, goes
with what serving one unit has cost here, and rises when more than asked was left waiting, falls when less.
"""

from dataclasses import dataclass, replace
from typing import Self

from custody.rebalancer.learning import Profile

START_DAYS = 20.0
START_COST = 4.0  # exposure days that serving one unit costs before anything is known
BUDGET_DAYS = 200.0
FIRMNESS = 0.25  # 0 lets every series have its own service, more holds each closer and costs more
USUAL_BUDGET = 0.01  # the share that may wait to which ``Profile.delay_price`` belongs
LOW_POWER = 0.8  # how the price falls when more may wait ...
LOW_FIRMNESS = 1.5  # ... and is held closer: a price that is a little too low orders nothing at all


@dataclass(frozen=True, slots=True)
class Steering:
    """The price of a delay for one asset.

    Amounts in units; prices in the cost of one unit exposed for one step.
    """

    asked: float  # share of withdrawals to be paid at once, such as 0.999
    mean: float  # units withdrawn in a usual step
    wanted: float = 0.0
    delayed: float = 0.0
    spent: float = 0.0

    def observe(self, *, wanted: float, delayed: float, spent: float) -> Self:
        """Take in one step: what was asked for, what of it waited, exposure and moves in exposed units."""
        return replace(
            self, wanted=self.wanted + wanted, delayed=self.delayed + delayed, spent=self.spent + spent
        )

    def delay(self, profile: Profile) -> float:
        """The price of one unit delayed now."""
        budget = 1 - self.asked
        power, firmness = profile.delay_power, FIRMNESS
        if budget > 1.001 * USUAL_BUDGET:
            power, firmness = LOW_POWER, LOW_FIRMNESS
        price = profile.delay_price * (USUAL_BUDGET / budget) ** power
        cost = (self.spent + START_COST * START_DAYS * self.mean) / (self.wanted + START_DAYS * self.mean)
        known = BUDGET_DAYS * self.mean
        overdrawn = (self.delayed + budget * known) / (self.wanted + known) / budget
        return float(price * cost / START_COST * min(max(overdrawn, 0.2), 8.0) ** firmness)
