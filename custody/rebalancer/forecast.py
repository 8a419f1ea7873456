"""Quantiles of withdrawals, deposits and net outflow for the steps ahead, with what they rest on."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from custody.rebalancer.flows import DAY_MS, Flows, History, units
from policy.errors import CallerError

Floats = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Flow(StrEnum):
    """What a quantile is of; net is withdrawals less deposits, so positive when the tier drains."""

    WITHDRAWN = "withdrawn"
    DEPOSITED = "deposited"
    NET = "net"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to learn. Halflives in steps; no unit where none is said."""

    step_ms: int = DAY_MS
    level_halflife: float = 14.0
    shape_halflife: float = 60.0
    prior_steps: float = 5.0  # how many steps of history weigh as much as the prior
    scenarios: int = 200


@dataclass(frozen=True, slots=True)
class Basis:
    """What one forecast rests on, as data; :func:`custody.rebalancer.explain.explain` says it in words."""

    known_steps: int
    unknown_steps: int
    level: float  # units withdrawn in an average step
    shape: tuple[float, ...]  # factor of each step ahead by its place in the week
    calendar: tuple[tuple[str, ...], ...]  # the names of the calendar's effects on each step ahead
    prior_share: float  # 1 on the first day, towards 0
    coverage: float  # share of recent steps inside their 90 % interval; 0.9 when well calibrated
    widened: float  # factor the conformal calibration puts on the spread, 1 without

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
    flows = _flows(history, settings)
    if flows.end_ms > now_ms:
        raise CallerError(f"flows until {flows.end_ms} ms, now is {now_ms} ms: a forecast sees no future")
    withdrawn = _series(flows.withdrawn_base, history.unit_base)
    deposited = _series(flows.deposited_base, history.unit_base)
    prior = units(history.prior_day_base, history.unit_base) * settings.step_ms / DAY_MS
    out = _scenarios(withdrawn, prior, horizon=horizon, settings=settings)
    into = _scenarios(deposited, 0.0, horizon=horizon, settings=settings)
    known = int(np.isfinite(withdrawn).sum())
    basis = Basis(
        known_steps=known,
        unknown_steps=len(withdrawn) - known,
        level=float(out.mean()),
        shape=(1.0,) * horizon,
        calendar=((),) * horizon,
        prior_share=settings.prior_steps / (settings.prior_steps + known),
        coverage=0.9,
        widened=1.0,
    )
    return Forecast(
        unit_base=history.unit_base,
        now_ms=now_ms,
        step_ms=settings.step_ms,
        withdrawn=out,
        deposited=into,
        basis=basis,
    )


def _flows(history: History, settings: Settings) -> Flows:
    if settings.step_ms == DAY_MS:
        return history.days
    if history.hours is None:
        raise CallerError("an hourly forecast needs the history's hours")
    return history.hours


def _series(amounts: tuple[int | None, ...], unit_base: int) -> Floats:
    return np.array([np.nan if amount is None else units(amount, unit_base) for amount in amounts], float)


def _scenarios(series: Floats, prior: float, *, horizon: int, settings: Settings) -> Floats:
    """Every step alike: the prior's exponential spread blended with what the known steps were."""
    levels = (np.arange(settings.scenarios) + 0.5) / settings.scenarios
    known = series[np.isfinite(series)]
    share = settings.prior_steps / (settings.prior_steps + len(known))
    values = -np.log1p(-levels) * prior
    if len(known):
        values = share * values + (1 - share) * np.quantile(known, levels)
    strides = [(np.arange(len(levels)) * (2 * step + 1)) % len(levels) for step in range(horizon)]
    return np.stack([values[order] for order in strides])
