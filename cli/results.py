"""What a command comes to, and how it reaches the person or script that asked.

Exit codes are 0 for done, 1 for a refusal or a failed check, 2 for misuse, 75 for what a configuration
names and may be there later. With ``--json`` exactly one
object is printed on standard output; progress goes to standard error in either case.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO, TypeAlias

from policy.errors import QuorumkeepError

Document: TypeAlias = dict[str, Any]
DONE, REFUSED, MISUSED = 0, 1, 2


class Misuse(QuorumkeepError):
    """The command was called in a way that can never work; the message says how to call it."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, for a person to read."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """``document`` is what ``--json`` prints; ``text`` is the same in words."""

    document: Document
    text: Sequence[str | Table] = field(default_factory=tuple)
    code: int = DONE


def show(result: Result, *, as_json: bool) -> int:
    """Print a result on standard output; its exit code."""
    if as_json:
        print(json.dumps(result.document))
        return result.code
    for part in result.text:
        if isinstance(part, Table):
            show_table(part, sys.stdout)
        else:
            print(part)
    return result.code


def show_error(error: QuorumkeepError, *, as_json: bool) -> int:
    """Say what went wrong and what to do next, in one line but for problems of a file; the exit code."""
    from policy.settings import ConfigError  # loads what help can do without

    code = MISUSED if isinstance(error, Misuse) else REFUSED
    if isinstance(error, ConfigError):
        code = error.exit_code
    message = " ".join(str(error).split())
    if as_json:
        known = getattr(error, "code", None)
        print(json.dumps({"ok": False, "code": known or type(error).__name__, "error": message}))
    print(f"quorumkeep: {error if isinstance(error, ConfigError) else message}", file=sys.stderr)
    return code


def progress(text: str) -> None:
    """One line about what is being done, on standard error."""
    print(text, file=sys.stderr, flush=True)


def time_text(time_ms: int) -> str:
    """A time for a person."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def show_table(table: Table, stream: TextIO) -> None:
    """Print a table: with lines and colour on a terminal, as plain columns elsewhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(file=stream, width=None if stream.isatty() else 200)
    drawn = RichTable(box=box.SIMPLE if stream.isatty() else None, pad_edge=False)
    for heading in table.headings:
        drawn.add_column(heading, overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
