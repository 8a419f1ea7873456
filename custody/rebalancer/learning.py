"""What is learnt of one asset, step by step: levels, weekly shapes, spreads and how the past steps missed.

Works on logarithms, so that effects multiply. Two smoothers run side by side, one for steady demand and one
for restless demand; how far the residuals spread decides which one speaks. A step that is unknown teaches
nothing.
"""

import math
from collections import deque
from dataclasses import dataclass, field

RESTLESS_SPREAD = 0.4
FLOOR = 0.1  # a step below this share of the recent mean teaches no more than this share
KEPT = 400
TAIL_RANKS = (0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.9975, 0.999)


@dataclass(frozen=True, slots=True)
class Profile:
    """The constants of one smoother, chosen by cross-validation over series; see docs/rebalancer.md."""

    name: str
    level_rate: float
    shape_rate: float
    spread_rate: float
    echo: float  # share of the last residual that the next step keeps
    growth: float  # growth of the variance with every step ahead
    calendar: float  # strength of the calendar before anything is known of the series
    calendar_weight: float
    memory: int  # residuals that become scenarios
    cap: float  # no scenario above this multiple of the largest amount ...
    cap_steps: int  # ... of so many recent steps
    tail: tuple[float, ...]  # residuals at TAIL_RANKS, pooled over many series of the kind
    tail_weight: float  # share of the pooled tail in a series' own highest residuals
    delay_price: float  # of one unit delayed, in units exposed for a step, that serves 99 % at once ...
    delay_power: float  # ... and how it grows with the odds of being served


STEADY_TAIL = (1.12, 1.18, 1.24, 1.31, 1.41, 1.51, 1.65, 1.84, 2.15, 2.44, 2.83, 3.42, 4.41, 5.57)
RESTLESS_TAIL = (1.28, 1.36, 1.42, 1.51, 1.61, 1.71, 1.82, 1.99, 2.33, 2.55, 2.71, 3.1, 3.39, 3.77)
STEADY = Profile("steady", 0.1, 0.1, 0.03, 0.05, 0.01, 0.5, 0.3, 300, 1.1, 120, STEADY_TAIL, 1.0, 30.0, 1.2)
RESTLESS = Profile(
    "restless", 0.2, 0.04, 0.05, 0.1, 0.02, 0.3, 0.5, 120, 1.1, 60, RESTLESS_TAIL, 0.5, 120.0, 2.12
)


@dataclass(slots=True)
class Smoother:
    """Exponential smoothing of one flow's logarithm, with a weekly shape and a calendar's strength."""

    profile: Profile
    season: int
    level: float | None  # None until the first amount
    shape: list[float] = field(default_factory=list)
    spread: float = 0.5
    spread_sum: float = 0.0
    known: int = 0
    residual: float = 0.0
    strength_sum: float = 0.0
    strength_weight: float = 0.0

    def __post_init__(self) -> None:
        self.shape = [0.0] * self.season
        self.strength_weight = self.profile.calendar_weight
        self.strength_sum = self.profile.calendar * self.profile.calendar_weight

    @property
    def strength(self) -> float:
        """How much of the calendar acts on this series."""
        return self.strength_sum / self.strength_weight

    @property
    def spread_mean(self) -> float:
        """The mean spread of all that is known, 0.5 at first."""
        return (self.spread_sum + 0.5 * 10) / (self.known + 10)

    def ahead(self, place: int, calendar: float, *, first: bool) -> float:
        """The expected logarithm of a step at a place of the week."""
        echo = self.profile.echo * min(max(self.residual, -1.0), 1.0) if first else 0.0
        return (self.level or 0.0) + self.shape[place] + self.strength * calendar + echo

    def observe(self, place: int, calendar: float, *, log: float) -> float:
        """Learn one step; its residual in spreads, as seen before learning."""
        if self.level is None:
            self.level = log
        self.residual = log - self.ahead(place, calendar, first=False)
        standard = self.residual / max(self.spread, 0.08)
        bounded = min(max(self.residual, -3 * self.spread), 3 * self.spread)
        if calendar and self.known > 20:
            beyond = min(max(log - self.level - self.shape[place], -1.0), 1.0)
            self.strength_sum += beyond * calendar
            self.strength_weight += calendar * calendar
        self.level += max(self.profile.level_rate, 1 / (self.known + 2)) * bounded
        learnt = max(self.profile.shape_rate, 1 / (3 + 2 * self.known / self.season)) * bounded
        self.shape[place] += learnt
        mean = learnt / self.season
        self.shape = [value - mean for value in self.shape]
        if self.known > 3:
            size = 1.25 * min(abs(self.residual), 4 * self.spread)
            self.spread = max(
                0.08, self.spread + max(self.profile.spread_rate, 1 / (self.known + 6)) * (size - self.spread)
            )
        self.spread_sum += self.spread
        self.known += 1
        return standard


