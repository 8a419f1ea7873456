"""What a rebalancer says of its work, as one signed document: a picture for people, and no authority.

``RebalanceReport.body`` is the document, ``parse_report`` reads it strictly. Amounts
are base units. Shares and rates are whole numbers: parts in a million, moves in a thousand
weeks. Nothing is decided by a report, here or by any node.
"""

from dataclasses import dataclass, field
from typing import Final

from policy.encoding import Json
from policy.errors import MalformedError
from policy.fields import Fields

TAG: Final = "rebalance-report"
REPORT_BYTES_MAX: Final = 256 * 1024
ROUTES_MAX, MOMENTS_MAX, DAYS_MAX, MOVES_MAX = 16, 168, 80, 12
ALARMS_MAX, CHOICES_MAX, NOTES_MAX, REASONS_MAX = 8, 10, 20, 16
NAME_MAX, TEXT_MAX = 100, 300
MILLION: Final = 1_000_000
PERCENTS: Final = (5, 25, 50, 75, 95)
"""The quantiles of a day's forecast, in this order."""
WITHDRAWN, DEPOSITED = "withdrawn", "deposited"


@dataclass(frozen=True, slots=True)
class Moment:
    """What was held in an hour, and what was wanted: no move between ``low`` and ``high``."""

    hour_ms: int
    held: int
    low: int
    high: int
    target: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Day:
    """Quantiles of a day as ``PERCENTS`` says, and what came; None while that is not known."""

    day_ms: int
    flow: str
    amounts: tuple[int, ...]
    came: int | None = None


@dataclass(frozen=True, slots=True)
class ReportedMove:
    """A proposal or a move; ``request`` is empty before it was asked for."""

    name: str
    direction: str
    stage: str
    amount: int
    due_ms: int
    updated_ms: int
    request: bytes = b""
    error: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportedAlarm:
    """The breaker tripped; ``ended_ms`` is 0 while that stands."""

    since_ms: int
    rule: str
    observed: int
    threshold: int
    quota: int
    ended_ms: int = 0
    ended_why: str = ""


@dataclass(frozen=True, slots=True)
class ReportedChoice:
    """What one service would have come to on the route's own past."""

    asked_ppm: int
    served_ppm: int
    exposed: int
    topups_per_1000_weeks: int
    sweeps_per_1000_weeks: int


@dataclass(frozen=True, slots=True)
class RouteReport:
    """One route. Without ``moments`` it was never looked at; the newest one is the last."""

    route: str
    asset: str
    wallet: str
    source: str
    decimals: int
    mode: str
    owed: int
    refill_to: int
    sweep_to: int
    reasons: tuple[str, ...] = ()
    moments: tuple[Moment, ...] = ()
    days: tuple[Day, ...] = ()
    moves: tuple[ReportedMove, ...] = ()
    alarms: tuple[ReportedAlarm, ...] = ()
    choices: tuple[ReportedChoice, ...] = ()

    @property
    def alarm(self) -> ReportedAlarm | None:
        """The alarm that stands."""
        return next((one for one in self.alarms if not one.ended_ms), None)

    def flow(self, name: str) -> tuple[Day, ...]:
        """The days of one flow, oldest first."""
        return tuple(day for day in self.days if day.flow == name)


@dataclass(frozen=True, slots=True)
class ReportedNote:
    """What it noted for people."""

    time_ms: int
    route: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class RebalanceReport:
    """All that the rebalancer ``by`` says at ``time_ms``."""

    origin: str
    by: str
    time_ms: int
    routes: tuple[RouteReport, ...] = ()
    notes: tuple[ReportedNote, ...] = field(default=())

    def body(self) -> dict[str, Json]:
        """The document, to be signed under ``TAG``."""
        return {
            "origin": self.origin,
            "by": self.by,
            "time_ms": self.time_ms,
            "routes": [_route_body(one) for one in self.routes],
            "notes": [
                {"time_ms": one.time_ms, "route": one.route, "kind": one.kind, "text": one.text}
                for one in self.notes
            ],
        }


def _route_body(route: RouteReport) -> Json:
    return {
        **{name: getattr(route, name) for name in ("route", "asset", "wallet", "source", "mode")},
        "decimals": route.decimals,
        **_amounts(route, "owed", "refill_to", "sweep_to"),
        "reasons": list(route.reasons),
        "moments": [
            {"hour_ms": one.hour_ms, **_amounts(one, "held", "low", "high", "target", "maximum")}
            for one in route.moments
        ],
        "days": [
            {
                "day_ms": one.day_ms,
                "flow": one.flow,
                "amounts": [str(amount) for amount in one.amounts],
                **({} if one.came is None else {"came": str(one.came)}),
            }
            for one in route.days
        ],
        "moves": [_move_body(one) for one in route.moves],
        "alarms": [
            {
                "since_ms": one.since_ms,
                "rule": one.rule,
                **_amounts(one, "observed", "threshold", "quota"),
                **({"ended_ms": one.ended_ms, "ended_why": one.ended_why} if one.ended_ms else {}),
            }
            for one in route.alarms
        ],
        "choices": [
            {
                "asked_ppm": one.asked_ppm,
                "served_ppm": one.served_ppm,
                "exposed": str(one.exposed),
                "topups_per_1000_weeks": one.topups_per_1000_weeks,
                "sweeps_per_1000_weeks": one.sweeps_per_1000_weeks,
            }
            for one in route.choices
        ],
    }


