"""What is remembered of initiators, so that a request can be held against what is usual for who asks.

Only what was signed teaches amounts, pace and destinations: what people or the policy stopped is no habit.
All of it is bounded for each initiator and asset, but for the addresses paid. Times are those of the log.
"""

from collections import deque
from dataclasses import dataclass, field

from custody.risk.gathering import Gathering
from custody.risk.lookalikes import Lookalike, Lookalikes
from custody.risk.numbers import log2

QUARTER_MS, HOUR_MS = 900_000, 3_600_000
DAY_MS = 24 * HOUR_MS
AMOUNTS_KEPT = 128
QUARTERS_KEPT, DAYS_KEPT = 120, 30
FAILURES_KEPT = 16
HOURS_KNOWN_MAX = 4096
_THURSDAY = 3  # of 1970-01-01, Monday being 0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as it is scored. ``named`` says that the policy itself names the destination.

    That is an own account, a contract that may be called, or an address on a list that some rule asks for.
    """

    request: bytes
    initiator: str
    chain: str
    asset: str
    amount: int
    destination: str
    named: bool
    time_ms: int


@dataclass(frozen=True, slots=True)
class Payment:
    """The first payment of an initiator to an address."""

    initiator: str
    chain: str
    destination: str
    time_ms: int


class Sum:
    """A sum over the time just gone, in steps: what came in each of them stands in ``parts``."""

    def __init__(self, step_ms: int, steps: int) -> None:
        self._step_ms, self._steps = step_ms, steps
        self.parts: dict[int, int] = {}

    def add(self, time_ms: int, amount: int) -> None:
        """Count an amount."""
        step = time_ms // self._step_ms
        self.parts[step] = self.parts.get(step, 0) + amount
        for old in [one for one in self.parts if one <= step - self._steps]:
            del self.parts[old]

    def at(self, time_ms: int) -> int:
        """What the last steps come to."""
        first = time_ms // self._step_ms - self._steps
        return sum(amount for step, amount in self.parts.items() if step > first)


class Pace:
    """How much comes within a period: what was asked of late, and the most that was signed before.

    ``late`` is asked for, ``taught`` is signed; ``peaks`` are periods with the most that was signed in them.
    """

    def __init__(self, period_ms: int, kept: int) -> None:
        self._period_ms = period_ms
        self.late = Sum(period_ms // 12, 12)
        self.taught = Sum(period_ms // 12, 12)
        self.peaks: deque[tuple[int, int]] = deque(maxlen=kept)

    def asked(self, time_ms: int, amount: int) -> None:
        """Count what is asked for."""
        self.late.add(time_ms, amount)

    def signed(self, time_ms: int, amount: int) -> None:
        """Learn from what is signed."""
        self.taught.add(time_ms, amount)
        period, now = time_ms // self._period_ms, self.taught.at(time_ms)
        if self.peaks and self.peaks[-1][0] == period:
            now = max(now, self.peaks.pop()[1])
        self.peaks.append((period, now))

    def of_late(self, time_ms: int) -> int:
        """What was asked for within the period up to now."""
        return self.late.at(time_ms)

    def usual(self, time_ms: int) -> tuple[int, int]:
        """How many earlier periods something was signed in, and the most in one of them."""
        now = time_ms // self._period_ms
        peaks = [amount for period, amount in self.peaks if period < now - 1]
        return len(peaks), max(peaks, default=0)


class Hours:
    """When somebody asks: by hour of the day, on working days and on others. Old habits weigh half."""

    def __init__(self) -> None:
        self.counts = [0] * 48

    @property
    def total(self) -> int:
        """How many times are known."""
        return sum(self.counts)

    def add(self, time_ms: int) -> None:
        """Learn a time."""
        if self.total >= HOURS_KNOWN_MAX:
            self.counts = [count // 2 for count in self.counts]
        self.counts[_slot(time_ms)] += 1

    def around(self, time_ms: int) -> int:
        """How many came at this hour, the one before or the one after, on such days."""
        slot = _slot(time_ms)
        first, hour = slot - slot % 24, slot % 24
        return sum(self.counts[first + (hour + step) % 24] for step in (-1, 0, 1))


def _slot(time_ms: int) -> int:
    weekend = (time_ms // DAY_MS + _THURSDAY) % 7 >= 5
    return time_ms // HOUR_MS % 24 + 24 * weekend


@dataclass(slots=True)
class OfAsset:
    """What one initiator does with one asset. ``logs`` are the logarithms of what was signed."""

    logs: deque[int] = field(default_factory=lambda: deque(maxlen=AMOUNTS_KEPT))
    daily: Pace = field(default_factory=lambda: Pace(DAY_MS, DAYS_KEPT))


@dataclass(slots=True)
class Habits:
    """What one initiator does."""

    assets: dict[str, OfAsset] = field(default_factory=dict)
    hours: Hours = field(default_factory=Hours)
    quarterly: Pace = field(default_factory=lambda: Pace(QUARTER_MS, QUARTERS_KEPT))
    failures: deque[int] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))
    paid: dict[tuple[str, str], int] = field(default_factory=dict)
    gathering: Gathering = field(default_factory=Gathering)

    def of(self, asset: str) -> OfAsset:
        """With an asset."""
        if asset not in self.assets:
            self.assets[asset] = OfAsset()
        return self.assets[asset]

    def knows(self, ask: Ask) -> bool:
        """Whether it paid there at least a day before: whoever stole its key cannot make an address known."""
        return _is_known(self.paid, ask)


def _is_known(paid: dict[tuple[str, str], int], ask: Ask) -> bool:
    first_ms = paid.get((ask.chain, ask.destination))
    return first_ms is not None and first_ms + DAY_MS <= ask.time_ms


class House:
    """The habits of all initiators of one log, and the addresses that are known.

    ``news`` are the payments that came since whoever keeps them took them away.
    """

    def __init__(self) -> None:
        self.habits: dict[str, Habits] = {}
        self.news: list[Payment] = []
        self._paid: dict[tuple[str, str], int] = {}
        self._paid_ends = Lookalikes()
        self._named_ends = Lookalikes()

    def of(self, initiator: str) -> Habits:
        """The habits of an initiator."""
        if initiator not in self.habits:
            self.habits[initiator] = Habits()
        return self.habits[initiator]

    def name(self, addresses: list[str]) -> None:
        """The addresses that the policy names, in place of those it named before."""
        self._named_ends = Lookalikes()
        for address in addresses:
            self._named_ends.add(address)

    def asked(self, ask: Ask) -> None:
        """A request is in the log, and not denied."""
        habits = self.of(ask.initiator)
        habits.quarterly.asked(ask.time_ms, 1)
        habits.of(ask.asset).daily.asked(ask.time_ms, ask.amount)

    def signed(self, ask: Ask, time_ms: int) -> None:
        """What was asked is signed."""
        habits = self.of(ask.initiator)
        habits.hours.add(ask.time_ms)
        habits.quarterly.signed(time_ms, 1)
        if ask.amount:
            habits.of(ask.asset).logs.append(log2(ask.amount))
            habits.of(ask.asset).daily.signed(time_ms, ask.amount)
        place = (ask.chain, ask.destination)
        habits.gathering.signed(place, habits.paid.get(place), time_ms=time_ms)
        if place not in habits.paid:
            self.news.append(Payment(ask.initiator, ask.chain, ask.destination, time_ms))
            self.remember(self.news[-1])

    def remember(self, payment: Payment) -> None:
        """Know an address by the first payment of somebody to it."""
        place = (payment.chain, payment.destination)
        self.of(payment.initiator).paid[place] = payment.time_ms
        self._paid.setdefault(place, payment.time_ms)
        self._paid_ends.add(payment.destination)

    def failed(self, initiator: str, time_ms: int) -> None:
        """A request was denied by the policy, or somebody else said no to it."""
        self.of(initiator).failures.append(time_ms)

    def knows(self, ask: Ask) -> bool:
        """Whether anybody paid there at least a day before."""
        return _is_known(self._paid, ask)

    def lookalike(self, address: str) -> Lookalike | None:
        """The known address that another one looks most like."""
        found = [ends.find(address) for ends in (self._paid_ends, self._named_ends)]
        return max(
            (one for one in found if one is not None), key=lambda one: one.first + one.last, default=None
        )
