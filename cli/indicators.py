"""``indicators``: the risk indicators of a coordinator, as a table or a page; and what people tell it."""

import time
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from cli.connection import Connection, caller, load_connection, whole_status
from cli.doctor.backups import read_backups
from cli.files import write_bytes
from cli.identities import Identity
from cli.results import Misuse, Result, Table, time_text
from custody.console.texts import catalogue, text
from custody.indicators.notes import BackupNote, DrillNote, note_body
from custody.indicators.scoring import Level
from custody.indicators.showing import WORST_FIRST, reading_text
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.errors import OperationalError
from policy.words.language import LANGUAGES

STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:1060px;margin:2rem auto;padding:0 1rem;
color:#1b2330;background:#fff}
h1{font-size:1.5rem;margin:0}.score{font-size:3.2rem;font-weight:600;line-height:1.1;margin:.6rem 0 0}
.muted,th,code{color:#5a6675}table{border-collapse:collapse;width:100%;font-size:14px;margin-top:1.4rem}
td,th{padding:.4rem .8rem .4rem 0;border-bottom:1px solid #e6e9ee;text-align:left;vertical-align:top}
td p{margin:.3rem 0 0}.n{text-align:right;font-variant-numeric:tabular-nums}.chip{font-weight:600}
.chip,th{white-space:nowrap}
.critical .chip,.unknown .chip{color:#a8262b}.warn .chip{color:#855300}.good .chip{color:#1c6b3c}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ec}td,th{border-color:#2a323d}
.muted,th,code{color:#97a3b3}.critical .chip,.unknown .chip{color:#f19a9a}.warn .chip{color:#e8b864}
.good .chip{color:#7fd0a0}}
@media print{@page{margin:16mm}body{max-width:none;margin:0;color:#000;background:#fff;font-size:11px}
table{font-size:10px}tr{break-inside:avoid}thead{display:table-header-group}.muted,th,code{color:#333}
.critical .chip,.unknown .chip,.warn .chip,.good .chip{color:#000}}
"""
NUMBERS = frozenset({"reading", "bounds", "points", "weight"})


def indicators(arguments: Namespace) -> Result:
    """Show them; with ``--html`` also write the page."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        status: Mapping[str, Any] = whole_status(client)
    card = status.get("indicators")
    if not isinstance(card, dict):
        raise OperationalError(
            "the coordinator shows no indicators yet, or not to you: ask as a person, later"
        )
    made = time_text(int(status["time_ms"]))
    if arguments.html:
        write_bytes(
            Path(arguments.html),
            page(card, origin=connection.origin, made=made, language=arguments.language).encode(),
        )
    rows = tuple(
        (line["name"], _reading(line), _points(line), str(line["weight"]), _bounds(line), line["what"])
        for line in card["lines"]
    )
    return Result(
        {"origin": connection.origin, "time_ms": status["time_ms"], **card},
        (
            f"{connection.origin}, {made}: score {card['score']} of 100 (0 is best)",
            Table(("indicator", "reading", "points", "weight", "warn / critical", "what"), rows),
        ),
    )


def page(card: Mapping[str, Any], *, origin: str, made: str, language: str = "en") -> str:
    """One page that needs nothing besides itself, for a screen or for paper; the worst first."""
    said = partial(text, language)
    lines = sorted(card["lines"], key=lambda line: WORST_FIRST.index(line["level"]))
    rows = "".join(_row(line, language) for line in lines)
    heads = "".join(
        f"<th{' class=n' if name in NUMBERS else ''}>{escape(said(f'indicators.{name}'))}</th>"
        for name in ("indicator", "level", "reading", "bounds", "points", "weight", "since")
    )
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(origin)}: {escape(said('indicators.heading'))}</title>"
        f"<style>{STYLE}</style><h1>{escape(said('indicators.heading'))}</h1>"
        f'<p class="muted">{escape(origin)} · {escape(made)}</p><p class="score">{int(card["score"])}</p>'
        f'<p class="muted">{escape(said("indicators.score"))}</p>'
        f'<p class="muted">{escape(said("indicators.lead"))}</p>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="muted">{escape(said("indicators.since_note"))} {escape(said("indicators.authority"))}</p>'
        "</html>\n"
    )


def _row(line: Mapping[str, Any], language: str) -> str:
    name, level = str(line["name"]), str(line["level"])
    said = catalogue(language)

    def shown(value: int) -> str:
        return reading_text(name, value, language=LANGUAGES[language])

    advice = (
        "" if level in (Level.GOOD, Level.NONE) else f"<p>{escape(said.get(f'indicator.{name}.do', ''))}</p>"
    )
    reading = shown(line["reading"]) if "reading" in line else "–"
    return (
        f'<tr class="{level}"><td>{escape(said.get(f"indicator.{name}", name))}<br>'
        f"<code>{escape(name)}</code>{advice}</td>"
        f'<td><span class="chip">{escape(said[f"level.{level}"])}</span></td>'
        f'<td class="n">{escape(reading)}</td>'
        f'<td class="n">{escape(shown(line["warn"]))} / {escape(shown(line["critical"]))}</td>'
        f'<td class="n">{_points(line)}</td><td class="n">{line["weight"]}</td>'
        f"<td>{escape(time_text(line['since_ms']))}</td></tr>"
    )


def _reading(line: Mapping[str, Any]) -> str:
    return str(line["reading"]) if "reading" in line else str(line["missing"])


def _points(line: Mapping[str, Any]) -> str:
    return str(line["points"]) if "points" in line else "-"


def _bounds(line: Mapping[str, Any]) -> str:
    return f"{line['warn']} / {line['critical']}"


def backed_up(arguments: Namespace) -> Result:
    """``key backed-up``: have the log say that backups were made, so that their age is known."""
    backups, findings = read_backups([Path(one) for one in arguments.backups])
    if findings:
        raise OperationalError(findings[0].said)
    groups = {(one.key, one.epoch) for one in backups}
    notes = [
        BackupNote(key, epoch, tuple(sorted({b.node for b in backups if (b.key, b.epoch) == (key, epoch)})))
        for key, epoch in sorted(groups)
    ]
    connection, identity = load_connection(arguments), caller(arguments)
    for note in notes:
        send_note(connection, identity, note=note)
    said = [f"{note.key}, epoch {note.epoch}: {', '.join(note.nodes)}" for note in notes]
    return Result({"noted": said}, tuple(f"in the log: a backup of {one}" for one in said))


def send_note(connection: Connection, identity: Identity, *, note: DrillNote | BackupNote) -> None:
    """Have the log say it, signed by a backend. Raises ``Misuse`` for anybody else."""
    if identity.card.kind != "backend":
        raise Misuse(
            f"{identity.card.name} is no backend, and notes are theirs: enrol one that no rule lets pay"
        )
    now_ms = time.time_ns() // 1_000_000
    body: Json = note_body(connection.origin, identity.card.name, note=note, noted_ms=now_ms)
    signature = identity.key.sign(statement("note", body))
    with connection.open(identity) as client:
        client.enact("note", body, proof={"signatures": signature_list({identity.card.name: signature})})
