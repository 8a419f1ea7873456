"""Charts of a rebalancer's report, as data that ``static/rebalancing.js`` draws with uPlot.

A chart has ``x`` (seconds since 1970, or percent), its unit, and series: each has a label, how it is drawn
(``line``, ``step``, ``dots``), a colour of the style sheet, and values as decimal text; ``bands`` are filled
between two series.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

from custody.rebalance_report import MILLION, Day, RouteReport
from policy.encoding import Json
from policy.words.units import amount_text

Translate = Callable[[str], str]
Value = int | None


def exposure_chart(route: RouteReport, say: Translate) -> Json:
    """What was held in each hour, against band, target and the most."""
    seen = route.moments
    return {
        "dated": True,
        "unit": route.asset,
        "x": [one.hour_ms // 1000 for one in seen],
        "series": [
            _series(route, say("sweep_above"), "edge", "--band", values=[one.high for one in seen]),
            _series(route, say("refill_below"), "edge", "--band", values=[one.low for one in seen]),
            _series(route, say("target"), "dashed", "--good", values=[one.target for one in seen]),
            _series(route, say("maximum"), "step", "--bad", values=[one.maximum for one in seen]),
            _series(route, say("held"), "step", "--link", values=[one.held for one in seen]),
        ],
        "bands": [[1, 2]],
    }


def forecast_chart(route: RouteReport, days: Sequence[Day], *, say: Translate) -> Json:
    """Quantiles of each day as they were forecast, the days ahead among them, and what came."""
    quantiles = list(zip(*(day.amounts for day in days), strict=True)) or [()] * 5
    low, low_half, median, high_half, high = (list(one) for one in quantiles)
    return {
        "dated": True,
        "unit": route.asset,
        "x": [day.day_ms // 1000 for day in days],
        "series": [
            _series(route, "95 %", "edge", "--band", values=high),
            _series(route, "5 %", "edge", "--band", values=low),
            _series(route, "75 %", "edge", "--band", values=high_half),
            _series(route, "25 %", "edge", "--band", values=low_half),
            _series(route, say("median"), "line", "--link", values=median),
            _series(route, say("came"), "dots", "--after", values=[day.came for day in days]),
        ],
        "bands": [[1, 2], [3, 4]],
    }


def choice_chart(route: RouteReport, say: Translate) -> Json:
    """What is held on an average day against what would have been paid late."""
    points = sorted({(MILLION - one.served_ppm, one.exposed) for one in route.choices})
    return {
        "dated": False,
        "unit": route.asset,
        "x": [f"{float(Fraction(late, MILLION // 100)):.4f}" for late, _ in points],
        "series": [
            _series(route, say("held_mean"), "marked", "--link", values=[exposed for _, exposed in points])
        ],
        "bands": [],
    }


def _series(route: RouteReport, label: str, drawn: str, colour: str, *, values: Sequence[Value]) -> Json:
    return {
        "label": label,
        "drawn": drawn,
        "colour": colour,
        "values": ["" if one is None else _decimal(route, one) for one in values],
    }


def _decimal(route: RouteReport, amount: int) -> str:
    return amount_text(amount, asset="", decimals=route.decimals).strip()
