"""What the bounds of tiers say of one transaction: the numbers before and after it, and whether it may be.

A bound is asked only of what makes things worse by it. What must be known is taken at its worst: the most
that a tier may hold where it must not be above, the least where it must not be below.

``tier-maximum``: nothing is moved into a tier beyond its maximum, in whatever state the rest is.
``tier-minimum``: a move that nobody approves leaves the minimum in the tier it comes from. What people
approve may go further, so that a tier can be emptied in need; so may payments, which it is kept for.
``tier-share``: the share of all holdings is not taken above ``share_max_bp`` by a move into the tier, or by
what leaves the house from a colder one; nor below ``share_min_bp`` by what leaves the tier.

What cannot be told waits, but for a move that lowers exposure: that waits for a maximum alone, which the
coldest tier has not.
"""

from collections.abc import Iterator
from typing import NamedTuple

from policy.limits import Excess
from policy.model import (
    TIER_MAXIMUM,
    TIER_MINIMUM,
    TIER_SHARE,
    WHOLE_BP,
    Policy,
    Tier,
)
from policy.rules import (
    CALL,
    LOWERS,
    RAISES,
    TRANSFER,
    UNKNOWN_HELD,
    Facts,
    TierHeld,
)

BASIS_POINTS = "bp"


class TierLine(NamedTuple):
    """A bound that a transaction is asked about: what is ``before`` and ``after`` it, None if not known.

    ``unit`` is an asset, the unit of values or basis points. ``holds`` is None where it cannot be told, and
    ``waits`` says whether the transaction waits for that.
    """

    verdict: str
    tier: str
    unit: str
    before: int | None
    after: int | None
    bound: int
    holds: bool | None
    waits: bool

    @property
    def reason(self) -> str:
        """What is wrong, with the numbers."""
        word = "above" if self.verdict == TIER_MAXIMUM else "below"
        if self.verdict == TIER_SHARE:
            word = "outside"
        bound = f"{word} {self.bound} {self.unit}"
        if self.holds is None:
            return f"tier {self.tier!r}: no statement of holdings or prices tells whether it goes {bound}"
        return f"tier {self.tier!r}: from {self.before} to {self.after} {self.unit} is {bound}"


def held(facts: Facts, tier: str) -> TierHeld:
    """What a tier holds; nothing is known of one that the facts lack."""
    found = facts.held(tier) if callable(facts.held) else facts.held.get(tier, UNKNOWN_HELD)
    for number in found:
        if number is not None and (type(number) is not int or number < 0):
            raise ValueError(f"tier {tier!r} holds {number!r}, not an integer from 0")
    return found


def first_tier_excess(policy: Policy, facts: Facts, *, automatic: bool) -> Excess | None:
    """The first bound that the transaction breaks, else the first that it has to wait for.

    ``automatic``: no person approves it.
    """
    untold: Excess | None = None
    for line in tier_lines(policy, facts, automatic=automatic):
        if line.holds is False:
            return Excess(line.verdict, line.reason, told=True)
        if line.holds is None and line.waits:
            untold = untold or Excess(line.verdict, line.reason, told=False)
    return untold


def tier_lines(policy: Policy, facts: Facts, *, automatic: bool) -> Iterator[TierLine]:
    """Every bound that the transaction is asked about, with its numbers."""
    ranks = {tier.name: rank for rank, tier in enumerate(policy.tiers)}
    leaves = facts.kind in (TRANSFER, CALL)
    moves = facts.exposure in (RAISES, LOWERS)
    if facts.tier not in ranks or not (leaves or moves):
        return
    source = policy.tiers[ranks[facts.tier]]
    if moves:
        destination = policy.tiers[ranks[facts.destination_tier]]
        yield from _maximum(policy, facts, destination)
        if automatic:
            yield from _minimum(policy, facts, source)
        yield from _share_max(policy, facts, destination)
    else:
        for hotter in policy.tiers[: ranks[facts.tier]]:
            yield from _share_max(policy, facts, hotter)
    yield from _share_min(policy, facts, source, moves=moves)


