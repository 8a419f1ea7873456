"""Which conditions hold: the facts of one job against the conditions of one rule. Integers only.

A condition holds, does not hold, or cannot be told because a fact is not there (None). What follows from
"cannot be told" is ``policy.evaluate``'s to say, and is never more than would follow from either answer.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from policy.decode.abi_values import Value

MINUTE_MS, DAY_MINUTES = 60_000, 24 * 60
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EPOCH_DAY = DAYS.index("thu")
TRANSFER, TIER_MOVE, SWEEP, CALL, TYPED_DATA = KINDS = (
    "transfer",
    "tier_move",
    "sweep",
    "call",
    "typed_data",
)
"""To somebody else; to an own account of another tier; to one of the same tier; of a contract; EIP-712."""
PAYMENTS = (TRANSFER, TIER_MOVE, SWEEP)
CANCELLATION = "cancellation"
RAISES, LOWERS, SAME = EXPOSURES = ("raises", "lowers", "same")
"""To an own account of a hotter tier; of a colder one; of the same."""
Usage: TypeAlias = Mapping[tuple[str, str], int] | Callable[[str, str], int]
Lists: TypeAlias = Mapping[str, frozenset[str]]


class Given(NamedTuple):
    """An approval that counts: who said yes, the groups they are in now, and when the log heard it."""

    operator: str
    groups: frozenset[str]
    given_ms: int


class TierHeld(NamedTuple):
    """What a tier holds at least and at most: of the asset at hand, and in value. None is not known."""

    low: int | None
    high: int | None
    value_low: int | None
    value_high: int | None


UNKNOWN_HELD = TierHeld(None, None, None, None)
Holdings: TypeAlias = Mapping[str, TierHeld] | Callable[[str], TierHeld]


@dataclass(frozen=True)
class Facts:
    """Everything a verdict depends on besides the policy; who builds it has verified every part.

    A call has the names of its ``contract`` and ``method`` (as in ``vault.deposit``) and its ``arguments``;
    they are empty for a payment. Typed data has the name that the policy gives it, and as ``arguments`` the
    fields of its message; it moves and costs nothing.
    ``total`` is the amount and ``fee_max`` together where both are of one asset, else the amount. ``value``
    is what both are worth in the policy's unit, rounded up.
    ``destination_tier`` is empty for an address that is not our own; ``first_use`` says that nobody was paid
    there before this request.
    ``fee_ceiling`` is the most the request allows, ``fee_max`` the most the transaction at hand can
    cost (before there is one: the ceiling). ``approvals`` are verified, unexpired and given under this
    policy. ``initiator_people`` are the operators behind the initiator: their approvals never count.
    ``usage`` is what is already counted in a limit's window without this request, by limit name and scope
    key; a scope that a mapping lacks has not been used. ``since_ms`` is when the request was both made and in
    the log, ``time_ms`` the log's time now. ``exposure`` says what a move between own tiers does, and is
    empty for all else; ``held`` what each tier holds without this request, by the statements and what was
    reserved since. None is a fact that nobody has stated, or too long ago.
    """

    initiator: str
    initiator_groups: frozenset[str]
    kind: str
    chain: str
    wallet: str
    tier: str
    asset: str
    amount: int
    total: int
    value: int | None
    destination: str
    destination_tier: str
    first_use: bool
    contract: str
    method: str
    typed_data: str
    arguments: Mapping[str, Value]
    fee_ceiling: int
    fee_max: int
    screening: str | None
    risk: int | None
    approvals: tuple[Given, ...]
    initiator_people: frozenset[str]
    usage: Usage
    since_ms: int
    time_ms: int
    exposure: str = ""
    held: Holdings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Among:
    """The fact is one of these names."""

    name: str
    fact: str
    allowed: tuple[str, ...]

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds; None when the fact is not there."""
        found = getattr(facts, self.fact)
        return None if found is None else found in self.allowed

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        return f"{self.name}: {getattr(facts, self.fact)!r} is not among {', '.join(self.allowed)}"


@dataclass(frozen=True, slots=True)
class InGroup:
    """The initiator is in one of these groups."""

    name: str
    groups: tuple[str, ...]

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        return not facts.initiator_groups.isdisjoint(self.groups)

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        return f"{self.name}: {facts.initiator!r} is in no group of {', '.join(self.groups)}"


