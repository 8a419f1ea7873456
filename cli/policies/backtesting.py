"""``policy backtest``: what a new policy would have said of everything that a log has."""

from argparse import Namespace
from pathlib import Path

from cli.audit import as_json, as_text
from cli.policies.reading import read_policy
from cli.policies.receipts import units
from cli.policies.replaying import audited
from cli.results import DONE, REFUSED, Result, Table, time_text
from policy.backtest import WAYS, Backtest, Comparison, Total
from policy.model import Policy

SHOWN_MAX = 50
ABOUT = {"stricter": "refused or asked more of", "looser": "let through, or asked less of"}


def backtest(arguments: Namespace) -> Result:
    """``policy backtest``: 0 when no verdict flips, 1 when some do or the log does not hold."""
    policy = read_policy(Path(arguments.new)).policy
    test = Backtest(policy)
    report = audited(arguments, test)
    document = {
        "ok": report.ok,
        "judged": test.judged,
        "flips": [flip.to_json() for flip in test.flips],
        "totals": {
            way: {kind: _total(test.totals(way, kind)) for kind in ("request", "reserve", "cancel")}
            for way in WAYS
        },
        "by_rule": [
            dict(zip(("way", "kind", "real", "other"), place, strict=True)) | _total(total)
            for place, total in test.by_rule()
        ],
        "log": as_json(report),
    }
    lines = [f"{sum(test.judged.values())} verdicts judged again, {len(test.flips)} flip"]
    lines += [line for way in WAYS for line in _way_lines(test, way)]
    rows = tuple(_row(policy, flip) for flip in test.flips[:SHOWN_MAX])
    table = [Table(("entry", "when", "kind", "moves", "was", "would be", "why"), rows)] if rows else []
    bad = [] if report.ok else [as_text(report)]
    if len(test.flips) > SHOWN_MAX:
        bad.append(f"and {len(test.flips) - SHOWN_MAX} more: see --json")
    return Result(document, (*lines, *table, *bad), DONE if report.ok and not test.flips else REFUSED)


def _total(total: Total) -> dict[str, object]:
    amounts = {asset: str(amount) for asset, amount in sorted(total.amounts.items())}
    return {"requests": total.requests, "amounts": amounts}


def _way_lines(test: Backtest, way: str) -> list[str]:
    """Requests and reservations that would have gone one way, with what they move, and by which rules."""
    lines = []
    for kind in test.judged:
        total = test.totals(way, kind)
        if total.requests:
            sums = ", ".join(units(test.policy, str(n), unit=a) for a, n in sorted(total.amounts.items()))
            lines.append(f"{way}: {ABOUT[way]} {total.requests} at the {kind}, together {sums}")
    for place, total in test.by_rule():
        if place[0] == way:
            lines.append(f"  {total.requests} at the {place[1]}: {place[2]} -> {place[3]}")
    return lines


def _row(policy: Policy, flip: Comparison) -> tuple[str, ...]:
    return (
        str(flip.index),
        time_text(flip.time_ms),
        flip.kind,
        units(policy, str(flip.amount), unit=flip.asset),
        f"{flip.real.outcome.name.lower()} by {flip.real.rule}",
        f"{flip.other.outcome.name.lower()} by {flip.other.rule}",
        flip.other.reason,
    )
