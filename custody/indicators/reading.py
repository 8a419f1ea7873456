"""Reading the indicators of a running coordinator every few seconds: into the status, and into its metrics.

What was written before the start is looked up once, from the newest entry back: a day, or as many requests as
count; then notes alone, more slowly, until all are found. Nothing here is an authority, and nothing waits for
it: what cannot be read is unknown.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Final

from custody.indicators.scoring import Missing, Reading, Scorecard, scored
from custody.indicators.window import DAY_MS, is_looked_at, may_be_note
from custody.parts import Parts
from policy.entries import parse_entry
from policy.errors import MalformedError, OperationalError
from policy.holdings import tier_held
from policy.model import HOT
from policy.state import KeyRecord, State

SWEEP_S: Final = 2.0
BACK_AT_ONCE: Final = 512
BACK_PAUSE_S, NOTES_PAUSE_S = 0.01, 0.2
WHOLE_BP: Final = 10_000
_LOG = logging.getLogger(__name__)


async def run(parts: Parts) -> None:
    """Read until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_try_to_look_back(parts), name="indicators of before")
        while True:
            for _ in range(parts.indicators.batches()):
                parts.indicators.take_some()
                await asyncio.sleep(0)
            try:
                show(parts, await read(parts))
            except OperationalError as error:
                _LOG.warning("the indicators are not read: %s", error)
            await asyncio.sleep(SWEEP_S)


async def _try_to_look_back(parts: Parts) -> None:
    try:
        await look_back(parts)
    except OperationalError as error:
        _LOG.warning("the indicators lack what was before the start: %s", error)


async def look_back(parts: Parts) -> None:
    """Take in what was written before this process began."""
    indicators, state = parts.indicators, parts.sequencer.state
    epochs = {name: key.epoch for name, key in state.keys.items()}
    stop, since, recent = state.size, parts.now_ms() - DAY_MS, True
    while stop > 0:
        start = max(0, stop - BACK_AT_ONCE)
        entries = await _between(parts, start, stop)
        for data in reversed(entries):
            recent = recent and not indicators.window.is_full
            if is_looked_at(data) if recent else may_be_note(data):
                indicators.take_in(data)
        recent = recent and _time_of(entries[0]) >= since
        if not recent and indicators.window.knows_all(epochs):
            return
        stop = start
        # payments come first: the database serves one at a time
        await asyncio.sleep(BACK_PAUSE_S if recent else NOTES_PAUSE_S)


async def read(parts: Parts) -> Scorecard:
    """All readings of now, scored. Raises ``OperationalError`` when the database cannot be read."""
    state, now_ms, window = parts.sequencer.state, parts.now_ms(), parts.indicators.window
    window.forget(now_ms, state.keys)
    await _epochs(parts, state)
    clocks = [
        parts.vitals.known[name].clock_off_at(now_ms)
        for name in state.roster.cosigners
        if name in parts.vitals.known
    ]
    readings: dict[str, Reading] = {
        "approval_wait_s": window.approval_wait_s(),
        "denied_share_bp": window.denied_share_bp(),
        "hot_share_bp": hot_share_bp(state, time_ms=state.time_ms),
        "presignatures": _stock(parts, state),
        **_cosigners(parts, state),
        "clock_off_ms": max((abs(one) for one in clocks if one is not None), default=Missing.UNKNOWN),
        "failed_logins": parts.indicators.failures(now_ms),
        "share_age_d": _oldest(now_ms, {name: _began(parts, key) for name, key in state.keys.items()}),
        "backup_age_d": _oldest(
            now_ms,
            {
                name: window.backed_up_ms(name, key.epoch, nodes_min=key.min_signers)
                for name, key in state.keys.items()
            },
        ),
        "drill_age_d": _days(now_ms, window.drilled_ms),
    }
    return scored(readings, parts.indicators.thresholds)


