"""From a solver's model to one concrete transaction, and the evaluator's own word on it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import z3

from policy.decode.abi import Argument, encode_call
from policy.decode.abi_values import plainest
from policy.decode.typed_data import Declaration
from policy.encoding import Json
from policy.errors import InvariantError
from policy.evaluate import Outcome, Verdict, evaluate
from policy.explain import inputs
from policy.facts import called, declared, exposure_of, kind_asked
from policy.intent import Intent
from policy.limits import limit_scopes
from policy.model import Policy, Prices
from policy.prove.formulas import Formulas
from policy.prove.terms import Term
from policy.prove.world import NO_CALL, LimitKey, Names, TierKey, World, limit_key, tier_key, unused
from policy.rules import DAY_MINUTES, DAYS, EPOCH_DAY, MINUTE_MS, Facts, Given, TierHeld
from policy.values import replace

WEEK_MS = len(DAYS) * DAY_MINUTES * MINUTE_MS
SOME_WEEK = 2869
STEPS_MAX = 50_000_000
"""Of z3's own count, which is the same on every machine: beyond it a question is left open."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was found: facts without what a policy makes of them, and what others use of each limit."""

    facts: Facts
    calldata: bytes | None
    typed_data: bytes | None
    owner: str
    values: tuple[tuple[Prices, int | None], ...]
    used: tuple[tuple[LimitKey, int], ...]
    held: tuple[tuple[TierKey, TierHeld], ...] = ()

    def under(self, policy: Policy) -> Facts:
        """The facts as the log would put them before ``policy``."""
        facts, wallet = self.facts, policy.wallets.get(self.facts.wallet)
        tier = wallet.tier if wallet else ""
        owner = policy.wallets.get(self.owner)
        destination_tier = owner.tier if owner and owner.chain == facts.chain else ""
        chain = policy.chains.get(facts.chain)
        native = chain is not None and chain.native == facts.asset
        asked = (facts.chain, facts.wallet, facts.asset, facts.amount, facts.destination)
        intent = Intent(*asked, calldata=self.calldata, typed_data=self.typed_data)
        contract, method, arguments = called(policy, intent)
        typed_data, fields = declared(policy, intent)
        kind = kind_asked(intent, tier=tier, destination_tier=destination_tier)
        facts = replace(
            facts,
            tier=tier,
            destination_tier=destination_tier,
            kind=kind,
            exposure=exposure_of(policy, kind, tier=tier, destination_tier=destination_tier),
            contract=contract,
            method=method,
            typed_data=typed_data,
            arguments={**arguments, **fields},
            total=facts.amount + facts.fee_max if native else facts.amount,
            value=dict(self.values).get(policy.prices) if policy.prices else None,
        )
        return replace(facts, usage=self._usage(policy, facts), held=self._tiers(policy))

    def judged(self, policy: Policy) -> Verdict:
        """What the evaluator says of it."""
        return evaluate(policy, self.under(policy))

    def to_json(self, policy: Policy) -> dict[str, Json]:
        """The facts under ``policy``, and the limits that others have used."""
        facts = self.under(policy)
        usage = self._usage(policy, facts)
        used: dict[str, Json] = {f"{limit} {key}".strip(): str(n) for (limit, key), n in usage.items() if n}
        held: dict[str, Json] = {
            tier: {name: str(number) for name, number in one._asdict().items() if number is not None}
            for tier, one in self._tiers(policy).items()
        }
        return {**inputs(facts), "used": used, **({"held": held} if held else {})}

    def _tiers(self, policy: Policy) -> dict[str, TierHeld]:
        known = dict(self.held)
        return {tier.name: known[tier_key(policy, tier.name)] for tier in policy.tiers}

    def _usage(self, policy: Policy, facts: Facts) -> dict[tuple[str, str], int]:
        if facts.chain not in policy.chains:
            return {}
        known = dict(self.used)
        scopes = limit_scopes(policy, facts)
        return {(scope.limit.name, scope.scope_key): known[limit_key(scope.limit)] for scope in scopes}


