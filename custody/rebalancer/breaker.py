"""The outflow breaker: says when withdrawals look like a run, by several windows and a cumulative sum.

Tripped it stays until people say otherwise (:meth:`Breaker.reset`): an attacker who shapes demand must not be
able to bring it back by pausing. What tripping does (frozen bands, quota, alarm) is the caller's; see
``Tripped``.
"""

import math
import statistics
from dataclasses import dataclass, field, replace
from typing import Self

from custody.rebalancer.flows import DAY_MS, HOUR_MS

BLIND_STEPS = 7


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
    """Logarithms of how far withdrawals exceed what was expected; see ``Breaker.observe``."""

    step_ms: int = DAY_MS
    windows: tuple[int, ...] = (1, 3)  # steps that are summed
    least: tuple[float, ...] = (1.55, 1.4)  # no window trips below: 4.7 and 4 times what was expected
    margins: tuple[float, ...] = (0.0, 0.15)  # above the largest excess of the calm past
    drift: float = 0.4  # what the cumulative sum forgives a step
    cusum_least: float = 3.5
    cusum_margin: float = 1.3  # times the largest sum of the calm past
    memory: int = 200  # calm steps that thresholds are taken from
    steps_min: int = 28  # before that ``young`` is the least of every rule
    young: float = 1.8
    quota_steps: float = 2.0


HOURLY = BreakerSettings(
    step_ms=HOUR_MS,
    windows=(1, 6, 24),
    least=(2.4, 1.5, 1.1),
    margins=(0.0, 0.15, 0.15),
    cusum_least=30.0,
    memory=24 * 60,
    steps_min=72,
)
"""For hours; ``expected`` is then the mean hour of the last two weeks without the last day."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker's memory; immutable, so that it can be stored and replayed. Amounts in units.

    Thresholds are taken from the series' own calm past (its largest excess and a margin), so a restless
    series needs more to trip than a steady one, and none trips because of its own habits.
    """

    settings: BreakerSettings = field(default_factory=BreakerSettings)
    amounts: tuple[float, ...] = ()  # withdrawals of calm steps, newest last
    recent: tuple[tuple[float, float], ...] = ()  # withdrawn and expected of the last steps
    excesses: tuple[tuple[float, ...], ...] = ()  # of calm steps: by window, the cumulative sum last
    cusum: float = 0.0
    steps: int = 0  # calm steps in all, and their mean
    mean: float = 0.0
    state: State = field(default_factory=Calm)

    def observe(
        self, end_ms: int, *, withdrawn: float | None, expected: float | None = None
    ) -> tuple[Self, State]:
        """Take in one step that ended at ``end_ms``; ``withdrawn`` is what was asked for, None when unknown.

        ``expected`` is the forecast's middle of the step, so that a payday is no run; None to go by the
        median.
        """
        if withdrawn is None:
            return self, self.state
        last = sorted(self.amounts[-60:]) or [withdrawn]
        busy = last[int(0.9 * len(last))]
        expected = max(
            last[len(last) // 2] if expected is None else expected, 0.5 * busy, 0.1 * self.mean, 1e-12
        )
        recent = (*self.recent, (withdrawn, expected))[-max(self.settings.windows) :]
        cusum = max(0.0, self.cusum + _log_ratio(withdrawn, expected) - self.settings.drift)
        excess = tuple(self._excess(recent, window) for window in self.settings.windows)
        state = self.state
        if isinstance(state, Calm):
            state = self._judge((*excess, cusum), recent, end_ms)
        if isinstance(state, Tripped):
            return replace(self, recent=recent, cusum=cusum, state=state), state
        kept = self.settings.memory
        calm = replace(
            self,
            amounts=(*self.amounts, withdrawn)[-kept:],
            recent=recent,
            excesses=(*self.excesses, (*excess, cusum))[-kept:],
            cusum=cusum,
            steps=self.steps + 1,
            mean=self.mean + (withdrawn - self.mean) / (self.steps + 1),
        )
        return calm, state

    def reset(self, *, new_normal: bool) -> Self:
        """Calm again, by people's word; a ``new_normal`` will not trip again, what was a run still would."""
        if not new_normal:
            return replace(self, state=Calm(), recent=(), cusum=0.0)
        seen = (*(self._excess(self.recent, window) for window in self.settings.windows), self.cusum)
        older, young = self.excesses[:-BLIND_STEPS], self.excesses[-BLIND_STEPS:]
        return replace(self, state=Calm(), recent=(), cusum=0.0, excesses=(*older, seen, *young))

    def thresholds(self) -> tuple[float, ...]:
        """The least excess that trips, as a logarithm: one for each window, then the cumulative sum's.

        The newest steps do not count, or a run that begins slowly would raise what it is measured by.
        """
        chosen = self.settings
        older = self.excesses[:-BLIND_STEPS]
        if len(older) < chosen.steps_min - BLIND_STEPS:
            return (chosen.young,) * len(chosen.windows) + (2 * chosen.young,)
        *windows, sums = (max(column) for column in zip(*older, strict=True))
        each = zip(chosen.least, windows, chosen.margins, strict=True)
        least = (max(low, seen + margin) for low, seen, margin in each)
        return (*least, max(chosen.cusum_least, sums * chosen.cusum_margin))

    def _judge(
        self, excess: tuple[float, ...], recent: tuple[tuple[float, float], ...], end_ms: int
    ) -> State:
        names = (*(f"{window} steps" for window in self.settings.windows), "cumulative sum")
        lengths = (*self.settings.windows, len(recent))
        tolerated = (*self.thresholds()[:-1], self.settings.drift)  # of a sum a step's share is shown
        for name, length, value, threshold, shown in zip(
            names, lengths, excess, self.thresholds(), tolerated, strict=True
        ):
            if value > threshold:
                window = recent[-length:]
                expected = sum(step for _, step in window)
                usual = max(
                    statistics.median(self.amounts[-60:]) if self.amounts else expected / len(window),
                    statistics.fmean(self.amounts) if self.amounts else 0.0,
                )
                return Tripped(
                    since_ms=end_ms - self.settings.step_ms,
                    rule=name,
                    observed=sum(step for step, _ in window),
                    threshold=expected * math.exp(shown),
                    quota=self.settings.quota_steps * usual,
                )
        return Calm()

    @staticmethod
    def _excess(recent: tuple[tuple[float, float], ...], window: int) -> float:
        if len(recent) < window:
            return 0.0
        withdrawn, expected = (sum(column) for column in zip(*recent[-window:], strict=True))
        return _log_ratio(withdrawn, expected)


def _log_ratio(withdrawn: float, expected: float) -> float:
    """How far above expectation, as a logarithm; a quiet step makes up for no more than a factor of e."""
    return math.log(max(withdrawn / expected, math.exp(-1)))
