"""What a rebalancer tells the coordinator of its work, for people to see in the console.

The report is bounded: of the past only as much as fits. It is told after a look and is never in its way: what
cannot be told now is told anew after the next one.
"""

import logging
from collections.abc import Callable, Sequence

from custody.rebalance_report import (
    ALARMS_MAX,
    CHOICES_MAX,
    MILLION,
    MOMENTS_MAX,
    MOVES_MAX,
    NAME_MAX,
    NOTES_MAX,
    PERCENTS,
    REASONS_MAX,
    REPORT_BYTES_MAX,
    ROUTES_MAX,
    TEXT_MAX,
    Day,
    Moment,
    RebalanceReport,
    ReportedAlarm,
    ReportedChoice,
    ReportedMove,
    ReportedNote,
    RouteReport,
)
from custody.rebalancer.flows import base_units
from custody.rebalancing.choosing import Choice, what_if
from custody.rebalancing.judging import history, judged_days, newest_forecast
from custody.rebalancing.moves import ANNOUNCED, IN_FLIGHT
from custody.rebalancing.ports import Book, Desk, TurnedAway
from custody.rebalancing.records import (
    DAY_MS,
    HOUR_MS,
    Alarm,
    Direction,
    Exposure,
    Foreseen,
    Move,
    Note,
    Route,
    replace,
)
from policy.encoding import canonical
from policy.errors import OperationalError

DAYS_JUDGED, FLOWS = 28, ("withdrawn", "deposited")
LEVELS = tuple(percent / 100 for percent in PERCENTS)
_LOG = logging.getLogger(__name__)


class Reporter:
    """Reports when told to. ``now_ms`` is the clock."""

    def __init__(self, desk: Desk, book: Book, *, routes: Sequence[Route], now_ms: Callable[[], int]) -> None:
        self._desk = desk
        self._book = book
        self._routes = tuple(routes)[:ROUTES_MAX]
        self._now_ms = now_ms
        self._choices: dict[str, tuple[int, tuple[ReportedChoice, ...]]] = {}
        self._warned = ""

    def tell(self) -> None:
        """Hand in a report of now; never raises for a coordinator that does not take it."""
        try:
            self._desk.report(self.report().body())
            self._warned = ""
        except (OperationalError, TurnedAway) as error:
            if str(error) != self._warned:
                _LOG.warning("the coordinator takes no report: %s", error)
            self._warned = str(error)

    def report(self) -> RebalanceReport:
        """What there is to say now, of the past as much as fits."""
        return fitting(
            RebalanceReport(
                origin=self._desk.origin,
                by=self._desk.name,
                time_ms=self._now_ms(),
                routes=tuple(self._route(route) for route in self._routes),
                notes=tuple(_note(note) for note in self._book.notes(limit=NOTES_MAX)),
            )
        )

    def _route(self, route: Route) -> RouteReport:
        now_ms, book = self._now_ms(), self._book
        seen = book.exposures(route.name, since_ms=now_ms - MOMENTS_MAX * HOUR_MS)[-MOMENTS_MAX:]
        last = seen[-1] if seen else None
        return RouteReport(
            route=visible(route.name, NAME_MAX),
            asset=route.asset,
            wallet=route.wallet,
            source=route.source,
            decimals=route.decimals,
            mode=last.mode if last else "never looked",
            owed=last.owed_base if last else 0,
            refill_to=last.band.S_base if last else 0,
            sweep_to=last.band.T_base if last else 0,
            reasons=_texts(last.reasons if last else ()),
            moments=tuple(_moment(one) for one in seen),
            days=_days(book, route, now_ms),
            moves=tuple(_move(one) for one in _moves(book, route)),
            alarms=tuple(_alarm(one) for one in book.alarms(route.name)[-ALARMS_MAX:]),
            choices=self._choose(route, now_ms),
        )

    def _choose(self, route: Route, now_ms: int) -> tuple[ReportedChoice, ...]:
        """What other services would have come to; looked at once a day, since it takes seconds."""
        today = now_ms - now_ms % DAY_MS
        made_ms, choices = self._choices.get(route.name, (0, ()))
        if made_ms != today:
            found = what_if(history(self._book, route, now_ms=now_ms))[:CHOICES_MAX]
            choices = tuple(_choice(one, route) for one in found)
            self._choices[route.name] = today, choices
        return choices


