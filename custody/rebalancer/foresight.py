"""The cheapest plan that knows the future: what every backtest is measured against.

An exact dynamic program on a grid of a fortieth of the mean day. Knowing everything, a plan chooses each
day's balance freely and waits for nothing; only its moves and what it exposes cost. The price of a delay is
found by bisection, so that the plan serves just the share that was asked for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELLS = 40  # to a mean day
ABOVE_MAX, BELOW_MAX = 6000, 1500
PRICE_LOW, PRICE_HIGH, PRICE_TRIES = 0.5, 4096.0, 13


@dataclass(frozen=True, slots=True)
class Task:
    """Scored days: what was wanted and deposited and which days are known; costs of moves. In units."""

    wanted: Floats
    deposited: Floats
    known: NDArray[np.bool_]
    topup: float
    sweep: float


@dataclass(frozen=True, slots=True)
class Foresight:
    """A perfect plan: exposure summed over days, moves, and what was not paid at once. Units."""

    exposed: float
    topups: int
    sweeps: int
    delayed: float

    def cost(self, task: Task) -> float:
        """Exposure and moves together."""
        return self.exposed + task.topup * self.topups + task.sweep * self.sweeps


def foresight(task: Task, service: float) -> Foresight:
    """The cheapest plan that pays the share ``service`` at once."""
    best, low, high = None, PRICE_LOW, PRICE_HIGH
    total = float(task.wanted.sum())
    for _ in range(PRICE_TRIES):
        middle = float(np.sqrt(low * high))
        found = cheapest(task, middle)
        if total - found.delayed >= service * total:
            best, high = found, middle
        else:
            low = middle
    return best or cheapest(task, 1e5)


def cheapest(task: Task, delay: float) -> Foresight:
    """The cheapest plan when a unit that waits costs ``delay`` units exposed for a day."""
    scale = float(task.wanted.mean())
    cell = scale / CELLS
    peak = float(max(task.wanted.max(), task.deposited.max()))
    above = int(min(ABOVE_MAX, (2.5 * peak + 12 * scale) / cell))
    below = int(min(BELOW_MAX, 1.2 * float(task.wanted.max()) / cell))
    wanted, deposited = _cells(task.wanted, cell), _cells(task.deposited, cell)
    days = _Days(wanted, deposited, task.known, below, above + below + 1)
    moves = (task.topup / cell, task.sweep / cell)
    choices, start = _backward(days, moves, delay)
    return _forward(days, choices, start=start, cell=cell)


@dataclass(frozen=True, slots=True)
class _Days:
    wanted: Ints
    deposited: Ints
    known: NDArray[np.bool_]
    zero: int
    size: int

    def outcome(self, day: int, balance: Ints) -> tuple[Ints, Ints, Ints]:
        """Exposure, delay and end of a day for balances at its start, in cells."""
        held = np.maximum(balance, 0)
        end = balance - self.wanted[day] + self.deposited[day]
        if not self.known[day]:
            return np.zeros_like(held), np.zeros_like(held), end
        return np.maximum(held, end), np.maximum(self.wanted[day] - held, 0), end

    def index(self, balance: Ints) -> Ints:
        return np.clip(balance + self.zero, 0, self.size - 1)


def _cells(amounts: Floats, cell: float) -> Ints:
    """Whole cells for each day by rounding the running sum, so that roundings do not add up."""
    return np.asarray(np.diff(np.rint(np.cumsum(amounts / cell)).astype(np.int64), prepend=0), np.int64)


def _backward(days: _Days, moves: tuple[float, float], delay: float) -> tuple[NDArray[np.int32], int]:
    topup, sweep = moves
    balance = np.arange(days.size) - days.zero
    value = np.zeros(days.size)
    choices = np.empty((len(days.wanted), days.size), np.int32)
    for day in range(len(days.wanted) - 1, -1, -1):
        exposed, delayed, end = days.outcome(day, balance)
        at = days.index(end)
        cost, to = value[at], at
        raised, raised_to = _lowest(value[::-1])
        raised, raised_to = topup + raised[::-1], days.size - 1 - raised_to[::-1]
        better = raised[at] < cost
        cost, to = np.where(better, raised[at], cost), np.where(better, raised_to[at], to)
        lowered, lowered_to = _lowest(value[days.zero :])
        down = np.maximum(at - days.zero, 0)
        better = (end > 0) & (sweep + lowered[down] < cost)
        cost, to = (
            np.where(better, sweep + lowered[down], cost),
            np.where(better, days.zero + lowered_to[down], to),
        )
        value = exposed + delay * delayed + cost
        choices[day] = to
    return choices, int(np.argmin(value))


def _lowest(value: Floats) -> tuple[Floats, Ints]:
    """The running minimum and where it was first reached."""
    lowest = np.minimum.accumulate(value)
    new = np.concatenate([[True], value[1:] < lowest[:-1]])
    return lowest, np.maximum.accumulate(np.where(new, np.arange(len(value)), 0))


def _forward(days: _Days, choices: NDArray[np.int32], *, start: int, cell: float) -> Foresight:
    exposed = delayed = topups = sweeps = 0
    at = start
    last = len(days.wanted) - 1
    for day in range(last + 1):
        today = days.outcome(day, np.array([at - days.zero]))
        exposed, delayed = exposed + int(today[0][0]), delayed + int(today[1][0])
        end, to = int(days.index(today[2])[0]), int(choices[day, at])
        if day < last:
            topups, sweeps = topups + (to > end), sweeps + (to < end)
        at = to
    return Foresight(exposed * cell, topups, sweeps, delayed * cell)
