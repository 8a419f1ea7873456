"""Draw the pictures of docs/rebalancer.md from generated demand: ``.venv/bin/python
docs/draw_rebalancer.py``.

The demand is made here with a fixed seed, so that the pictures come out the same and show nobody's money.
"""

from pathlib import Path

import numpy as np

from custody.rebalancer.backtest import SWEEP_DAYS, TOPUP_DAYS, Series, Till, backtest
from custody.rebalancer.daily import DailyPolicy, Evening
from custody.rebalancer.flows import DAY_MS, Flows, History
from custody.rebalancer.forecast import Flow, forecast

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 260, 48, 28
UNIT = 10**9
HERE = Path(__file__).parent


def demand(days: int, *, seed: int = 4) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Withdrawals with a week, a drifting level and a spread."""
    rng = np.random.default_rng(seed)
    week = np.array([0.8, 0.9, 1.0, 1.1, 1.5, 1.2, 0.5])[np.arange(days) % 7]
    level = np.exp(np.cumsum(rng.normal(0, 0.02, days)))
    return np.asarray(10 * week * level * rng.lognormal(0, 0.25, days))


class Picture:
    """An SVG with one scale, drawn line by line."""

    def __init__(self, title: str, *, across: tuple[float, float], top: float) -> None:
        self.across, self.top = across, top
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="11" role="img"><title>{title}</title>'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        ]
        for share in (0, 0.5, 1):
            y = self._y(share * top)
            self.parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:.3g}</text>'
            )

    def _x(self, value: float) -> float:
        low, high = self.across
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 12)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(value / self.top, 1.05) * (HEIGHT - BOTTOM - 24)

    def line(self, xs: list[float], ys: list[float], *, colour: str, dots: bool = False) -> None:
        """A line, or dots."""
        points = [(self._x(x), self._y(y)) for x, y in zip(xs, ys, strict=True)]
        if dots:
            self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
            return
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.6"/>')

    def band(self, xs: list[float], *, low: list[float], high: list[float], colour: str) -> None:
        """The area between two lines."""
        edge = [*zip(xs, high, strict=True), *reversed(list(zip(xs, low, strict=True)))]
        joined = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in edge)
        self.parts.append(f'<polygon points="{joined}" fill="{colour}" stroke="none"/>')

    def word(self, text: str, *, at: tuple[float, float], colour: str = "#333") -> None:
        """A word at a place of the picture, in pixels."""
        self.parts.append(f'<text x="{at[0]}" y="{at[1]}" fill="{colour}">{text}</text>')

    def save(self, name: str) -> None:
        """Write the file."""
        (HERE / "pictures").mkdir(exist_ok=True)
        (HERE / "pictures" / name).write_text("\n".join([*self.parts, "</svg>"]) + "\n", encoding="utf-8")


def draw_forecast() -> None:
    """Two weeks ahead of a history, with what came."""
    came = demand(214)
    known, ahead_days = 200, 14
    base = tuple(int(amount * UNIT) for amount in came[:known])
    history = History(UNIT, 10 * UNIT, Flows(DAY_MS, 0, base, (0,) * known))
    ahead = forecast(history, known * DAY_MS, horizon=ahead_days)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    rows = [ahead.quantiles(Flow.WITHDRAWN, step, levels=levels) for step in range(ahead_days)]
    columns = [[row[place] for row in rows] for place in range(len(levels))]
    days = [float(known + step) for step in range(ahead_days)]
    picture = Picture("forecast and what came", across=(170, 214), top=float(came[170:].max()) * 1.2)
    picture.band(days, low=columns[0], high=columns[4], colour="#dbe7f6")
    picture.band(days, low=columns[1], high=columns[3], colour="#a9c6ea")
    picture.line(days, columns[2], colour="#1f5fae")
    picture.line([float(day) for day in range(170, known)], list(came[170:known]), colour="#444")
    picture.line(days, list(came[known:]), colour="#c0392b", dots=True)
    picture.word("withdrawals a day", at=(LEFT, 14))
    picture.word("known", at=(120, HEIGHT - 8))
    picture.word("50 % and 90 % intervals; dots: what came", at=(420, HEIGHT - 8), colour="#1f5fae")
    picture.save("forecast.svg")


def draw_bands() -> None:
    """Sixty days of a hot balance between its bands."""
    came, mean = demand(260), 10.0
    policy, till = DailyPolicy(0.99), Till(30.0)
    days = tuple(str(np.datetime64("2025-01-01") + day) for day in range(260))
    costs = (TOPUP_DAYS * mean, SWEEP_DAYS * mean)
    policy.begin(days[:200], (came[:200], np.zeros(200)), costs=costs, mean=mean)
    hot, low, high = [], [], []
    for day in range(200, 260):
        till.day(float(came[day]), 0.0)
        topup, sweep = policy.decide(
            days[day], Evening(float(came[day]), 0.0, till.hot, till.backlog, till.on_order)
        )
        till.hot, till.on_order = till.hot - sweep, topup
        hot.append(till.hot)
        low.append(policy.band.s_base / policy.unit_base)
        high.append(policy.band.S_base / policy.unit_base)
    across = [float(day) for day in range(200, 260)]
    picture = Picture("hot balance and its bands", across=(200, 260), top=max(*hot, *high) * 1.1)
    picture.band(across, low=low, high=high, colour="#e6f2e1")
    picture.line(across, low, colour="#5b9a45")
    picture.line(across, high, colour="#5b9a45")
    picture.line(across, hot, colour="#444")
    picture.line(across, list(came[200:260]), colour="#c0392b", dots=True)
    picture.word(
        "hot at the end of a day; green: from s (order) to S (up to); dots: withdrawals", at=(LEFT, 14)
    )
    picture.save("bands.svg")


def draw_curve() -> None:
    """What a service costs in exposure."""
    days = tuple(str(np.datetime64("2025-01-01") + day) for day in range(400))
    made = tuple(
        Series(str(seed), days, demand(400, seed=seed), 0.7 * demand(400, seed=seed + 50), 200)
        for seed in range(4)
    )
    asked = (0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
    found = [report for service in asked if (report := backtest(made, service, progress=lambda _: None))]
    late = [100 * (1 - report.service) for report in found]
    costs = [report.cost_ratio for report in found]
    picture = Picture("service against cost", across=(0, max(late) * 1.05), top=max(costs) * 1.15)
    picture.line(late, costs, colour="#1f5fae")
    picture.line(late, costs, colour="#1f5fae", dots=True)
    picture.word("cost against perfect foresight", at=(LEFT, 14))
    picture.word(f"not paid at once: from 0 to {max(late) * 1.05:.1f} % of withdrawals", at=(400, HEIGHT - 8))
    picture.save("service.svg")


if __name__ == "__main__":
    draw_forecast()
    draw_bands()
    draw_curve()
