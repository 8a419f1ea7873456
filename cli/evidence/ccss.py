"""``evidence ccss``: control by control, what a log shows and what it does not."""

from argparse import Namespace
from collections import Counter
from pathlib import Path

from cli.audit import as_json, as_text
from cli.evidence.page import indexes, page
from cli.evidence.period import read_period
from cli.files import write_bytes, write_document
from cli.policies.replaying import checked, folder_of
from cli.results import REFUSED, Document, Result, Table
from policy.audit import CHECKPOINT_PATH, PINNED, AuditReport
from policy.ccss import STATUSES, Control, Evidence
from policy.log.tiles import Read
from policy.proven import proven_entries

FORMAT = "quorumkeep/evidence/1"
INDEXES_SHOWN = 4


def ccss(arguments: Namespace) -> Result:
    """``evidence ccss``: refused when the log does not hold; no verdict on the standard."""
    period = read_period(arguments)
    evidence = Evidence(from_ms=period.from_ms, to_ms=period.to_ms)
    read = folder_of(arguments.log)
    report = checked(read, arguments, watch=evidence)
    document = {"level": arguments.level, "from": str(period.since), "to": str(period.until)}
    if not report.ok:
        return Result(document | {"log": as_json(report)}, ("it shows nothing", as_text(report)), REFUSED)
    controls = evidence.controls(report)
    counted = Counter(one.status for one in controls)
    counts = {status: counted[status] for status in STATUSES}
    document |= {"counts": counts, "controls": [_as_json(one) for one in controls]}
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    text: list[str | Table] = [_table(controls), f"Of {len(controls)} controls: {said}."]
    if arguments.out:
        write_document(Path(arguments.out), _proven(document, read, size=report.size))
        text.append(f"Whoever gets {arguments.out} checks it with docs/verify_evidence.py.")
    if arguments.html:
        write_bytes(Path(arguments.html), _page(controls, document, report, read=read).encode())
    files = {"file": arguments.out or None, "page": arguments.html or None}
    return Result(document | files | {"log": as_json(report)}, text)


def _proven(document: Document, read: Read, *, size: int) -> Document:
    """The file that stands alone: every entry that a control cites, and the first, up to the checkpoint."""
    cited = {0, *(index for one in document["controls"] for index in one["entries"])}
    return {
        "format": FORMAT,
        **document,
        "checkpoint": (read(CHECKPOINT_PATH) or b"").decode(),
        "entries": list(proven_entries(read, cited, size=size)),
    }


def _page(controls: list[Control], document: Document, report: AuditReport, *, read: Read) -> str:
    vouched = "the log's own keys, not pinned" if report.trust != PINNED else "pinned keys"
    facts = (
        ("days", f"{document['from']} to {document['to']}, UTC"),
        ("log", (read(CHECKPOINT_PATH) or b"").decode().partition("\n")[0]),
        ("head", f"{report.size} entries, root {report.root.hex()}"),
        ("cosigned by", f"{report.cosigners} cosigners, under {vouched}"),
        ("level aimed at", str(document["level"])),
    )
    return page(controls, title="CryptoCurrency Security Standard", facts=facts)


def _as_json(one: Control) -> dict[str, object]:
    return {
        "control": one.number,
        "what": one.what,
        "status": one.status,
        "why": one.why,
        "entries": list(one.entries),
    }


def _table(controls: list[Control]) -> Table:
    rows = tuple(
        (one.number, one.what, one.status, one.why, indexes(one.entries, INDEXES_SHOWN)) for one in controls
    )
    return Table(("control", "what", "status", "why", "entries"), rows)
