"""Why a verdict came out as it did: every rule with what did not hold, and what each limit had used."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from policy.decode.abi import Argument
from policy.encoding import Json
from policy.evaluate import Verdict, evaluate
from policy.limits import LimitScope, limit_scopes, unit, used
from policy.model import TIER_VERDICTS, Allow, Policy
from policy.rules import CALL, CANCELLATION, TYPED_DATA, UNKNOWN_HELD, Facts, Given, TierHeld
from policy.tier_bounds import TierLine, held, tier_lines
from policy.values import replace

LOG, FORBID, RULE, LIMIT, TIER, ENGINE = "log", "forbid", "rule", "limit", "tier", "engine"
"""Who decided: one of the log's own rules, a part of the policy, or a ceiling, error or silence of it."""


class TraceLine(NamedTuple):
    """A forbid or rule, and its first unmet condition; empty if all hold."""

    rule: str
    unmet: str


def trace(policy: Policy, facts: Facts) -> tuple[TraceLine, ...]:
    """Every forbid, then every rule, in their order, whichever decided."""
    parts = [(forbid.name, forbid.when) for forbid in policy.forbids]
    parts += [(rule.name, rule.when) for rule in policy.rules]
    return tuple(TraceLine(name, when.unmet(facts, policy.lists)) for name, when in parts)


