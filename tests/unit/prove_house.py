"""Random policies and random transactions of theirs, and a formula's value for one of them."""

import dataclasses
from typing import Any

import z3
from hypothesis import strategies as st

from policy.decode.abi import Argument, parse_method
from policy.decode.typed_data import read_declaration
from policy.document import DAY_MS
from policy.evaluate import Outcome, _count_approvals, _met_ms
from policy.facts import exposure_of, kind_of
from policy.fields import Fields
from policy.limits import limit_scopes, used
from policy.model import (
    AMOUNT,
    COUNT,
    ROLES,
    SCOPES,
    VALUE,
    Allow,
    Approve,
    Asset,
    Chain,
    Contract,
    Deny,
    Forbid,
    Level,
    Limit,
    Policy,
    Prices,
    Requirement,
    Rule,
    Then,
    Tier,
    Wallet,
)
from policy.prove.formulas import Formulas
from policy.prove.world import NO_CALL, NOBODY, Names, World, call_key, limit_key, typed_data_key
from policy.rules import (
    CALL,
    DAYS,
    EXPOSURES,
    KINDS,
    TYPED_DATA,
    Among,
    ArgumentListed,
    ArgumentWithin,
    AtLeast,
    AtMost,
    During,
    Facts,
    FirstUse,
    Given,
    InGroup,
    Listed,
    Span,
    TierHeld,
    When,
    weekday_and_minute,
)
from policy.tier_bounds import held
from policy.values import replace

ADDRESSES = tuple(f"0x{number:040x}" for number in range(1, 5))
TIERS, WALLETS, INITIATORS = ("hot", "warm", "cold"), ("w1", "w2", "w3", "w4"), ("shop", "payroll", "nobody")
APPROVERS, PEOPLE, TEAMS = ("treasury", "risk"), ("alice", "bob", "carol", "shop"), ("apps", "staff")
SCREENINGS, LISTS, LIMITED = ("clear", "flagged", "odd"), ("l1", "l2"), ("eth", "usdc", "pol")
CHAINS = {"evm:1": Chain("eth", 4), "evm:137": Chain("pol", 6)}
ASSETS = {
    "eth": Asset("eth", "evm:1", None, 18, 0),
    "usdc": Asset("usdc", "evm:1", "0x" + "cd" * 20, 6, 0),
    "pol": Asset("pol", "evm:137", None, 18, 0),
}
SMALL = st.integers(0, 8)
DEPOSIT, LEND = (
    parse_method("deposit(uint256 amount,bool wait)"),
    parse_method("lend(address to,uint8 amount)"),
)
METHODS = ("vault.deposit", "vault.lend")
VAULT = Contract("vault", "evm:1", ADDRESSES[1], {"deposit": DEPOSIT, "lend": LEND})
ORDERS = ("order", "lend-order")
MEMBERS: dict[str, Any] = {
    "order": [
        {"name": "to", "type": "address"},
        {"name": "amount", "type": "uint8"},
        {"name": "of", "type": "Of"},
    ],
    "lend-order": [{"name": "amount", "type": "uint256"}, {"name": "signs", "type": "int8[2]"}],
}
DECLARED = {
    name: read_declaration(
        name,
        Fields(
            {
                "chain": "evm:1",
                "contract": ADDRESSES[2],
                "domain": {"name": "Market"},
                "primary_type": "Order",
                "types": {"Order": MEMBERS[name]}
                | ({"Of": [{"name": "mark", "type": "bytes4[]"}]} if name == "order" else {}),
            },
            name,
        ),
    )
    for name in ORDERS
}


def some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True).map(tuple)


def among(name: str, fact: str, names: tuple[str, ...]) -> st.SearchStrategy[Among]:
    return st.builds(Among, st.just(name), st.just(fact), some(names))


