"""Evidence as one page that needs nothing besides itself and runs nothing, to read and to sign by hand."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from policy.ccss import Control

HEADINGS: Mapping[str, str] = {
    "shown": "Shown by the log",
    "not-shown": "Not shown",
    "people": "For people to look at",
    "not-by-software": "What no program can show",
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#1b2330;
background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .2rem}.muted,th{color:#5a6675}
table{border-collapse:collapse;width:100%;font-size:14px}code{overflow-wrap:anywhere}
td,th{padding:.4rem .8rem .4rem 0;border-bottom:1px solid #e6e9ee;text-align:left;vertical-align:top}
td.sign{width:30%}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ec}td,th{border-color:#2a323d}
.muted,th{color:#97a3b3}}
"""
INDEXES_SHOWN = 12
TO_SIGN = ("seen by, on", '<td class="sign"></td>')


def page(controls: Sequence[Control], *, title: str, facts: Iterable[tuple[str, str]]) -> str:
    """The page; ``facts`` say which log and days it is about. Under what people look at is room to sign."""
    found = "".join(_section(status, controls) for status in HEADINGS)
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(text)}</code></td></tr>" for name, text in facts
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>"
        '<p class="muted">Evidence for an auditor of the standard, and no verdict on it.</p>'
        f"<table>{rows}</table>{found}</html>\n"
    )


def _section(status: str, controls: Sequence[Control]) -> str:
    mine = [one for one in controls if one.status == status]
    if not mine:
        return ""
    heading, cell = TO_SIGN if status == "people" else ("why", "")
    rows = "".join(
        f"<tr><td>{escape(one.number)}</td><td>{escape(one.what)}</td>{cell or f'<td>{_why(one)}</td>'}</tr>"
        for one in mine
    )
    return (
        f"<h2>{escape(HEADINGS[status])}: {len(mine)} of {len(controls)}</h2>"
        f"<table><tr><th>control</th><th>what</th><th>{heading}</th></tr>{rows}</table>"
    )


def _why(one: Control) -> str:
    said = f' <span class="muted">entries {indexes(one.entries, INDEXES_SHOWN)}</span>' if one.entries else ""
    return escape(one.why) + said


def indexes(entries: tuple[int, ...], most: int) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(map(str, entries[:most]))
    return f"{shown} and {len(entries) - most} more" if len(entries) > most else shown
