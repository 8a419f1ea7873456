"""The outflow breaker: says when withdrawals look like a run, by several windows and a cumulative sum.

Tripped it stays until people say otherwise (:meth:`Breaker.reset`): an attacker who shapes demand must not be
able to bring it back by pausing. What tripping does (frozen bands, quota, alarm) is the caller's; see
``Tripped``.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from custody.rebalancer.flows import DAY_MS


@dataclass(frozen=True, slots=True)
class Calm:
    """Nothing out of the ordinary."""


@dataclass(frozen=True, slots=True)
class Tripped:
    """A run: freeze the bands, learn nothing from these steps, queue above the quota, call people."""

    since_ms: int
    rule: str  # which threshold, by name
    observed: float  # units withdrawn in the rule's window
    threshold: float  # units
    quota: float  # units that may be paid in one step without people


State = Calm | Tripped


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Windows in steps; thresholds in robust deviations and in multiples of the median sum."""

    step_ms: int = DAY_MS
    windows: tuple[int, ...] = (1, 2, 5)
    multiple: float = 4.0
    quota_steps: float = 1.5
    steps_min: int = 14


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker's memory; immutable, so that it can be stored and replayed. Amounts in units."""

    settings: BreakerSettings = field(default_factory=BreakerSettings)
    calm_steps: tuple[float, ...] = ()  # withdrawals of the steps that were no run, newest last
    recent: tuple[float, ...] = ()
    state: State = field(default_factory=Calm)

    def observe(
        self, end_ms: int, *, withdrawn: float | None, expected: float | None = None
    ) -> tuple[Self, State]:
        """Take in one step that ended at ``end_ms``; ``withdrawn`` is what was asked for, None when unknown.

        ``expected`` is the forecast's mean of the step, so that a payday is not a run; None to go by the
        median.
        """
        if withdrawn is None:
            return self, self.state
        recent = (*self.recent, withdrawn)[-max(self.settings.windows) :]
        state = self.state if isinstance(self.state, Tripped) else self._judge(recent, end_ms)
        calm = self.calm_steps if isinstance(state, Tripped) else (*self.calm_steps, withdrawn)[-366:]
        return replace(self, recent=recent, calm_steps=calm, state=state), state

    def reset(self) -> Self:
        """Calm again, by people's word."""
        return replace(self, state=Calm(), recent=())

    def _judge(self, recent: tuple[float, ...], end_ms: int) -> State:
        if len(self.calm_steps) < self.settings.steps_min:
            return Calm()
        median = float(np.median(self.calm_steps))
        for window in self.settings.windows:
            observed, threshold = sum(recent[-window:]), self.settings.multiple * median * window
            if len(recent) >= window and observed > threshold:
                quota = self.settings.quota_steps * median
                return Tripped(end_ms, f"{window} steps", observed, threshold, quota)
        return Calm()
