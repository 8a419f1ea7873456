"""What was forecast of a route, against what came."""

from collections.abc import Sequence
from dataclasses import dataclass

from custody.rebalancer.flows import History
from custody.rebalancing import observing
from custody.rebalancing.ports import Book
from custody.rebalancing.records import DAY_MS, Foreseen, Route

MEDIAN, LOW, HIGH = 0.5, 0.05, 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """One day's forecast of the day before, and what came; ``actual_base`` is None while it is not known."""

    foreseen: Foreseen
    actual_base: int | None

    def at(self, level: float) -> int:
        """The forecast's quantile."""
        return self.foreseen.amounts_base[self.foreseen.levels.index(level)]

    @property
    def inside(self) -> bool | None:
        """Whether what came is between the outer quantiles."""
        return None if self.actual_base is None else self.at(LOW) <= self.actual_base <= self.at(HIGH)


def judged_days(book: Book, route: Route, *, flow: str, now_ms: int) -> list[Judged]:
    """Forecasts of a day as made on the day before, or at its beginning where there is none earlier."""
    actual = _actual(book, route, flow=flow, now_ms=now_ms)
    chosen: dict[int, Foreseen] = {}
    for one in book.forecasts(route.name):
        if one.flow == flow and one.day_ms - one.made_ms <= DAY_MS:
            chosen.setdefault(one.day_ms, one)
    return [Judged(one, actual.get(day)) for day, one in sorted(chosen.items())]


def coverage(days: Sequence[Judged]) -> float | None:
    """The share of known days that came between the outer quantiles, nine in ten if forecasts are honest."""
    known = [day.inside for day in days if day.inside is not None]
    return sum(known) / len(known) if known else None


def history(book: Book, route: Route, *, now_ms: int) -> History:
    """What came and went of a route, days of runs included."""
    movements, deposits = book.movements(route.asset), book.deposits(route.name)
    return observing.history_of(route, movements, deposits=deposits, alarms=(), now_ms=now_ms)


def newest_forecast(book: Book, route: Route) -> list[Foreseen]:
    """The newest forecast: each day ahead, by flow."""
    made = book.forecasts(route.name)
    newest_ms = max((one.made_ms for one in made), default=0)
    return [one for one in made if one.made_ms == newest_ms]


def _actual(book: Book, route: Route, *, flow: str, now_ms: int) -> dict[int, int | None]:
    days = history(book, route, now_ms=now_ms).days
    amounts = days.withdrawn_base if flow == "withdrawn" else days.deposited_base
    return {days.first_ms + place * DAY_MS: amount for place, amount in enumerate(amounts)}
