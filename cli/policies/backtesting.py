"""``policy backtest``: what a new policy would have said of everything that a log has."""

from argparse import Namespace
from pathlib import Path

from cli.audit import as_json, as_text
from cli.policies.reading import read_policy
from cli.policies.replaying import audited
from cli.policies.summaries import flip_table, headline, rule_groups, total_lines, totals
from cli.results import DONE, REFUSED, Document, Result
from policy.backtest import Backtest

SHOWN_MAX = 50


def backtest(arguments: Namespace) -> Result:
    """``policy backtest``: 0 when no verdict flips, 1 when some do or the log does not hold."""
    policy = read_policy(Path(arguments.new)).policy
    test = Backtest(policy)
    report = audited(arguments, test)
    flips = [flip.to_json() for flip in test.flips]
    document: Document = {
        "ok": report.ok,
        "judged": test.judged,
        "flips": flips,
        "totals": totals(test),
        "by_rule": rule_groups(test),
        "log": as_json(report),
    }
    lines = [
        headline(test.judged, len(flips)),
        *total_lines(document["totals"], document["by_rule"], policy=policy),
        *flip_table(flips[:SHOWN_MAX], policy, flipped=len(flips)),
        *([] if report.ok else [as_text(report)]),
    ]
    return Result(document, lines, DONE if report.ok and not flips else REFUSED)
