"""What a rebalancer's records say, as documents and words. Amounts are decimal text of base units."""

from cli.results import Document
from custody.rebalancer.flows import units
from custody.rebalancing.judging import HIGH, LOW, MEDIAN, Judged, newest_forecast
from custody.rebalancing.moves import ANNOUNCED, IN_FLIGHT
from custody.rebalancing.ports import Book
from custody.rebalancing.records import Alarm, Exposure, Foreseen, Move, Note, Route
from policy.words.units import amount_text


def route_document(book: Book, route: Route) -> Document:
    """A route today: what is held against what is wanted, and what is going to be moved."""
    seen = book.exposures(route.name)
    alarm = next((one for one in book.alarms(route.name) if not one.ended_ms), None)
    moves = [move for move in book.moves_in(sorted(ANNOUNCED | IN_FLIGHT)) if move.route == route.name]
    return {
        "route": route.name,
        "asset": route.asset,
        "wallet": route.wallet,
        "source": route.source,
        **(_exposure_document(seen[-1]) if seen else {"hour_ms": None}),
        "alarm": None if alarm is None else alarm_document(alarm),
        "forecast": [foreseen_document(one) for one in newest_forecast(book, route)],
        "moves": [move_document(move) for move in moves],
    }


def judged_document(day: Judged) -> Document:
    """A day's forecast and what came, as ``--json`` prints it."""
    error = None if day.actual_base is None else day.actual_base - day.at(MEDIAN)
    return {
        "day_ms": day.foreseen.day_ms,
        "made_ms": day.foreseen.made_ms,
        "flow": day.foreseen.flow,
        "low": str(day.at(LOW)),
        "median": str(day.at(MEDIAN)),
        "high": str(day.at(HIGH)),
        "actual": None if day.actual_base is None else str(day.actual_base),
        "error": None if error is None else str(error),
        "inside": day.inside,
    }


def move_document(move: Move) -> Document:
    """A move as ``--json`` prints it; what there is not yet is null."""
    return {
        "proposal": move.name,
        "route": move.route,
        "direction": move.direction.value,
        "stage": move.stage.value,
        "amount": str(move.amount_base),
        "due_ms": move.due_ms,
        "created_ms": move.created_ms,
        "updated_ms": move.updated_ms,
        "expires_ms": move.expires_ms or None,
        "request": move.request.hex() or None,
        "request_state": move.request_state or None,
        "tx_hash": move.tx_hash or None,
        "released": move.released,
        "error": move.error or None,
        "reasons": list(move.reasons),
    }


def alarm_document(alarm: Alarm) -> Document:
    """An alarm as ``--json`` prints it."""
    return {
        "route": alarm.route,
        "since_ms": alarm.since_ms,
        "rule": alarm.rule,
        "observed": str(alarm.observed_base),
        "threshold": str(alarm.threshold_base),
        "quota": str(alarm.quota_base),
        "ended_ms": alarm.ended_ms or None,
        "ended_why": alarm.ended_why or None,
        "new_normal": alarm.new_normal,
    }


def note_document(note: Note) -> Document:
    """A note as ``--json`` prints it."""
    return {"time_ms": note.time_ms, "route": note.route, "kind": note.kind, "text": note.text}


def foreseen_document(one: Foreseen) -> Document:
    """A day ahead as ``--json`` prints it."""
    quantiles = {str(level): str(amount) for level, amount in zip(one.levels, one.amounts_base, strict=True)}
    return {"day_ms": one.day_ms, "flow": one.flow, "quantiles": quantiles}


def move_text(move: Move, route: Route | None, *, exact: bool = True) -> str:
    """What a move does, in words; amounts to six digits where they need not be ``exact``."""
    if route is None:
        return f"{move.amount_base} base units of {move.route}"
    amount = amount_text(move.amount_base, asset=route.asset, decimals=route.decimals)
    if not exact:
        amount = about(move.amount_base, route)
    ends = (route.source, route.wallet) if move.direction == "top-up" else (route.wallet, route.source)
    return f"{amount} from {ends[0]} to {ends[1]}"


def about(amount_base: int, route: Route) -> str:
    """An amount to six digits."""
    return f"{units(amount_base, route.unit_base):,.6g} {route.asset}"


def _exposure_document(seen: Exposure) -> Document:
    bounds, band = seen.bounds, seen.band
    return {
        "hour_ms": seen.hour_ms,
        "held": str(seen.hot_base),
        "owed": str(seen.owed_base),
        "minimum": str(bounds.minimum_base),
        "target": str(bounds.target_base),
        "maximum": str(bounds.maximum_base),
        "band": {
            "s": str(band.s_base),
            "S": str(band.S_base),
            "U": str(band.U_base),
            "T": str(band.T_base),
        },
        "mode": seen.mode,
        "reasons": list(seen.reasons),
    }
