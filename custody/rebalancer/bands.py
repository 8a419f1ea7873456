"""The dynamic program: from scenarios of the steps ahead to the levels s, S, U and T.

The state is the net balance at the start of a step (what is owed counts below zero), on a grid. A step costs
what is exposed in it (the larger of its start and its end) and a price for every unit that was not paid at
once. Between steps a top-up, a sweep or nothing. All in units of the asset, and money in units exposed for
one step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELLS_BELOW = 4  # how many mean steps of debt and of balance the grid spans
CELLS_ABOVE = 14
CELLS_TOTAL_MAX = 700


@dataclass(frozen=True, slots=True)
class Terms:
    """Costs divided by the cost of exposing one unit for one step.

    ``delay`` is for one unit not paid at once. With ``lead_steps`` 1 a top-up ordered before a step can be
    used after it, with 0 in it.
    """

    topup: float
    sweep: float
    delay: float
    lead_steps: int = 1
    cells: int = 8  # grid cells to a mean step


@dataclass(frozen=True, slots=True)
class Grid:
    """Balances ``(index - zero) * cell`` for ``size`` indices."""

    cell: float
    zero: int
    size: int

    @property
    def balances(self) -> Floats:
        """The balance of each index."""
        return np.asarray((np.arange(self.size) - self.zero) * self.cell, np.float64)


def optimal_levels(
    withdrawn: Floats, deposited: Floats, *, terms: Terms
) -> tuple[float, float, float, float]:
    """s, S, U, T for now, in units: shapes (steps, scenarios); every scenario weighs the same."""
    grid = _grid(withdrawn, terms)
    chances = _chances(deposited - withdrawn, -grid.size, grid)
    step_costs = _step_costs(withdrawn, chances, grid=grid, delay=terms.delay)
    value = np.zeros(grid.size)
    for step in range(len(withdrawn) - 1, 0, -1):
        value = _best(step_costs[step], _expected(value, chances[step]), grid=grid, terms=terms)
    return _levels(step_costs[0], _expected(value, chances[0]), grid=grid, terms=terms)


def _grid(withdrawn: Floats, terms: Terms) -> Grid:
    mean = max(float(withdrawn.mean()), 1e-12)
    top = max(CELLS_ABOVE, 2.0 * float(withdrawn[:3].max()) / mean)
    cells = min(terms.cells, max(1, int(CELLS_TOTAL_MAX / (top + CELLS_BELOW))))
    return Grid(mean / cells, CELLS_BELOW * cells, int((CELLS_BELOW + top) * cells) + 2)


def _chances(amounts: Floats, low: int, grid: Grid) -> Floats:
    """For each step the chance of each amount, in cells from ``low`` on; split between two cells."""
    steps, count = amounts.shape
    width = grid.size - low + 2
    cells = np.clip(amounts * (1 / grid.cell), low, grid.size) - low
    below = cells.astype(np.int64)
    share = (cells - below).ravel()
    rows = (below + (np.arange(steps) * width)[:, None]).ravel()
    mass = np.bincount(rows, 1 - share, steps * width)
    mass[1:] += np.bincount(rows, share, steps * width)[:-1]
    return np.asarray((mass / count).reshape(steps, width)[:, :-1])


def _excess(chances: Floats) -> Floats:
    """Mean of what exceeds 0, 1, 2 ... cells, in cells, from the chances of that many."""
    beyond = np.cumsum(chances[:, :0:-1], axis=1)  # the chance of more than so many cells, downwards
    excess = np.zeros_like(chances)
    excess[:, :-1] = np.cumsum(beyond, axis=1)[:, ::-1]
    return excess


def _step_costs(withdrawn: Floats, net: Floats, *, grid: Grid, delay: float) -> Floats:
    """Expected exposure and delay in each step for each starting balance; ``net`` has its chances."""
    zero, size = grid.zero, grid.size
    unpaid = _excess(_chances(withdrawn, 0, grid))
    rise = _excess(net[:, size:])
    cells = np.empty((len(net), size))
    cells[:, :zero] = rise[:, zero:0:-1] + delay * unpaid[:, :1]
    cells[:, zero:] = np.arange(size - zero) + rise[:, :1] + delay * unpaid[:, : size - zero]
    return cells * grid.cell


def _expected(value: Floats, chances: Floats) -> Floats:
    """The expected value after a net change; beyond the grid the value is that of its edge."""
    size = len(value)
    used = np.flatnonzero(chances)
    low, high = int(used[0]) - size, int(used[-1]) - size
    padded = np.empty(3 * size)
    padded[:size], padded[size : 2 * size], padded[2 * size :] = value[0], value, value[-1]
    reached = padded[size + low : 2 * size + high]
    return np.asarray(np.correlate(reached, chances[size + low : size + high + 1], "valid"))


def _best(cost: Floats, later: Floats, *, grid: Grid, terms: Terms) -> Floats:
    """The value of each balance when the best of nothing, top-up and sweep is chosen."""
    stay = cost + later
    topup = terms.topup + _topup_target(cost, later, terms)
    best = np.minimum(stay, topup)
    swept = terms.sweep + np.minimum.accumulate(stay[grid.zero :])
    best[grid.zero :] = np.minimum(best[grid.zero :], swept)
    return best


def _topup_target(cost: Floats, later: Floats, terms: Terms) -> Floats:
    """What follows from topping up from each balance to the best one above it."""
    if terms.lead_steps:
        return np.asarray(cost + np.minimum.accumulate(later[::-1])[::-1])
    return np.asarray(np.minimum.accumulate((cost + later)[::-1])[::-1])


def _levels(cost: Floats, later: Floats, *, grid: Grid, terms: Terms) -> tuple[float, float, float, float]:
    stay = cost + later
    balances = grid.balances
    gain = stay - terms.topup - _topup_target(cost, later, terms)
    aim = int(np.argmin(later if terms.lead_steps else stay))
    lowest = grid.zero + int(np.argmin(stay[grid.zero :]))
    worth = np.flatnonzero(gain > 0)
    s = balances[0] if not len(worth) else _crossing(gain, int(worth[-1]), grid)
    over = stay[lowest:] - stay[lowest] - terms.sweep
    beyond = np.flatnonzero(over > 0)
    upper = balances[-1]
    if len(beyond):
        upper = _crossing(-over, int(beyond[0]) - 1, Grid(grid.cell, grid.zero - lowest, len(over)))
    return float(s), float(max(balances[aim], s)), float(upper), float(balances[lowest])


def _crossing(values: Floats, last: int, grid: Grid) -> float:
    """The balance at which ``values``, above zero at index ``last``, fall through zero."""
    place = float(last)
    if last + 1 < len(values) and values[last] > 0 >= values[last + 1]:
        place += values[last] / (values[last] - values[last + 1])
    return (place - grid.zero) * grid.cell
