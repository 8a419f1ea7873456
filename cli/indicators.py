"""``indicators``: the risk indicators of a coordinator, as a table or a page; and what people tell it."""

import time
from argparse import Namespace
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from cli.connection import Connection, caller, load_connection, whole_status
from cli.doctor.backups import read_backups
from cli.files import write_bytes
from cli.identities import Identity
from cli.results import Misuse, Result, Table, time_text
from custody.indicators.notes import BackupNote, DrillNote, note_body
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.errors import OperationalError

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem;color:#1b2330;
background:#fff}
h1{font-size:1.5rem;margin:0}.score{font-size:3.2rem;font-weight:600;line-height:1.1;margin:.6rem 0 0}
.muted,th{color:#5a6675}table{border-collapse:collapse;width:100%;font-size:14px;margin-top:1.4rem}
td,th{padding:.4rem .8rem .4rem 0;border-bottom:1px solid #e6e9ee;text-align:left;vertical-align:top}
.n{text-align:right;font-variant-numeric:tabular-nums}
meter{width:7rem;height:.8rem}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ec}td,th{border-color:#2a323d}
.muted,th{color:#97a3b3}}
"""


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
        write_bytes(Path(arguments.html), page(card, origin=connection.origin, made=made).encode())
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


def page(card: Mapping[str, Any], *, origin: str, made: str) -> str:
    """One page that needs nothing besides itself."""
    rows = "".join(_row(line) for line in card["lines"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(origin)}: risk indicators</title>"
        f"<style>{STYLE}</style><h1>{escape(origin)}</h1>"
        f'<p class="score">{int(card["score"])}</p>'
        f'<p class="muted">of 100, where 0 is best; {escape(made)}</p>'
        "<table><tr><th>indicator</th><th class=n>reading</th><th>points</th><th class=n>weight</th>"
        f"<th class=n>warn / critical</th></tr>{rows}</table></html>\n"
    )


def _row(line: Mapping[str, Any]) -> str:
    points = line.get("points")
    meter = f'<meter max="100" low="50" high="99" optimum="0" value="{points}">{points}</meter> {points}'
    return (
        f'<tr><td>{escape(line["name"])}<br><span class="muted">{escape(line["what"])}</span></td>'
        f'<td class="n">{escape(_reading(line))}</td><td>{meter if points is not None else "–"}</td>'
        f'<td class="n">{line["weight"]}</td><td class="n">{escape(_bounds(line))}</td></tr>'
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
