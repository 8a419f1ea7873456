"""One total function from a policy and the facts of a job to a verdict.

The order, which is part of what a policy means:

1. a forbid whose conditions hold denies, and nothing overrides it;
2. a fee above the request's or the chain's ceiling denies;
3. the first rule whose conditions hold decides; if none does, that is a denial;
4. a limit that the job would exceed denies, naming the limit; then a bound of a tier that it would break
   (``policy.tier_bounds``);
5. the rule's approvals are counted, and then its delay: until both are there the verdict is to wait.

Where conditions, a limit or a bound cannot be told, because nobody has stated a fact or too long ago, the
verdict is to wait for it; but a rule that would allow at once is passed over then, as no later one is laxer.
So a fact that is not there never allows what some value of it would not; but for the bounds of tiers, which
let moves that lower exposure go. What is inconsistent or raises an error denies. Only ``Outcome.ALLOW``
allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, assert_never

from policy.encoding import Json
from policy.errors import OperationalError
from policy.limits import Excess, first_excess
from policy.model import Allow, Approve, Deny, Forbid, Policy, Requirement, Rule
from policy.rules import CALL, KINDS, TYPED_DATA, Facts, Given, Usage
from policy.tier_bounds import first_tier_excess

__all__ = ["Facts", "Given", "Missing", "Outcome", "Usage", "Verdict", "evaluate"]


class Outcome(Enum):
    """What a verdict says. The zero value is no consent."""

    UNKNOWN = 0
    ALLOW = 1
    DENY = 2
    WAIT = 3


class Missing(NamedTuple):
    """A requirement that lacks approvals."""

    group: str
    needed: int
    have: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, the name of the rule that gave it, and why, for the requester to read.

    A verdict to wait names what is ``missing``, or ``not_before_ms``, the log's time from which it allows;
    with neither it waits for a fact that the reason names.
    """

    outcome: Outcome
    rule: str
    reason: str
    missing: tuple[Missing, ...] = ()
    not_before_ms: int = 0

    def to_json(self) -> dict[str, Json]:
        """The part that every node and auditor must agree on; reasons are for people."""
        return {"outcome": self.outcome.name.lower(), "rule": self.rule}


def evaluate(policy: Policy, facts: Facts) -> Verdict:
    """Decide on one job. Total on what can be read: an error inside is a denial by the rule ``error``.

    Raises only what reading the state raises: ``OperationalError``.
    """
    try:
        return _evaluate(policy, facts)
    except OperationalError:  # the state cannot be read: that is no verdict, on which others would disagree
        raise
    except Exception as error:  # noqa: BLE001 - whatever went wrong, it is not consent
        return Verdict(Outcome.DENY, "error", f"the policy could not be evaluated: {error!r}")


def _evaluate(policy: Policy, facts: Facts) -> Verdict:
    problem = _problem(policy, facts)
    if problem:
        return Verdict(Outcome.DENY, "error", problem)
    for forbid in policy.forbids:
        found = forbid.when.holds(facts, policy.lists)
        if found:
            return Verdict(Outcome.DENY, forbid.name, f"forbidden by {forbid.name!r}")
        if found is None:
            return _untold(policy, facts, forbid)
    if reason := _fee_excess(policy, facts):
        return Verdict(Outcome.DENY, "fee-ceiling", reason)
    for rule in policy.rules:
        found = rule.when.holds(facts, policy.lists)
        if found:
            return _decide(policy, facts, rule=rule)
        if found is None and rule.then != Allow():
            return _untold(policy, facts, rule)
    return Verdict(Outcome.DENY, "no-rule-matches", "no rule matches, and no rule means no")


def _untold(policy: Policy, facts: Facts, part: Forbid | Rule) -> Verdict:
    reason = f"whether {part.name!r} applies cannot be told: {part.when.unmet(facts, policy.lists)}"
    return Verdict(Outcome.WAIT, part.name, reason)


def _problem(policy: Policy, facts: Facts) -> str:
    """Why the facts do not fit the policy, in words; empty when they do."""
    wallet, asset = policy.wallets.get(facts.wallet), policy.assets.get(facts.asset)
    if facts.chain not in policy.chains:
        return f"chain {facts.chain!r} is not in the policy"
    if wallet is None or wallet.chain != facts.chain or wallet.tier != facts.tier:
        return f"the policy has no wallet {facts.wallet!r} of tier {facts.tier!r} on {facts.chain}"
    if asset is None or asset.chain != facts.chain:
        return f"the policy has no asset {facts.asset!r} on {facts.chain}"
    if facts.kind not in KINDS:
        return f"kind is {facts.kind!r}, not one of {', '.join(KINDS)}"
    if facts.kind == CALL and (not facts.method or not asset.native):
        return (
            f"the policy has no method of {facts.destination} with this calldata, or the asset is not native"
        )
    if facts.kind == TYPED_DATA and (not facts.typed_data or not asset.native or facts.total):
        return f"the policy declares no such typed data of {facts.destination}, or it has an amount or a fee"
    return _bad_number(facts)