SPANS = st.builds(
    Span, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 700), st.integers(701, 1440)
)
CONDITIONS = st.one_of(
    among("initiators", "initiator", INITIATORS[:2]),
    among("kinds", "kind", KINDS),
    among("chains", "chain", tuple(CHAINS)),
    among("tiers", "tier", TIERS),
    among("wallets", "wallet", WALLETS[:3]),
    among("assets", "asset", tuple(ASSETS)),
    among("destination_tiers", "destination_tier", TIERS),
    among("screenings", "screening", SCREENINGS[:2]),
    among("exposure", "exposure", EXPOSURES),
    st.builds(InGroup, st.just("initiator_groups"), some(TEAMS)),
    st.builds(Listed, st.just("destinations"), some(LISTS), st.booleans()),
    st.builds(FirstUse, st.just("first_use"), st.booleans()),
    *(
        st.builds(kind, st.just(f"{fact}_bound"), st.just(fact), SMALL)
        for kind in (AtLeast, AtMost)
        for fact in ("amount", "total", "value", "risk")
    ),
    among("contracts", "contract", ("vault",)),
    among("methods", "method", METHODS),
    among("typed_data", "typed_data", ORDERS),
    st.builds(ArgumentWithin, st.just("arguments"), st.just("amount"), st.none() | SMALL, st.none() | SMALL),
    st.builds(ArgumentListed, st.just("arguments"), st.just("to"), some(LISTS)),
    st.builds(During, st.just("hours"), st.lists(SPANS, min_size=1, max_size=2).map(tuple)),
)
WHENS = st.lists(CONDITIONS, max_size=3).map(lambda found: When(tuple(found)))
DELAYS = st.sampled_from((0, 2, 5))
ALTERNATIVES = st.lists(
    st.lists(
        st.builds(Requirement, st.sampled_from(APPROVERS), st.integers(1, 2)),
        min_size=1,
        max_size=2,
        unique_by=lambda need: need.group,
    ).map(tuple),
    min_size=1,
    max_size=2,
).map(tuple)
THENS = st.one_of(st.builds(Allow, DELAYS), st.just(Deny()), st.builds(Approve, ALTERNATIVES, DELAYS))


@st.composite
def limits(draw: st.DrawFn, number: int) -> Limit:
    measure = draw(st.sampled_from((AMOUNT, COUNT, VALUE)))
    return Limit(
        name=f"limit-{number}",
        measure=measure,
        asset=draw(st.sampled_from(LIMITED)) if measure == AMOUNT else None,
        window_ms=draw(st.sampled_from((10, 20))),
        maximum=draw(st.integers(1, 6)),
        per=draw(st.lists(st.sampled_from(SCOPES), max_size=2, unique=True).map(tuple)),
        wallets=draw(st.none() | some(WALLETS[:3])),
        tiers=draw(st.none() | some(TIERS)),
        initiators=draw(st.none() | some(INITIATORS[:2])),
        assets=None if measure == AMOUNT else draw(st.none() | some(tuple(ASSETS))),
    )


LEVELS = st.builds(
    Level,
    st.none() | SMALL,
    st.dictionaries(st.sampled_from(("eth", "usdc")), SMALL, max_size=1),
)
SHARES = st.none() | st.sampled_from((0, 1000, 2500, 5000, 9000))


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Every tier, in some order, with bounds that small holdings meet."""
    names = draw(st.permutations(TIERS))
    return tuple(
        Tier(
            name,
            draw(st.sampled_from(ROLES)),
            minimum=draw(LEVELS),
            maximum=draw(LEVELS),
            share_min_bp=draw(SHARES),
            share_max_bp=draw(SHARES),
        )
        for name in names
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy of few parts, whose numbers are small enough to meet those of a transaction."""
    forbids, rules = (
        draw(st.lists(WHENS, max_size=2)),
        draw(st.lists(st.tuples(WHENS, THENS), max_size=5)),
    )
    chain_of = draw(st.lists(st.sampled_from(tuple(CHAINS)), min_size=3, max_size=3))
    return Policy(
        name="random",
        chains=CHAINS,
        assets=ASSETS,
        keys={},
        wallets={
            name: Wallet(name, draw(st.sampled_from(TIERS)), "k", chain, ())
            for name, chain in zip(WALLETS[:3], chain_of, strict=True)
        },
        lists={name: draw(st.frozensets(st.sampled_from(ADDRESSES[:3]), max_size=2)) for name in LISTS},
        labels={},
        books={},
        contracts=draw(st.sampled_from(({}, {"vault": VAULT}, {"vault": VAULT}))),
        typed_data=draw(st.sampled_from(({}, DECLARED))),
        prices=draw(st.sampled_from((None, Prices("usd", 2, 1000)))),
        forbids=tuple(Forbid(f"forbid-{number}", when) for number, when in enumerate(forbids)),
        rules=tuple(Rule(f"rule-{number}", when, then) for number, (when, then) in enumerate(rules)),
        limits=tuple(draw(limits(number)) for number in range(draw(st.integers(0, 2)))),
        cancel_fee_ceiling=0,
        tiers=draw(st.just(()) | tiers()),
        holdings_max_age_ms=1000,
    )


