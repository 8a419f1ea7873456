"""Whether a policy's invariants hold of every transaction; if not, one that breaks them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import z3

from policy.encoding import Json
from policy.evaluate import Outcome, Verdict
from policy.model import Allow, Deny, Limit, Policy
from policy.prove.formulas import Formulas
from policy.prove.invariants import UNREACHABLE, Bound, Demand, Invariant
from policy.prove.terms import Term, all_of, any_of, not_, sum_of
from policy.prove.tier_terms import bounds_of
from policy.prove.transactions import Search, Transaction, Undecided, confirmed
from policy.prove.world import World


class Answer(Enum):
    """What came of an invariant. Only ``PROVED`` is good."""

    UNDECIDED = 0
    PROVED = 1
    BROKEN = 2
    IDLE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant, its answer, and why; when it is broken by a transaction, that and its verdict."""

    invariant: str
    answer: Answer
    reason: str
    transaction: Transaction | None = None
    verdict: Verdict | None = None

    def to_json(self, policy: Policy) -> dict[str, Json]:
        """The finding as ``--json`` prints it."""
        found: dict[str, Json] = {
            "invariant": self.invariant,
            "answer": self.answer.name.lower(),
            "reason": self.reason,
        }
        if self.transaction and self.verdict:
            found |= {
                "transaction": self.transaction.to_json(policy),
                "verdict": self.verdict.to_json(),
            }
        return found


def prove(policy: Policy, invariants: Sequence[Invariant]) -> tuple[Finding, ...]:
    """Every invariant in its order, and at last that each rule decides something."""
    world = World((policy,), [one.when for one in invariants])
    formulas, search = Formulas(world, policy), Search(world)
    found = [_answer(search, formulas, invariant) for invariant in invariants]
    return (*found, _reachability(search, formulas))


def breaking(search: Search, formulas: Formulas, *, invariant: Invariant) -> Transaction | None:
    """A transaction that breaks an invariant; None when there is none. Raises ``Undecided``."""
    demand = invariant.must
    allowed = (formulas.allowed, formulas.holds(invariant.when).maybe)
    if demand.never:
        return search.find(*allowed)
    found = search.find(*allowed, any_of(*_failures(formulas, demand)))
    if found is not None or demand.limited_by is None:
        return found
    for limits in _candidates(formulas.policy, demand.limited_by):
        found = search.find(*allowed, not_(any_of(*[_counts(formulas, limit) for limit in limits])))
        if found is None:
            return None
    return found


def _failures(formulas: Formulas, demand: Demand) -> list[Term]:
    """The ways in which what is allowed can fall short of a demand, but for its limit."""
    people = list(formulas.world.people.values())
    return [
        *_untiered(formulas, demand),
        sum_of(*people) < demand.approvals_min,
        sum_of(*[z3.If(one >= 1, 1, 0) for one in people]) < demand.approvals_min * demand.different_groups,
        *(
            formulas.matched[rule.name]
            for rule in formulas.policy.rules
            if not isinstance(rule.then, Deny) and rule.then.delay_ms < demand.delay_min_ms
        ),
    ]


def _untiered(formulas: Formulas, demand: Demand) -> Iterator[Term]:
    """A bound of the demanded tier is broken, or it is not known whether it is."""
    if demand.keeps_tier is None:
        return
    rules = [rule for rule in formulas.policy.rules if not isinstance(rule.then, Deny)]
    for automatic in (True, False):
        asked = (formulas.matched[r.name] for r in rules if isinstance(r.then, Allow) is automatic)
        bounds = bounds_of(formulas, (demand.keeps_tier,), automatic=automatic)
        broken = any_of(*bounds.told.values(), *bounds.untold.values())
        yield all_of(any_of(*asked), broken)


def shared_key(formulas: Formulas, invariant: Invariant) -> str:
    """Two wallets of different tiers that one key signs for, of which one can meet the conditions; or empty.

    A wallet can if the conditions on wallets, tiers and chains hold of it.
    """
    when, wallets = invariant.when, formulas.policy.wallets
    for wallet in wallets.values():
        facts = {"wallets": wallet.name, "tiers": wallet.tier, "chains": wallet.chain}
        if all(when.names(name) is None or fact in (when.names(name) or ()) for name, fact in facts.items()):
            for other in wallets.values():
                if other.key == wallet.key and other.tier != wallet.tier:
                    return f"key {wallet.key} signs for {wallet.tier} and for {other.tier}"
    return ""


def _answer(search: Search, formulas: Formulas, invariant: Invariant) -> Finding:
    try:
        if not search.exists(formulas.holds(invariant.when).maybe):
            return Finding(
                invariant.name, Answer.IDLE, "no transaction can meet its conditions: it says nothing"
            )
        if invariant.must.keys_apart and (shared := shared_key(formulas, invariant)):
            return Finding(invariant.name, Answer.BROKEN, shared)
        found = breaking(search, formulas, invariant=invariant)
    except Undecided as error:
        return Finding(invariant.name, Answer.UNDECIDED, str(error))
    if found is None:
        return Finding(invariant.name, Answer.PROVED, "no transaction breaks it")
    verdict = confirmed(found, formulas, outcome=Outcome.ALLOW)
    return Finding(invariant.name, Answer.BROKEN, verdict.reason, found, verdict)


def _candidates(policy: Policy, bound: Bound) -> list[list[Limit]]:
    """Sets of limits of which one must count everything: what ``per`` lets be counted apart may be apart."""
    strict = [
        limit
        for limit in policy.limits
        if (limit.measure, limit.asset) == (bound.measure, bound.asset)
        and limit.maximum <= bound.maximum
        and limit.window_ms >= bound.window_ms
        and set(limit.per) <= set(bound.per)
    ]
    together = [limit for limit in strict if _apart(limit) <= set(bound.per)]
    return [together, *([limit] for limit in strict if limit not in together)]


def _apart(limit: Limit) -> set[str]:
    """The scopes that a limit is for some of only."""
    filters = {
        "wallet": limit.wallets,
        "tier": limit.tiers,
        "initiator": limit.initiators,
        "asset": limit.assets,
    }
    return {scope for scope, names in filters.items() if names is not None}


def _counts(formulas: Formulas, limit: Limit) -> Term:
    """A limit counts the payment itself, not only its fee."""
    applies = formulas.applies(limit)
    return applies if limit.asset is None else all_of(applies, formulas.world.asset.is_(limit.asset))


def _reachability(search: Search, formulas: Formulas) -> Finding:
    names = [part.name for part in formulas.policy.forbids] + [part.name for part in formulas.policy.rules]
    try:
        reached = search.which({name: _decides(formulas, name) for name in names})
    except Undecided as error:
        return Finding(UNREACHABLE, Answer.UNDECIDED, str(error))
    idle = [name for name in names if name not in reached]
    if not idle:
        return Finding(UNREACHABLE, Answer.PROVED, f"each of {len(names)} decides some transaction")
    reason = f"no transaction is ever decided by {', '.join(idle)}: drop it, or move it before what covers it"
    return Finding(UNREACHABLE, Answer.BROKEN, reason)


def _decides(formulas: Formulas, name: str) -> Term:
    return all_of(formulas.matched[name], formulas.decides[name])
