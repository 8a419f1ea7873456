"""Drills and backups as the log has them: notes, by which nothing is decided. Pure.

The text of such a note is a canonical document: ``{"drill", "ok", "seconds"}`` about ``drill``, and
``{"key", "epoch", "nodes"}`` about ``backup``. Whoever may say something in the log can say this; it moves a
score and nothing else.
"""

from dataclasses import dataclass
from typing import Final

from policy.encoding import Json, canonical, parse_canonical
from policy.errors import MalformedError
from policy.fact_entries import NOTE_TEXT_MAX, NoteEntry
from policy.fields import Fields

DRILL: Final = "drill"
BACKUP: Final = "backup"
NODES_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class DrillNote:
    """A drill that was played, and whether everything was as the runbook says."""

    drill: str
    ok: bool
    seconds: int

    def text(self) -> str:
        """What the note says."""
        return canonical({"drill": self.drill, "ok": self.ok, "seconds": self.seconds}).decode()


@dataclass(frozen=True, slots=True)
class BackupNote:
    """Backups that were made of a key's shares in an epoch."""

    key: str
    epoch: int
    nodes: tuple[str, ...]

    def text(self) -> str:
        """What the note says."""
        return canonical({"key": self.key, "epoch": self.epoch, "nodes": list(self.nodes)}).decode()


def read_note(note: NoteEntry) -> DrillNote | BackupNote | None:
    """What a note says of drills and backups; None for any other, and for one that is not well written."""
    try:
        fields = Fields(parse_canonical(note.text.encode(), bytes_max=4 * NOTE_TEXT_MAX), "note")
        found: DrillNote | BackupNote | None = None
        if note.about == DRILL:
            found = DrillNote(fields.name("drill"), fields.boolean("ok"), fields.integer("seconds"))
        elif note.about == BACKUP:
            nodes = fields.names("nodes", count_max=NODES_MAX, count_min=1)
            found = BackupNote(fields.name("key"), fields.integer("epoch"), nodes)
        if found is not None:
            fields.done()
        return found
    except MalformedError:
        return None


def note_body(origin: str, by: str, *, note: DrillNote | BackupNote, noted_ms: int) -> dict[str, Json]:
    """The body of the entry."""
    about = DRILL if isinstance(note, DrillNote) else BACKUP
    return {"origin": origin, "by": by, "about": about, "text": note.text(), "noted_ms": noted_ms}
