"""What each lever takes off the hot balance, on generated demand of which days and hours are the same money.

    python -m tests.bench.levers [--seed N] [--series N] [--scored-days N] [--deposited SHARE]
                                 [--warm-topup DAYS] [--json]

All is lived through by hours, whatever the step of the plan. Each lever is run at one setting after the
other until two neighbours have 99 % of the money paid at once between them, and read in between. On cold
decides the shipped policy by days; from warm the same forecast and plan, by hours. Warm and hot together are
planned as hot alone is without a warm tier. See docs/benchmarks.md.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from custody.rebalancer.backtest import START_DAYS, SWEEP_DAYS, TOPUP_DAYS, Till
from custody.rebalancer.daily import HORIZON, RESOLUTION, UNBOUNDED, DailyPolicy, Evening
from custody.rebalancer.flows import HOUR_MS
from custody.rebalancer.forecast import EPOCH, forecast_from, new_memory, when
from custody.rebalancer.plan import Costs, Position, plan
from custody.rebalancer.steering import Steering
from tests.bench.levers_demand import DAY_HOURS, DEPOSITED, FIRST_DAY, Demand, Floats, generate

LEARNT_DAYS, SETTLED_DAYS, SCORED_DAYS = 84, 14, 112
SERVICE = 0.99
ODDS = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 20_000.0)
FIRST_ODDS = ODDS.index(50.0)
QUANTILES = (0.95, 0.99, 0.999)
WARM_TOPUP_DAYS = SWEEP_DAYS
START_HOT_DAYS = 0.5  # of START_DAYS, where a warm tier has the rest


@dataclass(frozen=True, slots=True)
class Lever:
    """What is other than usual. Above the quantile ``instant`` of the learnt amounts it is paid from cold."""

    name: str
    overnight: bool = False
    warm: bool = False
    instant: float = 1.0


LEVERS = (
    Lever("cold by days"),
    Lever("overnight ceremony", overnight=True),
    Lever("warm an hour away", warm=True),
    *(Lever(f"instant up to {quantile:.1%}", instant=quantile) for quantile in QUANTILES),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a scored day, in mean days of all withdrawals. ``service`` is of the money that hot is to pay.

    ``cost`` is what is hot and what moves cost, as in the backtest; what is warm is not in it. A day of
    payments straight from cold has a ceremony too. ``moves`` are those without one.
    """

    service: float
    hot: float
    warm: float
    cost: float
    ceremonies_per_week: float
    moves_per_day: float
    customers_wait: float  # the share of customers, and of money, that is paid straight from cold
    money_waits: float


class HourlyPolicy(DailyPolicy):
    """The same by hours, on a tier an hour away; without a breaker, since no demand here is a run."""

    def learn_hours(self, withdrawn: Floats, deposited: Floats, *, mean_day: float, topup: float) -> None:
        """Begin after these hours; a top-up costs ``topup`` mean days exposed for a day."""
        mean = float(withdrawn.mean())
        self.unit_base = max(1, round(RESOLUTION / mean))
        self.memory = new_memory(mean, HOUR_MS)
        self.topup, self.sweep = (DAY_HOURS * days * mean_day for days in (topup, SWEEP_DAYS))
        self.steering = Steering(self.asked, mean)
        self.free, self.moves = START_HOT_DAYS * mean_day, 0.0
        self.now_ms = (FIRST_DAY.toordinal() - EPOCH) * DAY_HOURS * HOUR_MS
        for flows in zip(withdrawn, deposited, strict=True):
            self._learn_hour(*flows)

    def decide_hour(self, evening: Evening) -> tuple[float, float]:
        """Top-up from warm and sweep to it at the end of an hour."""
        self._account(evening)
        self._learn_hour(evening.withdrawn, evening.deposited)
        ahead = forecast_from(
            self.memory, self.now_ms, horizon=HORIZON, step_ms=HOUR_MS, unit_base=self.unit_base
        )
        delay = self.steering.delay(self.memory.profile)
        costs = Costs(1.0, self.topup, self.sweep, exposure_year=365.0 * DAY_HOURS, delay=delay)
        position = Position(self._base(evening.hot), self._base(evening.backlog))
        return self._moves(plan(ahead, position, costs=costs, bounds=UNBOUNDED), evening)

    def _learn_hour(self, withdrawn: float, deposited: float) -> None:
        place, calendar, _ = when(self.now_ms, HOUR_MS)
        self.memory.observe(place, calendar, withdrawn=float(withdrawn), deposited=float(deposited))
        self.now_ms += HOUR_MS


