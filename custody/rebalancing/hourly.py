"""The breaker by hours, for routes that pay evenly around the clock: it sees a run in its first hours.

Rules: (1) only a route that pays evenly is watched by hours: in nine of ten of them it pays something, and no
more than three times the middle one. Where payments are few or uneven an hour says little, and false alarms
would be several a year. (2) It takes four weeks of hours. (3) What tripped it before people said that a run
is over, or long ago, is normal by now, as for days.
"""

from dataclasses import replace

from custody.rebalancer.breaker import HOURLY, Breaker, Tripped
from custody.rebalancer.flows import HOUR_MS, Flows, units
from custody.rebalancing.deciding import OLD_RUN_MS

HOURS_MIN, LATELY_HOURS, LAST_HOURS = 28 * 24, 14 * 24, 24
EVENLY = 3
DAY_HOURS = 24
RULES = {f"{length} steps": f"{length} h" for length in HOURLY.windows} | {
    "cumulative sum": "cumulative sum of hours"
}


def hourly_breaker(hours: Flows, *, unit_base: int, calm_ms: int) -> tuple[Breaker, float] | None:
    """The breaker after every whole hour and the mean hour to expect; None where days have to do."""
    known = [amount for amount in hours.withdrawn_base if amount is not None]
    if len(known) < HOURS_MIN or not _pays_evenly(sorted(known[-LATELY_HOURS:])):
        return None
    breaker, seen = Breaker(HOURLY), list[float]()
    for place, amount in enumerate(hours.withdrawn_base):
        if amount is None:
            continue
        end_ms = hours.first_ms + (place + 1) * HOUR_MS
        withdrawn = units(amount, unit_base)
        breaker, state = breaker.observe(end_ms, withdrawn=withdrawn, expected=_mean_hour(seen))
        over = end_ms - HOUR_MS < calm_ms or hours.end_ms - end_ms > OLD_RUN_MS
        if isinstance(state, Tripped) and over:
            breaker = breaker.reset(new_normal=True)
        seen.append(withdrawn)
    return breaker, _mean_hour(seen) or 0.0


def run_this_hour(
    breaker: Breaker, *, expected: float, withdrawn_base: int, unit_base: int, now_ms: int
) -> Tripped | None:
    """Whether what was withdrawn this hour, or in the hours before, is a run; its quota is a day's."""
    withdrawn = units(withdrawn_base, unit_base)
    _, state = breaker.observe(now_ms, withdrawn=withdrawn, expected=expected)
    if not isinstance(state, Tripped):
        return None
    return replace(state, rule=RULES.get(state.rule, state.rule), quota=DAY_HOURS * state.quota)


def _pays_evenly(hours: list[int]) -> bool:
    low, middle, high = (hours[len(hours) * tenth // 10] for tenth in (1, 5, 9))
    return low > 0 and high <= EVENLY * middle


def _mean_hour(seen: list[float]) -> float | None:
    """The mean hour of two weeks without the last day, so that a run does not become what is expected."""
    window = seen[-LATELY_HOURS:-LAST_HOURS]
    return sum(window) / len(window) if window else None
