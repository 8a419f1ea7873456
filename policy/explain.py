"""Why a verdict came out as it did: every rule with what did not hold, and what each limit had used."""

from typing import NamedTuple

from policy.encoding import Json
from policy.evaluate import Verdict
from policy.limits import limit_scopes, unit, used
from policy.model import Policy
from policy.rules import Facts


class TraceLine(NamedTuple):
    """A forbid or rule, and its first unmet condition; empty if all hold."""

    rule: str
    unmet: str


def trace(policy: Policy, facts: Facts) -> tuple[TraceLine, ...]:
    """Every forbid, then every rule, in their order, whichever decided."""
    parts = [(forbid.name, forbid.when) for forbid in policy.forbids]
    parts += [(rule.name, rule.when) for rule in policy.rules]
    return tuple(TraceLine(name, when.unmet(facts, policy.lists)) for name, when in parts)


def receipt(policy: Policy, facts: Facts, *, verdict: Verdict, policy_hash: bytes) -> dict[str, Json]:
    """A verdict with everything it followed from, as one canonical document."""
    return {
        "policy": policy_hash.hex(),
        "verdict": verdict.to_json(),
        "reason": verdict.reason,
        "not_before_ms": verdict.not_before_ms,
        "missing": [{"group": one.group, "needed": one.needed, "have": one.have} for one in verdict.missing],
        "inputs": inputs(facts),
        "rules": [{"rule": line.rule, "unmet": line.unmet} for line in trace(policy, facts)],
        "limits": [
            {
                "limit": limit.name,
                "scope": key,
                "used": str(used(facts, limit.name, key=key)),
                "asked": "unknown" if amount is None else str(amount),
                "maximum": str(limit.maximum),
                "unit": unit(policy, limit),
                "window_ms": limit.window_ms,
            }
            for limit, key, amount in limit_scopes(policy, facts)
        ],
    }


def inputs(facts: Facts) -> dict[str, Json]:
    """The facts in canonical form; what nobody has stated is left out."""
    found: dict[str, Json] = {
        "initiator": facts.initiator,
        "initiator_groups": _sorted(facts.initiator_groups),
        "kind": facts.kind,
        "chain": facts.chain,
        "wallet": facts.wallet,
        "tier": facts.tier,
        "asset": facts.asset,
        "amount": str(facts.amount),
        "total": str(facts.total),
        "destination": facts.destination,
        "destination_tier": facts.destination_tier,
        "first_use": facts.first_use,
        "fee_ceiling": str(facts.fee_ceiling),
        "fee_max": str(facts.fee_max),
        "approvals": [
            {"operator": one.operator, "groups": _sorted(one.groups), "given_ms": one.given_ms}
            for one in facts.approvals
        ],
        "initiator_people": _sorted(facts.initiator_people),
        "since_ms": facts.since_ms,
        "time_ms": facts.time_ms,
    }
    if facts.method:
        found |= {"contract": facts.contract, "method": facts.method}
        found["arguments"] = {name: str(value) for name, value in facts.arguments.items()}
    if facts.value is not None:
        found["value"] = str(facts.value)
    if facts.risk is not None:
        found["risk"] = facts.risk
    if facts.screening is not None:
        found["screening"] = facts.screening
    return found


def _sorted(names: frozenset[str]) -> list[Json]:
    return [*sorted(names)]