def _maximum(policy: Policy, facts: Facts, tier: Tier) -> Iterator[TierLine]:
    there = held(facts, tier.name)
    for unit, bound, before, more in (
        (facts.asset, tier.maximum.amounts.get(facts.asset), there.high, facts.amount),
        (_unit(policy), tier.maximum.value, there.value_high, facts.value),
    ):
        if bound is not None:
            after = _sum(before, more)
            holds = None if after is None else after <= bound
            yield TierLine(TIER_MAXIMUM, tier.name, unit, before, after, bound, holds, waits=True)


def _minimum(policy: Policy, facts: Facts, tier: Tier) -> Iterator[TierLine]:
    there = held(facts, tier.name)
    for unit, bound, before, less in (
        (facts.asset, tier.minimum.amounts.get(facts.asset), there.low, facts.total),
        (_unit(policy), tier.minimum.value, there.value_low, facts.value),
    ):
        if bound is not None:
            after = _less(before, less)
            holds = None if after is None else after >= bound
            waits = facts.exposure != LOWERS
            yield TierLine(TIER_MINIMUM, tier.name, unit, before, after, bound, holds, waits)


def _share_max(policy: Policy, facts: Facts, tier: Tier) -> Iterator[TierLine]:
    """The most that the tier may hold, against the least that the others do."""
    if tier.share_max_bp is None:
        return
    own, others = held(facts, tier.name).value_high, _others(policy, facts, tier, low=True)
    more = facts.value if facts.destination_tier == tier.name and facts.exposure else 0
    own_after, others_after = _sum(own, more), _less(others, facts.value)
    after = _share(own_after, others_after, up=True)
    holds = None if after is None else _within(own_after, others_after, high=tier.share_max_bp)
    yield _share_line(facts, tier, _share(own, others, up=True), after, tier.share_max_bp, holds)


def _share_min(policy: Policy, facts: Facts, tier: Tier, *, moves: bool) -> Iterator[TierLine]:
    """The least that the tier may hold, against the most that the others do."""
    if tier.share_min_bp is None:
        return
    own, others = held(facts, tier.name).value_low, _others(policy, facts, tier, low=False)
    own_after, others_after = _less(own, facts.value), _sum(others, facts.value if moves else 0)
    after = _share(own_after, others_after, up=False)
    holds = None if after is None else _within(own_after, others_after, low=tier.share_min_bp)
    yield _share_line(facts, tier, _share(own, others, up=False), after, tier.share_min_bp, holds)


def _share_line(
    facts: Facts, tier: Tier, before: int | None, after: int | None, bound: int, holds: bool | None
) -> TierLine:
    waits = facts.exposure != LOWERS
    return TierLine(TIER_SHARE, tier.name, BASIS_POINTS, before, after, bound, holds, waits)


def _others(policy: Policy, facts: Facts, tier: Tier, *, low: bool) -> int | None:
    total: int | None = 0
    for other in policy.tiers:
        if other.name != tier.name:
            there = held(facts, other.name)
            total = _sum(total, there.value_low if low else there.value_high)
    return total


def _within(own: int | None, others: int | None, *, low: int = 0, high: int = WHOLE_BP) -> bool:
    if own is None or others is None:
        return False
    return low * (own + others) <= own * WHOLE_BP <= high * (own + others)


def _share(own: int | None, others: int | None, *, up: bool) -> int | None:
    """A share in basis points for people, rounded to the side that is worse; exact where it is compared."""
    if own is None or others is None:
        return None
    total = own + others
    if not total:
        return 0
    return -(-own * WHOLE_BP // total) if up else own * WHOLE_BP // total


def _sum(number: int | None, more: int | None) -> int | None:
    return None if number is None or more is None else number + more


def _less(number: int | None, less: int | None) -> int | None:
    return None if number is None or less is None else max(0, number - less)


def _unit(policy: Policy) -> str:
    return policy.prices.unit if policy.prices else ""