@dataclass(frozen=True, slots=True)
class Listed:
    """The destination is on one of these lists, or, unless ``wanted``, on none of them."""

    name: str
    lists: tuple[str, ...]
    wanted: bool

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        return any(facts.destination in lists[name] for name in self.lists) is self.wanted

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        if self.wanted:
            return f"{self.name}: {facts.destination} is on no list of {', '.join(self.lists)}"
        found = next(name for name in self.lists if facts.destination in lists[name])
        return f"{self.name}: {facts.destination} is on list {found}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The number is not below the bound."""

    name: str
    fact: str
    bound: int

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds; None when the fact is not there."""
        found = getattr(facts, self.fact)
        return None if found is None else found >= self.bound

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        return f"{self.name}: {getattr(facts, self.fact)} is below {self.bound}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """The number is not above the bound."""

    name: str
    fact: str
    bound: int

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds; None when the fact is not there."""
        found = getattr(facts, self.fact)
        return None if found is None else found <= self.bound

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        return f"{self.name}: {getattr(facts, self.fact)} is above {self.bound}"


@dataclass(frozen=True, slots=True)
class FirstUse:
    """The destination was, or was not, paid before."""

    name: str
    wanted: bool

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        return facts.first_use is self.wanted

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        return f"{self.name}: {facts.destination} was {'never' if facts.first_use else ''} paid before"


@dataclass(frozen=True, slots=True)
class ArgumentWithin:
    """An argument of the call is a number from ``low`` to ``high``; None is no bound."""

    name: str
    argument: str
    low: int | None
    high: int | None

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        found = facts.arguments.get(self.argument)
        if not isinstance(found, int):
            return False
        return (self.low is None or found >= self.low) and (self.high is None or found <= self.high)

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        found = facts.arguments.get(self.argument, "not there")
        return f"{self.name}: {self.argument} is {found}, outside {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class ArgumentListed:
    """An argument of the call is an address on one of these lists."""

    name: str
    argument: str
    lists: tuple[str, ...]

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        found = facts.arguments.get(self.argument)
        return any(found in lists[name] for name in self.lists)

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        found = facts.arguments.get(self.argument, "not there")
        return f"{self.name}: {self.argument} is {found}, on no list of {', '.join(self.lists)}"


class Span(NamedTuple):
    """From a minute of the day up to, not including, another, on these days (0 is Monday), in UTC."""

    days: frozenset[int]
    from_minute: int
    to_minute: int


@dataclass(frozen=True, slots=True)
class During:
    """The log's time is inside one of these spans of the week."""

    name: str
    spans: tuple[Span, ...]

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether it holds."""
        day, minute = weekday_and_minute(facts.time_ms)
        return any(day in span.days and span.from_minute <= minute < span.to_minute for span in self.spans)

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """Why it does not hold."""
        day, minute = weekday_and_minute(facts.time_ms)
        return f"{self.name}: {DAYS[day]} {minute // 60:02}:{minute % 60:02} UTC is outside"


Condition: TypeAlias = (
    Among | InGroup | Listed | AtLeast | AtMost | FirstUse | ArgumentWithin | ArgumentListed | During
)


@dataclass(frozen=True, slots=True)
class When:
    """Conditions that must all hold; none at all always does."""

    conditions: tuple[Condition, ...]

    def holds(self, facts: Facts, lists: Lists) -> bool | None:
        """Whether all hold: no as soon as one does not, None when one cannot be told and no other fails."""
        told = True
        for condition in self.conditions:
            found = condition.holds(facts, lists)
            if found is False:
                return False
            told = told and found is not None
        return True if told else None

    def unmet(self, facts: Facts, lists: Lists) -> str:
        """The first condition that does not hold, in words, or else the first that cannot be told."""
        untold = ""
        for condition in self.conditions:
            found = condition.holds(facts, lists)
            if found is False:
                return condition.unmet(facts, lists)
            if found is None and not untold:
                untold = f"{condition.name}: nobody has stated it, or it is too old"
        return untold

    def names(self, name: str) -> tuple[str, ...] | None:
        """The names that a condition on names lists; None without that condition."""
        for condition in self.conditions:
            if condition.name == name:
                match condition:
                    case Among():
                        return condition.allowed
                    case InGroup():
                        return condition.groups
                    case Listed():
                        return condition.lists
                    case _:
                        return None
        return None

    def bound(self, name: str) -> int | None:
        """The bound of ``amount_max`` and its like; None without that condition."""
        bounds: Iterator[int] = (
            c.bound for c in self.conditions if isinstance(c, AtLeast | AtMost) and c.name == name
        )
        return next(bounds, None)


def weekday_and_minute(time_ms: int) -> tuple[int, int]:
    """The day of the week (0 is Monday) and the minute of the day, in UTC."""
    days, minute = divmod(time_ms // MINUTE_MS, DAY_MINUTES)
    return (days + EPOCH_DAY) % len(DAYS), minute
