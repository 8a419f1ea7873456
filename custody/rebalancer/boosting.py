"""An optional correction of the mean by LightGBM, learnt from one series' own past.

Smoothing stays what it is; the model learns what smoothing left over. It is fitted rarely, and where it was
no better on the newest of its days, which it had not seen, smoothing speaks alone. LightGBM is imported when
the correction is asked for, never else.
"""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from policy.errors import CallerError

LAGS = (1, 2, 7, 14)
FIT_EVERY, FIT_FIRST, HELD_OUT, KEPT = 28, 168, 56, 730
ROUNDS = 40
SETTINGS = {
    "objective": "l2",
    "learning_rate": 0.05,
    "num_leaves": 5,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}

Step = tuple[int, int, float]  # place in the week, day of the month, the calendar's logarithm


def library() -> ModuleType:
    """LightGBM. Raises ``CallerError`` where it is not installed."""
    try:
        return importlib.import_module("lightgbm")
    except ImportError as error:
        raise CallerError("the LightGBM mean needs an extra: pip install quorumkeep[lightgbm]") from error


@dataclass(slots=True)
class Correction:
    """What a model adds to the logarithm that one smoother expects; 0 while it has none."""

    lightgbm: ModuleType = field(default_factory=library)
    logs: list[float] = field(default_factory=list)  # by step, NaN is unknown
    rows: list[list[float]] = field(default_factory=list)
    left: list[float] = field(default_factory=list)  # what smoothing left over
    model: Any = None

    def ahead(self, level: float, steps: Sequence[Step], *, expected: Sequence[float]) -> list[float]:
        """Corrections of the steps ahead; a later one's lags are what is expected of the earlier."""
        if self.model is None:
            return [0.0] * len(steps)
        logs, found = self.logs[-max(LAGS) :], []
        for step, usual in zip(steps, expected, strict=True):
            found.append(float(self.model.predict(np.array([_row(logs, level, step)]))[0]))
            logs.append(usual + found[-1])
        return found

    def observe(self, level: float, step: Step, *, log: float, left: float) -> None:
        """Learn a known step: its logarithm and what smoothing alone had left over."""
        self.rows.append(_row(self.logs, level, step))
        self.left.append(left)
        self.logs.append(log)
        del self.rows[:-KEPT], self.left[:-KEPT], self.logs[:-KEPT]

    def skip(self) -> None:
        """A step of which nothing is known."""
        self.logs.append(math.nan)

    def fit(self) -> None:
        """Learn anew, if there is enough to learn from and it helps."""
        if len(self.rows) < FIT_FIRST:
            return
        rows, left = np.array(self.rows), np.array(self.left)
        seen = self._trained(rows[:-HELD_OUT], left[:-HELD_OUT])
        missed = np.abs(left[-HELD_OUT:] - seen.predict(rows[-HELD_OUT:])).mean()
        better = missed < np.abs(left[-HELD_OUT:]).mean()
        self.model = self._trained(rows, left) if better else None

    def _trained(self, rows: Any, left: Any) -> Any:
        return self.lightgbm.train(SETTINGS, self.lightgbm.Dataset(rows, left), num_boost_round=ROUNDS)


def _row(logs: Sequence[float], level: float, step: Step) -> list[float]:
    lags = [logs[-lag] - level if lag <= len(logs) else math.nan for lag in LAGS]
    return [*step, level, *lags]
