"""``policy explain`` and ``audit replay``: verdicts made again from a published log alone."""

import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from cli.audit import as_json, as_text, look
from cli.policies.receipts import receipt_lines
from cli.requests import read_request_id
from cli.results import DONE, REFUSED, Misuse, Result
from policy.audit import AuditReport
from policy.errors import MalformedError
from policy.replay import Judged, Step, watch_verdicts


def explain(arguments: Namespace) -> Result:
    """``policy explain``: every verdict on one request, and why; refused when the log has none or is bad."""
    request, found = read_request_id(arguments.request), list[Judged]()

    def hear(one: Judged) -> None:
        if one.request == request:
            found.append(one)

    report = audited(arguments, watch_verdicts(hear))
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


def audited(arguments: Namespace, watch: Callable[[Step], None]) -> AuditReport:
    """The check of the log that the arguments name. Raises ``Misuse`` when there is none."""
    try:
        return look(
            Path(arguments.log), trust=Path(arguments.trust) if arguments.trust else None, watch=watch
        )
    except (MalformedError, OSError) as error:
        raise Misuse(str(error)) from error


def _new(path: str) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise Misuse(f"--out {path}: {error}") from error


def _bad(report: AuditReport) -> list[str]:
    return [] if report.ok else [as_text(report)]
