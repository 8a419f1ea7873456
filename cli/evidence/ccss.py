"""``evidence ccss``: control by control, what a log shows and what it does not."""

from argparse import Namespace
from collections import Counter

from cli.audit import as_json, as_text
from cli.evidence.period import read_period
from cli.policies.replaying import audited
from cli.results import REFUSED, Result, Table
from policy.ccss import STATUSES, Control, Evidence

INDEXES_SHOWN = 4


def ccss(arguments: Namespace) -> Result:
    """``evidence ccss``: refused when the log does not hold; no verdict on the standard."""
    period = read_period(arguments)
    evidence = Evidence(from_ms=period.from_ms, to_ms=period.to_ms)
    report = audited(arguments, evidence)
    document = {"level": arguments.level, "from": str(period.since), "to": str(period.until)}
    if not report.ok:
        return Result(document | {"log": as_json(report)}, ("it shows nothing", as_text(report)), REFUSED)
    controls = evidence.controls(report)
    counted = Counter(one.status for one in controls)
    counts = {status: counted[status] for status in STATUSES}
    document |= {"counts": counts, "controls": [_as_json(one) for one in controls], "log": as_json(report)}
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    return Result(document, (_table(controls), f"Of {len(controls)} controls: {said}."))


def _as_json(one: Control) -> dict[str, object]:
    return {
        "control": one.number,
        "what": one.what,
        "status": one.status,
        "why": one.why,
        "entries": list(one.entries),
    }


def _table(controls: list[Control]) -> Table:
    rows = tuple((one.number, one.what, one.status, one.why, _indexes(one.entries)) for one in controls)
    return Table(("control", "what", "status", "why", "entries"), rows)


def _indexes(entries: tuple[int, ...]) -> str:
    more = len(entries) - INDEXES_SHOWN
    shown = ", ".join(map(str, entries[:INDEXES_SHOWN]))
    return f"{shown} and {more} more" if more > 0 else shown
