"""From what the coordinator says to what forecasts and plans take: positions, and flows by hour and day.

Pure. What leaves a wallet is told by the log's movements. What comes in is what explains the rest of the
change in what is held: deposits, seen at the first look after they came. What left without a movement (fees,
or a payment whose block is seen before it counts as settled) is carried until later looks explain it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from custody.rebalancer.flows import DAY_MS, HOUR_MS, Flows, History
from custody.rebalancer.plan import Position
from custody.rebalancing.records import Account, Alarm, Direction, Holdings, Move, Movement, Observed, Route

LOOK_GAP_MS = 2 * HOUR_MS
"""Without a look for longer, nobody can say in which hour a deposit came."""
HISTORY_DAYS_MAX, LATELY_DAYS, BREAKER_HOURS = 730, 28, 42 * 24


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a wallet, and what it adds to the deposits of hours: (hour, amount, known)."""

    seen: Observed
    hours: tuple[tuple[int, int, bool], ...]


def accounts_of(holdings: Holdings, wallet: str, *, asset: str) -> tuple[Account, ...]:
    """The accounts of a wallet, first path first."""
    return tuple(one for one in holdings.accounts if (one.wallet, one.asset) == (wallet, asset))


def balance_of(holdings: Holdings, wallet: str, *, asset: str) -> int | None:
    """What a wallet has on its chain; None if one of its accounts is not known."""
    balances = [one.balance_base for one in accounts_of(holdings, wallet, asset=asset)]
    known = [balance for balance in balances if balance is not None]
    return sum(known) if balances and len(known) == len(balances) else None


def held_of(holdings: Holdings, route: Route) -> int | None:
    """What the wallet holds, counting what is signed as gone, or as there."""
    balance = balance_of(holdings, route.wallet, asset=route.asset)
    if balance is None:
        return None
    for one in holdings.open:
        if one.signed and one.asset == route.asset and one.wallet != one.to:
            balance += one.amount_base * ((one.to == route.wallet) - (one.wallet == route.wallet))
    return balance


def position_of(holdings: Holdings, route: Route, *, moves: Iterable[Move], me: str) -> Position | None:
    """What there is to plan by; ``moves`` are this rebalancer's in flight. None if a chain did not say."""
    balance = balance_of(holdings, route.wallet, asset=route.asset)
    if balance is None:
        return None
    owed = sum(
        one.amount_base
        for one in holdings.open
        if (one.wallet, one.asset) == (route.wallet, route.asset) and one.initiator != me
    )
    flights = dict.fromkeys(Direction, 0)
    for move in moves:
        flights[move.direction] += move.amount_base
    return Position(
        hot_base=balance,
        owed_base=owed,
        incoming_base=flights[Direction.TOP_UP],
        outgoing_base=flights[Direction.SWEEP],
    )


def look(route: Route, before: Observed | None, *, movements: Sequence[Movement], now: Observed) -> Look:
    """Explain the change since the look ``before`` by the movements after it, and the rest by deposits.

    ``now`` is the new look without what it cannot explain.
    """
    held, now_ms, number = now.held_base, now.time_ms, now.number
    if before is None:
        return Look(now, ())
    left = sum(_outflow(route, one) for one in movements)
    rest = held - before.held_base + left + before.carry_base
    seen = Observed(max(now_ms, before.time_ms), held, min(rest, 0), number)
    hour = _floor(now_ms, HOUR_MS)
    hours = [(hour, max(rest, 0), True)]
    if now_ms - before.time_ms > LOOK_GAP_MS and _floor(before.time_ms, DAY_MS) != _floor(now_ms, DAY_MS):
        first = _floor(before.time_ms, HOUR_MS)
        hours += [(missed, 0, False) for missed in range(first, hour + HOUR_MS, HOUR_MS)]
    return Look(seen, tuple(hours))