@st.composite
def tiered_policies(draw: st.DrawFn) -> Policy:
    """A policy in which nearly everything is up to the bounds of tiers."""
    asked: Then = Approve(((Requirement("treasury", 1),),))
    then: Then = draw(st.sampled_from((Allow(), Allow(), asked)))
    when = When(draw(st.sampled_from(((), (), (Among("exposure", "exposure", ("raises", "lowers")),)))))
    bounded = draw(tiers())
    if draw(st.booleans()):
        bounded = tuple(Tier(one.name, one.role, minimum=one.minimum) for one in bounded)
    wallets = zip(WALLETS, TIERS, strict=False)
    return dataclasses.replace(
        draw(policies()),
        prices=Prices("usd", 2, 1000),
        forbids=(),
        rules=(Rule("rule", when, then),),
        limits=(),
        tiers=bounded,
        wallets={name: Wallet(name, tier, "k", "evm:1", ()) for name, tier in wallets},
    )


ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Argument]]] = {
    METHODS[0]: st.fixed_dictionaries({"amount": SMALL, "wait": st.booleans()}),
    METHODS[1]: st.fixed_dictionaries({"to": st.sampled_from(ADDRESSES), "amount": SMALL}),
    ORDERS[0]: st.fixed_dictionaries({"to": st.sampled_from(ADDRESSES), "amount": SMALL}),
    ORDERS[1]: st.fixed_dictionaries({"amount": SMALL, "signs": st.just((0, 0))}),
}


def _held(low: int, more: int, known: bool, valued: bool, price: int) -> TierHeld:
    amounts = (low, low + more) if known else (None, None)
    values = (low * price, (low + more) * (price + 1)) if valued else (None, None)
    return TierHeld(*amounts, *values)


HELD = st.builds(_held, SMALL, SMALL, st.integers(0, 4).map(bool), st.integers(0, 4).map(bool), SMALL)