@dataclass(slots=True)
class FlowMemory:
    """Both smoothers of one flow with their past residuals and amounts, newest last."""

    prior: float
    season: int
    steady: Smoother = field(init=False)
    restless: Smoother = field(init=False)
    standard: dict[str, deque[float]] = field(init=False)
    amounts: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    recent_mean: float = 0.0
    recent_weight: float = 0.0
    seen: bool = False

    def __post_init__(self) -> None:
        level = math.log(self.prior) if self.prior > 0 else None
        self.steady = Smoother(STEADY, self.season, level)
        self.restless = Smoother(RESTLESS, self.season, level)
        self.standard = {profile.name: deque(maxlen=KEPT) for profile in (STEADY, RESTLESS)}

    def observe(self, place: int, calendar: float, *, amount: float) -> None:
        """Learn one known step."""
        self.amounts.append(amount)
        self.seen = self.seen or amount > 0
        rate = 1 - 2 ** (-1 / 20)
        self.recent_mean += rate * (amount - self.recent_mean)
        self.recent_weight += rate * (1 - self.recent_weight)
        if not self.seen:
            for standard in self.standard.values():
                standard.append(0.0)
            return
        log = math.log(max(amount, FLOOR * self.recent_mean / self.recent_weight, 1e-12))
        for smoother in (self.steady, self.restless):
            residual = smoother.observe(place, calendar, log=log)
            self.standard[smoother.profile.name].append(residual)


@dataclass(slots=True)
class Memory:
    """All that was learnt; amounts in units. ``steps`` counts unknown ones too."""

    prior: float
    season: int
    withdrawn: FlowMemory = field(init=False)
    deposited: FlowMemory = field(init=False)
    steps: int = 0
    known: int = 0
    hits: float = 0.9
    widened: float = 1.0

    def __post_init__(self) -> None:
        self.withdrawn = FlowMemory(self.prior, self.season)
        self.deposited = FlowMemory(0.0, self.season)

    @property
    def profile(self) -> Profile:
        """The profile that fits how demand has spread; restless in doubt."""
        return RESTLESS if self.withdrawn.restless.spread_mean > RESTLESS_SPREAD else STEADY

    def smoother(self, flow: FlowMemory) -> Smoother:
        """The smoother of a flow that speaks now."""
        return flow.restless if self.profile is RESTLESS else flow.steady

    def observe(
        self, place: int, calendar: float, *, withdrawn: float | None, deposited: float | None
    ) -> None:
        """Learn one step, or that nothing is known of it (both are wanted: they are learnt as a pair)."""
        self.steps += 1
        if withdrawn is None or deposited is None:
            return
        self.known += 1
        self.withdrawn.observe(place, calendar, amount=withdrawn)
        self.deposited.observe(place, calendar, amount=deposited)
        self._calibrate()

    def _calibrate(self) -> None:
        """Adaptive conformal inference: a miss of the 90 % interval widens the spread, a hit narrows it."""
        past = self.withdrawn.standard[self.profile.name]
        if len(past) < 30:
            return
        newest = past[-1]
        window = sorted(list(past)[-101:-1])
        low, high = window[int(0.05 * len(window))], window[min(len(window) - 1, int(0.95 * len(window)))]
        miss = not low * self.widened <= newest <= high * self.widened
        self.hits += 0.02 * ((not miss) - self.hits)
        self.widened = min(max(self.widened * math.exp(0.01 * (miss - 0.1)), 0.9), 1.3)
