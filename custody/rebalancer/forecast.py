"""Quantiles of withdrawals, deposits and net outflow for the steps ahead, with what they rest on."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from custody.rebalancer.boosting import Correction, Step
from custody.rebalancer.flows import DAY_MS, Flows, History, units
from custody.rebalancer.learning import RESTLESS, STEADY, TAIL_RANKS, FlowMemory, Memory, Profile, Smoother
from custody.rebalancer.treasury import effects
from policy.errors import CallerError

Floats = NDArray[np.float64]

PRIOR_STEPS = 20
EPOCH = date(1970, 1, 1).toordinal()
NORMAL = NormalDist()
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Mean(StrEnum):
    """How the mean of withdrawals is learnt: smoothing alone, or corrected by LightGBM (an extra)."""

    SMOOTHING = "smoothing"
    LIGHTGBM = "lightgbm"


class Flow(StrEnum):
    """What a quantile is of; net is withdrawals less deposits, so positive when the tier drains."""

    WITHDRAWN = "withdrawn"
    DEPOSITED = "deposited"
    NET = "net"


@dataclass(frozen=True, slots=True)
class Settings:
    """The step of a forecast: a day or an hour of UTC; a corrected mean is of days alone."""

    step_ms: int = DAY_MS
    mean: Mean = Mean.SMOOTHING


@dataclass(frozen=True, slots=True)
class Basis:
    """What one forecast rests on, as data; :func:`custody.rebalancer.explain.explain` says it in words."""

    known_steps: int
    unknown_steps: int
    level: float  # units withdrawn in an average step
    spread: float  # standard deviation of the logarithm of one step
    profile: str  # "steady" or "restless"
    shape: tuple[float, ...]  # factor of each step ahead by its place in the week
    calendar: tuple[tuple[str, ...], ...]  # the names of the calendar's effects on each step ahead
    calendar_strength: float  # how much of the calendar acts on this series, 1 in full
    prior_share: float  # 1 on the first day, towards 0
    coverage: float  # share of recent steps inside their 90 % interval; 0.9 when well calibrated
    widened: float  # factor the conformal calibration puts on the spread, 1 without
    corrected: tuple[float, ...] = ()  # factor a model puts on each step ahead, where it was found better

    @property
    def calibrated(self) -> bool:
        """Whether the recent intervals kept what they promised; if not, plan by plain minimum and target."""
        return self.coverage >= 0.75


@dataclass(frozen=True, slots=True)
class Forecast:
    """Scenarios of the steps from ``now_ms`` on.

    ``withdrawn`` and ``deposited`` have the shape (steps, scenarios), in units; a column is one path, all
    columns weigh the same. A path's withdrawal and deposit of one step belong together.
    """

    unit_base: int
    now_ms: int
    step_ms: int
    withdrawn: Floats = field(repr=False)
    deposited: Floats = field(repr=False)
    basis: Basis

    def quantiles(self, flow: Flow, step: int, *, levels: tuple[float, ...] = QUANTILES) -> tuple[float, ...]:
        """Quantiles in units of one step ahead (the first is 0)."""
        return tuple(float(value) for value in np.quantile(self._paths(flow)[step], levels))

    def quantiles_until(
        self, flow: Flow, step: int, *, levels: tuple[float, ...] = QUANTILES
    ) -> tuple[float, ...]:
        """Quantiles in units of the sum over the steps up to and with ``step``, such as the lead time."""
        paths = self._paths(flow)[: step + 1].sum(axis=0)
        return tuple(float(value) for value in np.quantile(paths, levels))

    def _paths(self, flow: Flow) -> Floats:
        match flow:
            case Flow.WITHDRAWN:
                return self.withdrawn
            case Flow.DEPOSITED:
                return self.deposited
            case Flow.NET:
                return self.withdrawn - self.deposited


def forecast(history: History, now_ms: int, *, horizon: int, settings: Settings | None = None) -> Forecast:
    """The next ``horizon`` steps after ``now_ms``; steps between the history's end and now are unknown ones.

    Settings default to days. Works from the first day: without history it is the prior. Raises
    ``CallerError`` when history reaches beyond now, or hours are wanted and not given.
    """
    settings = settings or Settings()
    step_ms = settings.step_ms
    flows = _flows(history, step_ms)
    if flows.end_ms > now_ms:
        raise CallerError(f"flows until {flows.end_ms} ms, now is {now_ms} ms: a forecast sees no future")
    prior = units(history.prior_day_base, history.unit_base) * step_ms / DAY_MS
    memory = new_memory(prior, step_ms, mean=settings.mean)
    for step, (withdrawn, deposited) in enumerate(
        zip(flows.withdrawn_base, flows.deposited_base, strict=True)
    ):
        start_ms = flows.first_ms + step * step_ms
        place, calendar, _ = when(start_ms, step_ms)
        memory.observe(
            place,
            calendar,
            withdrawn=None if withdrawn is None else units(withdrawn, history.unit_base),
            deposited=None if deposited is None else units(deposited, history.unit_base),
            month_day=month_day(start_ms),
        )
    return forecast_from(memory, now_ms, horizon=horizon, step_ms=step_ms, unit_base=history.unit_base)


def new_memory(prior: float, step_ms: int, *, mean: Mean = Mean.SMOOTHING) -> Memory:
    """Nothing learnt yet; ``prior`` units are thought to be withdrawn in a step.

    Raises ``CallerError`` when LightGBM is asked for and not installed, or for hours.
    """
    memory = Memory(prior, 7 * DAY_MS // step_ms)
    if mean is Mean.LIGHTGBM:
        if step_ms != DAY_MS:
            raise CallerError("the LightGBM mean is of days; ask for hours with smoothing")
        memory.withdrawn.corrections = {profile.name: Correction() for profile in (STEADY, RESTLESS)}
    return memory


def month_day(start_ms: int) -> int:
    """The day of the month in which a step begins."""
    return date.fromordinal(EPOCH + start_ms // DAY_MS).day


def when(start_ms: int, step_ms: int) -> tuple[int, float, tuple[str, ...]]:
    """A step's place in the week, the calendar's logarithm on it and the names of the effects."""
    days = start_ms // DAY_MS
    place = ((days + 3) * DAY_MS + start_ms % DAY_MS) // step_ms % (7 * DAY_MS // step_ms)
    found = effects(date.fromordinal(EPOCH + days))
    return place, sum(factor for _, factor in found), tuple(name for name, _ in found)


def forecast_from(memory: Memory, now_ms: int, *, horizon: int, step_ms: int, unit_base: int) -> Forecast:
    """The forecast that a memory gives; for whoever keeps one instead of the whole history."""
    steps = [when(now_ms + step * step_ms, step_ms) for step in range(horizon)]
    smoother = memory.smoother(memory.withdrawn)
    month_days = [month_day(now_ms + step * step_ms) for step in range(horizon)]
    corrected = _corrected(
        memory, smoother, [(at[0], day, at[1]) for at, day in zip(steps, month_days, strict=True)]
    )
    withdrawn = _scenarios(memory, memory.withdrawn, steps, corrected=corrected)
    deposited = _scenarios(memory, memory.deposited, steps, corrected=())
    basis = Basis(
        known_steps=memory.known,
        unknown_steps=memory.steps - memory.known,
        level=math.exp(smoother.level or 0.0),
        spread=smoother.spread,
        profile=memory.profile.name,
        shape=tuple(math.exp(smoother.shape[place]) for place, _, _ in steps),
        calendar=tuple(names for _, _, names in steps),
        calendar_strength=smoother.strength,
        prior_share=PRIOR_STEPS / (PRIOR_STEPS + memory.known),
        coverage=memory.hits,
        widened=memory.widened,
        corrected=tuple(math.exp(value) for value in corrected),
    )
    return Forecast(unit_base, now_ms, step_ms, withdrawn=withdrawn, deposited=deposited, basis=basis)


def profile_of(ahead: Forecast) -> Profile:
    """The constants by which a forecast was made."""
    return STEADY if ahead.basis.profile == STEADY.name else RESTLESS


def _flows(history: History, step_ms: int) -> Flows:
    if step_ms == DAY_MS:
        return history.days
    if history.hours is None:
        raise CallerError("an hourly forecast needs the history's hours")
    return history.hours


def _corrected(memory: Memory, smoother: Smoother, steps: list[Step]) -> list[float]:
    """What a model adds to the logarithm of each step; nothing where none was found better."""
    correction = memory.withdrawn.corrections.get(smoother.profile.name)
    if correction is None or correction.model is None or smoother.level is None:
        return []
    expected = [
        smoother.ahead(place, calendar, steps=step) for step, (place, _, calendar) in enumerate(steps)
    ]
    return correction.ahead(smoother.level, steps, expected=expected)


def _scenarios(
    memory: Memory,
    flow: FlowMemory,
    steps: list[tuple[int, float, tuple[str, ...]]],
    *,
    corrected: Sequence[float],
) -> Floats:
    """Past residuals on top of the expected logarithm of each step.

    Both flows pick the same past steps, so that a scenario's withdrawal and deposit belong together.
    """
    profile, smoother = memory.profile, memory.smoother(flow)
    count = max(PRIOR_STEPS, min(profile.memory, memory.known))
    if smoother.level is None:
        return np.zeros((len(steps), count))
    standard = _pooled_tail(_residuals(flow.standard[profile.name], count), profile)
    expected = np.array(
        [smoother.ahead(place, calendar, steps=step) for step, (place, calendar, _) in enumerate(steps)]
    )
    if corrected:
        expected += np.array(corrected)
    widths = np.array(
        [smoother.width(place, calendar, steps=step) for step, (place, calendar, _) in enumerate(steps)]
    )
    spread = widths * memory.widened * np.sqrt(1 + profile.growth * np.arange(len(steps)))
    values = np.exp(expected[:, None] + spread[:, None] * standard)
    amounts = np.fromiter(flow.amounts, float, len(flow.amounts))
    if len(amounts) >= PRIOR_STEPS:
        raised = [math.exp(max(0.0, smoother.strength * calendar)) for _, calendar, _ in steps]
        cap = profile.cap * amounts[-profile.cap_steps :].max() * np.array(raised)
        values = np.minimum(values, cap[:, None])
    return _as_paths(values)


def _residuals(past: deque[float], count: int) -> Floats:
    """The newest residuals; while there are few, filled up with those of a normal distribution."""
    newest = list(past)[-count:]
    filled = count - len(newest)
    normal = [NORMAL.inv_cdf((rank + 0.5) / filled) for rank in range(filled)]
    return np.array(normal + newest)


def _pooled_tail(standard: Floats, profile: Profile) -> Floats:
    """The highest residuals drawn towards those of many series: one series has seen too few of them."""
    order = np.argsort(standard, kind="stable")
    first = int(len(standard) * TAIL_RANKS[0])
    ranks = (np.arange(first, len(standard)) + 0.5) / len(standard)
    pulled = standard.copy()
    pulled[order[first:]] *= 1 - profile.tail_weight
    pulled[order[first:]] += profile.tail_weight * np.interp(ranks, TAIL_RANKS, profile.tail)
    return pulled


def _as_paths(values: Floats) -> Floats:
    """Shuffle each step's scenarios by a fixed stride, so that a column is no single past step repeated."""
    steps, count = values.shape
    columns = np.arange(count)
    return np.stack([values[step, (columns + step * (count // 3 + 1)) % count] for step in range(steps)])