@st.composite
def transactions(draw: st.DrawFn, policy: Policy, *, moves: bool = False) -> tuple[Facts, str]:
    """Facts as the log would state them under ``policy``, and whose account the destination is.

    ``moves``: mostly to own accounts, at no more fee than is asked for, worth what can be told.
    """
    calling = draw(st.sampled_from((None, None, None, *METHODS))) if policy.contracts else None
    signing = draw(st.sampled_from((None, *ORDERS))) if policy.typed_data and not calling else None
    wallet = draw(st.sampled_from(tuple(policy.wallets)))
    chain = policy.wallets[wallet].chain if draw(st.integers(0, 9)) else draw(st.sampled_from(tuple(CHAINS)))
    chain = "evm:1" if calling or signing else chain
    asset = draw(st.sampled_from([name for name, one in ASSETS.items() if one.chain == chain] * 5 + ["eth"]))
    owner = draw(st.sampled_from((NOBODY, *policy.wallets, *(policy.wallets if moves else ()))))
    owned = owner in policy.wallets and policy.wallets[owner].chain == chain
    amount, fee_max = draw(st.integers(0 if calling else 1, 8)), draw(st.sampled_from((0, 0, 1, 2, 5)))
    if signing:
        amount = fee_max = 0
    fee_max = min(fee_max, 1) if moves else fee_max
    screening = draw(st.none() | st.sampled_from(SCREENINGS))
    tier, destination_tier = policy.wallets[wallet].tier, policy.wallets[owner].tier if owned else ""
    since_ms = draw(st.integers(0, 7 * DAY_MS))
    time_ms = since_ms + draw(st.integers(0, 8))
    given = st.builds(
        Given,
        st.sampled_from(PEOPLE),
        st.frozensets(st.sampled_from(APPROVERS), max_size=2),
        st.integers(since_ms, time_ms),
    )
    kind = CALL if calling else TYPED_DATA if signing else kind_of(tier, destination_tier)
    facts = Facts(
        initiator=draw(st.sampled_from(INITIATORS)),
        initiator_groups=draw(st.frozensets(st.sampled_from(TEAMS))),
        kind=kind,
        chain=chain,
        wallet=wallet,
        tier=tier,
        asset=asset,
        amount=amount,
        total=amount + fee_max if CHAINS[chain].native == asset else amount,
        value=None if not policy.prices else 0 if signing else draw(SMALL if moves else st.none() | SMALL),
        destination=_destination(calling, signing) or draw(st.sampled_from(ADDRESSES)),
        destination_tier=destination_tier,
        first_use=draw(st.booleans()),
        contract="vault" if calling else "",
        method=calling or "",
        typed_data=signing or "",
        arguments=draw(ARGUMENTS[calling or signing or ""]) if calling or signing else {},
        fee_ceiling=fee_max + draw(st.integers(0 if moves else -1, 9)) if fee_max else 0,
        fee_max=fee_max,
        screening=screening,
        risk=draw(SMALL) if screening else None,
        approvals=tuple(draw(st.lists(given, max_size=4))),
        initiator_people=draw(st.frozensets(st.sampled_from(PEOPLE), max_size=1)),
        usage={},
        since_ms=since_ms,
        time_ms=time_ms,
        exposure=exposure_of(policy, kind, tier=tier, destination_tier=destination_tier),
        held={one.name: draw(HELD) for one in policy.tiers},
    )
    if chain in policy.chains:
        scopes = limit_scopes(policy, facts)
        counted = {limit_key(scope.limit): draw(SMALL) for scope in scopes}
        usage = {(scope.limit.name, scope.scope_key): counted[limit_key(scope.limit)] for scope in scopes}
        facts = replace(facts, usage=usage)
    return facts, owner if owned else NOBODY


def _destination(calling: str | None, signing: str | None) -> str:
    if calling:
        return VAULT.address
    return DECLARED[signing].contract if signing else ""


