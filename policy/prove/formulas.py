"""A policy as formulas over the transactions of a world: when each of its parts decides, and what follows.

The order and the three values are those of ``policy.evaluate``; tests hold the two to the same verdicts. For
each condition there are two formulas: that it holds, and that it holds or cannot be told. They differ only
for facts that somebody else must state.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple, assert_never

import z3

from policy.errors import CallerError
from policy.limits import cancellation_held
from policy.model import COUNT, VALUE, Allow, Approve, Deny, Limit, Policy, Requirement, Rule
from policy.prove.terms import Number, Term, all_of, any_of, not_, sum_of
from policy.prove.tier_terms import bounds_of
from policy.prove.world import NO_CALL, Names, World, call_key, typed_data_key
from policy.rules import (
    CALL,
    SWEEP,
    TIER_MOVE,
    TRANSFER,
    TYPED_DATA,
    Among,
    ArgumentListed,
    ArgumentWithin,
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


class _Bounds(NamedTuple):
    """When limits and bounds are exceeded, and may be; that none is, and that none may be."""

    told: dict[str, Term]
    untold: dict[str, Term]
    room: Term
    within: Term


class Formulas:
    """One policy in a world.

    ``decides`` says by the name in a verdict when that part decides; ``matched`` when a rule is the first
    whose conditions hold; ``allowed`` and ``waits`` are the outcomes, and anything else is a denial.
    """

    def __init__(self, world: World, policy: Policy) -> None:
        self.world, self.policy = world, policy
        self._conditions: dict[Condition, Holds] = {}
        self._met: dict[tuple[Requirement, ...], Term] = {}
        self._methods = _methods(policy)
        self._typed_data = {typed_data_key(one): one.name for one in policy.typed_data.values()}
        self.kinds = self._kind_terms()
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
            parts.append(self.from_tier(limit.tiers))
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
        open_ = self._fits()
        self.decides["error"] = not_(open_)
        waits = []
        for forbid in self.policy.forbids:
            found = self.holds(forbid.when)
            self.decides[forbid.name] = all_of(open_, found.maybe)
            self.matched[forbid.name] = all_of(open_, found.surely)
            waits.append(all_of(open_, found.maybe, not_(found.surely)))
            open_ = all_of(open_, not_(found.maybe))
        excess = self._fee_excess()
        self.decides["fee-ceiling"] = all_of(open_, excess)
        allowed, more = self._decide_rules(all_of(open_, not_(excess)))
        return allowed, any_of(*waits, more)

    def _decide_rules(self, open_: Term) -> tuple[Term, Term]:
        ways = {automatic: self._bounds(automatic=automatic) for automatic in (True, False)}
        paying: dict[bool, list[Term]] = {automatic: [] for automatic in ways}
        allowed, waits = [], []
        for rule in self.policy.rules:
            found = self.holds(rule.when)
            matched = self.matched[rule.name] = all_of(open_, found.surely)
            stops = found.surely if rule.then == Allow() else found.maybe
            unsure = all_of(open_, stops, not_(found.surely))
            waits.append(unsure)
            decides = matched
            if not isinstance(rule.then, Deny):
                automatic = isinstance(rule.then, Allow)
                ready, decides = self._ready(rule), all_of(matched, ways[automatic].within)
                allowed.append(all_of(decides, ready))
                waits.append(all_of(decides, not_(ready)))
                paying[automatic].append(matched)
            self.decides[rule.name] = any_of(decides, unsure)
            open_ = all_of(open_, not_(stops))
        self.decides["no-rule-matches"] = open_
        for automatic, bounds in ways.items():
            first = any_of(*paying[automatic])
            waits.append(all_of(first, bounds.room, not_(bounds.within)))
            untold = _in_turn(all_of(first, bounds.room), bounds.untold)
            for name, first_of in (*_in_turn(first, bounds.told), *untold):
                self.decides[name] = any_of(self.decides.get(name, z3.BoolVal(False)), first_of)
        return any_of(*allowed), any_of(*waits)

    def _bounds(self, *, automatic: bool) -> "_Bounds":
        """Limits, then bounds of tiers: ``automatic`` for a rule that asks nobody."""
        tiers = bounds_of(self, self.policy.tiers, automatic=automatic)
        limits = [(limit, self.applies(limit)) for limit in self.policy.limits]
        told = {limit.name: all_of(applies, self._full(limit)) for limit, applies in limits} | tiers.told
        untold = {limit.name: all_of(applies, self._unknown(limit)) for limit, applies in limits}
        untold |= tiers.untold
        room = not_(any_of(*told.values()))
        return _Bounds(told, untold, room, all_of(room, not_(any_of(*untold.values()))))

    def _fits(self) -> Term:
        """The wallet and the asset are the policy's, and on this chain; so is what is called or signed."""
        world, wallets, assets = self.world, self.policy.wallets, self.policy.assets
        on_chain = any_of(
            *[
                all_of(
                    world.chain.is_(chain),
                    world.wallet.one_of(name for name, wallet in wallets.items() if wallet.chain == chain),
                    world.asset.one_of(name for name, asset in assets.items() if asset.chain == chain),
                )
                for chain in self.policy.chains
            ]
        )
        native = world.asset.one_of(name for name, asset in assets.items() if asset.native)
        known = all_of(world.call.one_of((*self._methods, *self._typed_data)), native)
        return all_of(on_chain, any_of(world.call.is_(NO_CALL), known))

    def _fee_excess(self) -> Term:
        world = self.world
        above = [
            all_of(world.chain.is_(name), world.fee_max > chain.fee_ceiling)
            for name, chain in self.policy.chains.items()
        ]
        return any_of(*above, world.fee_max > world.fee_ceiling)

    def _full(self, limit: Limit) -> Term:
        """What others use of a limit and what the transaction adds are above its maximum."""
        world, used = self.world, self.world.used(limit)
        if limit.measure == COUNT:
            return used + 1 > limit.maximum
        if limit.measure == VALUE:
            known, value = world.value(self.policy.prices)
            return all_of(known, used + value > limit.maximum)
        by_amount = z3.If(world.asset.is_(limit.asset), world.amount, 0)
        by_fee = z3.If(self._fee_is_in(limit.asset), world.fee_max + self._held(), 0)
        return used + by_amount + by_fee > limit.maximum

    def _held(self) -> Number:
        """What a payment counts for its cancellation."""
        held = {name: cancellation_held(name) for name in self.policy.chains}
        return sum_of(
            *(z3.If(self.world.chain.is_(name), lamports, 0) for name, lamports in held.items() if lamports)
        )

    def _unknown(self, limit: Limit) -> Term:
        """It cannot be told what the transaction adds to a limit."""
        return not_(self.world.value(self.policy.prices)[0]) if limit.measure == VALUE else z3.BoolVal(False)

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
                known, number = self.number(condition.fact)
                return _known(known, number >= condition.bound)
            case AtMost():
                known, number = self.number(condition.fact)
                return _known(known, number <= condition.bound)
            case FirstUse():
                return _told(world.first_use == condition.wanted)
            case ArgumentWithin():
                return _told(any_of(*self._within(condition)))
            case ArgumentListed():
                return _told(any_of(*self._argument_listed(condition)))
            case During():
                return _told(self._during(condition))
        assert_never(condition)

    def _among(self, condition: Among) -> Holds:
        world, names = self.world, condition.allowed
        match condition.fact:
            case "tier":
                return _told(self.from_tier(names))
            case "destination_tier":
                return _told(self.to_own(names))
            case "kind":
                return _told(any_of(*[self.kinds[name] for name in names]))
            case "contract":
                return _told(self._called(lambda method: method.rpartition(".")[0] in names))
            case "method":
                return _told(self._called(lambda method: method in names))
            case "typed_data":
                return _told(
                    world.call.one_of(key for key, name in self._typed_data.items() if name in names)
                )
            case "exposure":
                return _told(any_of(*[self.moves(name) for name in names]))
            case "screening":
                return _known(world.screened, world.screening.one_of(names))
            case _:
                return _told(self._plain(condition.fact).one_of(names))

    def _plain(self, fact: str) -> Names:
        """A fact that is what the request says, whatever the policy."""
        world = self.world
        plain = (("initiator", world.initiator), ("chain", world.chain), ("wallet", world.wallet))
        return dict((*plain, ("asset", world.asset)))[fact]

    def number(self, fact: str) -> tuple[Term, Number]:
        """Whether a number of the transaction is known, and what it is."""
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

    def _called(self, wanted: Callable[[str], bool]) -> Term:
        return self.world.call.one_of(call for call, name in self._methods.items() if wanted(name))

    def _within(self, condition: ArgumentWithin) -> Iterator[Term]:
        for call, term in self._argument(condition.argument):
            if isinstance(term, z3.ArithRef):
                low = [] if condition.low is None else [term >= condition.low]
                high = [] if condition.high is None else [term <= condition.high]
                yield all_of(self.world.call.is_(call), *low, *high)

    def _argument_listed(self, condition: ArgumentListed) -> Iterator[Term]:
        lists = [self.policy.lists[name] for name in condition.lists]
        for call, term in self._argument(condition.argument):
            if isinstance(term, Names):
                listed = term.one_of(one for one in term.values if any(one in listed for listed in lists))
                yield all_of(self.world.call.is_(call), listed)

    def _argument(self, name: str) -> Iterator[tuple[str, Names | Number | None]]:
        """The argument of that name, of each method or typed data that has one here."""
        made = {call: self.policy.method_named(name) for call, name in self._methods.items()}
        for call, found in (
            made | {k: self.policy.typed_data[n] for k, n in self._typed_data.items()}
        ).items():
            for index, (_, known) in enumerate(found.parameters if found else ()):
                if known == name:
                    yield call, self.world.arguments[call, index]

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

    def from_tier(self, tiers: Iterable[str]) -> Term:
        """It is paid by a wallet of one of these tiers."""
        wallets = self.policy.wallets
        return self.world.wallet.one_of(name for name in sorted(wallets) if wallets[name].tier in tiers)

    def to_own(self, tiers: Iterable[str]) -> Term:
        """The destination is an account of a wallet of one of these tiers."""
        owned = [name for name, wallet in self.policy.wallets.items() if wallet.tier in tiers]
        by_chain = groupby(sorted(owned, key=self._chain_of), key=self._chain_of)
        world = self.world
        return any_of(*[all_of(world.chain.is_(c), world.owner.one_of(list(names))) for c, names in by_chain])

    def moves(self, exposure: str) -> Term:
        """It is a move between own tiers that does this to exposure."""
        names = [tier.name for tier in self.policy.tiers]
        pairs = ((a, b) for a in names for b in names if self.policy.exposure(a, b) == exposure)
        moves = any_of(*[all_of(self.from_tier([a]), self.to_own([b])) for a, b in pairs])
        return all_of(self.world.plain, moves)

    def _chain_of(self, wallet: str) -> str:
        return self.policy.wallets[wallet].chain

    def _kind_terms(self) -> dict[str, Term]:
        tiers = sorted({wallet.tier for wallet in self.policy.wallets.values()})
        own, swept = (
            self.to_own(tiers),
            any_of(*[all_of(self.from_tier([t]), self.to_own([t])) for t in tiers]),
        )
        plain, typed = self.world.plain, self.world.typed_data
        return {
            TRANSFER: all_of(plain, not_(own)),
            SWEEP: all_of(plain, swept),
            TIER_MOVE: all_of(plain, own, not_(swept)),
            CALL: all_of(not_(plain), not_(typed)),
            TYPED_DATA: typed,
        }

    def _native(self, chain: str) -> Term:
        return all_of(self.world.chain.is_(chain), self.world.asset.is_(self.policy.chains[chain].native))

    def _fee_is_in(self, asset: str | None) -> Term:
        paid = (name for name, chain in self.policy.chains.items() if chain.native == asset)
        return self.world.chain.one_of(paid)


def _methods(policy: Policy) -> dict[str, str]:
    """By the key of a call, what the policy names it: the first method that reads it."""
    found: dict[str, str] = {}
    for contract in policy.contracts.values():
        for name, method in contract.methods.items():
            found.setdefault(
                call_key(contract.chain, contract.address, method=method), f"{contract.name}.{name}"
            )
    return found


def _in_turn(open_: Term, parts: Mapping[str, Term]) -> Iterator[tuple[str, Term]]:
    """When each part is the first that holds."""
    for name, part in parts.items():
        yield name, all_of(open_, part)
        open_ = all_of(open_, not_(part))


def _told(term: Term) -> Holds:
    return Holds(term, term)


def _known(known: Term, term: Term) -> Holds:
    return Holds(all_of(known, term), any_of(not_(known), term))
