"""A run on the bank in each series of a file: how high hot rises and how soon the breaker trips.

    python -m tests.bench.bank_run FILE.csv[.gz] [--service 0.999] [--runs 1] [--limit N]

From a random day of the scored half on, withdrawals are ten times what they were, for five days. The peak of
hot counts from that day until two days after the run, in mean days of the four weeks before. False alarms are
counted on the series as they are.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cli.rebalance.reading import for_backtest, read_flows
from custody.rebalancer.backtest import Series, simulate
from custody.rebalancer.breaker import Tripped
from custody.rebalancer.daily import DailyPolicy, Evening

TIMES, RUN_DAYS, BEFORE_DAYS, AFTER_DAYS, SEED = 10.0, 5, 28, 2, 5


@dataclass
class Watched(DailyPolicy):
    """The shipped policy, with what was hot and whether the breaker had tripped each evening."""

    service: float
    hot: list[float] = field(default_factory=list)
    tripped: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.service)

    def decide(self, day: str, evening: Evening) -> tuple[float, float]:
        """As shipped, and noted."""
        moved = super().decide(day, evening)
        self.hot.append(evening.hot)
        self.tripped.append(isinstance(self.breaker.state, Tripped))
        return moved


def one_run(series: Series, start: int, service: float) -> tuple[float, int | None]:
    """The peak in mean days, and on which day of the run the breaker tripped (0 the first, None never)."""
    wanted = series.wanted.copy()
    wanted[start : start + RUN_DAYS] *= TIMES
    watched = Watched(service)
    simulate(replace(series, wanted=wanted), watched)
    usual = float(np.nanmean(series.wanted[start - BEFORE_DAYS : start]))
    place = start - series.first
    peak = max(watched.hot[place : place + RUN_DAYS + AFTER_DAYS])
    alarm = watched.tripped[place : place + RUN_DAYS]
    return peak / max(usual, 1e-12), alarm.index(True) if True in alarm else None


def false_alarms(series: Series, service: float) -> tuple[int, int]:
    """How often the breaker trips without a run, and in how many days."""
    watched = Watched(service)
    simulate(series, watched)
    calm_before = [False, *watched.tripped[:-1]]
    return sum(now and not was for now, was in zip(watched.tripped, calm_before, strict=True)), len(
        watched.tripped
    )


def main(words: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--service", type=float, default=0.999)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args(words)
    rng, found, alarms = np.random.default_rng(SEED), [], []
    for name, rows in list(read_flows(asked.file).items())[: asked.limit]:
        series = for_backtest(name, rows, file=asked.file)
        last = len(series.days) - RUN_DAYS - AFTER_DAYS
        starts = rng.integers(series.split, last, asked.runs)
        found += [one_run(series, int(start), asked.service) for start in starts]
        alarms.append(false_alarms(series, asked.service))
    tripped = [day for _, day in found]
    figures = {
        "runs": len(found),
        "median_peak": statistics.median(peak for peak, _ in found),
        "first_day": sum(day == 0 for day in tripped) / len(found),
        "within_a_day": sum(day in (0, 1) for day in tripped) / len(found),
        "false_a_year": 365 * sum(count for count, _ in alarms) / sum(days for _, days in alarms),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
