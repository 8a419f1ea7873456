"""``rebalance report``: one page that needs nothing besides itself, to look at or to send to somebody."""

import time
from argparse import Namespace
from collections.abc import Sequence
from html import escape
from pathlib import Path

from cli.connection import load_connection
from cli.files import write_bytes
from cli.rebalance import documents as said
from cli.rebalance.charts import Area, Dots, Frame, Line, Mark, chart
from cli.rebalance.routes import load_assignment
from cli.results import Result, time_text
from custody.rebalancer.flows import units
from custody.rebalancing import judging
from custody.rebalancing.choosing import DAYS_MIN, Choice, what_if
from custody.rebalancing.judging import HIGH, LOW, MEDIAN
from custody.rebalancing.main import open_records
from custody.rebalancing.ports import Book
from custody.rebalancing.records import DAY_MS, Exposure, Move, Note, Route

MOVES_SHOWN, NOTES_SHOWN = 30, 20
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#1b2330;
background:#fff}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.2rem;margin:2.2rem 0 .4rem;border-top:1px solid #d7dce3;
padding-top:1rem}h3{font-size:1rem;margin:1.4rem 0 .2rem}
figure{margin:.3rem 0}svg{width:100%;height:auto;display:block}
svg text{font:11px system-ui,sans-serif;fill:#5a6675}.unit{margin-right:1.1em}
.grid{stroke:#e6e9ee;stroke-width:1}polyline{fill:none;stroke-width:2}
.held{stroke:#1f5fbf}.target{stroke:#2a8f5b;stroke-dasharray:2 4}.hard{stroke:#c0392b}
.edge{stroke:#8a6d1f;stroke-width:1.2;stroke-dasharray:6 3}.curve{stroke:#1f5fbf}
polygon.band{fill:#2a8f5b;opacity:.14}polygon.wide{fill:#1f5fbf;opacity:.13}
polygon.narrow{fill:#1f5fbf;opacity:.22}.median{stroke:#1f5fbf}
circle{fill:#1b2330}circle.out{fill:#c0392b}
figcaption{font-size:12px;color:#5a6675}.key{margin-right:1.1em;white-space:nowrap}
.key::before{content:"";display:inline-block;width:1.1em;height:.62em;margin-right:.4em;border-radius:2px}
.key.held::before,.key.curve::before,.key.median::before{background:#1f5fbf}.key.target::before{background:#2a8f5b}
.key.hard::before{background:#c0392b}.key.edge::before{background:#8a6d1f}.key.band::before{background:#d4e9dd}
.key.wide::before{background:#dfe7f4}.key.narrow::before{background:#bccfea}.key.came::before{background:#1b2330}
table{border-collapse:collapse;width:100%;font-size:13px}th{text-align:left;color:#5a6675;font-weight:600}
td,th{padding:.35rem .6rem .35rem 0;border-bottom:1px solid #e6e9ee;vertical-align:top}
.alarm{background:#fdecea;border-left:4px solid #c0392b;padding:.6rem .9rem;margin:.8rem 0}
.mode{background:#fff6df;border-left:4px solid #c99a2e;padding:.6rem .9rem;margin:.8rem 0}
.muted{color:#5a6675}details{margin:.1rem 0}ul{margin:.2rem 0 .2rem 1.2rem;padding:0}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ec}h2{border-color:#313a46}
.grid,td,th{stroke:#2a323d;border-color:#2a323d}svg text,figcaption,th,.muted{fill:#97a3b3;color:#97a3b3}
circle{fill:#dfe5ec}.key.came::before{background:#dfe5ec}.alarm{background:#3a1d1b}.mode{background:#352b14}}
"""


def report(arguments: Namespace) -> Result:
    """Write the page."""
    assignment = load_assignment(Path(arguments.identity), load_connection(arguments))
    now_ms = time.time_ns() // 1_000_000
    with open_records(Path(arguments.identity)) as book:
        since_ms = now_ms - arguments.days * DAY_MS
        routes = [route_section(book, route, since_ms=since_ms, now_ms=now_ms) for route in assignment.routes]
        moves = moves_section(book.moves(limit=MOVES_SHOWN), assignment.routes)
        notes = notes_section(book.notes(limit=NOTES_SHOWN))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Rebalancing</title><style>{STYLE}</style></head><body><h1>Rebalancing</h1>"
        f'<p class="muted">As of {time_text(now_ms)}, the last {arguments.days} days.</p>'
        f"{''.join(routes)}{moves}{notes}</body></html>\n"
    )
    out = Path(arguments.out)
    write_bytes(out, page.encode())
    return Result({"file": str(out), "routes": [route.name for route in assignment.routes]}, (str(out),))


def route_section(book: Book, route: Route, *, since_ms: int, now_ms: int) -> str:
    """A route: what is held, whether it is trusted, and what was forecast against what came."""
    seen = book.exposures(route.name, since_ms=since_ms)
    head = f"<h2>{escape(route.name)}: {escape(route.wallet)}, filled from {escape(route.source)}</h2>"
    if not seen:
        return f"{head}<p>Never looked at yet.</p>"
    parts = [head, *_warnings(book, route, seen[-1]), _sentence(route, seen[-1]), exposure_chart(route, seen)]
    for flow in ("withdrawn", "deposited"):
        days = judging.judged_days(book, route, flow=flow, now_ms=now_ms)
        recent = [day for day in days if day.foreseen.day_ms >= since_ms]
        parts.append(forecast_chart(route, flow, days=recent))
    parts.append(choice_section(route, what_if(judging.history(book, route, now_ms=now_ms))))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in seen[-1].reasons)
    return "".join((*parts, f"<h3>What the band rests on</h3><ul>{reasons}</ul>"))


def exposure_chart(route: Route, seen: Sequence[Exposure]) -> str:
    """What is held against the target, the band and the hard maximum."""

    def line(name: str, style: str, amounts: Sequence[int]) -> Line:
        placed = zip(seen, amounts, strict=True)
        points = [(one.hour_ms, units(amount, route.unit_base)) for one, amount in placed]
        return Line(name, style, points, step=True)

    band = [
        (one.hour_ms, units(one.band.s_base, route.unit_base), units(one.band.U_base, route.unit_base))
        for one in seen
    ]
    marks: list[Mark] = [
        Area("band: no move inside it", "band", band),
        line("the policy's target", "target", [one.bounds.target_base for one in seen]),
        line("the policy's maximum", "hard", [one.bounds.maximum_base for one in seen]),
        line("held", "held", [one.hot_base for one in seen]),
    ]
    frame = Frame(f"{route.name}: held against target", route.asset)
    return f"<h3>Exposure against target</h3>{chart(frame, marks)}"


def forecast_chart(route: Route, flow: str, *, days: Sequence[judging.Judged]) -> str:
    """What was forecast the day before, and what came."""

    def unit(base: int) -> float:
        return units(base, route.unit_base)

    at = [(day.foreseen.day_ms, day) for day in days]
    came = [(float(x), unit(day.actual_base)) for x, day in at if day.actual_base is not None]
    outside = [(float(x), unit(day.actual_base or 0)) for x, day in at if day.inside is False]
    marks: list[Mark] = [
        Area("nine in ten", "wide", [(x, unit(day.at(LOW)), unit(day.at(HIGH))) for x, day in at]),
        Area("one in two", "narrow", [(x, unit(day.at(0.25)), unit(day.at(0.75))) for x, day in at]),
        Line("median", "median", [(x, unit(day.at(MEDIAN))) for x, day in at]),
        Dots("what came", "came", came, outside),
    ]
    share = judging.coverage(days)
    kept = "" if share is None else f"; {share:.0%} of the days came inside nine in ten"
    frame = Frame(f"{route.name}: {flow} a day, forecast and what came", f"{route.asset} a day")
    below = f'<p class="muted">As forecast the day before{kept}.</p>'
    return f"<h3>{flow.capitalize()} a day</h3>{chart(frame, marks)}{below}"


def choice_section(route: Route, choices: Sequence[Choice]) -> str:
    """What other services would have cost, to choose one from."""
    head = "<h3>What another service would have cost</h3>"
    if not choices:
        return f"{head}<p>It takes {DAYS_MIN} known days to say.</p>"
    late = [(1 - one.served, one.exposed) for one in choices]
    curve = [(100 * share, exposed) for share, exposed in late]
    frame = Frame("service against exposure", f"{route.asset} held in an average day", "% late", dated=False)
    marks: list[Mark] = [Line("held", "curve", curve), Dots("a service", "came", curve)]
    rows = "".join(
        f"<tr><td>{one.asked:.2%}</td><td>{one.served:.2%}</td><td>{one.exposed:,.4g}</td>"
        f"<td>{one.topups_per_week:.2f}</td><td>{one.sweeps_per_week:.2f}</td></tr>"
        for one in choices
    )
    names = ("asked", "paid at once", f"{route.asset} held", "top-ups a week", "sweeps a week")
    table = f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr>{rows}</table>"
    return f"{head}{chart(frame, marks)}{table}"


def moves_section(moves: Sequence[Move], routes: Sequence[Route]) -> str:
    """Proposals and moves, newest first, each with its reasons."""
    if not moves:
        return "<h2>Proposals</h2><p>None yet.</p>"
    named = {route.name: route for route in routes}
    rows = "".join(
        f"<tr><td>{escape(move.name)}</td><td>{escape(move.stage)}</td>"
        f"<td>{escape(said.move_text(move, named.get(move.route), exact=False))}</td>"
        f"<td>{time_text(move.due_ms)}</td>"
        f"<td><details><summary>why</summary><ul>{_items(move)}</ul></details></td></tr>"
        for move in moves
    )
    head = "<tr><th>proposal</th><th>stage</th><th>what</th><th>due</th><th></th></tr>"
    return f"<h2>Proposals</h2><table>{head}{rows}</table>"


def notes_section(notes: Sequence[Note]) -> str:
    """What was noted in the log."""
    rows = "".join(
        f"<tr><td>{time_text(note.time_ms)}</td><td>{escape(note.route)}</td><td>{escape(note.kind)}</td>"
        f"<td>{escape(note.text)}</td></tr>"
        for note in notes
    )
    return f"<h2>Notes</h2><table>{rows}</table>" if rows else ""


def _items(move: Move) -> str:
    said_of = (*move.reasons, *((move.error,) if move.error else ()))
    return "".join(f"<li>{escape(one)}</li>" for one in said_of)


def _warnings(book: Book, route: Route, now: Exposure) -> list[str]:
    alarm = next((one for one in book.alarms(route.name) if not one.ended_ms), None)
    if alarm is not None:
        what = (
            f"The breaker tripped on {time_text(alarm.since_ms)} ({escape(alarm.rule)}): the band is frozen."
        )
        return [f'<p class="alarm">{what}</p>']
    if now.mode != "forecast":
        return [f'<p class="mode">The band is the policy\'s plain one: {escape(now.mode)}.</p>']
    return []


def _sentence(route: Route, now: Exposure) -> str:
    held, maximum = units(now.hot_base, route.unit_base), units(now.bounds.maximum_base, route.unit_base)
    target = units(now.bounds.target_base, route.unit_base)
    asset = escape(route.asset)
    return (
        f"<p>Held: <b>{held:,.6g} {asset}</b>; target {target:,.6g}, at most {maximum:,.6g}. "
        f"Asked for and not paid: {units(now.owed_base, route.unit_base):,.6g}.</p>"
    )