def show(parts: Parts, scorecard: Scorecard) -> None:
    """Keep the scorecard, and set the metrics."""
    parts.indicators.keep(scorecard, parts.now_ms())
    metrics, state = parts.metrics, parts.sequencer.state
    metrics.risk_score.set(scorecard.score)
    for line in scorecard.lines:
        reading = line.reading if isinstance(line.reading, int) else math.nan
        metrics.indicator.labels(line.indicator.name).set(reading)
        metrics.indicator_points.labels(line.indicator.name).set(line.points or 0)
    metrics.frozen.set(int(state.frozen))
    metrics.pending_changes.set(len(state.pending))
    for name, follower in parts.replication.followers.items():
        metrics.cosigner_up.labels(name).set(int(follower.live))
        metrics.cosigner_behind.labels(name).set(state.size - (follower.size or 0))
    for name, vital in parts.vitals.known.items():
        off_ms = vital.clock_off_at(parts.now_ms())
        metrics.cosigner_clock_off_seconds.labels(name).set(math.nan if off_ms is None else off_ms / 1000)
        metrics.cosigner_disk_free_bytes.labels(name).set(vital.disk_free_bytes)


def hot_share_bp(state: State, *, time_ms: int) -> Reading:
    """What hot tiers hold of everything: in value where that is known, else of the hottest asset."""
    tiers = state.policy.tiers
    if not any(tier.role == HOT for tier in tiers):
        return Missing.NOT_APPLICABLE
    shares = [_share(state, asset, time_ms=time_ms) for asset in state.policy.assets]
    known = [share for share in shares if share is not None]
    return max(known) if known else Missing.UNKNOWN


def _share(state: State, asset: str, *, time_ms: int) -> int | None:
    held = tier_held(state, asset, without=b"", time_ms=time_ms)
    tiers = [(tier.role == HOT, held(tier.name)) for tier in state.policy.tiers]
    values = [(is_hot, one.value_high) for is_hot, one in tiers]
    amounts = [(is_hot, one.high) for is_hot, one in tiers]
    by_value = _hot_of(values)
    return by_value if by_value is not None else _hot_of(amounts)


def _hot_of(amounts: list[tuple[bool, int | None]]) -> int | None:
    known = [(is_hot, amount) for is_hot, amount in amounts if amount is not None]
    total = sum(amount for _, amount in known)
    if len(known) < len(amounts) or not total:
        return None
    return WHOLE_BP * sum(amount for is_hot, amount in known if is_hot) // total


def _stock(parts: Parts, state: State) -> Reading:
    totals = dict.fromkeys(state.keys, 0)
    for group, stock in parts.pools.report():
        if group.key in totals:
            totals[group.key] += stock
    return min(totals.values()) if totals else Missing.NOT_APPLICABLE


def _cosigners(parts: Parts, state: State) -> dict[str, Reading]:
    """How many do not follow, and how far the slowest of the others is behind."""
    followers = parts.replication.followers
    live = {name for name, one in followers.items() if one.live and name in state.roster.cosigners}
    behind = [state.size - (followers[name].size or 0) for name in live]
    return {
        "cosigners_down": len(set(state.roster.cosigners) - live),
        "node_lag_entries": max(behind) if behind else Missing.UNKNOWN,
    }


async def _epochs(parts: Parts, state: State) -> None:
    """When each key's present epoch began, by the time of its entry."""
    began = parts.indicators.epoch_began_ms
    for key in state.keys.values():
        if (key.key, key.epoch) not in began:
            (entry,) = await _between(parts, key.index, key.index + 1)
            began[key.key, key.epoch] = _time_of(entry)


def _began(parts: Parts, key: KeyRecord) -> int | None:
    return parts.indicators.epoch_began_ms.get((key.key, key.epoch))


def _oldest(now_ms: int, times_ms: Mapping[str, int | None]) -> Reading:
    """The age of the oldest; unknown if one is, and nothing where there is none."""
    if not times_ms:
        return Missing.NOT_APPLICABLE
    known = [time_ms for time_ms in times_ms.values() if time_ms is not None]
    return _days(now_ms, min(known)) if len(known) == len(times_ms) else Missing.UNKNOWN


def _days(now_ms: int, time_ms: int | None) -> Reading:
    return Missing.UNKNOWN if time_ms is None else max(0, now_ms - time_ms) // DAY_MS


async def _between(parts: Parts, start: int, stop: int) -> tuple[bytes, ...]:
    found: tuple[bytes, ...] = ()
    while start + len(found) < stop:
        more = await parts.database.entries(start + len(found), stop)
        if not more:
            raise OperationalError(f"the database lacks entry {start + len(found)}: restart the coordinator")
        found += more
    return found


def _time_of(entry: bytes) -> int:
    try:
        return parse_entry(entry).time_ms
    except MalformedError:
        return 0  # inert, and of no time: nothing older is looked for by it