class Search:
    """Asks for transactions of a world that meet some terms, the plainest that there are."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._solver = z3.Solver()
        self._solver.set("rlimit", STEPS_MAX)
        self._solver.set(
            "arith.solver", 2
        )  # z3's older one: quicker here, where most is names, little numbers
        self._solver.add(*world.constraints())
        self._literals: dict[int, tuple[Term, Term]] = {}
        self._wishes = [self.literal(wish) for wish in world.wishes()]

    def find(self, *terms: Term) -> Transaction | None:
        """One that meets every term; None when there is none. Raises ``Undecided``."""
        literals = [self.literal(term) for term in terms]
        return transaction_of(self._world, self._plainest(literals)) if self._possible(*literals) else None

    def exists(self, *terms: Term) -> bool:
        """Whether there is one. Raises ``Undecided``."""
        return self._possible(*[self.literal(term) for term in terms])

    def which(self, terms: Mapping[str, Term]) -> set[str]:
        """The names whose term some transaction meets. Raises ``Undecided``."""
        literals = {name: self.literal(term) for name, term in terms.items()}
        return {name for name, literal in literals.items() if self._possible(literal)}

    def literal(self, term: Term) -> Term:
        """A variable that is true exactly where ``term`` is: what is asked often is translated once."""
        if term.get_id() not in self._literals:
            literal = z3.Bool(f"literal {len(self._literals)}")
            self._solver.add(literal == term)
            self._literals[term.get_id()] = term, literal
        return self._literals[term.get_id()][1]

    def _possible(self, *literals: Term) -> bool:
        answer = self._solver.check(*literals)
        if answer == z3.unknown:
            raise Undecided(f"the solver gave up: {self._solver.reason_unknown()}")
        return bool(answer == z3.sat)

    def _plainest(self, literals: list[Term]) -> z3.ModelRef:
        """A model with as little in it that does not matter as can be had quickly."""
        model = self._solver.model()
        for wish in self._wishes:
            if z3.is_true(model.eval(wish, model_completion=True)):
                literals = [*literals, wish]
            elif self._solver.check(*literals, wish) == z3.sat:
                model, literals = self._solver.model(), [*literals, wish]
        return model


class Undecided(Exception):
    """The solver neither found a transaction nor showed that there is none."""


def transaction_of(world: World, model: z3.ModelRef) -> Transaction:
    """The transaction that a model describes."""

    def number(term: z3.ArithRef) -> int:
        return int(model.eval(term, model_completion=True).as_long())

    def true(term: Term) -> bool:
        return bool(z3.is_true(model.eval(term, model_completion=True)))

    day = (DAYS.index(world.day.found(model)) - EPOCH_DAY) % len(DAYS)
    minute = day * DAY_MINUTES + number(world.minute)
    time_ms = SOME_WEEK * WEEK_MS + minute * MINUTE_MS
    given_ms = time_ms - number(world.given_ago_ms)
    initiator = world.initiator.found(model)
    amount, fee_max = number(world.amount), number(world.fee_max)
    screened = true(world.screened)
    facts = Facts(
        initiator=initiator,
        initiator_groups=frozenset(name for name, term in world.groups.items() if true(term)),
        kind="",
        chain=world.chain.found(model),
        wallet=world.wallet.found(model),
        tier="",
        asset=world.asset.found(model),
        amount=amount,
        total=amount,
        value=None,
        destination=world.address.found(model),
        destination_tier="",
        first_use=true(world.first_use),
        contract="",
        method="",
        typed_data="",
        arguments={},
        fee_ceiling=number(world.fee_ceiling),
        fee_max=fee_max,
        screening=world.screening.found(model) if screened else None,
        risk=number(world.risk) if screened else None,
        approvals=_people({name: number(term) for name, term in world.people.items()}, given_ms, initiator),
        initiator_people=frozenset(),
        usage={},
        since_ms=time_ms - number(world.waited_ms),
        time_ms=time_ms,
    )
    values = ((p, number(v) if true(known) else None) for p, (known, v) in world.values().items())
    used = tuple((key, number(term)) for key, term in world.usage().items())
    calldata, typed_data = _asked(world, model)
    owner = world.owner.found(model)
    return Transaction(facts, calldata, typed_data, owner, tuple(values), used, tuple(_held(world, model)))


def _held(world: World, model: z3.ModelRef) -> Iterator[tuple[TierKey, TierHeld]]:
    """What each tier holds."""
    for key, terms in world.holdings().items():
        found: list[int | None] = []
        for known, pair in (
            (terms.known, (terms.low, terms.high)),
            (terms.valued, (terms.value_low, terms.value_high)),
        ):
            told = z3.is_true(model.eval(known, model_completion=True))
            numbers = (int(model.eval(one, model_completion=True).as_long()) for one in pair)
            found += numbers if told else (None, None)
        yield key, TierHeld(*found)


def _asked(world: World, model: z3.ModelRef) -> tuple[bytes | None, bytes | None]:
    """The calldata of a call, or the document of typed data."""
    call = world.call.found(model)
    if call == NO_CALL:
        return None, None
    made, arguments = world.calls[call], _arguments(world, model, call)
    if isinstance(made, Declaration):
        return None, made.example(arguments)
    return encode_call(made, arguments), None


def _arguments(world: World, model: z3.ModelRef, call: str) -> dict[str, Argument]:
    arguments: dict[str, Argument] = {}
    for index, (kind, name) in enumerate(world.calls[call].parameters):
        term = world.arguments[call, index]
        if isinstance(term, Names):
            arguments[name] = term.found(model)
        elif term is not None:
            arguments[name] = int(model.eval(term, model_completion=True).as_long())
        else:
            arguments[name] = plainest(kind)
    return arguments


def confirmed(transaction: Transaction, formulas: Formulas, *, outcome: Outcome) -> Verdict:
    """The evaluator's verdict on what was found. Raises ``InvariantError`` when it is not ``outcome``."""
    verdict = transaction.judged(formulas.policy)
    if verdict.outcome is not outcome:
        raise InvariantError(
            f"the solver's model and the evaluator disagree: the one expects {outcome.name}, the other says "
            f"{verdict.outcome.name} by {verdict.rule!r} of {transaction.to_json(formulas.policy)}; "
            "this is a mistake of the program: trust no proof of it"
        )
    return verdict


def _people(counts: dict[str, int], given_ms: int, initiator: str) -> tuple[Given, ...]:
    names: Iterable[tuple[str, str]] = (
        (unused(f"{group}-{number + 1}", (initiator,)), group)
        for group, count in counts.items()
        for number in range(count)
    )
    return tuple(Given(name, frozenset({group}), given_ms) for name, group in names)