class Values:
    """What the variables of a world are in one transaction, put into formulas in their place."""

    def __init__(self, formulas: Formulas, facts: Facts, *, owner: str) -> None:
        world = formulas.world
        day, minute = weekday_and_minute(facts.time_ms)
        self._pairs: list[tuple[Any, Any]] = []
        self._facts, self._formulas = facts, formulas
        for names, name in (
            (world.wallet, facts.wallet),
            (world.chain, facts.chain),
            (world.asset, facts.asset),
            (world.owner, owner),
            (world.day, DAYS[day]),
        ):
            self._name(names, name)
        for names, one in ((world.initiator, facts.initiator), (world.screening, facts.screening)):
            index = names.values.index(one) if one in names.values else len(names.values) - 1
            self._set(names.term, z3.BitVecVal(index, names.term.size()))
        self._name(world.address, self._alike(world.address, facts.destination))
        for name, term in world.groups.items():
            self._set(term, z3.BoolVal(name in facts.initiator_groups))
        for term, number in (
            (world.amount, facts.amount),
            (world.fee_max, facts.fee_max),
            (world.fee_ceiling, facts.fee_ceiling),
            (world.risk, facts.risk or 0),
            (world.minute, minute),
            (world.waited_ms, facts.time_ms - facts.since_ms),
        ):
            self._set(term, z3.IntVal(number))
        self._set_call(world)
        self._set(world.first_use, z3.BoolVal(facts.first_use))
        self._set(world.screened, z3.BoolVal(facts.screening is not None))
        for known, value in world.values().values():
            self._set(known, z3.BoolVal(facts.value is not None))
            self._set(value, z3.IntVal(facts.value or 0))
        self._set_usage(world)
        self._set_held(world)

    def true(self, term: Any) -> bool:
        """Whether a formula is true of the transaction."""
        found = z3.simplify(z3.substitute(term, *self._pairs))
        assert z3.is_true(found) or z3.is_false(found), found
        return bool(z3.is_true(found))

    def people(self, rule: str, then: Approve) -> None:
        """Let the approvals be just those that the rule needs or lacks, and as old as the evaluator says."""
        facts, world = self._facts, self._formulas.world
        enough = _count_approvals(facts, facts.approvals, rule=rule, then=then).outcome is Outcome.ALLOW
        for term in world.people.values():
            self._set(term, z3.IntVal(99 if enough else 0))
        met_ms = _met_ms(facts, rule, then) if enough and then.delay_ms else facts.time_ms
        self._set(world.given_ago_ms, z3.IntVal(facts.time_ms - met_ms))

    def nobody(self) -> None:
        """Let there be no approvals."""
        for term in self._formulas.world.people.values():
            self._set(term, z3.IntVal(0))
        self._set(self._formulas.world.given_ago_ms, z3.IntVal(0))

    def _set_usage(self, world: World) -> None:
        policy, facts = self._formulas.policy, self._facts
        found = {limit_key(limit): 0 for limit in policy.limits}
        for scope in limit_scopes(policy, facts) if facts.chain in policy.chains else ():
            found[limit_key(scope.limit)] = used(facts, scope.limit.name, key=scope.scope_key)
        for key, term in world.usage().items():
            self._set(term, z3.IntVal(found[key]))

    def _set_held(self, world: World) -> None:
        policy, facts = self._formulas.policy, self._facts
        for tier in policy.tiers:
            terms, there = world.held(policy, tier.name), held(facts, tier.name)
            self._set(terms.known, z3.BoolVal(there.low is not None))
            self._set(terms.valued, z3.BoolVal(there.value_low is not None))
            pairs = zip((terms.low, terms.high, terms.value_low, terms.value_high), there, strict=True)
            for term, number in pairs:
                self._set(term, z3.IntVal(number or 0))

    def _set_call(self, world: World) -> None:
        """The call or typed data, and its arguments; those of others are whatever is possible."""
        facts = self._facts
        method = self._formulas.policy.method_named(facts.method)
        made = call_key(facts.chain, facts.destination, method=method) if method else NO_CALL
        if facts.typed_data:
            made = typed_data_key(self._formulas.policy.typed_data[facts.typed_data])
        self._name(world.call, made)
        for (call, index), term in world.arguments.items():
            value = facts.arguments[world.calls[call].parameters[index][1]] if call == made else None
            if isinstance(term, Names):
                self._name(term, self._alike(term, str(value)) if value else term.values[0])
            elif term is not None:
                self._set(term, z3.IntVal(value or 0))

    def _alike(self, names: Names, address: str) -> str:
        """The representative that is on the same lists as the address, and the same contract."""
        lists = [frozenset({one.address}) for one in self._formulas.policy.contracts.values()]
        lists += [frozenset({one.contract}) for one in self._formulas.policy.typed_data.values()]
        lists += self._formulas.policy.lists.values()
        wanted = [address in listed for listed in lists]
        return next(one for one in names.values if [one in listed for listed in lists] == wanted)

    def _name(self, names: Names, name: str) -> None:
        self._set(names.term, z3.BitVecVal(names.values.index(name), names.term.size()))

    def _set(self, term: Any, value: Any) -> None:
        self._pairs = [(old, was) for old, was in self._pairs if not old.eq(term)] + [(term, value)]