def fitting(whole: RebalanceReport) -> RebalanceReport:
    """The report within ``REPORT_BYTES_MAX``: first the past is cut, then reasons, then what was forecast."""
    for moments, moves, days in ((MOMENTS_MAX, MOVES_MAX, True), (24, MOVES_MAX, True), (24, 2, True)):
        cut = _cut(whole, moments=moments, moves=moves, days=days)
        if len(canonical(cut.body())) <= REPORT_BYTES_MAX:
            return cut
    return replace(_cut(whole, moments=1, moves=0, days=False), notes=())


def _cut(whole: RebalanceReport, *, moments: int, moves: int, days: bool) -> RebalanceReport:
    routes = (
        replace(
            one,
            moments=one.moments[-moments:],
            moves=one.moves[:moves],
            days=one.days if days else (),
            reasons=one.reasons if days else one.reasons[:4],
        )
        for one in whole.routes
    )
    return replace(whole, routes=tuple(routes))


def visible(text: str, length_max: int) -> str:
    """A text as a report may have it: what would not show becomes a space, and there is always something."""
    shown = "".join(one if one.isprintable() and not "\ufff0" <= one <= "\uffff" else " " for one in text)
    return shown[:length_max] or "-"


def _texts(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(visible(one, TEXT_MAX) for one in texts[:REASONS_MAX])


def _moment(seen: Exposure) -> Moment:
    bounds, band = seen.bounds, seen.band
    return Moment(
        seen.hour_ms, seen.hot_base, band.s_base, band.U_base, bounds.target_base, bounds.maximum_base
    )


def _days(book: Book, route: Route, now_ms: int) -> tuple[Day, ...]:
    """What was forecast and what came, and after that the days ahead."""
    ahead = newest_forecast(book, route)
    found: list[Day] = []
    for flow in FLOWS:
        days = {one.day_ms: _day(one, None) for one in ahead if one.flow == flow}
        for judged in judged_days(book, route, flow=flow, now_ms=now_ms)[-DAYS_JUDGED:]:
            days[judged.foreseen.day_ms] = _day(judged.foreseen, judged.actual_base)
        found += [day for _, day in sorted(days.items())]
    return tuple(found)


def _day(one: Foreseen, came: int | None) -> Day:
    known = dict(zip(one.levels, one.amounts_base, strict=True))
    return Day(one.day_ms, one.flow, tuple(known[level] for level in LEVELS), came)


def _moves(book: Book, route: Route) -> list[Move]:
    """What is to come or under way, and then the newest of the others."""
    live = [one for one in book.moves_in(sorted(ANNOUNCED | IN_FLIGHT)) if one.route == route.name]
    over = [one for one in book.moves() if one.route == route.name and one.name not in {m.name for m in live}]
    return [*live[::-1], *over][:MOVES_MAX]


def _move(move: Move) -> ReportedMove:
    return ReportedMove(
        name=move.name,
        direction=Direction(move.direction).value,
        stage=move.stage.value,
        amount=move.amount_base,
        due_ms=move.due_ms,
        updated_ms=move.updated_ms,
        request=move.request,
        error=visible(move.error, TEXT_MAX) if move.error else "",
        reasons=_texts(move.reasons),
    )


def _alarm(alarm: Alarm) -> ReportedAlarm:
    return ReportedAlarm(
        since_ms=alarm.since_ms,
        rule=visible(alarm.rule, NAME_MAX),
        observed=alarm.observed_base,
        threshold=alarm.threshold_base,
        quota=alarm.quota_base,
        ended_ms=alarm.ended_ms,
        ended_why=visible(alarm.ended_why, TEXT_MAX) if alarm.ended_ms else "",
    )


def _choice(one: Choice, route: Route) -> ReportedChoice:
    return ReportedChoice(
        asked_ppm=round(MILLION * one.asked),
        served_ppm=round(MILLION * one.served),
        exposed=base_units(one.exposed, route.unit_base),
        topups_per_1000_weeks=round(1000 * one.topups_per_week),
        sweeps_per_1000_weeks=round(1000 * one.sweeps_per_week),
    )


def _note(note: Note) -> ReportedNote:
    return ReportedNote(
        note.time_ms,
        visible(note.route, NAME_MAX),
        visible(note.kind, NAME_MAX),
        visible(note.text, TEXT_MAX),
    )
