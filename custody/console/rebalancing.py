"""What rebalancers say of their work, and what each tier holds. Nothing here changes anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Response

from custody.api.errors import CallRefused, Code
from custody.console.exposure import exposure
from custody.console.house import Seat, SeatDependency
from custody.console.rebalance_charts import choice_chart, exposure_chart, forecast_chart
from custody.console.texts import text
from custody.rebalance_report import (
    DEPOSITED,
    MILLION,
    WITHDRAWN,
    Day,
    RebalanceReport,
    ReportedMove,
    RouteReport,
)
from custody.rebalancing.moves import OVER, Stage
from custody.reports import Told, told
from policy.words.units import amount_text

OLD_MS: Final = 15 * 60 * 1000
"""A report of before this is said to be old: its rebalancer has not looked, or cannot reach us."""
FIGURES, MEDIAN_AT = 6, 2
TONES: Final = {
    "held": "denied",
    "asked": "waiting",
    "decided": "reserved",
    "calling-back": "replacing",
    "moving": "broadcast",
    "arrived": "settled",
    "refused": "failed",
    "lapsed": "expired",
}
"""The colours of stages, by the request's states."""
MODES: Final = ("forecast", "uncalibrated", "no-price", "failed", "run")
router = APIRouter()


@dataclass(frozen=True, slots=True)
class DayLine:
    """One day: what was forecast, what came, and by how much the median missed it."""

    day_ms: int
    low: str
    median: str
    high: str
    came: str
    error: str
    outside: bool


@dataclass(frozen=True, slots=True)
class ChoiceLine:
    """What one service would have come to."""

    asked: str
    served: str
    held: str
    topups: str
    sweeps: str


@router.get("/rebalancing")
async def show_rebalancing(seat: SeatDependency) -> Response:
    """Tiers against their targets, and every rebalancer's routes, proposals, alarms and notes."""
    parts = seat.house.parts
    values = {
        "tiers": await exposure(parts),
        "told": await told(parts),
        **_SHARED,
    }
    return seat.visit.page("rebalancing", values)


@router.get("/rebalancing/{by}/{route:path}")
async def show_route(seat: SeatDependency, by: str, *, route: str) -> Response:
    """One route: held against wanted, forecasts against what came, what other services would cost."""
    for one in await told(seat.house.parts):
        for found in one.report.routes:
            if (one.report.by, found.route) == (by, route):
                return seat.visit.page("rebalancing_route", _route_values(seat, one, found))
    raise CallRefused(Code.UNKNOWN_DOCUMENT, "no rebalancer reports such a route")


def about(route: RouteReport, amount: int) -> str:
    """An amount to six digits, exact where it has no more: ``12.3457 eth``."""
    digits = amount_text(amount, asset="", decimals=route.decimals).strip()
    whole, _, part = digits.partition(".")
    kept = part[: max(0, FIGURES - len(whole.lstrip("0")))] if whole != "0" else _significant(part)
    return f"{whole}.{kept}".rstrip("0").rstrip(".") + f" {route.asset}" if kept else f"{whole} {route.asset}"


def direction(route: RouteReport, move: ReportedMove) -> tuple[str, str]:
    """Where a move comes from and goes to."""
    ends = (route.source, route.wallet)
    return ends if move.direction == "top-up" else ends[::-1]


def pairs(report: RebalanceReport, only: RouteReport | None = None) -> list[tuple[RouteReport, ReportedMove]]:
    """The moves of all routes or of one: what is to come and under way before the rest."""
    found = [(route, move) for route in report.routes if only in (None, route) for move in route.moves]
    return sorted(found, key=lambda one: (one[1].stage in OVER, -one[1].updated_ms))


def _significant(part: str) -> str:
    zeros = len(part) - len(part.lstrip("0"))
    return part[: zeros + FIGURES]


def _route_values(seat: Seat, one: Told, route: RouteReport) -> dict[str, object]:
    def say(name: str) -> str:
        return text(seat.visit.language, f"rebalancing.{name}")

    flows = [(name, route.flow(name)) for name in (WITHDRAWN, DEPOSITED)]
    return {
        "told": one,
        "route": route,
        "now": route.moments[-1] if route.moments else None,
        "held_chart": exposure_chart(route, say),
        "flows": [
            (name, forecast_chart(route, days, say=say), _lines(route, days), _inside(days))
            for name, days in flows
            if days
        ],
        "choices": [_choice(route, place) for place in range(len(route.choices))],
        "choice_chart": choice_chart(route, say),
        **_SHARED,
    }


def _lines(route: RouteReport, days: Sequence[Day]) -> list[DayLine]:
    """The days, newest first."""
    return [
        DayLine(
            day_ms=day.day_ms,
            low=about(route, day.amounts[0]),
            median=about(route, day.amounts[MEDIAN_AT]),
            high=about(route, day.amounts[-1]),
            came="" if day.came is None else about(route, day.came),
            error="" if day.came is None else _missed(route, day.came - day.amounts[MEDIAN_AT]),
            outside=_is_inside(day) is False,
        )
        for day in reversed(days)
    ]


def _missed(route: RouteReport, error: int) -> str:
    return ("−" if error < 0 else "+") + about(route, abs(error))


def _is_inside(day: Day) -> bool | None:
    return None if day.came is None else day.amounts[0] <= day.came <= day.amounts[-1]


def _inside(days: Sequence[Day]) -> tuple[int, int]:
    """How many known days came within nine in ten, and how many there are."""
    known = [inside for day in days if (inside := _is_inside(day)) is not None]
    return sum(known), len(known)


def _choice(route: RouteReport, place: int) -> ChoiceLine:
    one = route.choices[place]
    return ChoiceLine(
        _percent(one.asked_ppm),
        _percent(one.served_ppm),
        about(route, one.exposed),
        _thousandths(one.topups_per_1000_weeks),
        _thousandths(one.sweeps_per_1000_weeks),
    )


def _percent(ppm: int) -> str:
    whole, part = divmod(ppm, MILLION // 100)
    return f"{whole}.{part:04}".rstrip("0").rstrip(".") + " %"


def _thousandths(count: int) -> str:
    return f"{count // 1000}.{count % 1000 // 10:02}"


_SHARED: Final = {
    "old_ms": OLD_MS,
    "tones": TONES,
    "stages": frozenset(Stage),
    "modes": MODES,
    "about": about,
    "direction": direction,
    "pairs": pairs,
}
