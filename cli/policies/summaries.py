"""A backtest in numbers, short enough to go with the draft of a policy from one administrator to the next."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cli.policies.receipts import units
from cli.results import Table, time_text
from policy.backtest import WAYS, Backtest, Comparison, Total
from policy.encoding import Json
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import ID_BYTES
from policy.log.merkle import Frontier, leaf_hash
from policy.model import Policy
from policy.replay import Step
from policy.state import State

FLIPS_MAX = RULES_MAX = 20
WHY_MAX = 300
ASSETS_MAX = 256
TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999, the last that is printed
KINDS = ("request", "reserve", "cancel")
OUTCOMES = ("unknown", "deny", "wait", "allow")
ABOUT = {"stricter": "refused or asked more of", "looser": "let through, or asked less of"}
HEADINGS = ("entry", "when", "kind", "moves", "was", "would be", "why")
_SUM = re.compile(r"0|[1-9][0-9]{0,99}")
_NO_ASCII = re.compile(r"[^ -~]")


class LogBacktest:
    """A backtest over a log, with what it had come to at ``size`` entries: for ``policy.audit.audit``."""

    def __init__(self, policy: Policy, policy_hash: str, *, size: int = 0) -> None:
        self.test = Backtest(policy)
        self.at_size: dict[str, Json] = {}
        self._hash, self._size = policy_hash, size
        self._frontier, self._state = Frontier(), State()

    def __call__(self, step: Step) -> None:
        """Hear of one entry."""
        self.test(step)
        self._frontier, self._state = self._frontier.append(leaf_hash(step.data)), step.after
        if self._frontier.size == self._size:
            self.at_size = self.summary()

    def summary(self) -> dict[str, Json]:
        """What it has come to so far; ``read_summary`` takes it."""
        rules = [_group(place) | {"requests": found.requests} for place, found in self.test.by_rule()]
        return {
            "policy": self._hash,
            "in_force": self._state.policy_hash.hex(),
            "size": self._frontier.size,
            "root": self._frontier.root().hex(),
            "time_ms": self._state.time_ms,
            "judged": dict(self.test.judged),
            "flipped": len(self.test.flips),
            "totals": totals(self.test),
            "by_rule": [*rules[:RULES_MAX]],
            "flips": [_short(flip) for flip in self.test.flips[:FLIPS_MAX]],
        }


def totals(test: Backtest) -> dict[str, Json]:
    """What flips, by way and kind, with the amounts of each asset."""
    return {way: {kind: total_document(test.totals(way, kind)) for kind in KINDS} for way in WAYS}


def rule_groups(test: Backtest) -> list[Json]:
    """What flips, by the rules that decided."""
    return [_group(place) | total_document(found) for place, found in test.by_rule()]


def total_document(total: Total) -> dict[str, Json]:
    """A total as it is printed and kept."""
    amounts: dict[str, Json] = {asset: str(amount) for asset, amount in sorted(total.amounts.items())}
    return {"requests": total.requests, "amounts": amounts}


def read_summary(document: Json) -> dict[str, Any]:
    """A summary that somebody else made. Raises ``MalformedError``."""
    fields = Fields(document, "backtest")
    for name in ("policy", "in_force", "root"):
        fields.hex(name, length=ID_BYTES)
    for name in ("size", "flipped"):
        fields.integer(name)
    fields.integer("time_ms", high=TIME_MS_MAX)
    counts = fields.nested("judged")
    for kind in KINDS:
        if counts.has(kind):
            counts.integer(kind)
    counts.done()
    ways = fields.nested("totals")
    for way in WAYS:
        kinds = ways.nested(way)
        for kind in KINDS:
            _read_total(kinds.nested(kind))
        kinds.done()
    ways.done()
    fields.objects("by_rule", _read_group, count_max=RULES_MAX)
    fields.objects("flips", _read_flip, count_max=FLIPS_MAX)
    fields.done()
    return document if isinstance(document, dict) else {}


def summary_lines(found: Mapping[str, Any], policy: Policy) -> list[str | Table]:
    """A summary for a person, in the units of the new policy."""
    lines: list[str | Table] = [
        f"Backtest on the log's first {found['size']} entries, until {time_text(found['time_ms'])}: "
        f"{headline(found['judged'], found['flipped'])}.",
        *total_lines(found["totals"], found["by_rule"], policy=policy),
    ]
    return [*lines, *flip_table(found["flips"], policy, flipped=found["flipped"])]


def headline(judged: Mapping[str, int], flipped: int) -> str:
    """How many verdicts there are, and how many flip."""
    return f"{sum(judged.values())} verdicts judged again, {flipped} flip"


def total_lines(
    totals: Mapping[str, Any], by_rule: Sequence[Mapping[str, Any]], *, policy: Policy
) -> list[str]:
    """What goes each way, with what it moves, and by which rules."""
    lines = []
    for way in WAYS:
        for kind, total in totals[way].items():
            if total["requests"]:
                sums = ", ".join(units(policy, n, unit=a) for a, n in sorted(total["amounts"].items()))
                lines.append(f"{way}: {ABOUT[way]} {total['requests']} at the {kind}, together {sums}")
        for one in by_rule:
            if one["way"] == way:
                lines.append(f"  {one['requests']} at the {one['kind']}: {one['real']} -> {one['other']}")
    return lines


def flip_table(flips: Sequence[Mapping[str, Any]], policy: Policy, *, flipped: int) -> list[str | Table]:
    """The first flips, and how many there are besides."""
    rows = tuple(
        (
            str(flip["index"]),
            time_text(flip["time_ms"]),
            flip["kind"],
            units(policy, flip["amount"], unit=flip["asset"]),
            f"{flip['real']['outcome']} by {flip['real']['rule']}",
            f"{flip['other']['outcome']} by {flip['other']['rule']}",
            flip["why"],
        )
        for flip in flips
    )
    table: list[str | Table] = [Table(HEADINGS, rows)] if rows else []
    more = flipped - len(rows)
    return [*table, f"and {more} more: quorumkeep policy backtest --json has all"] if more else table


def _group(place: tuple[str, str, str, str]) -> dict[str, Json]:
    return dict(zip(("way", "kind", "real", "other"), place, strict=True))


def _short(flip: Comparison) -> dict[str, Json]:
    """A flip as ``read_summary`` takes it, whatever the log has in its reason."""
    return flip.to_json() | {"why": _NO_ASCII.sub("?", flip.other.reason)[:WHY_MAX] or "-"}


def _read_total(fields: Fields) -> None:
    fields.integer("requests")
    for asset, amount in fields.mapping("amounts", count_max=ASSETS_MAX).items():
        if not isinstance(amount, str) or not _SUM.fullmatch(amount):
            raise MalformedError(f"{fields.path('amounts')}: {asset} needs a decimal string in base units")
    fields.done()


def _read_group(fields: Fields) -> None:
    fields.choice("way", *WAYS)
    fields.choice("kind", *KINDS)
    for name in ("real", "other"):
        outcome, _, rule = fields.text(name, length_max=80).partition(" by ")
        _read_verdict(Fields({"outcome": outcome, "rule": rule}, fields.path(name)))
    fields.integer("requests")


def _read_flip(fields: Fields) -> None:
    fields.integer("index")
    fields.integer("time_ms", high=TIME_MS_MAX)
    fields.choice("kind", *KINDS)
    fields.hex("request", length=ID_BYTES)
    fields.name("asset")
    fields.amount("amount")
    for name in ("real", "other"):
        _read_verdict(fields.nested(name))
    fields.text("why", length_max=WHY_MAX)
    fields.choice("way", *WAYS)


def _read_verdict(fields: Fields) -> None:
    fields.choice("outcome", *OUTCOMES)
    fields.name("rule")
    fields.done()
