"""The backtest of a new policy that goes with its change, and is made again by whoever wants to sign.

It is no part of what is signed: its numbers are the word of whoever drew the change up, and grow old with
the log. ADR 0024.
"""

from argparse import Namespace
from dataclasses import dataclass, replace
from typing import Any

from cli.admin.change_file import Change
from cli.policies.replaying import looked
from cli.policies.summaries import LogBacktest, summary_lines
from cli.results import Table
from policy.document import parse_policy
from policy.errors import OperationalError
from policy.model import Policy

Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backtests:
    """What is known of a new policy's backtest; ``attached`` and ``again`` are empty where there is none.

    ``stale`` says why the attached one is not the last word any more.
    """

    attached: Summary
    again: Summary
    stale: tuple[str, ...]
    lines: tuple[str | Table, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"attached": self.attached or None, "again": self.again or None, "stale": list(self.stale)}


def backtested(arguments: Namespace, policy: Policy, *, policy_hash: str) -> Summary:
    """The backtest of a policy on the log that the arguments name. Raises ``OperationalError``."""
    test = LogBacktest(policy, policy_hash)
    _run(arguments, test)
    return test.summary()


def attached_backtest(change: Change) -> Backtests | None:
    """What a change's file says of its backtest; None of a change that is no policy."""
    if change.kind != "policy":
        return None
    if not change.backtest:
        lines: tuple[str | Table, ...] = ("No backtest is attached: quorumkeep policy backtest makes one.",)
        return Backtests({}, {}, (), lines)
    stale = _other_policy(change.backtest, change, made="was made")
    lines = tuple(summary_lines(change.backtest, parse_policy(change.document)))
    return Backtests(change.backtest, {}, stale, (*lines, *_stale(stale)))


def checked_backtest(change: Change, arguments: Namespace, *, has_log: bool) -> Backtests | None:
    """The same for somebody who is to sign: with ``has_log`` made again, on the log that the arguments name.

    Raises ``OperationalError`` when the attached one is not what that log gives.
    """
    found = attached_backtest(change)
    if found is None:
        return None
    if has_log:
        return _made_again(change, arguments)
    if not found.attached:
        return found
    word = "That is the word of who drew it up: make it again on the log of today, with --log DIR."
    return replace(found, lines=(*found.lines, word))


def _made_again(change: Change, arguments: Namespace) -> Backtests:
    attached, policy = change.backtest, parse_policy(change.document)
    test = LogBacktest(policy, change.document_hash, size=attached.get("size", 0))
    _run(arguments, test)
    again: Summary = {**test.summary()}
    _check_attached(attached, test.at_size, size=again["size"])
    stale = (*_grown(attached, again), *_other_policy(again, change, made="is made"))
    made = (
        "It was made again here, and is the same as attached." if attached == again else "It was made here."
    )
    return Backtests(attached, again, stale, (*summary_lines(again, policy), made, *_stale(stale)))


def _run(arguments: Namespace, test: LogBacktest) -> None:
    report = looked(arguments, test)
    if report.first_bad is not None:
        index, why = report.first_bad
        raise OperationalError(f"the log does not hold at {index}, tell the other administrators: {why}")


def _check_attached(attached: Summary, found: Summary, *, size: int) -> None:
    if not attached:
        return
    if not found:
        raise OperationalError(
            f"this log has {size} entries, the backtest was made on {attached['size']}: get a newer copy"
        )
    if attached["root"] != found["root"]:
        raise OperationalError("the backtest was made on another log than this one: do not sign")
    if attached != found:
        raise OperationalError(
            f"the backtest is not what the log's first {found['size']} entries give: do not sign, ask who "
            "drew the change up"
        )


def _grown(attached: Summary, again: Summary) -> tuple[str, ...]:
    if not attached:
        return ("no backtest is attached",)
    more = again["size"] - attached["size"]
    return (f"the log has {more} entries more than when it was attached",) if more else ()


def _other_policy(found: Summary, change: Change, *, made: str) -> tuple[str, ...]:
    previous = change.previous
    if found["in_force"] == previous:
        return ()
    return (
        f"it {made} while the policy {found['in_force']} is in force, and this change replaces {previous}: "
        "draw it up anew",
    )


def _stale(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"Stale: {reason}." for reason in reasons)
