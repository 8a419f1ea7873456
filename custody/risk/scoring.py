"""The score of a request: points of a few features, added up and cut at 100.

Each feature is a function of the request and of what was usual before it. All numbers are integers, so that
whoever has the log comes to the same score. A change of any number here is another model, with another name;
statements in the log name theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from custody.risk.gathering import DAYS_KEPT, NEW_MS
from custody.risk.habits import DAY_MS, HOUR_MS, QUARTER_MS, Ask, House, Pace
from custody.risk.numbers import ONE, between, deviation, log2, median
from policy.fact_entries import RISK_MAX

MODEL: Final = "open-2"
THRESHOLD: Final = 50
"""From here on a request is worth a second look; what happens then, the policy says."""

FIRST_USE, NEW_TO_ONE = 25, 10
LOOKALIKE, LOOKALIKE_LEAST = 60, 30
ENDS: Final = (6, 8)
AMOUNT, AMOUNT_UNKNOWN = 35, 10
AMOUNTS_KNOWN_MIN = 8
SPREAD_MIN = ONE // 2
DEVIATIONS: Final = (25, 50)
HOUR, HOURS_KNOWN_MIN = 25, 50
RARE_PERMILLE: Final = (0, 10)
VELOCITY, PERIODS_KNOWN_MIN = 30, 5
HASTE: Final = (ONE // 4, 5 * ONE // 4)
GATHERING, GATHERED_MIN = 60, 4
FAILED, FAILED_EACH = 30, 10
FAILED_WITHIN_MS = 4 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Share:
    """What one feature adds to a score, and why, in words."""

    feature: str
    points: int
    why: str


@dataclass(frozen=True, slots=True)
class Score:
    """The shares in the order of the features, of which those without points are left out."""

    shares: tuple[Share, ...]
    model: str = MODEL

    @property
    def risk(self) -> int:
        """From 0 to 100."""
        return min(RISK_MAX, sum(share.points for share in self.shares))

    @property
    def points(self) -> tuple[tuple[str, int], ...]:
        """The shares as a statement has them."""
        return tuple((share.feature, share.points) for share in self.shares)


Weighed: TypeAlias = tuple[int, str]
NOTHING: Final[Weighed] = (0, "")


def score(ask: Ask, house: House) -> Score:
    """The score of a request before the house has learnt of it."""
    found = ((name, *feature(ask, house)) for name, feature in FEATURES.items())
    return Score(tuple(Share(name, points, why) for name, points, why in found if points))


def _first_use(ask: Ask, house: House) -> Weighed:
    if house.of(ask.initiator).knows(ask):
        return NOTHING
    if house.knows(ask):
        return NEW_TO_ONE, f"{ask.initiator} did not pay there until a day ago, others did"
    if ask.named:
        return NEW_TO_ONE, "nobody was paid there until a day ago, but the policy names the address"
    return FIRST_USE, "nobody was paid there until a day ago, and the policy does not name the address"


def _lookalike(ask: Ask, house: House) -> Weighed:
    if ask.named or house.knows(ask) or (found := house.lookalike(ask.destination)) is None:
        return NOTHING
    shared = found.first + found.last
    points = LOOKALIKE_LEAST + between(shared, ENDS, points=LOOKALIKE - LOOKALIKE_LEAST)
    return points, (
        f"it begins with the same {found.first} and ends with the same {found.last} characters as "
        f"{found.known}, which is another address"
    )


def _amount(ask: Ask, house: House) -> Weighed:
    logs = list(house.of(ask.initiator).of(ask.asset).logs)
    if not ask.amount:
        return NOTHING
    if len(logs) < AMOUNTS_KNOWN_MIN:
        return (
            AMOUNT_UNKNOWN,
            f"{ask.initiator} has {len(logs)} signed payments of {ask.asset}: too few to know",
        )
    middle, spread = median(logs), max(deviation(logs), SPREAD_MIN)
    above = (log2(ask.amount) - middle) * 10 // spread
    points = between(above, DEVIATIONS, points=AMOUNT)
    times = 1 << max(log2(ask.amount) - middle, 0) // ONE
    return points, (
        f"at least {times} times the median of {ask.initiator}'s last {len(logs)} payments of {ask.asset}, "
        f"{_tenths(above)} robust deviations above it"
    )


def _hour(ask: Ask, house: House) -> Weighed:
    hours = house.of(ask.initiator).hours
    if hours.total < HOURS_KNOWN_MIN:
        return NOTHING
    permille = 1000 * hours.around(ask.time_ms) // hours.total
    points = HOUR - between(permille, RARE_PERMILLE, points=HOUR)
    return points, f"{_tenths(permille)} % of {ask.initiator}'s payments were asked for around this hour"


def _velocity(ask: Ask, house: House) -> Weighed:
    habits = house.of(ask.initiator)
    count = _haste(habits.quarterly, 1, time_ms=ask.time_ms)
    amount = _haste(habits.of(ask.asset).daily, ask.amount, time_ms=ask.time_ms)
    if count >= amount:
        return (
            count,
            f"{habits.quarterly.of_late(ask.time_ms) + 1} requests within {QUARTER_MS // 60_000} minutes"
            + (_most(habits.quarterly, ask.time_ms, "quarter of an hour")),
        )
    return amount, f"the sum of {ask.asset} asked for within {DAY_MS // HOUR_MS} hours" + (
        _most(habits.of(ask.asset).daily, ask.time_ms, "day")
    )


def _haste(pace: Pace, amount: int, *, time_ms: int) -> int:
    """No points up to 1.2 times as much as ever, all of them from 2.4 times on."""
    known, most = pace.usual(time_ms)
    if known < PERIODS_KNOWN_MIN or not most or not amount:
        return 0
    ratio = log2(pace.of_late(time_ms) + amount) - log2(most)
    return between(ratio, HASTE, points=VELOCITY)


def _most(pace: Pace, time_ms: int, period: str) -> str:
    known, _ = pace.usual(time_ms)
    return f": more than the most of any {period} among the last {known} with payments"


def _gathering(ask: Ask, house: House) -> Weighed:
    """No points up to 1.2 times as many payments as to any other new address, all from 2.4 times on."""
    habits, place = house.of(ask.initiator), (ask.chain, ask.destination)
    first_ms = habits.paid.get(place)
    if first_ms is None or ask.time_ms - first_ms >= NEW_MS or ask.named:
        return NOTHING
    count = habits.gathering.count(place) + 1
    known, most = habits.gathering.most(place, ask.time_ms)
    if known < PERIODS_KNOWN_MIN:
        return NOTHING
    points = between(log2(count) - log2(max(most, GATHERED_MIN)), HASTE, points=GATHERING)
    return points, (
        f"payment {count} to an address that was first paid {(ask.time_ms - first_ms) // DAY_MS} days ago; "
        f"of the other new ones of {ask.initiator} within {DAYS_KEPT} days none had more than {most}"
    )


def _failed(ask: Ask, house: House) -> Weighed:
    since_ms = ask.time_ms - FAILED_WITHIN_MS
    count = sum(time_ms > since_ms for time_ms in house.of(ask.initiator).failures)
    return min(FAILED, FAILED_EACH * count), (
        f"{count} requests of {ask.initiator} were refused within {FAILED_WITHIN_MS // HOUR_MS} hours"
    )


def _tenths(value: int) -> str:
    return f"{value // 10}.{value % 10}"


FEATURES: Final[Mapping[str, Callable[[Ask, House], Weighed]]] = {
    "first-use": _first_use,
    "lookalike": _lookalike,
    "amount": _amount,
    "hour": _hour,
    "velocity": _velocity,
    "gathering": _gathering,
    "failed": _failed,
}
"""The features of the model, by the names that statements have."""
