"""A policy as formulas over the transactions of a world: when each of its parts decides, and what follows.

The order and the three values are those of ``policy.evaluate``; tests hold the two to the same verdicts. For
each condition there are two formulas: that it holds, and that it holds or cannot be told. They differ only
for facts that somebody else must state.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple, assert_never

import z3

from policy.errors import CallerError
from policy.model import COUNT, VALUE, Allow, Approve, Deny, Limit, Policy, Requirement, Rule
from policy.prove.terms import Number, Term, all_of, any_of, not_
from policy.prove.world import Names, World
from policy.rules import (
    SWEEP,
    TIER_MOVE,
    TRANSFER,
    Among,
    AtLeast,
    AtMost,
    Condition,
    During,
    FirstUse,
    InGroup,
    Listed,
    When,
)


class Holds(NamedTuple):
    """When something holds, and when it holds or cannot be told."""

    surely: Term
    maybe: Term


class Formulas:
    """One policy in a world.

    ``decides`` says by the name in a verdict when that part decides; ``matched`` when a rule is the first
    whose conditions hold; ``allowed`` and ``waits`` are the outcomes, and anything else is a denial.
    """

    def __init__(self, world: World, policy: Policy) -> None:
        self.world, self.policy = world, policy
        self._conditions: dict[Condition, Holds] = {}
        self._met: dict[tuple[Requirement, ...], Term] = {}
        self._kinds = self._kind_terms()
        self.decides: dict[str, Term] = {}
        self.matched: dict[str, Term] = {}
        self.allowed, self.waits = self._decide()

    def holds(self, when: When) -> Holds:
        """When all conditions hold, and when none of them surely fails."""
        found = [self._condition(condition) for condition in when.conditions]
        return Holds(all_of(*(one.surely for one in found)), all_of(*(one.maybe for one in found)))

    def applies(self, limit: Limit) -> Term:
        """When a transaction counts into a limit, be it by its fee."""
        world, parts = self.world, []
        if limit.wallets is not None:
            parts.append(world.wallet.one_of(limit.wallets))
        if limit.tiers is not None:
            parts.append(self._tier(limit.tiers))
        if limit.initiators is not None:
            parts.append(world.initiator.one_of(limit.initiators))
        if limit.assets is not None:
            parts.append(world.asset.one_of(limit.assets))
        if limit.asset is not None:
            parts.append(any_of(world.asset.is_(limit.asset), self._fee_is_in(limit.asset)))
        return all_of(*parts)

    def met(self, needs: tuple[Requirement, ...]) -> Term:
        """When the people who said yes suffice for one alternative."""
        if needs not in self._met:
            self._met[needs] = all_of(*(self.world.people[need.group] >= need.count for need in needs))
        return self._met[needs]

    # --- the order of a verdict ------------------------------------------------------------------------

    def _decide(self) -> tuple[Term, Term]:
        open_, fits = z3.BoolVal(True), self._fits()
        self.decides["error"] = not_(fits)
        open_ = fits
        for forbid in self.policy.forbids:
            found = self.holds(forbid.when)
            self.decides[forbid.name] = all_of(open_, found.maybe)
            self.matched[forbid.name] = all_of(open_, found.surely)
            open_ = all_of(open_, not_(found.maybe))
        excess = self._fee_excess()
        self.decides["fee-ceiling"] = all_of(open_, excess)
        return self._decide_rules(all_of(open_, not_(excess)))

    def _decide_rules(self, open_: Term) -> tuple[Term, Term]:
        exceeded = self._exceeded()
        within = not_(any_of(*exceeded.values()))
        allowed, waits, paying = [], [], []
        for rule in self.policy.rules:
            found = self.holds(rule.when)
            matched = self.matched[rule.name] = all_of(open_, found.surely)
            stops = found.surely if rule.then == Allow() else found.maybe
            if isinstance(rule.then, Deny):
                self.decides[rule.name] = all_of(open_, stops)
            else:
                ready = self._ready(rule)
                allowed.append(all_of(matched, ready))
                waits.append(all_of(matched, not_(ready)))
                paying.append(matched)
                untold = all_of(open_, stops, not_(found.surely))
                self.decides[rule.name] = any_of(all_of(matched, within), untold)
            open_ = all_of(open_, not_(stops))
        self.decides["no-rule-matches"] = open_
        first = any_of(*paying)
        for name, excess in exceeded.items():
            self.decides[name] = all_of(first, excess)
            first = all_of(first, not_(excess))
        return all_of(within, any_of(*allowed)), all_of(within, any_of(*waits))

    def _fits(self) -> Term:
        """The wallet and the asset are the policy's, and on this chain."""
        world, wallets, assets = self.world, self.policy.wallets, self.policy.assets
        return any_of(
            *[
                all_of(
                    world.chain.is_(chain),
                    world.wallet.one_of(name for name, wallet in wallets.items() if wallet.chain == chain),
                    world.asset.one_of(name for name, asset in assets.items() if asset.chain == chain),
                )
                for chain in self.policy.chains
            ]
        )

    def _fee_excess(self) -> Term:
        world = self.world
        above = [
            all_of(world.chain.is_(name), world.fee_max > chain.fee_ceiling)
            for name, chain in self.policy.chains.items()
        ]
        return any_of(*above, world.fee_max > world.fee_ceiling)

    def _exceeded(self) -> dict[str, Term]:
        """By limit: the transaction counts into it, and it has no room, or none that can be told."""
        return {limit.name: all_of(self.applies(limit), self._no_room(limit)) for limit in self.policy.limits}

    def _no_room(self, limit: Limit) -> Term:
        world, used = self.world, self.world.used(limit)
        if limit.measure == COUNT:
            return used + 1 > limit.maximum
        if limit.measure == VALUE:
            known, value = world.value(self.policy.prices)
            return any_of(not_(known), used + value > limit.maximum)
        by_amount = z3.If(world.asset.is_(limit.asset), world.amount, 0)
        by_fee = z3.If(self._fee_is_in(limit.asset), world.fee_max, 0)
        return used + by_amount + by_fee > limit.maximum

    def _ready(self, rule: Rule) -> Term:
        """The approvals are there, and the delay is over."""
        match rule.then:
            case Allow():
                return self.world.waited_ms >= rule.then.delay_ms
            case Approve():
                enough = any_of(*[self.met(needs) for needs in rule.then.alternatives])
                return all_of(enough, self.world.given_ago_ms >= rule.then.delay_ms)
            case Deny():
                return z3.BoolVal(False)
        assert_never(rule.then)

    # --- conditions ------------------------------------------------------------------------------------

    def _condition(self, condition: Condition) -> Holds:
        if condition not in self._conditions:
            self._conditions[condition] = self._new_condition(condition)
        return self._conditions[condition]

    def _new_condition(self, condition: Condition) -> Holds:
        world = self.world
        match condition:
            case Among():
                return self._among(condition)
            case InGroup():
                return _told(any_of(*[world.groups[name] for name in condition.groups]))
            case Listed():
                return _told(self._listed(condition) == condition.wanted)
            case AtLeast():
                known, number = self._number(condition.fact)
                return _known(known, number >= condition.bound)
            case AtMost():
                known, number = self._number(condition.fact)
                return _known(known, number <= condition.bound)
            case FirstUse():
                return _told(world.first_use == condition.wanted)
            case During():
                return _told(self._during(condition))
        assert_never(condition)

    def _among(self, condition: Among) -> Holds:
        world, names = self.world, condition.allowed
        match condition.fact:
            case "tier":
                return _told(self._tier(names))
            case "destination_tier":
                return _told(self._owned(names))
            case "kind":
                return _told(any_of(*[self._kinds[name] for name in names]))
            case "screening":
                return _known(world.screened, world.screening.one_of(names))
            case _:
                return _told(self._plain(condition.fact).one_of(names))

    def _plain(self, fact: str) -> Names:
        """A fact that is what the request says, whatever the policy."""
        world = self.world
        plain = (("initiator", world.initiator), ("chain", world.chain), ("wallet", world.wallet))
        return dict((*plain, ("asset", world.asset)))[fact]

    def _number(self, fact: str) -> tuple[Term, Number]:
        world, told = self.world, z3.BoolVal(True)
        match fact:
            case "value":
                return world.value(self.policy.prices)
            case "risk":
                return world.screened, world.risk
            case "total":
                natives = any_of(*[self._native(chain) for chain in self.policy.chains])
                return told, world.amount + z3.If(natives, world.fee_max, 0)
            case "amount":
                return told, world.amount
            case _:
                raise CallerError(f"there is no number {fact!r} in a transaction")

    def _listed(self, condition: Listed) -> Term:
        lists = [self.policy.lists[name] for name in condition.lists]
        address = self.world.address
        return address.one_of(one for one in address.values if any(one in listed for listed in lists))

    def _during(self, condition: During) -> Term:
        world = self.world
        return any_of(
            *[
                all_of(
                    world.day.one_of(world.day.values[day] for day in sorted(span.days)),
                    world.minute >= span.from_minute,
                    world.minute < span.to_minute,
                )
                for span in condition.spans
            ]
        )

    def _tier(self, tiers: Iterable[str]) -> Term:
        wallets = self.policy.wallets
        return self.world.wallet.one_of(name for name in sorted(wallets) if wallets[name].tier in tiers)

    def _owned(self, tiers: Iterable[str]) -> Term:
        """The destination is an account of a wallet of one of these tiers."""
        owned = [name for name, wallet in self.policy.wallets.items() if wallet.tier in tiers]
        by_chain = groupby(sorted(owned, key=self._chain_of), key=self._chain_of)
        world = self.world
        return any_of(*[all_of(world.chain.is_(c), world.owner.one_of(list(names))) for c, names in by_chain])

    def _chain_of(self, wallet: str) -> str:
        return self.policy.wallets[wallet].chain

    def _kind_terms(self) -> dict[str, Term]:
        tiers = sorted({wallet.tier for wallet in self.policy.wallets.values()})
        own, swept = self._owned(tiers), any_of(*[all_of(self._tier([t]), self._owned([t])) for t in tiers])
        return {TRANSFER: not_(own), SWEEP: swept, TIER_MOVE: all_of(own, not_(swept))}

    def _native(self, chain: str) -> Term:
        return all_of(self.world.chain.is_(chain), self.world.asset.is_(self.policy.chains[chain].native))

    def _fee_is_in(self, asset: str | None) -> Term:
        paid = (name for name, chain in self.policy.chains.items() if chain.native == asset)
        return self.world.chain.one_of(paid)


def _told(term: Term) -> Holds:
    return Holds(term, term)


def _known(known: Term, term: Term) -> Holds:
    return Holds(all_of(known, term), any_of(not_(known), term))
