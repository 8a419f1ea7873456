"""``rebalance notes``: what rebalancers said in the log, for whoever may read it."""

from argparse import Namespace

from cli.connection import caller, load_connection, whole_status
from cli.results import Document, Result, Table, time_text
from policy.entries import parse_entry
from policy.errors import MalformedError
from policy.fact_entries import NoteEntry


def notes(arguments: Namespace) -> Result:
    """The notes among the newest entries, newest first; not checked against a checkpoint."""
    with load_connection(arguments).open(caller(arguments)) as client:
        size = whole_status(client)["size"]
        end = size if isinstance(size, int) else 0
        start = max(0, end - arguments.entries)
        found: list[NoteEntry] = []
        while start < end:
            entries = client.entries(start, end)
            found += [note for entry in entries if (note := _note(entry)) is not None]
            start += max(1, len(entries))
    found.reverse()
    rows = tuple((time_text(one.noted_ms), one.by, one.about, one.text) for one in found)
    documents: list[Document] = [
        {"noted_ms": one.noted_ms, "by": one.by, "about": one.about, "text": one.text} for one in found
    ]
    return Result({"notes": documents}, (Table(("when", "by", "about", "note"), rows),))


def _note(entry: bytes) -> NoteEntry | None:
    try:
        found = parse_entry(entry).entry
    except MalformedError:
        return None
    return found if isinstance(found, NoteEntry) else None