def _bad_number(facts: Facts) -> str:
    for name, value, low in (
        ("amount", facts.amount, 0 if facts.kind in (CALL, TYPED_DATA) else 1),
        ("total", facts.total, facts.amount),
        ("fee_max", facts.fee_max, 0),
        ("fee_ceiling", facts.fee_ceiling, 0),
        ("since_ms", facts.since_ms, 0),
        ("time_ms", facts.time_ms, 0),
    ):
        if type(value) is not int or value < low:
            return f"{name} is {value!r}, not an integer from {low}"
    for name, stated in (("value", facts.value), ("risk", facts.risk)):
        if stated is not None and (type(stated) is not int or stated < 0):
            return f"{name} is {stated!r}, not an integer from 0"
    return ""


def _fee_excess(policy: Policy, facts: Facts) -> str:
    ceiling = policy.chains[facts.chain].fee_ceiling
    if facts.fee_max > ceiling:
        return f"the fee can reach {facts.fee_max}, above {ceiling} that the policy allows on {facts.chain}"
    if facts.fee_max > facts.fee_ceiling:
        return f"the fee can reach {facts.fee_max}, above {facts.fee_ceiling} that the request allows"
    return ""


def _decide(policy: Policy, facts: Facts, *, rule: Rule) -> Verdict:
    then = rule.then
    if isinstance(then, Deny):
        return Verdict(Outcome.DENY, rule.name, f"denied by {rule.name!r}")
    if excess := _excess(policy, facts, automatic=isinstance(then, Allow)):
        return Verdict(Outcome.DENY if excess.told else Outcome.WAIT, excess.limit, excess.reason)
    match then:
        case Allow():
            verdict = Verdict(Outcome.ALLOW, rule.name, f"allowed by {rule.name!r}")
            since_ms = facts.since_ms
        case Approve():
            verdict = _count_approvals(facts, facts.approvals, rule=rule.name, then=then)
            since_ms = _met_ms(facts, rule.name, then) if verdict.outcome is Outcome.ALLOW else 0
        case _:
            assert_never(then)
    if verdict.outcome is not Outcome.ALLOW or not then.delay_ms or facts.time_ms >= since_ms + then.delay_ms:
        return verdict
    reason = f"{verdict.reason}, from {since_ms + then.delay_ms} on: until then one person can reject it"
    return Verdict(Outcome.WAIT, rule.name, reason, not_before_ms=since_ms + then.delay_ms)


def _excess(policy: Policy, facts: Facts, *, automatic: bool) -> Excess | None:
    """A limit, or a bound of a tier, that is exceeded; else one that cannot be told."""
    limit = first_excess(policy, facts)
    if not policy.tiers or (limit is not None and limit.told):
        return limit
    bound = first_tier_excess(policy, facts, automatic=automatic)
    return bound if bound is not None and (bound.told or limit is None) else limit


def _met_ms(facts: Facts, rule: str, then: Approve) -> int:
    """When the log had enough approvals: at the earliest one with which all before it suffice."""
    if not then.delay_ms:
        return 0
    approvals = sorted(facts.approvals, key=lambda given: (given.given_ms, given.operator))
    for count, last in enumerate(approvals, 1):
        enough = _count_approvals(facts, tuple(approvals[:count]), rule=rule, then=then)
        if enough.outcome is Outcome.ALLOW:
            return last.given_ms
    raise ValueError("approvals suffice together, but not in any order")


def _count_approvals(facts: Facts, approvals: tuple[Given, ...], *, rule: str, then: Approve) -> Verdict:
    barred = facts.initiator_people | {facts.initiator}
    groups: dict[str, frozenset[str]] = {}
    for given in approvals:
        if given.operator not in barred:
            groups[given.operator] = groups.get(given.operator, frozenset()) | given.groups
    ways = [_missing(needs, groups) for needs in then.alternatives]
    if not all(ways):
        return Verdict(Outcome.ALLOW, rule, f"approved under {rule!r}")
    missing = min(ways, key=lambda way: sum(one.needed - one.have for one in way))
    reason = "; ".join(f"need {m.needed} approvals of {m.group}, got {m.have}" for m in missing)
    if len(ways) > 1:
        reason += f" (the nearest of {len(ways)} ways)"
    ignored = sorted({given.operator for given in approvals} & barred)
    if ignored:
        reason += f"; the initiator cannot approve: {', '.join(ignored)} did not count"
    return Verdict(Outcome.WAIT, rule, reason, missing)


def _missing(needs: tuple[Requirement, ...], groups: Mapping[str, frozenset[str]]) -> tuple[Missing, ...]:
    """What these people leave open of one alternative."""
    have = _assign(needs, groups)
    return tuple(
        Missing(need.group, need.count, count)
        for need, count in zip(needs, have, strict=True)
        if count < need.count
    )


def _assign(needs: tuple[Requirement, ...], groups: Mapping[str, frozenset[str]]) -> tuple[int, ...]:
    """How many places of each requirement can be filled when each operator takes one place only.

    A maximum bipartite matching by augmenting paths. A place once filled stays filled, so earlier
    requirements are served first and the result does not depend on the order of approvals.
    """
    places = [index for index, need in enumerate(needs) for _ in range(need.count)]
    wanted = [needs[index].group for index in places]
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
    return tuple(filled.count(index) for index in range(len(needs)))