def _move_body(move: ReportedMove) -> Json:
    return {
        **{name: getattr(move, name) for name in ("name", "direction", "stage", "due_ms", "updated_ms")},
        **_amounts(move, "amount"),
        "reasons": list(move.reasons),
        **({"request": move.request.hex()} if move.request else {}),
        **({"error": move.error} if move.error else {}),
    }


def _amounts(record: object, *names: str) -> dict[str, Json]:
    return {name: str(getattr(record, name)) for name in names}


def parse_report(document: Json) -> RebalanceReport:
    """Read a report. Raises ``MalformedError`` naming the field."""
    fields = Fields(document, "report")
    report = RebalanceReport(
        origin=fields.origin("origin"),
        by=fields.name("by"),
        time_ms=fields.integer("time_ms"),
        routes=fields.objects("routes", _route, count_max=ROUTES_MAX),
        notes=fields.objects("notes", _note, count_max=NOTES_MAX),
    )
    fields.done()
    return report


def _route(fields: Fields) -> RouteReport:
    return RouteReport(
        route=fields.text("route", length_max=NAME_MAX),
        asset=fields.name("asset"),
        wallet=fields.name("wallet"),
        source=fields.name("source"),
        decimals=fields.integer("decimals", high=77),
        mode=fields.text("mode", length_max=NAME_MAX),
        owed=fields.amount("owed"),
        refill_to=fields.amount("refill_to"),
        sweep_to=fields.amount("sweep_to"),
        reasons=_reasons(fields),
        moments=fields.objects("moments", _moment, count_max=MOMENTS_MAX),
        days=fields.objects("days", _day, count_max=DAYS_MAX),
        moves=fields.objects("moves", _move, count_max=MOVES_MAX),
        alarms=fields.objects("alarms", _alarm, count_max=ALARMS_MAX),
        choices=fields.objects("choices", _choice, count_max=CHOICES_MAX),
    )


def _moment(fields: Fields) -> Moment:
    return Moment(
        hour_ms=fields.integer("hour_ms"),
        held=fields.amount("held"),
        low=fields.amount("low"),
        high=fields.amount("high"),
        target=fields.amount("target"),
        maximum=fields.amount("maximum"),
    )


def _day(fields: Fields) -> Day:
    amounts = fields.items("amounts", _amount, count_max=len(PERCENTS))
    if len(amounts) != len(PERCENTS):
        raise MalformedError(f"{fields.path('amounts')}: {len(amounts)} quantiles, not {len(PERCENTS)}")
    return Day(
        day_ms=fields.integer("day_ms"),
        flow=fields.choice("flow", WITHDRAWN, DEPOSITED),
        amounts=amounts,
        came=fields.amount("came") if fields.has("came") else None,
    )


def _move(fields: Fields) -> ReportedMove:
    return ReportedMove(
        name=fields.text("name", length_max=NAME_MAX),
        direction=fields.choice("direction", "top-up", "sweep"),
        stage=fields.name("stage"),
        amount=fields.amount("amount"),
        due_ms=fields.integer("due_ms"),
        updated_ms=fields.integer("updated_ms"),
        request=fields.hex("request", length=32) if fields.has("request") else b"",
        error=fields.text("error", length_max=TEXT_MAX) if fields.has("error") else "",
        reasons=_reasons(fields),
    )


def _alarm(fields: Fields) -> ReportedAlarm:
    over = fields.has("ended_ms")
    return ReportedAlarm(
        since_ms=fields.integer("since_ms"),
        rule=fields.text("rule", length_max=NAME_MAX),
        observed=fields.amount("observed"),
        threshold=fields.amount("threshold"),
        quota=fields.amount("quota"),
        ended_ms=fields.integer("ended_ms", low=1) if over else 0,
        ended_why=fields.text("ended_why", length_max=TEXT_MAX) if over else "",
    )


def _choice(fields: Fields) -> ReportedChoice:
    return ReportedChoice(
        asked_ppm=fields.integer("asked_ppm", high=MILLION),
        served_ppm=fields.integer("served_ppm", high=MILLION),
        exposed=fields.amount("exposed"),
        topups_per_1000_weeks=fields.integer("topups_per_1000_weeks"),
        sweeps_per_1000_weeks=fields.integer("sweeps_per_1000_weeks"),
    )


def _note(fields: Fields) -> ReportedNote:
    return ReportedNote(
        time_ms=fields.integer("time_ms"),
        route=fields.text("route", length_max=NAME_MAX),
        kind=fields.text("kind", length_max=NAME_MAX),
        text=fields.text("text", length_max=TEXT_MAX),
    )


def _reasons(fields: Fields) -> tuple[str, ...]:
    return fields.items("reasons", _reason, count_max=REASONS_MAX)


def _reason(value: Json) -> str:
    return Fields({"reason": value}, "reasons").text("reason", length_max=TEXT_MAX)


def _amount(value: Json) -> int:
    return Fields({"amount": value}, "amounts").amount("amount")
