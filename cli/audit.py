"""``quorumkeep audit verify``: the whole check of a published log, on the machine of whoever asks."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from policy.audit import CHECKPOINT_PATH, AuditReport, Trust, audit, parse_trust
from policy.errors import MalformedError
from policy.log.tiles import Read
from policy.replay import Step

OK, FAILED, MISUSE = 0, 1, 2
LONG_ENTRIES = 2000


def verify(directory: Path, *, trust: Path | None, json_output: bool) -> int:
    """Check the log in ``directory``; 0 if all of it holds, 1 if not, 2 if it cannot be looked at."""
    try:
        report = look(directory, trust=trust)
    except (MalformedError, OSError) as error:
        print(f"quorumkeep: {error}", file=sys.stderr)
        return MISUSE
    print(json.dumps(as_json(report)) if json_output else as_text(report))
    return OK if report.ok else FAILED


def look(directory: Path, *, trust: Path | None, watch: Callable[[Step], None] | None = None) -> AuditReport:
    """Check the log in ``directory``. Raises ``MalformedError`` or ``OSError`` when there is none."""
    if not (directory / CHECKPOINT_PATH).is_file():
        raise MalformedError(f"{directory} has no file {CHECKPOINT_PATH!r}: name the folder of a log")

    def read(path: str) -> bytes | None:
        try:
            return (directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    return look_at(read, trust=trust, watch=watch)


def look_at(read: Read, *, trust: Path | None, watch: Callable[[Step], None] | None = None) -> AuditReport:
    """Check the log whose files ``read`` gives. Raises as ``look`` does for the trust file."""
    pinned = _read_trust(trust) if trust else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        return audit(read, trust=pinned, progress=_shown(bar), watch=watch)


def as_json(report: AuditReport) -> dict[str, object]:
    """The report as scripts read it."""
    bad = report.first_bad
    return {
        "ok": report.ok,
        "size": report.size,
        "root": report.root.hex(),
        "genesis_policy": report.genesis_policy.hex(),
        "cosigners": report.cosigners,
        "replayed_verdicts": report.replayed_verdicts,
        "mismatches": report.mismatches,
        "inert": report.inert,
        "first_bad": None if bad is None else {"index": bad[0], "why": bad[1]},
        "trust": report.trust,
        "ceremonies": report.ceremonies,
        "unrecorded": [job.hex() for job in report.unrecorded],
    }


def as_text(report: AuditReport) -> str:
    """The report as people read it."""
    lines = [
        f"{'ok' if report.ok else 'FAILED'}: {report.size} entries, root {report.root.hex()}",
        f"cosigners   {report.cosigners}",
        f"verdicts    {report.replayed_verdicts} recomputed, {report.mismatches} claimed otherwise",
        f"inert       {report.inert} entries without effect",
        f"policy      {report.genesis_policy.hex()} at first",
    ]
    if report.ceremonies or report.unrecorded:
        lines.append(f"ceremonies  {report.ceremonies} on record")
    for job in report.unrecorded:
        lines.append(f"unrecorded  cold job {job.hex()} is signed, and no record of a ceremony names it")
    if report.first_bad is not None:
        index, why = report.first_bad
        lines.append(f"first bad   {'the checkpoint' if index == report.size else f'entry {index}'}: {why}")
    if report.trust != "pinned":
        lines.append("trust       the keys are the folder's own: pin them (--trust) to know whose log it is")
    return "\n".join(lines)


def _read_trust(path: Path) -> Trust:
    try:
        return parse_trust(json.loads(path.read_bytes()))
    except ValueError as error:
        raise MalformedError(f"{path} is not JSON: {error}") from error


def _shown(bar: Progress) -> Callable[[int, int], None]:
    """Progress on standard error, for logs long enough to wait for."""
    tasks: list[TaskID] = []

    def progress(done: int, total: int) -> None:
        if total < LONG_ENTRIES:
            return
        if not tasks:
            tasks.append(bar.add_task("folding entries", total=total))
        bar.update(tasks[0], completed=done)

    return progress