def receipt(
    policy: Policy, facts: Facts | None, *, verdict: Verdict, policy_hash: bytes, book_hash: bytes
) -> dict[str, Json]:
    """A verdict with everything it followed from, as one canonical document.

    ``policy`` has its address book applied; ``lists`` are what it comes to for the addresses at hand.
    ``facts`` are None where one of the log's own rules denied: then the policy was not asked, there are no
    ``inputs``, and ``reason`` has the numbers. A cancellation is asked about by no rule, but by every limit.
    """
    asked: dict[str, Json] = {"inputs": inputs(facts)} if facts else {}
    return {
        "policy": policy_hash.hex(),
        "book": book_hash.hex(),
        "verdict": verdict.to_json(),
        "decided_by": _decided_by(policy, facts, verdict),
        "reason": verdict.reason,
        "not_before_ms": verdict.not_before_ms,
        "missing": [{"group": one.group, "needed": one.needed, "have": one.have} for one in verdict.missing],
        **asked,
        "lists": _lists(policy, facts) if facts else {},
        "rules": _rule_lines(policy, facts) if facts else [],
        "limits": _limit_lines(policy, facts) if facts else [],
        **(_tiers(policy, facts) if facts and policy.tiers else {}),
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
    if facts.kind == CALL:
        found |= {"contract": facts.contract, "method": facts.method}
    if facts.kind == TYPED_DATA:
        found["typed_data"] = facts.typed_data
    if facts.kind in (CALL, TYPED_DATA):
        found["arguments"] = {name: _argument(value) for name, value in facts.arguments.items()}
    if facts.exposure:
        found["exposure"] = facts.exposure
    if facts.value is not None:
        found["value"] = str(facts.value)
    if facts.risk is not None:
        found["risk"] = facts.risk
    if facts.screening is not None:
        found["screening"] = facts.screening
    return found


def verdict_again(policy: Policy, receipt: Mapping[str, Json]) -> Verdict:
    """The verdict on the facts and lists that a receipt of ours has, whatever the policy lists itself.

    Not of a cancellation, which no rule is asked about.
    """
    found = cast("dict[str, list[str]]", receipt["lists"])
    lists = {
        name: frozenset(address for address, names in found.items() if name in names) for name in policy.lists
    }
    return evaluate(dataclasses.replace(policy, lists=lists), facts_of(receipt))


def facts_of(receipt: Mapping[str, Json]) -> Facts:
    """The facts that a receipt of ours has, so that the same policy gives the same verdict on them."""
    found, limits = cast("dict[str, Any]", receipt["inputs"]), cast("list[dict[str, str]]", receipt["limits"])
    numbers = {name: int(found[name]) for name in ("amount", "total", "fee_ceiling", "fee_max")}
    sets = {name: frozenset(found[name]) for name in ("initiator_groups", "initiator_people")}
    value = found.get("value")
    return Facts(
        **{
            **found,
            **numbers,
            **sets,
            "contract": found.get("contract", ""),
            "method": found.get("method", ""),
            "typed_data": found.get("typed_data", ""),
            "exposure": found.get("exposure", ""),
            "arguments": {name: _value(one) for name, one in found.get("arguments", {}).items()},
            "value": None if value is None else int(value),
            "risk": found.get("risk"),
            "screening": found.get("screening"),
            "approvals": tuple(
                Given(one["operator"], frozenset(one["groups"]), one["given_ms"])
                for one in found["approvals"]
            ),
            "usage": {(line["limit"], line["scope"]): int(line["used"]) for line in limits},
            "held": _held_of(cast("dict[str, dict[str, str]]", receipt.get("holdings", {}))),
        }
    )


def _lists(policy: Policy, facts: Facts) -> dict[str, Json]:
    """The lists that the destination is on, and those of every argument of a call that is on any."""
    texts = {value for value in facts.arguments.values() if isinstance(value, str)} | {facts.destination}
    found: dict[str, Json] = {}
    for address in sorted(texts):
        names: list[Json] = [name for name in sorted(policy.lists) if address in policy.lists[name]]
        if names or address == facts.destination:
            found[address] = names
    return found


def _decided_by(policy: Policy, facts: Facts | None, verdict: Verdict) -> str:
    if facts is None:
        return LOG
    if verdict.rule in TIER_VERDICTS:
        return TIER
    parts = ((FORBID, policy.forbids), (RULE, policy.rules), (LIMIT, policy.limits))
    named = (kind for kind, found in parts if any(one.name == verdict.rule for one in found))
    return next(named, ENGINE)


def _rule_lines(policy: Policy, facts: Facts) -> list[Json]:
    """No rule is asked about a cancellation."""
    lines = trace(policy, facts) if facts.kind != CANCELLATION else ()
    return [{"rule": line.rule, "unmet": line.unmet} for line in lines]


def _limit_lines(policy: Policy, facts: Facts) -> list[Json]:
    scopes = limit_scopes(policy, facts) if facts.chain in policy.chains else ()
    return [_limit_line(policy, facts, scope) for scope in scopes]


def _limit_line(policy: Policy, facts: Facts, scope: LimitScope) -> Json:
    limit, key, amount = scope.limit, scope.scope_key, scope.amount
    return {
        "limit": limit.name,
        "scope": key,
        "used": str(used(facts, limit.name, key=key)),
        "asked": "unknown" if amount is None else str(amount),
        "maximum": str(limit.maximum),
        "unit": unit(policy, limit),
        "window_ms": limit.window_ms,
    }


def _tiers(policy: Policy, facts: Facts) -> dict[str, Json]:
    """Each bound of a tier that the transaction is asked about, and the holdings that this takes."""
    asked: dict[str, TierHeld] = {}

    def noted(tier: str) -> TierHeld:
        asked[tier] = held(facts, tier)
        return asked[tier]

    lines = list(tier_lines(policy, replace(facts, held=noted), automatic=_automatic(policy, facts)))
    holdings = {tier: _numbers(one._asdict()) for tier, one in sorted(asked.items())}
    return {"tiers": [_tier_line(line) for line in lines], "holdings": {**holdings}}


def _automatic(policy: Policy, facts: Facts) -> bool:
    """Whether the first rule that holds asks nobody."""
    found = (rule.then for rule in policy.rules if rule.when.holds(facts, policy.lists))
    return isinstance(next(found, None), Allow)


def _tier_line(line: TierLine) -> Json:
    numbers = _numbers({"before": line.before, "after": line.after, "bound": line.bound})
    return {"bound_by": line.verdict, "tier": line.tier, "unit": line.unit, **numbers, "holds": _word(line)}


def _word(line: TierLine) -> str:
    if line.holds is None:
        return "unknown" if line.waits else "not asked"
    return "yes" if line.holds else "no"


def _numbers(numbers: Mapping[str, int | None]) -> dict[str, Json]:
    """Numbers as texts; what is not known is left out."""
    return {name: str(number) for name, number in numbers.items() if number is not None}


def _held_of(holdings: Mapping[str, Mapping[str, str]]) -> dict[str, TierHeld]:
    return {
        tier: UNKNOWN_HELD._replace(**{name: int(number) for name, number in one.items()})
        for tier, one in holdings.items()
    }


def _argument(value: Argument) -> Json:
    """An argument as it can be read again: a number, of any size, from a text."""
    if isinstance(value, tuple):
        return [_argument(item) for item in value]
    return value if isinstance(value, bool | str) else {"number": str(value)}


def _value(argument: Any) -> Argument:
    if isinstance(argument, dict):
        return int(argument["number"])
    if isinstance(argument, list):
        return tuple(_value(item) for item in argument)
    return cast("Argument", argument)


def _sorted(names: frozenset[str]) -> list[Json]:
    return [*sorted(names)]
