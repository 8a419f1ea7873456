"""The shipped rebalancer as a policy that a benchmark drives day by day.

The protocol: ``Policy(knob)``, ``start(history, topup_cost, sweep_cost, mean)``, then ``decide`` at the end
of each day.
"""

from typing import Any, ClassVar

from custody.rebalancer.daily import DailyPolicy, Evening


class Policy:
    """The knob is one over the share that may wait: 100 asks for 99 % at once. Nothing else is set."""

    bounds: ClassVar[tuple[float, float]] = (5.0, 20_000.0)
    default: ClassVar[dict[float, float]] = {0.99: 100.0, 0.999: 1000.0}

    def __init__(self, knob: float) -> None:
        self.policy = DailyPolicy(1 - 1 / knob)

    def start(self, history: Any, topup_cost: float, sweep_cost: float, mean: float) -> None:
        """Learn the days of a pandas frame with the columns date, instant, deposit."""
        days = [str(day)[:10] for day in history.date]
        flows = (history.instant.to_numpy(), history.deposit.to_numpy())
        self.policy.begin(days, flows, costs=(topup_cost, sweep_cost), mean=mean)

    def decide(
        self, date: object, withdraw: float, deposit: float, hot: float, backlog: float, on_order: float
    ) -> tuple[float, float]:
        """Top-up and sweep at the end of a day."""
        return self.policy.decide(str(date)[:10], Evening(withdraw, deposit, hot, backlog, on_order))
