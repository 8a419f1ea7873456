"""A transaction that a solver found, for a person to read."""

from collections import Counter

from cli.results import time_text
from policy.model import Policy
from policy.prove.transactions import Transaction
from policy.rules import Facts
from policy.words.conditions import value_text
from policy.words.units import amount_text, duration_text


def transaction_text(transaction: Transaction, policy: Policy) -> str:
    """One sentence: what moves from where to where, who asks, who said yes, what else matters."""
    facts = transaction.under(policy)
    parts = [f"{_what(policy, facts)} from wallet {facts.wallet} to {_where(policy, facts)}"]
    groups = f" (in {', '.join(sorted(facts.initiator_groups))})" if facts.initiator_groups else ""
    parts += [f"asked by {facts.initiator}{groups}", _approvals(facts)]
    parts += [f"fee up to {facts.fee_max}"] if facts.fee_max else []
    parts += [f"worth {value_text(policy, facts.value)}"] if facts.value else []
    parts += [f"screened {facts.screening}, risk {facts.risk}"] if facts.screening else []
    parts += [f"{duration_text(facts.time_ms - facts.since_ms)} after the request"] if _waited(facts) else []
    used = transaction.to_json(policy)["used"]
    parts += [f"used before: {name} {n}" for name, n in used.items()] if isinstance(used, dict) else []
    return ", ".join([*parts, f"on {time_text(facts.time_ms)}"])


def _what(policy: Policy, facts: Facts) -> str:
    asset = policy.assets.get(facts.asset)
    amount = amount_text(facts.amount, asset=facts.asset, decimals=asset.decimals if asset else 0)
    arguments = ", ".join(f"{name} {value}" for name, value in facts.arguments.items())
    if facts.typed_data:
        return f"signature of {facts.typed_data}({arguments})"
    if facts.method:
        return f"call of {facts.method}({arguments}) with {amount}"
    return amount


def _where(policy: Policy, facts: Facts) -> str:
    lists = sorted(name for name, listed in policy.lists.items() if facts.destination in listed)
    kind = f"own, of tier {facts.destination_tier}" if facts.destination_tier else ""
    on = f"on {', '.join(lists)}" if lists else "on no list"
    first = "paid for the first time" if facts.first_use else ""
    return f"{facts.destination} ({', '.join(part for part in (kind, on, first) if part)})"


def _approvals(facts: Facts) -> str:
    counts = Counter(group for given in facts.approvals for group in given.groups)
    if not counts:
        return "approved by nobody"
    ago = duration_text(facts.time_ms - facts.approvals[0].given_ms) if _given(facts) else ""
    said = " and ".join(f"{count} of {group}" for group, count in sorted(counts.items()))
    return f"approved by {said}" + (f" {ago} ago" if ago else "")


def _waited(facts: Facts) -> bool:
    return facts.time_ms > facts.since_ms


def _given(facts: Facts) -> bool:
    return facts.time_ms > facts.approvals[0].given_ms