def history_of(
    route: Route,
    movements: Sequence[Movement],
    *,
    deposits: Mapping[int, int | None],
    alarms: Sequence[Alarm],
    now_ms: int,
) -> History:
    """Whole days and hours up to now; days of a run are unknown, so that no forecast learns from them."""
    today = _floor(now_ms, DAY_MS)
    started = [one.signed_ms for one in movements] + list(deposits)
    first = max(_floor(min(started, default=today), DAY_MS), today - HISTORY_DAYS_MAX * DAY_MS)
    hours = max(0, (min(today, now_ms) - first) // HOUR_MS)
    withdrawn: list[int | None] = [0] * hours
    for one in movements:
        place = (one.signed_ms - first) // HOUR_MS
        if 0 <= place < hours:
            withdrawn[place] = (withdrawn[place] or 0) + demand(route, one)
    looked_from = min(deposits, default=today)
    deposited: list[int | None] = [
        deposits.get(hour, 0) if hour >= looked_from else None
        for hour in range(first, first + hours * HOUR_MS, HOUR_MS)
    ]
    for place in range(hours):
        if any(_in_run(alarm, first + place * HOUR_MS) for alarm in alarms):
            withdrawn[place] = deposited[place] = None
    by_hour = Flows(HOUR_MS, first, tuple(withdrawn), tuple(deposited))
    by_day = Flows(DAY_MS, first, _days(withdrawn), _days(deposited))
    prior = max(1, int(route.bounds.target_base / route.costs.days_of_target))
    return History(route.unit_base, prior, by_day, by_hour)


def demand(route: Route, movement: Movement) -> int:
    """What a movement takes out of the wallet for good: not what goes back to where it is filled from."""
    return movement.amount_base if movement.wallet == route.wallet and movement.to not in _own(route) else 0


def withdrawn_since(route: Route, movements: Iterable[Movement], *, since_ms: int) -> int:
    """What was withdrawn from a moment on."""
    return sum(demand(route, one) for one in movements if one.signed_ms >= since_ms)


def hours_until(
    route: Route, movements: Iterable[Movement], *, alarms: Sequence[Alarm], now_ms: int
) -> Flows:
    """What was withdrawn in each whole hour of the last weeks, today's among them; None in days of a run."""
    end = _floor(now_ms, HOUR_MS)
    first = end - BREAKER_HOURS * HOUR_MS
    paid = [one for one in movements if first <= one.signed_ms < end]
    started = _floor(min((one.signed_ms for one in paid), default=end), HOUR_MS)
    withdrawn: list[int | None] = [0] * ((end - started) // HOUR_MS)
    for one in paid:
        place = (one.signed_ms - started) // HOUR_MS
        withdrawn[place] = (withdrawn[place] or 0) + demand(route, one)
    for place in range(len(withdrawn)):
        if any(_in_run(alarm, started + place * HOUR_MS) for alarm in alarms):
            withdrawn[place] = None
    return Flows(HOUR_MS, started, tuple(withdrawn), (None,) * len(withdrawn))


def withdrawn_lately(
    route: Route, movements: Iterable[Movement], *, alarms: Sequence[Alarm], now_ms: int
) -> int:
    """What was withdrawn in the last four weeks before today, but for days of a run."""
    today = _floor(now_ms, DAY_MS)
    return sum(
        demand(route, one)
        for one in movements
        if today - LATELY_DAYS * DAY_MS <= one.signed_ms < today
        and not any(_in_run(alarm, _floor(one.signed_ms, HOUR_MS)) for alarm in alarms)
    )


def _own(route: Route) -> tuple[str, str]:
    return route.wallet, route.source


def _outflow(route: Route, movement: Movement) -> int:
    """What a movement takes out of the wallet, below zero for what it brings from where it is filled from.

    What other own wallets bring is not explained by it: deposits that are swept in are deposits.
    """
    if movement.wallet == movement.to:
        return 0
    if movement.wallet == route.wallet:
        return movement.amount_base
    return -movement.amount_base if (movement.wallet, movement.to) == (route.source, route.wallet) else 0


def _in_run(alarm: Alarm, hour_ms: int) -> bool:
    """Whether the hour's day has a run in it, which was no new normal."""
    if alarm.new_normal:
        return False
    day = _floor(hour_ms, DAY_MS)
    return _floor(alarm.since_ms, DAY_MS) <= day and (not alarm.ended_ms or day <= alarm.ended_ms)


def _days(hours: Sequence[int | None]) -> tuple[int | None, ...]:
    """Sums of 24; a day with an unknown hour is unknown."""
    found: list[int | None] = []
    for start in range(0, len(hours), 24):
        known = [amount for amount in hours[start : start + 24] if amount is not None]
        found.append(sum(known) if len(known) == 24 else None)
    return tuple(found)


def _floor(time_ms: int, step_ms: int) -> int:
    return time_ms - time_ms % step_ms
