"""Losses of the next day's quantiles, smoothing against the mean corrected by LightGBM, on the scored half.

``python -m tests.bench.mean_loss FILE.csv.gz [FIRST [STRIDE]]`` takes every STRIDE-th series by name.
"""

import json
import math
import sys
from datetime import date

import numpy as np

from cli.rebalance.reading import for_backtest, read_flows
from custody.rebalancer.backtest import Series
from custody.rebalancer.flows import DAY_MS
from custody.rebalancer.forecast import EPOCH, Floats, Mean, forecast_from, month_day, new_memory, when

LEVELS = np.array([0.5, 0.9, 0.97, 0.99, 0.999])
UNIT = 10**9


def losses(series: Series, mean: Mean) -> Floats:
    """The mean pinball loss at each level, in mean days; last the share of days that were corrected."""
    memory, found = new_memory(series.mean, DAY_MS, mean=mean), []
    for number, day in enumerate(series.days):
        start_ms = (date.fromisoformat(day).toordinal() - EPOCH) * DAY_MS
        wanted, deposited = float(series.wanted[number]), float(series.deposited[number])
        if number >= series.split and series.known[number]:
            ahead = forecast_from(memory, start_ms, horizon=1, step_ms=DAY_MS, unit_base=UNIT)
            beyond = (wanted - np.quantile(ahead.withdrawn[0], LEVELS)) / series.mean
            found.append(
                [*np.maximum(LEVELS * beyond, (LEVELS - 1) * beyond), float(bool(ahead.basis.corrected))]
            )
        place, calendar, _ = when(start_ms, DAY_MS)
        known = [None if math.isnan(amount) else amount for amount in (wanted, deposited)]
        memory.observe(place, calendar, withdrawn=known[0], deposited=known[1], month_day=month_day(start_ms))
    total: Floats = np.array(found).mean(axis=0)
    return total


def main(file: str, first: int = 0, stride: int = 1) -> None:
    """Print one JSON object: both losses by level, their ratio, and how many series LightGBM improved."""
    rows = read_flows(file)
    chosen = [for_backtest(name, rows[name], file=file) for name in sorted(rows)[first::stride]]
    plain, corrected = (np.array([losses(one, mean) for one in chosen]) for mean in Mean)
    means = plain[:, :-1].mean(axis=0), corrected[:, :-1].mean(axis=0)
    found = {
        "levels": LEVELS.tolist(),
        "smoothing": means[0].round(5).tolist(),
        "lightgbm": means[1].round(5).tolist(),
        "ratio": (means[1] / means[0]).round(4).tolist(),
        "better_in": (corrected < plain)[:, :-1].sum(axis=0).tolist(),
        "series": len(chosen),
        "corrected_days": round(float(corrected[:, -1].mean()), 3),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:4]))
