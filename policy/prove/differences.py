"""What a new policy means that an old one does not: what it newly allows or denies, and what it eases.

Each difference is a transaction that the two judge differently, with the parts of them that decide it. Where
both let it be paid in the end but one asks for more, one has it wait when the other allows: that is fewer or
more approvals, or a shorter or longer delay. Names stand for the same thing in both: where a wallet, an asset
or a key is another thing under its old name, that is told apart, as ``redefined``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from policy.encoding import Json
from policy.evaluate import Outcome, Verdict
from policy.model import Policy
from policy.prove.formulas import Formulas
from policy.prove.terms import Term, all_of, any_of, not_
from policy.prove.transactions import Search, Transaction, confirmed
from policy.prove.world import World

PAIRS_MAX = 8
"""Pairs of deciding parts of each kind that are looked for."""


class Change(Enum):
    """How the new policy judges what the old one judged otherwise."""

    ALLOWED = "newly allowed"
    EASED = "allowed sooner, or by fewer people"
    HARDENED = "allowed later, or by more people"
    DENIED = "newly denied"


OUTCOMES = {
    Change.ALLOWED: (Outcome.DENY, Outcome.ALLOW),
    Change.EASED: (Outcome.WAIT, Outcome.ALLOW),
    Change.HARDENED: (Outcome.ALLOW, Outcome.WAIT),
    Change.DENIED: (Outcome.ALLOW, Outcome.DENY),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One transaction, and what each policy says of it."""

    change: Change
    transaction: Transaction
    old: Verdict
    new: Verdict

    def to_json(self, policy: Policy) -> dict[str, Json]:
        """The difference as ``--json`` prints it; ``policy`` is the new one."""
        return {
            "change": self.change.name.lower(),
            "old": {**self.old.to_json(), "reason": self.old.reason},
            "new": {**self.new.to_json(), "reason": self.new.reason},
            "transaction": self.transaction.to_json(policy),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """``differences``; the kinds of which there are ``more`` pairs; names that now mean something else."""

    differences: tuple[Difference, ...]
    more: tuple[Change, ...]
    redefined: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the two policies mean the same."""
        return not self.differences and not self.redefined


def compare(old: Policy, new: Policy) -> Comparison:
    """Every kind of difference between two policies. Raises ``Undecided``."""
    world = World((old, new))
    search, before, after = Search(world), Formulas(world, old), Formulas(world, new)
    found: list[Difference] = []
    more = []
    for change in Change:
        pairs = list(_pairs(search, before, after, change=change))
        found += pairs[:PAIRS_MAX]
        if len(pairs) > PAIRS_MAX:
            more.append(change)
    return Comparison(tuple(found), tuple(more), tuple(redefined(old, new)))


def eases(old: Policy, new: Policy) -> bool:
    """Whether ``new`` allows anything that ``old`` denied or had wait. Raises ``Undecided``."""
    world = World((old, new))
    before, after = Formulas(world, old), Formulas(world, new)
    return Search(world).exists(after.allowed, not_(before.allowed))


def redefined(old: Policy, new: Policy) -> Iterator[str]:
    """What is added, dropped or another thing under its old name, apart from rules, lists and limits."""
    parts: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
        "chain": (old.chains, new.chains),
        "asset": (old.assets, new.assets),
        "contract": (old.contracts, new.contracts),
        "typed data": (old.typed_data, new.typed_data),
        "key": (old.keys, new.keys),
        "wallet": (old.wallets, new.wallets),
        "tier": ({one.name: one for one in old.tiers}, {one.name: one for one in new.tiers}),
    }
    for kind, (before, after) in parts.items():
        for name in sorted({*before, *after}):
            if name not in after:
                yield f"{kind} {name} is dropped"
            elif name not in before:
                yield f"{kind} {name} is new"
            elif before[name] != after[name]:
                yield f"{kind} {name} is changed: {before[name]} becomes {after[name]}"
    if old.prices != new.prices:
        yield f"prices are changed: {old.prices} becomes {new.prices}"
    order, before_order = [one.name for one in new.tiers], [one.name for one in old.tiers]
    if sorted(order) == sorted(before_order) and order != before_order:
        yield f"tiers are in another order: {', '.join(before_order)} becomes {', '.join(order)}"
    if old.holdings_max_age_ms != new.holdings_max_age_ms:
        yield f"holdings may be {new.holdings_max_age_ms} ms old instead of {old.holdings_max_age_ms}"
    if old.cancel_fee_ceiling != new.cancel_fee_ceiling:
        yield f"a cancellation may cost {new.cancel_fee_ceiling} instead of {old.cancel_fee_ceiling}"


def _pairs(search: Search, before: Formulas, after: Formulas, *, change: Change) -> Iterator[Difference]:
    """One difference of this kind for each pair of parts that decide it, to one beyond ``PAIRS_MAX``.

    First those that share no part with one before, so that a change with many consequences hides no other.
    """
    wanted = OUTCOMES[change]
    terms = [_outcome(before, wanted[0]), _outcome(after, wanted[1])]
    apart: list[Term] = []
    for count in range(PAIRS_MAX + 1):
        found = search.find(*terms, *apart)
        if found is None and apart:
            apart, found = [], search.find(*terms)
        if found is None:
            return
        old, new = confirmed(found, before, outcome=wanted[0]), confirmed(found, after, outcome=wanted[1])
        yield Difference(change, found, old, new)
        decided = search.literal(before.decides[old.rule]), search.literal(after.decides[new.rule])
        terms.append(not_(all_of(*decided)))
        apart += [not_(part) for part in decided] if apart or not count else []


def _outcome(formulas: Formulas, outcome: Outcome) -> Term:
    if outcome is Outcome.ALLOW:
        return formulas.allowed
    return formulas.waits if outcome is Outcome.WAIT else not_(any_of(formulas.allowed, formulas.waits))
