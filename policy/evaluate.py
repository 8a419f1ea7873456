"""One total function from a policy and the facts of a job to a verdict.

The order, which is part of what a policy means:

1. a forbid whose conditions hold denies, and nothing overrides it;
2. a fee above the request's or the chain's ceiling denies;
3. the first rule whose conditions hold decides; if none does, that is a denial;
4. a limit that the job would exceed denies, naming the limit;
5. the rule's approvals are counted: until they are there the verdict is to wait.

What is unknown, inconsistent or raises an error denies. Only ``Outcome.ALLOW`` allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, assert_never

from policy.document import Allow, Approve, Deny, Limit, Policy, Requirement, Rule
from policy.encoding import Json
from policy.rules import Facts, Usage, first_unmet

__all__ = [
    "Facts",
    "LimitScope",
    "Missing",
    "Outcome",
    "TraceLine",
    "Usage",
    "Verdict",
    "evaluate",
    "limit_scopes",
]


class Outcome(Enum):
    """What a verdict says. The zero value is no consent."""

    UNKNOWN = 0
    ALLOW = 1
    DENY = 2
    WAIT = 3


class TraceLine(NamedTuple):
    """A forbid or rule that was looked at, and its first unmet condition; empty if all held."""

    rule: str
    unmet: str


class Missing(NamedTuple):
    """A requirement that lacks approvals."""

    group: str
    needed: int
    have: int


class LimitScope(NamedTuple):
    """A limit that applies, the key its usage is counted under, and what this job adds to it."""

    limit: Limit
    scope_key: str
    amount: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, the name of the rule that gave it, and why, for the requester to read."""

    outcome: Outcome
    rule: str
    reason: str
    trace: tuple[TraceLine, ...] = ()
    missing: tuple[Missing, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The part that every node and auditor must agree on; reasons are for people."""
        return {"outcome": self.outcome.name.lower(), "rule": self.rule}


def evaluate(policy: Policy, facts: Facts) -> Verdict:
    """Decide on one job. Total: an error inside is a denial by the rule ``error``."""
    try:
        return _evaluate(policy, facts)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, it is not consent
        return Verdict(Outcome.DENY, "error", f"the policy could not be evaluated: {error!r}")


def limit_scopes(policy: Policy, facts: Facts) -> tuple[LimitScope, ...]:
    """The limits a job counts into: its amount on its asset, its greatest fee on the native asset."""
    native = policy.chains[facts.chain].native
    added: dict[str, int] = {facts.asset: facts.amount}
    added[native] = added.get(native, 0) + facts.fee_max
    return tuple(
        LimitScope(limit, _scope_key(limit, facts), added[limit.asset])
        for limit in policy.limits
        if limit.asset in added
        and (limit.wallets is None or facts.wallet in limit.wallets)
        and (limit.initiators is None or facts.initiator in limit.initiators)
    )


def _evaluate(policy: Policy, facts: Facts) -> Verdict:
    problem = _problem(policy, facts)
    if problem:
        return Verdict(Outcome.DENY, "error", problem)
    trace: list[TraceLine] = []
    for forbid in policy.forbids:
        trace.append(TraceLine(forbid.name, first_unmet(forbid.when, facts, policy=policy)))
        if not trace[-1].unmet:
            return Verdict(Outcome.DENY, forbid.name, f"forbidden by {forbid.name!r}", tuple(trace))
    if reason := _fee_excess(policy, facts):
        return Verdict(Outcome.DENY, "fee-ceiling", reason, tuple(trace))
    for rule in policy.rules:
        trace.append(TraceLine(rule.name, first_unmet(rule.when, facts, policy=policy)))
        if not trace[-1].unmet:
            return _decide(policy, facts, rule=rule, trace=tuple(trace))
    return Verdict(Outcome.DENY, "no-rule-matches", "no rule matches, and no rule means no", tuple(trace))


def _problem(policy: Policy, facts: Facts) -> str:
    """Why the facts do not fit the policy, in words; empty when they do."""
    wallet, asset = policy.wallets.get(facts.wallet), policy.assets.get(facts.asset)
    if facts.chain not in policy.chains:
        return f"chain {facts.chain!r} is not in the policy"
    if wallet is None or wallet.chain != facts.chain:
        return f"the policy has no wallet {facts.wallet!r} on {facts.chain}"
    if asset is None or asset.chain != facts.chain:
        return f"the policy has no asset {facts.asset!r} on {facts.chain}"
    for name, value, low in (
        ("amount", facts.amount, 1),
        ("fee_max", facts.fee_max, 0),
        ("fee_ceiling", facts.fee_ceiling, 0),
    ):
        if type(value) is not int or value < low:
            return f"{name} is {value!r}, not an integer from {low}"
    return ""


def _fee_excess(policy: Policy, facts: Facts) -> str:
    ceiling = policy.chains[facts.chain].fee_ceiling
    if facts.fee_max > ceiling:
        return f"the fee can reach {facts.fee_max}, above {ceiling} that the policy allows on {facts.chain}"
    if facts.fee_max > facts.fee_ceiling:
        return f"the fee can reach {facts.fee_max}, above {facts.fee_ceiling} that the request allows"
    return ""


def _decide(policy: Policy, facts: Facts, *, rule: Rule, trace: tuple[TraceLine, ...]) -> Verdict:
    then = rule.then
    if isinstance(then, Deny):
        return Verdict(Outcome.DENY, rule.name, f"denied by {rule.name!r}", trace)
    if exceeded := _exceeded(policy, facts):
        return Verdict(Outcome.DENY, exceeded[0], exceeded[1], trace)
    match then:
        case Allow():
            return Verdict(Outcome.ALLOW, rule.name, f"allowed by {rule.name!r}", trace)
        case Approve():
            return _count_approvals(facts, rule.name, approvals=then.approvals, trace=trace)
        case _:
            assert_never(then)


def _exceeded(policy: Policy, facts: Facts) -> tuple[str, str] | None:
    """The first limit this job would exceed, and the numbers."""
    for limit, key, amount in limit_scopes(policy, facts):
        used = _used(facts.usage, limit.name, key)
        if used + amount > limit.amount_max:
            of_scope = f" for {key}" if key else ""
            return limit.name, (
                f"limit {limit.name!r}{of_scope}: {used} used and {amount} asked is above "
                f"{limit.amount_max} {limit.asset} in {limit.window_ms} ms"
            )
    return None


def _used(usage: Usage, limit: str, key: str) -> int:
    used = usage.get((limit, key), 0) if isinstance(usage, Mapping) else usage(limit, key)
    if type(used) is not int or used < 0:
        raise ValueError(f"usage of limit {limit!r} is {used!r}, not an integer from 0")
    return used


def _scope_key(limit: Limit, facts: Facts) -> str:
    values = {"wallet": facts.wallet, "initiator": facts.initiator, "destination": facts.destination}
    return "/".join(f"{scope}={values[scope]}" for scope in limit.per)


def _count_approvals(
    facts: Facts, rule: str, *, approvals: tuple[Requirement, ...], trace: tuple[TraceLine, ...]
) -> Verdict:
    barred = facts.initiator_people | {facts.initiator}
    groups: dict[str, frozenset[str]] = {}
    for operator, member_of in facts.approvals:
        if operator not in barred:
            groups[operator] = groups.get(operator, frozenset()) | member_of
    have = _assign(approvals, groups)
    missing = tuple(
        Missing(needed.group, needed.count, count)
        for needed, count in zip(approvals, have, strict=True)
        if count < needed.count
    )
    if not missing:
        return Verdict(Outcome.ALLOW, rule, f"approved under {rule!r}", trace)
    reason = "; ".join(f"need {m.needed} approvals of {m.group}, got {m.have}" for m in missing)
    ignored = sorted({operator for operator, _ in facts.approvals} & barred)
    if ignored:
        reason += f"; the initiator cannot approve: {', '.join(ignored)} did not count"
    return Verdict(Outcome.WAIT, rule, reason, trace, missing)


def _assign(approvals: tuple[Requirement, ...], groups: Mapping[str, frozenset[str]]) -> tuple[int, ...]:
    """How many places of each requirement can be filled when each operator takes one place only.

    A maximum bipartite matching by augmenting paths. A place once filled stays filled, so earlier
    requirements are served first and the result does not depend on the order of approvals.
    """
    places = [index for index, needed in enumerate(approvals) for _ in range(needed.count)]
    wanted = [approvals[index].group for index in places]
    operators = sorted(groups)
    seat_of: dict[str, int] = {}

    def seated(place: int, tried: set[str]) -> bool:
        for operator in operators:
            if wanted[place] in groups[operator] and operator not in tried:
                tried.add(operator)
                if operator not in seat_of or seated(seat_of[operator], tried):
                    seat_of[operator] = place
                    return True
        return False

    filled = [index for place, index in enumerate(places) if seated(place, set())]
    return tuple(filled.count(index) for index in range(len(approvals)))
