"""What is learnt of one asset, step by step: levels, weekly shapes, spreads and how the past steps missed.

Works on logarithms, so that effects multiply. Two smoothers run side by side, one for steady demand and one
for restless demand; how far the residuals spread decides which one speaks. A step that is unknown teaches
nothing.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from custody.rebalancer.boosting import FIT_EVERY, Correction, Step

RESTLESS_SPREAD = 0.4
FLOOR = 0.1  # a step below this share of the recent mean teaches no more than this share
KEPT = 400
LEAST_SPREAD = 0.08
TAIL_RANKS = (0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.9975, 0.999)


@dataclass(frozen=True, slots=True)
class Profile:
    """The constants of one smoother, chosen by cross-validation over series; see docs/rebalancer.md."""

    name: str
    level_rate: float
    shape_rate: float
    spread_rate: float
    echo: float  # share of the last residual that the next step keeps, before anything is known
    echo_weight: float  # steps that this belief weighs
    fade: float  # what each further step keeps of the echo
    place_rate: float  # how fast the spread's weekly shape is learnt
    unease: float  # how much a surprise widens the next step
    festive: float  # how much an effect of the calendar widens its step
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


STEADY_TAIL = (1.07, 1.13, 1.19, 1.27, 1.35, 1.45, 1.56, 1.73, 1.98, 2.19, 2.53, 3.16, 3.91, 5.27)
RESTLESS_TAIL = (1.3, 1.35, 1.43, 1.52, 1.6, 1.71, 1.8, 2.04, 2.23, 2.39, 2.68, 3.2, 3.5, 3.83)
STEADY = Profile(
    name="steady",
    level_rate=0.08,
    shape_rate=0.08,
    spread_rate=0.03,
    echo=0.1,
    echo_weight=30.0,
    fade=0.25,
    place_rate=0.02,
    unease=0.15,
    festive=0.5,
    growth=0.01,
    calendar=0.5,
    calendar_weight=0.3,
    memory=300,
    cap=1.1,
    cap_steps=120,
    tail=STEADY_TAIL,
    tail_weight=1.0,
    delay_price=26.5,
    delay_power=1.2,
)
RESTLESS = Profile(
    name="restless",
    level_rate=0.2,
    shape_rate=0.04,
    spread_rate=0.05,
    echo=0.1,
    echo_weight=1e9,
    fade=0.0,
    place_rate=0.0,
    unease=0.0,
    festive=0.0,
    growth=0.02,
    calendar=0.3,
    calendar_weight=0.5,
    memory=120,
    cap=1.1,
    cap_steps=60,
    tail=RESTLESS_TAIL,
    tail_weight=0.5,
    delay_price=120.0,
    delay_power=2.12,
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
    surprise: float = 1.0  # size of the last residual in spreads, 1 as usual
    echo_sum: float = 0.0
    echo_weight: float = 0.0
    strength_sum: float = 0.0
    strength_weight: float = 0.0
    widths: list[float] = field(default_factory=list)  # of the spread in the places of the week

    def __post_init__(self) -> None:
        self.shape = [0.0] * self.season
        self.widths = [1.0] * self.season
        self.strength_weight = self.profile.calendar_weight
        self.strength_sum = self.profile.calendar * self.profile.calendar_weight
        self.echo_weight = self.profile.echo_weight
        self.echo_sum = self.profile.echo * self.profile.echo_weight

    @property
    def strength(self) -> float:
        """How much of the calendar acts on this series."""
        return self.strength_sum / self.strength_weight

    @property
    def echo(self) -> float:
        """The share of the last residual that the next step keeps."""
        return min(max(self.echo_sum / self.echo_weight, 0.0), 0.6)

    @property
    def spread_mean(self) -> float:
        """The mean spread of all that is known, 0.5 at first."""
        return (self.spread_sum + 0.5 * 10) / (self.known + 10)

    def ahead(self, place: int, calendar: float, *, steps: int) -> float:
        """The expected logarithm of a step at a place of the week, so many steps after the next one."""
        echo = self.echo * self.profile.fade**steps * self.residual
        return self._usual(place, calendar) + echo

    def width(self, place: int, calendar: float, *, steps: int) -> float:
        """The spread of a step, so many steps after the next one."""
        unease = 1 + self.profile.unease * self.profile.fade**steps * (self.surprise - 1)
        festive = 1 + self.profile.festive * abs(self.strength * calendar)
        return max(self.spread, LEAST_SPREAD) * self.widths[place] * unease * festive

    def observe(self, place: int, calendar: float, *, log: float, correction: float = 0.0) -> float:
        """Learn one step; how far it was from the corrected expectation, in spreads."""
        if self.level is None:
            self.level = log
        error = log - self.ahead(place, calendar, steps=0) - correction
        width = self.width(place, calendar, steps=0)
        if calendar and self.known > 20:
            beyond = min(max(log - self.level - self.shape[place], -1.0), 1.0)
            self.strength_sum += beyond * calendar
            self.strength_weight += calendar * calendar
        if self.known > 3:
            self._learn_spread(place, size=1.25 * min(abs(error) / width, 4.0))
        residual = log - self._usual(place, calendar)
        self._learn_level(place, residual)
        self.spread_sum += self.spread
        self.known += 1
        return error / width

    def _usual(self, place: int, calendar: float) -> float:
        return (self.level or 0.0) + self.shape[place] + self.strength * calendar

    def _learn_level(self, place: int, residual: float) -> None:
        bounded = min(max(residual, -3 * self.spread), 3 * self.spread)
        if self.known > 20:
            unit = self.spread * self.spread
            self.echo_sum += bounded * self.residual / unit
            self.echo_weight += self.residual * self.residual / unit
        self.level = (self.level or 0.0) + max(self.profile.level_rate, 1 / (self.known + 2)) * bounded
        learnt = max(self.profile.shape_rate, 1 / (3 + 2 * self.known / self.season)) * bounded
        self.shape[place] += learnt
        mean = learnt / self.season
        self.shape = [value - mean for value in self.shape]
        self.residual = bounded

    def _learn_spread(self, place: int, *, size: float) -> None:
        """``size`` is of an error, 1 as usual."""
        rate = max(self.profile.spread_rate, 1 / (self.known + 6))
        self.spread = max(LEAST_SPREAD, self.spread * (1 + rate * (size - 1)))
        self.widths[place] *= 1 + self.profile.place_rate * (min(size, 3.0) - 1)
        mean = sum(self.widths) / self.season
        self.widths = [min(max(width / mean, 0.5), 2.0) for width in self.widths]
        self.surprise = min(size, 3.0)


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
    corrections: dict[str, Correction] = field(default_factory=dict)  # by profile, where asked for

    def __post_init__(self) -> None:
        level = math.log(self.prior) if self.prior > 0 else None
        self.steady = Smoother(STEADY, self.season, level)
        self.restless = Smoother(RESTLESS, self.season, level)
        self.standard = {profile.name: deque(maxlen=KEPT) for profile in (STEADY, RESTLESS)}

    def observe(self, place: int, calendar: float, *, amount: float, month_day: int = 0) -> None:
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
            corrected = self._correct(smoother, (place, month_day, calendar), log=log)
            residual = smoother.observe(place, calendar, log=log, correction=corrected)
            self.standard[smoother.profile.name].append(residual)

    def _correct(self, smoother: Smoother, step: Step, *, log: float) -> float:
        """The correction that was expected of a step, which is then learnt from."""
        correction = self.corrections.get(smoother.profile.name)
        if correction is None or smoother.level is None:
            return 0.0
        place, _, calendar = step
        expected = smoother.ahead(place, calendar, steps=0)
        (found,) = correction.ahead(smoother.level, [step], expected=[expected])
        bound = 3 * smoother.spread
        correction.observe(smoother.level, step, log=log, left=min(max(log - expected, -bound), bound))
        return found


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
        self,
        place: int,
        calendar: float,
        *,
        withdrawn: float | None,
        deposited: float | None,
        month_day: int = 0,
    ) -> None:
        """Learn one step, or that nothing is known of it (both are wanted: they are learnt as a pair)."""
        self.steps += 1
        corrections = self.withdrawn.corrections.values()
        if withdrawn is None or deposited is None:
            for correction in corrections:
                correction.skip()
            return
        self.known += 1
        self.withdrawn.observe(place, calendar, amount=withdrawn, month_day=month_day)
        if self.known % FIT_EVERY == 0:
            for correction in corrections:
                correction.fit()
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