@dataclass(slots=True)
class Tally:
    """Sums over the scored hours; moves in mean days."""

    hot: float = 0.0
    warm: float = 0.0
    wanted: float = 0.0
    delayed: float = 0.0
    ceremonies: int = 0
    moves: int = 0
    moves_cost: float = 0.0


@dataclass(slots=True)
class World:
    """One series under one lever at one setting, hour by hour."""

    demand: Demand
    lever: Lever
    asked: float
    warm_topup: float
    wanted: Floats = field(init=False)  # by hour, of hot
    by_cold: Floats = field(init=False)  # by day, paid straight from cold
    till: Till = field(init=False)
    warm: float = 0.0
    ordered: float = 0.0  # from cold, there at the end of the next day
    day_wanted: float = 0.0
    day_deposited: float = 0.0
    cold: DailyPolicy = field(init=False)
    hourly: HourlyPolicy = field(init=False)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        demand, learnt = self.demand, LEARNT_DAYS * DAY_HOURS
        known = demand.amounts[demand.hours < learnt]
        limit = float(np.quantile(known, self.lever.instant))
        self.wanted = demand.withdrawn(limit if self.lever.instant < 1 else math.inf)
        self.by_cold = _by_day(demand.withdrawn() - self.wanted)
        past, mean = (self.wanted[:learnt], demand.deposited[:learnt]), demand.mean_day
        self.till = Till(START_DAYS * mean)
        self.cold = DailyPolicy(self.asked, lead_steps=0 if self.lever.overnight else 1)
        days = (_by_day(past[0]), _by_day(past[1]))
        costs = (TOPUP_DAYS * mean, SWEEP_DAYS * mean)
        self.cold.begin(demand.dates[:LEARNT_DAYS], days, costs=costs, mean=float(days[0].mean()))
        if self.lever.warm:
            self.hourly = HourlyPolicy(self.asked)
            self.hourly.learn_hours(*past, mean_day=mean, topup=self.warm_topup)
            self.till.hot, self.warm = START_HOT_DAYS * mean, (START_DAYS - START_HOT_DAYS) * mean

    def live(self) -> Figures:
        """Settle, then score what is left."""
        for day in range(LEARNT_DAYS, self.demand.days):
            if day == LEARNT_DAYS + SETTLED_DAYS:
                self.tally = Tally()
            self.day_wanted = self.day_deposited = 0.0
            for hour in range(day * DAY_HOURS, (day + 1) * DAY_HOURS):
                self._hour(hour, midnight=hour % DAY_HOURS == DAY_HOURS - 1)
        return self._figures(self.demand.days - LEARNT_DAYS - SETTLED_DAYS)

    def _hour(self, hour: int, *, midnight: bool) -> None:
        till, tally = self.till, self.tally
        wanted, deposited = float(self.wanted[hour]), float(self.demand.deposited[hour])
        tally.warm += self.warm + till.on_order
        if midnight and self.lever.warm:
            self.warm += self.ordered
        elif midnight:
            till.on_order = self.ordered
        peak, delayed = till.day(wanted, deposited)
        tally.hot += peak
        tally.wanted += wanted
        tally.delayed += delayed
        self.day_wanted += wanted
        self.day_deposited += deposited
        if midnight:
            self._by_days(hour // DAY_HOURS)
        if self.lever.warm:
            self._by_hours(Evening(wanted, deposited, till.hot, till.backlog))

    def _by_days(self, day: int) -> None:
        """Between cold and all that is not cold."""
        till = self.till
        evening = Evening(self.day_wanted, self.day_deposited, till.hot + self.warm, till.backlog)
        topup, sweep = self.cold.decide(self.demand.dates[day], evening)
        from_warm = min(sweep, self.warm)
        self.warm -= from_warm
        till.hot -= min(sweep - from_warm, till.hot)
        self.ordered = 0.0 if self.lever.overnight else topup
        till.hot += topup if self.lever.overnight else 0.0
        self.tally.ceremonies += bool(topup > 0 or self.by_cold[day] > 0)
        self._moved(sweep > 0, cost=SWEEP_DAYS)

    def _by_hours(self, evening: Evening) -> None:
        """Between warm and hot; warm gives what it has."""
        topup, sweep = self.hourly.decide_hour(evening)
        topup, sweep = min(topup, self.warm), min(sweep, self.till.hot)
        self.till.hot -= sweep
        self.till.on_order = topup
        self.warm += sweep - topup
        self._moved(topup > 0, cost=self.warm_topup)
        self._moved(sweep > 0, cost=SWEEP_DAYS)

    def _moved(self, moved: bool, *, cost: float) -> None:
        self.tally.moves += moved
        self.tally.moves_cost += cost * moved

    def _figures(self, days: int) -> Figures:
        tally, scored = self.tally, (LEARNT_DAYS + SETTLED_DAYS) * DAY_HOURS
        hours = days * DAY_HOURS * self.demand.mean_day
        money = self.demand.withdrawn()[scored:].sum()
        return Figures(
            service=1 - tally.delayed / tally.wanted,
            hot=tally.hot / hours,
            warm=tally.warm / hours,
            cost=tally.hot / hours + (TOPUP_DAYS * tally.ceremonies + tally.moves_cost) / days,
            ceremonies_per_week=7 * tally.ceremonies / days,
            moves_per_day=tally.moves / days,
            customers_wait=1 - self.lever.instant,
            money_waits=float(1 - self.wanted[scored:].sum() / money),
        )


def _by_day(hours: Floats) -> Floats:
    return np.asarray(hours.reshape(-1, DAY_HOURS).sum(axis=1))


def at_service(run: Callable[[float], Figures], service: float = SERVICE) -> Figures:
    """Read between the two neighbouring settings of which one serves less and the next one enough.

    At the ladder's end what that setting came to, which its ``service`` shows.
    """
    place = FIRST_ODDS
    found = run(1 - 1 / ODDS[place])
    step = -1 if found.service >= service else 1
    while 0 <= place + step < len(ODDS):
        place += step
        other = run(1 - 1 / ODDS[place])
        if (other.service >= service) != (found.service >= service):
            return _between(found, other, service)
        found = other
    return found


def _between(one: Figures, other: Figures, service: float) -> Figures:
    """Linear in the logarithm of what waits."""
    first, second, wanted = (
        math.log(max(1 - value, 1e-9)) for value in (one.service, other.service, service)
    )
    share = (wanted - first) / (second - first)
    both = zip(asdict(one).values(), asdict(other).values(), strict=True)
    mixed = [low + share * (high - low) for low, high in both]
    return Figures(service, *mixed[1:])


def mean_of(found: list[Figures]) -> Figures:
    """The mean over series."""
    return Figures(*(float(np.mean([getattr(one, item.name) for one in found])) for item in fields(Figures)))


def measure(lever: Lever, demands: list[Demand], *, warm_topup: float = WARM_TOPUP_DAYS) -> Figures:
    """One lever at the wanted service, which holds as a mean over the series."""

    def run(asked: float) -> Figures:
        sys.stderr.write(f"{lever.name}: asked for {asked:.5f}\n")
        return mean_of([World(demand, lever, asked, warm_topup).live() for demand in demands])

    return at_service(run)


def demands_of(
    seed: int, series: int, *, scored_days: int = SCORED_DAYS, deposited: float = DEPOSITED
) -> list[Demand]:
    """The series of a seed."""
    days = LEARNT_DAYS + SETTLED_DAYS + scored_days
    return [generate(seed, number, days=days, deposited=deposited) for number in range(series)]


def as_text(found: dict[str, Figures]) -> str:
    """A table for people."""
    names = [item.name for item in fields(Figures)]
    lines = [" ".join([f"{'':20}", *names])]
    for name, figures in found.items():
        values = zip(names, asdict(figures).values(), strict=True)
        lines.append(" ".join([f"{name:20}", *(f"{value:{len(title)}.4f}" for title, value in values)]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--scored-days", type=int, default=SCORED_DAYS)
    parser.add_argument("--deposited", type=float, default=DEPOSITED, help="share of what is withdrawn")
    parser.add_argument("--warm-topup", type=float, default=WARM_TOPUP_DAYS, help="in mean days")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    demands = demands_of(asked.seed, asked.series, scored_days=asked.scored_days, deposited=asked.deposited)
    found = {lever.name: measure(lever, demands, warm_topup=asked.warm_topup) for lever in LEVERS}
    as_json = json.dumps({name: asdict(figures) for name, figures in found.items()}) + "\n"
    sys.stdout.write(as_json if asked.json else as_text(found))


if __name__ == "__main__":
    main()
