"""Synthetic initiators with habits, and attacks on them, each labelled: what risk scoring is measured by.

Everything follows from a seed. Amounts are heavy-tailed, hours are those of working people and of shops, and
customers come and come back. The points of the model were chosen on seeds below 200 alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from custody.risk.habits import DAY_MS, HOUR_MS, Ask

START_MS: Final = 1_767_571_200_000  # a Monday, at midnight UTC
MINUTE_MS: Final = 60_000
CHAIN, ASSET, UNIT = "evm:1", "eth", 10**18
NIGHT = (22, 23, 0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Initiator:
    """``middle`` is its median amount in thousandths of the unit, ``tail`` the exponent of a Pareto tail.

    Of its payments a share ``new`` goes where it never paid before, of which ``listed`` are on a list. On a
    share of days, ``stumbles``, the policy refuses 2 to 5 honest requests, as by a limit that is reached.
    """

    name: str
    hours: tuple[int, ...]
    weekend: float
    daily: float
    middle: int
    tail: float
    new: float
    listed: float
    burst: int = 1
    stumbles: float = 0.03


INITIATORS: Final = (
    Initiator("shop", tuple(range(6, 23)), 0.8, 40.0, 300, 1.6, 0.35, 0.0),
    Initiator("desk", tuple(range(8, 18)), 0.02, 5.0, 20_000, 1.8, 0.06, 0.8),
    Initiator("payroll", (9, 10), 0.0, 0.3, 2_500, 6.0, 0.02, 0.0, burst=25),
)


class World:
    """The requests of honest initiators, in order, and what an attacker would ask."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.known: dict[str, list[str]] = {one.name: [] for one in INITIATORS}
        self.paid: dict[str, list[str]] = {one.name: [] for one in INITIATORS}
        self._number = count()

    def honest(self, days: int) -> Iterator["Tried"]:
        """The requests of so many days."""
        for day in range(days):
            times = [
                (time_ms, initiator, denied)
                for initiator in INITIATORS
                for denied, found in enumerate((self._times(initiator, day), self._stumbles(initiator, day)))
                for time_ms in found
            ]
            for time_ms, initiator, denied in sorted(times, key=lambda one: one[0]):
                tried = Tried(self._usual(initiator, time_ms), denied=bool(denied))
                yield tried
                if not denied:
                    self.paid[initiator.name].append(tried.ask.destination)

    def address(self) -> str:
        """A fresh address."""
        return f"0x{self.random.getrandbits(160):040x}"

    def ask(self, name: str, amount: int, *, to: str, time_ms: int, named: bool = False) -> Ask:
        """A request."""
        identifier = next(self._number).to_bytes(32, "big")
        return Ask(identifier, name, CHAIN, ASSET, amount, to, named, time_ms)

    def amount(self, name: str) -> int:
        """An amount out of the usual: half of them below the middle, and a Pareto tail above."""
        initiator, chance = initiator_of(name), self.random
        times = chance.uniform(0.1, 1.0) if chance.random() < 0.5 else chance.paretovariate(initiator.tail)
        return max(1, int(initiator.middle * times * 1000)) * (UNIT // 10**6)

    def hour(self, name: str, day_ms: int) -> int:
        """A time of a day at which the initiator may ask."""
        hour = self.random.choice(initiator_of(name).hours)
        return day_ms + hour * HOUR_MS + self.random.randrange(HOUR_MS)

    def _times(self, initiator: Initiator, day: int) -> list[int]:
        rate = initiator.daily * (initiator.weekend if day % 7 >= 5 else 1.0)
        day_ms, found = START_MS + day * DAY_MS, list[int]()
        for _ in range(_poisson(self.random, rate)):
            time_ms = self.hour(initiator.name, day_ms)
            found += [time_ms + step * MINUTE_MS // 4 for step in range(initiator.burst)]
        return found

    def _stumbles(self, initiator: Initiator, day: int) -> list[int]:
        if self.random.random() >= initiator.stumbles:
            return []
        first = self.hour(initiator.name, START_MS + day * DAY_MS)
        return [first + step * 3 * MINUTE_MS for step in range(self.random.randint(2, 5))]

    def _usual(self, initiator: Initiator, time_ms: int) -> Ask:
        known, chance = self.known[initiator.name], self.random
        amount = self.amount(initiator.name)
        if known and chance.random() >= initiator.new:
            to = known[min(int(chance.expovariate(1.0) * len(known) / 4), len(known) - 1)]
            return self.ask(initiator.name, amount, to=to, time_ms=time_ms)
        known.append(self.address())
        named = chance.random() < initiator.listed
        return self.ask(initiator.name, amount, to=known[-1], time_ms=time_ms, named=named)


@dataclass(frozen=True, slots=True)
class Tried:
    """One request of an attack; ``denied`` says that the policy refuses it whatever its score."""

    ask: Ask
    denied: bool = False


def initiator_of(name: str) -> Initiator:
    """An initiator by name."""
    return next(one for one in INITIATORS if one.name == name)


def drain(world: World, day_ms: int) -> Iterator[Tried]:
    """A stolen key of the shop: as much as one payment may be, again and again, until somebody looks."""
    start = day_ms + world.random.randrange(DAY_MS)
    to = [world.address() for _ in range(world.random.randint(1, 5))]
    for step in range(40):
        amount = _about(world, "shop", 4, 8)
        yield Tried(
            world.ask("shop", amount, to=world.random.choice(to), time_ms=start + step * MINUTE_MS // 2)
        )


def leak(world: World, day_ms: int) -> Iterator[Tried]:
    """The same key with patience: two usual amounts a day at usual hours, to an address of its own."""
    to = world.address()
    for day in range(20):
        for time_ms in sorted(world.hour("shop", day_ms + day * DAY_MS) for _ in range(2)):
            yield Tried(world.ask("shop", _about(world, "shop", 1, 2), to=to, time_ms=time_ms))


def poisoned(world: World, day_ms: int) -> Iterator[Tried]:
    """An honest payment whose address was copied from a poisoned history: four digits alike at both ends."""
    name = world.random.choice(("shop", "desk"))
    known = world.random.choice(world.paid[name][-100:])
    to = known[:6] + world.address()[6:38] + known[38:]
    yield Tried(world.ask(name, world.amount(name), to=to, time_ms=world.hour(name, day_ms)))


def crude_poison(world: World, day_ms: int) -> Iterator[Tried]:
    """The same with three digits alike at both ends, which is 256 times as cheap to make."""
    name = world.random.choice(("shop", "desk"))
    known = world.random.choice(world.paid[name][-100:])
    to = known[:5] + world.address()[5:39] + known[39:]
    yield Tried(world.ask(name, world.amount(name), to=to, time_ms=world.hour(name, day_ms)))


def insider(world: World, day_ms: int) -> Iterator[Tried]:
    """Somebody of the desk at night: a few times a usual amount, to an address of their own."""
    to, night = world.address(), day_ms + world.random.choice(NIGHT) * HOUR_MS
    for step in range(world.random.randint(1, 3)):
        amount = _about(world, "desk", 2, 5)
        yield Tried(world.ask("desk", amount, to=to, time_ms=night + step * 10 * MINUTE_MS))


def large_and_new(world: World, day_ms: int) -> Iterator[Tried]:
    """One payment far above the usual, at a usual hour, where nobody was paid before."""
    name = world.random.choice(("shop", "desk"))
    amount = _about(world, name, 20, 100)
    yield Tried(world.ask(name, amount, to=world.address(), time_ms=world.hour(name, day_ms)))


def probing(world: World, day_ms: int) -> Iterator[Tried]:
    """Somebody feels for the limits: refused a few times, then just below them."""
    to, start = world.address(), world.hour("shop", day_ms)
    tries = world.random.randint(3, 6)
    for step in range(tries + 4):
        amount = _about(world, "shop", 30, 60) if step < tries else _about(world, "shop", 4, 8)
        ask = world.ask("shop", amount, to=to, time_ms=start + step * 2 * MINUTE_MS)
        yield Tried(ask, denied=step < tries)


def _about(world: World, name: str, low: int, high: int) -> int:
    """So many times the initiator's median."""
    return int(initiator_of(name).middle * world.random.uniform(low, high) * 1000) * (UNIT // 10**6)


def _poisson(chance: Random, rate: float) -> int:
    """How many of something that comes at random."""
    found, spent = 0, chance.expovariate(1.0)
    while spent < rate:
        found, spent = found + 1, spent + chance.expovariate(1.0)
    return found


ATTACKS: Final[Mapping[str, Callable[[World, int], Iterator[Tried]]]] = {
    "drain": drain,
    "leak": leak,
    "poisoned": poisoned,
    "crude-poison": crude_poison,
    "insider": insider,
    "large-new": large_and_new,
    "probing": probing,
}
