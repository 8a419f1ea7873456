"""``policy explain`` and ``audit replay``: verdicts made again from a published log alone."""

import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cli.audit import as_json, as_text, files_of, look_at
from cli.connection import caller, load_connection
from cli.policies.receipts import receipt_lines
from cli.requests import read_request_id
from cli.results import DONE, REFUSED, Misuse, Result
from policy.audit import CHECKPOINT_PATH, NOTE_BYTES_MAX, AuditReport
from policy.errors import MalformedError, OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import Frontier
from policy.log.tiles import Read, increment
from policy.replay import Judged, Step, watch_verdicts

if TYPE_CHECKING:
    from custody.client import CustodyClient


def explain(arguments: Namespace) -> Result:
    """``policy explain``: every verdict on one request, and why; refused when the log has none or is bad."""
    request, found = read_request_id(arguments.request), list[Judged]()

    def hear(one: Judged) -> None:
        if one.request == request:
            found.append(one)

    watch = watch_verdicts(hear)
    report = looked(arguments, watch)
    document = {
        "request": request.hex(),
        "log": as_json(report),
        "verdicts": [one.to_json() for one in found],
    }
    if not found:
        said = f"the log's {report.size} entries have no verdict on request {request.hex()}"
        return Result(document, (said, *_bad(report)), REFUSED)
    lines = [line for one in found for line in receipt_lines(one)]
    return Result(document, (*lines, *_bad(report)), DONE if report.ok else REFUSED)


def replay(arguments: Namespace) -> Result:
    """``audit replay``: every verdict again; refused at the first that differs, or when the log is bad."""
    first: list[Judged] = []
    count = 0
    with ExitStack() as stack:
        out = stack.enter_context(_new(arguments.out)) if arguments.out else None

        def hear(one: Judged) -> None:
            nonlocal count
            if first:
                return
            count += 1
            if one.wrong:
                first.append(one)
            if out is not None:
                out.write(json.dumps(one.to_json()) + "\n")

        report = audited(arguments, watch_verdicts(hear))
    wrong = {"index": first[0].index, "why": first[0].wrong} if first else None
    ok = report.ok and not first
    document = {"ok": ok, "verdicts": count, "first_wrong": wrong, "log": as_json(report)}
    lines = [as_text(report), f"replayed    {count} verdicts from their receipts"]
    lines += [f"WRONG       entry {one.index}: {one.wrong}" for one in first]
    return Result(document, lines, DONE if ok else REFUSED)


def looked(arguments: Namespace, watch: Callable[[Step], None]) -> AuditReport:
    """The check of the log in the folder ``--log``, or else of the coordinator's. Raises ``Misuse``."""
    return checked(log_files(arguments), arguments, watch=watch)


def audited(arguments: Namespace, watch: Callable[[Step], None]) -> AuditReport:
    """The check of the log in the folder that the arguments name. Raises ``Misuse`` when there is none."""
    return checked(folder_of(arguments.log), arguments, watch=watch)


def checked(read: Read, arguments: Namespace, *, watch: Callable[[Step], None]) -> AuditReport:
    """The check of these files, by the trust that the arguments name. Raises ``Misuse``."""
    try:
        return look_at(read, trust=Path(arguments.trust) if arguments.trust else None, watch=watch)
    except (MalformedError, OSError) as error:
        raise Misuse(str(error)) from error


def log_files(arguments: Namespace) -> Read:
    """The files of the log in the folder ``--log``, or else of the coordinator's. Raises ``Misuse``."""
    if arguments.log:
        return folder_of(arguments.log)
    if not arguments.identity:
        raise Misuse("say where the log is: --log DIR, or --as DIR to ask the coordinator")
    with load_connection(arguments).open(caller(arguments)) as client:
        return fetched(client).get


def folder_of(path: str) -> Read:
    """The files of the log in a folder. Raises ``Misuse`` when there is none."""
    try:
        return files_of(Path(path))
    except MalformedError as error:
        raise Misuse(str(error)) from error


def fetched(client: "CustodyClient") -> dict[str, bytes]:
    """The files of the log as the coordinator tells it; an audit finds out whether they hold."""
    note, entries = told_from(client, 0)
    return {**dict(increment(lambda path: None, Frontier(), entries=entries)), CHECKPOINT_PATH: note}


def told_from(client: "CustodyClient", start: int) -> tuple[bytes, list[bytes]]:
    """The newest checkpoint's note, and the entries from ``start`` up to it, as the coordinator has them."""
    note = client.log_note()
    size = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body).size
    entries: list[bytes] = []
    while start + len(entries) < size:
        more = client.entries(start + len(entries), size)
        if not more:
            raise OperationalError(
                f"the coordinator gave {start + len(entries)} of {size} entries: ask again"
            )
        entries += more
    return note, entries


def _new(path: str) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise Misuse(f"--out {path}: {error}") from error


def _bad(report: AuditReport) -> list[str]:
    return [] if report.ok else [as_text(report)]
