"""A receipt in words."""

from typing import Any, cast

from cli.results import time_text
from policy.model import Policy
from policy.replay import Judged
from policy.words.units import amount_text, share_text

UNITS_MS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))
TOLD = {"no": "broken", "unknown": "waits until it is known", "not asked": "not known, and not waited for"}
DECIDED = {
    "log": "a rule of the log itself; the policy was not asked",
    "forbid": "a forbid of the policy, which nothing overrides",
    "rule": "a rule of the policy",
    "limit": "a limit of the policy",
    "tier": "a bound of a tier of the policy",
    "engine": "what every policy has",
}


def receipt_lines(one: Judged) -> list[str]:
    """One verdict for a person: what it was, who decided, each rule's first unmet condition, each limit."""
    found = cast("dict[str, Any]", one.receipt)
    verdict = found["verdict"]
    lines = [
        f"entry {one.index}, {one.kind}, {time_text(one.time_ms)}: {verdict['outcome']} by {verdict['rule']}",
        f"  decided by  {DECIDED[found['decided_by']]}",
        f"  because     {found['reason']}",
    ]
    if found["not_before_ms"]:
        lines.append(f"  not before  {time_text(found['not_before_ms'])}")
    if "inputs" in found:
        lines.append(f"  on          {_facts(one.policy, found['inputs'])}")
    lines += [f"  lists       {_lists(address, names)}" for address, names in found["lists"].items()]
    lines += [f"  approval    {one_given(given)}" for given in found.get("inputs", {}).get("approvals", ())]
    lines += [f"  rule        {_rule(line, verdict['rule'])}" for line in found["rules"]]
    lines += [f"  limit       {_limit(one.policy, line)}" for line in found["limits"]]
    lines += [f"  tier        {_tier(one.policy, line)}" for line in found.get("tiers", ())]
    lines.append(f"  policy      {found['policy']}")
    if found["book"]:
        lines.append(f"  book        {found['book']}")
    if not one.accepted:
        lines.append("  the entry had no effect")
    if one.wrong:
        lines.append(f"  WRONG       {one.wrong}")
    return lines


def one_given(given: dict[str, Any]) -> str:
    """An approval that counted."""
    return f"{given['operator']} of {', '.join(given['groups'])}, {time_text(given['given_ms'])}"


def units(policy: Policy, amount: str, *, unit: str) -> str:
    """An amount with its unit, where the policy says how many places it has."""
    if not amount.isdigit():
        return amount
    asset, prices = policy.assets.get(unit), policy.prices
    if asset is not None:
        return amount_text(int(amount), asset=unit, decimals=asset.decimals)
    if prices is not None and unit == prices.unit:
        return amount_text(int(amount), asset=unit, decimals=prices.decimals)
    return f"{amount} {unit}"


def span_text(milliseconds: int) -> str:
    """A length of time in its largest whole unit."""
    for size, name in UNITS_MS:
        if milliseconds % size == 0 and milliseconds >= size:
            return f"{milliseconds // size} {name}"
    return f"{milliseconds} ms"


def _facts(policy: Policy, facts: dict[str, Any]) -> str:
    native = policy.chains[facts["chain"]].native if facts["chain"] in policy.chains else ""
    words = [
        f"{facts['kind']} of {units(policy, facts['amount'], unit=facts['asset'])}",
        f"from {facts['wallet']} ({facts['tier'] or 'no tier'}) to {facts['destination']}",
        f"by {facts['initiator']}",
        f"fee up to {units(policy, facts['fee_max'], unit=native)}",
    ]
    if facts.get("method"):
        words.append(f"calling {facts['method']}({_arguments(facts['arguments'])})")
    if facts.get("typed_data"):
        words.append(f"signing {facts['typed_data']}({_arguments(facts['arguments'])})")
    if facts["first_use"]:
        words.append("never paid before")
    if "value" in facts and policy.prices is not None:
        words.append(f"worth {units(policy, facts['value'], unit=policy.prices.unit)}")
    words += [f"{name} {facts[name]}" for name in ("screening", "risk") if name in facts]
    return ", ".join(words)


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_argument(value)}" for name, value in arguments.items())


def _argument(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_argument, value))}]"
    return str(value["number"] if isinstance(value, dict) else value)


def _lists(address: str, names: list[str]) -> str:
    return f"{address} is on {', '.join(names) or 'none'}"


def _limit(policy: Policy, line: dict[str, Any]) -> str:
    scope = f" ({line['scope']})" if line["scope"] else ""
    used, asked, most = (
        units(policy, line[name], unit=line["unit"]) for name in ("used", "asked", "maximum")
    )
    return f"{line['limit']}{scope}: {used} used, {asked} asked, {most} in {span_text(line['window_ms'])}"


TIER_WORDS = {"tier-maximum": "at most", "tier-minimum": "at least", "tier-share": "a share bounded by"}


def _tier(policy: Policy, line: dict[str, str]) -> str:
    before, after, bound = (
        _share_or_units(policy, line.get(name, "unknown"), line["unit"])
        for name in ("before", "after", "bound")
    )
    said = f"{line['tier']}: {before} before, {after} after, {TIER_WORDS[line['bound_by']]} {bound}"
    return said if line["holds"] == "yes" else f"{said}: {TOLD[line['holds']]}"


def _share_or_units(policy: Policy, number: str, unit: str) -> str:
    if unit == "bp" and number.isdigit():
        return share_text(int(number))
    return units(policy, number, unit=unit)


def _rule(line: dict[str, str], decided: str) -> str:
    holds = "holds, and decides" if line["rule"] == decided else "holds"
    return f"{line['rule']}: {line['unmet'] or holds}"
