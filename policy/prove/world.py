"""Every transaction that the log could put before a policy, as variables of a solver.

A name is one of those that the policies mention, or one that they do not; an address is one representative of
all that stand on the same lists, or one on no list. Numbers have no bound but that of the documents. People
are of one group each: who is in several can fill no place that one of each could not, so nothing is missed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import z3

from policy.addresses import EVM_ADDRESS, is_address, segwit_address, solana_address
from policy.decode.abi import Method
from policy.decode.typed_data import Declaration
from policy.document import DAY_MS, RISK_MAX
from policy.encoding import tagged_hash
from policy.errors import CallerError
from policy.ids import AMOUNT_MAX, EVM, SOLANA, family
from policy.keccak import keccak256
from policy.model import Limit, Policy, Prices
from policy.prove.terms import Number, Term, all_of, any_of, not_, sum_of
from policy.rules import DAY_MINUTES, DAYS, Among, Condition, InGroup, When

NOBODY = NO_CALL = ""
PEOPLE_MAX = 128
WAITED_MS_MAX = 366 * DAY_MS
LimitKey: TypeAlias = tuple[object, ...]
TierKey: TypeAlias = tuple[object, ...]


class Names:
    """A fact that is one of finitely many names."""

    def __init__(self, fact: str, values: Iterable[str]) -> None:
        self.values = tuple(dict.fromkeys(values))
        self._index = {value: index for index, value in enumerate(self.values)}
        self.term = z3.BitVec(fact, max(1, (len(self.values) - 1).bit_length()))
        self._equal: dict[str, Term] = {}

    @property
    def bounds(self) -> Term:
        """It is one of them."""
        return z3.ULE(self.term, len(self.values) - 1)

    def one_of(self, names: Iterable[str]) -> Term:
        """It is one of ``names``; those it can never be do not count."""
        return any_of(*[self._is(name) for name in names if name in self._index])

    def is_(self, name: str | None) -> Term:
        """It is ``name``, which None never is."""
        return self.one_of(() if name is None else (name,))

    def found(self, model: z3.ModelRef) -> str:
        """What it is in a solver's model."""
        index: int = model.eval(self.term, model_completion=True).as_long()
        return self.values[index]

    def _is(self, name: str) -> Term:
        if name not in self._equal:
            self._equal[name] = self.term == self._index[name]
        return self._equal[name]


class HeldTerms(NamedTuple):
    """What a tier holds, as ``TierHeld``: known or not, of the asset at hand and in value."""

    known: Term
    low: Number
    high: Number
    valued: Term
    value_low: Number
    value_high: Number


class World:
    """The variables of one transaction under some policies; ``more`` are conditions that also name things."""

    def __init__(self, policies: Sequence[Policy], more: Collection[When] = ()) -> None:
        self.policies = tuple(policies)
        whens = [*more, *(when for policy in policies for when in policy.whens())]
        limits = [limit for policy in policies for limit in policy.limits]
        initiators = {name for limit in limits for name in limit.initiators or ()}
        initiators |= _named(whens, "initiator")
        screenings = _named(whens, "screening")
        groups = {name for one in _conditions(whens) if isinstance(one, InGroup) for name in one.groups}
        wallets = {name for policy in policies for name in policy.wallets}
        chains = sorted({name for policy in policies for name in policy.chains})

        self.wallet = Names("wallet", sorted(wallets))
        self.chain = Names("chain", chains)
        self.asset = Names("asset", sorted({name for policy in policies for name in policy.assets}))
        self.initiator = Names("initiator", [*sorted(initiators), unused("anybody", initiators)])
        self.groups = {name: z3.Bool(f"in {name}") for name in sorted(groups)}
        self.owner = Names("owner", [NOBODY, *sorted(wallets)])
        self.address, self._valid = _addresses(policies, chains)
        self.calls: dict[str, Method | Declaration] = {**_calls(policies), **_typed_data(policies)}
        self.call = Names("call", [NO_CALL, *self.calls])
        self.typed_data = self.call.one_of(
            k for k, made in self.calls.items() if isinstance(made, Declaration)
        )
        self.arguments = {
            (call, index): self._argument(call, index, kind)
            for call, method in self.calls.items()
            for index, (kind, _) in enumerate(method.parameters)
        }
        self.first_use = z3.Bool("first_use")
        self.amount, self.fee_max, self.fee_ceiling = z3.Ints("amount fee_max fee_ceiling")
        self.screened = z3.Bool("screened")
        self.screening = Names("screening", [*sorted(screenings), unused("clear", screenings)])
        self.risk = z3.Int("risk")
        self.people = {
            name: z3.Int(f"people of {name}")
            for name in sorted({name for policy in policies for name in policy.groups_named()})
        }
        self.waited_ms, self.given_ago_ms, self.minute = z3.Ints("waited_ms given_ago_ms minute")
        self.day = Names("day", DAYS)
        self._values = {
            policy.prices: (z3.Bool(f"worth {policy.prices}"), z3.Int(f"value {policy.prices}"))
            for policy in policies
            if policy.prices is not None
        }
        self._usage = {limit_key(limit): z3.Int(f"used {limit_key(limit)}") for limit in limits}
        self._limits = {limit_key(limit): limit for limit in limits}
        self.plain = self.call.is_(NO_CALL)
        self._held = {
            tier_key(policy, tier.name): _held_terms(str(tier_key(policy, tier.name)))
            for policy in policies
            for tier in policy.tiers
        }

    def _argument(self, call: str, index: int, kind: str) -> Names | Number | None:
        """An argument that conditions can be about: an address, or a number from 0."""
        name = f"argument {index} of {call}"
        if kind == "address":
            return Names(name, [one for one in self.address.values if EVM_ADDRESS.fullmatch(one)])
        return z3.Int(name) if kind.startswith("uint") and "[" not in kind else None

    def value(self, prices: Prices | None) -> tuple[Term, Number]:
        """Whether it is known what the transaction is worth by these prices, and what."""
        return (z3.BoolVal(False), z3.IntVal(0)) if prices is None else self._values[prices]

    def used(self, limit: Limit) -> Number:
        """What others use of a limit: the same for limits that count the same."""
        return self._usage[limit_key(limit)]

    def held(self, policy: Policy, tier: str) -> HeldTerms:
        """What a tier holds: the same for tiers of the same wallets, known in the same way."""
        return self._held[tier_key(policy, tier)]

    def holdings(self) -> Mapping[TierKey, HeldTerms]:
        """What tiers hold, by what they are."""
        return self._held

    def values(self) -> Mapping[Prices, tuple[Term, Number]]:
        """Whether what the transaction is worth is known, and what, by the policies' prices."""
        return self._values

    def usage(self) -> Mapping[LimitKey, Number]:
        """What others use, by what a limit counts."""
        return self._usage

    def wishes(self) -> list[Term]:
        """What a plain transaction is like, the most wanted first."""
        return [
            all_of(*[used == 0 for used in self._usage.values()]),
            all_of(self.fee_max == 0, self.fee_ceiling == 0),
            self.call.is_(NO_CALL),
            self.owner.is_(NOBODY),
            not_(self.first_use),
            not_(any_of(*self.groups.values())),
            sum_of(*self.people.values()) == 0,
            self.given_ago_ms == 0,
            self.waited_ms == 0,
            all_of(*[all_of(one.known, one.valued) for one in self._held.values()]),
        ]

    def constraints(self) -> list[Term]:
        """What holds of every transaction."""
        named = (
            self.wallet,
            self.chain,
            self.asset,
            self.initiator,
            self.owner,
            self.address,
            self.call,
            self.day,
        )
        found = [one.bounds for one in (*named, self.screening)]
        found += [
            z3.Implies(self.chain.is_(chain), self.address.one_of(v)) for chain, v in self._valid.items()
        ]
        found += [_between(0, self.amount, AMOUNT_MAX), _between(0, self.risk, RISK_MAX)]
        found += [any_of(self.amount >= 1, not_(self.call.is_(NO_CALL))), *self._call_constraints()]
        found += [_between(0, fee, AMOUNT_MAX) for fee in (self.fee_max, self.fee_ceiling)]
        found += [_between(0, people, PEOPLE_MAX) for people in self.people.values()]
        found += [_between(0, self.minute, DAY_MINUTES - 1), _between(0, self.given_ago_ms, self.waited_ms)]
        found += [self.waited_ms <= WAITED_MS_MAX]
        found += [number >= 0 for number in (*self._usage.values(), *(v for _, v in self._values.values()))]
        for held in self._held.values():
            found += [_between(0, held.low, held.high), _between(0, held.value_low, held.value_high)]
        return found + self._coverings()

    def _call_constraints(self) -> Iterator[Term]:
        """A call goes to its contract, with arguments of their types; typed data does, and moves nothing."""
        for call, made in self.calls.items():
            chain, address, _ = call.split(" ")
            there = all_of(self.chain.is_(chain), self.address.is_(address))
            if isinstance(made, Declaration):
                worth = [all_of(known, value == 0) for known, value in self._values.values()]
                there = all_of(there, self.amount == 0, self.fee_max == 0, self.fee_ceiling == 0, *worth)
            yield any_of(not_(self.call.is_(call)), there)
        for (call, index), term in self.arguments.items():
            if isinstance(term, Names):
                yield term.bounds
            elif term is not None:
                bits = int(self.calls[call].parameters[index][0].removeprefix("uint"))
                yield _between(0, term, 2**bits - 1)

    def _coverings(self) -> list[Term]:
        """A limit that counts whatever another counts, as long and in wider scopes, has no less in it."""
        found: list[Term] = []
        kinds: dict[tuple[str, str | None], list[tuple[LimitKey, Limit]]] = {}
        for key, limit in self._limits.items():
            kinds.setdefault((limit.measure, limit.asset), []).append((key, limit))
        for same in kinds.values():
            for wide, wider in same:
                for narrow, narrower in same:
                    if wide != narrow and _covers(wider, narrower):
                        found.append(self._usage[wide] >= self._usage[narrow])
        return found


def call_key(chain: str, address: str, *, method: Method) -> str:
    """A call whatever a policy calls it: where it goes, and the selector."""
    return f"{chain} {address} {method.selector.hex()}"


def typed_data_key(declaration: Declaration) -> str:
    """Typed data whatever a policy calls it: where its signature counts, and what EIP-712 hashes for it."""
    kind = keccak256(declaration.domain_separator + declaration.encoded_type.encode())
    return f"{declaration.chain} {declaration.contract} {kind.hex()}"


def limit_key(limit: Limit) -> LimitKey:
    """What a limit counts: everything of it but its name and its maximum."""
    return (
        *(limit.measure, limit.asset, limit.window_ms, limit.per),
        *(limit.wallets, limit.tiers, limit.initiators, limit.assets),
    )


def tier_key(policy: Policy, tier: str) -> TierKey:
    """What is summed for a tier, and how it is known."""
    wallets = tuple(sorted(name for name, wallet in policy.wallets.items() if wallet.tier == tier))
    return tier, wallets, policy.holdings_max_age_ms, policy.prices


def _held_terms(name: str) -> HeldTerms:
    low, high, value_low, value_high = (
        z3.Int(f"{what} of {name}") for what in ("low", "high", "value low", "value high")
    )
    known, valued = z3.Bool(f"known of {name}"), z3.Bool(f"valued of {name}")
    return HeldTerms(known, low, high, valued, value_low, value_high)


def unused(name: str, taken: Collection[str]) -> str:
    """``name``, or one like it that nobody has."""
    while name in taken:
        name += "-other"
    return name


def _named(whens: Iterable[When], fact: str) -> set[str]:
    among = (one for one in _conditions(whens) if isinstance(one, Among) and one.fact == fact)
    return {name for one in among for name in one.allowed}


def _conditions(whens: Iterable[When]) -> Iterator[Condition]:
    return (condition for when in whens for condition in when.conditions)


def _between(low: int, term: Number, high: int | Number) -> Term:
    return all_of(low <= term, term <= high)


def _covers(wider: Limit, narrower: Limit) -> bool:
    """Whether whatever counts into one place of ``narrower`` counts into one place of ``wider``."""
    filters = (
        (wider.wallets, narrower.wallets),
        (wider.tiers, narrower.tiers),
        (wider.initiators, narrower.initiators),
        (wider.assets, narrower.assets),
    )
    return (
        set(wider.per) <= set(narrower.per)
        and wider.window_ms >= narrower.window_ms
        and all(wide is None or (narrow and set(narrow) <= set(wide)) for wide, narrow in filters)
    )


def _calls(policies: Sequence[Policy]) -> dict[str, Method]:
    """Every method that some policy knows, by its key."""
    return {
        call_key(contract.chain, contract.address, method=method): method
        for policy in policies
        for contract in policy.contracts.values()
        for method in contract.methods.values()
    }


def _typed_data(policies: Sequence[Policy]) -> dict[str, Declaration]:
    """Every kind of typed data that some policy declares, by its key."""
    return {typed_data_key(one): one for policy in policies for one in policy.typed_data.values()}


def _addresses(policies: Sequence[Policy], chains: Sequence[str]) -> tuple[Names, Mapping[str, list[str]]]:
    """Each contract, one address for each set of lists that some are on, and on each chain one on no list."""
    on: dict[str, list[tuple[int, str]]] = {}
    for number, policy in enumerate(policies):
        for name, addresses in policy.lists.items():
            for address in addresses:
                on.setdefault(address, []).append((number, name))
    contracts = {contract.address for policy in policies for contract in policy.contracts.values()}
    contracts |= {one.contract for policy in policies for one in policy.typed_data.values()}
    alike: dict[tuple[object, ...], str] = {}
    for address in sorted({*on, *contracts}):
        valid = tuple(chain for chain in chains if is_address(chain, address))
        if valid:
            own = address if address in contracts else ""
            alike.setdefault((tuple(on.get(address, ())), valid, own), address)
    found = [*alike.values(), *dict.fromkeys(unlisted_address(chain, {*on, *contracts}) for chain in chains)]
    return Names("address", found), {c: [one for one in found if is_address(c, one)] for c in chains}


def unlisted_address(chain: str, listed: Collection[str]) -> str:
    """An address of ``chain`` that is not ``listed``."""
    for number in range(len(listed) + 1):
        seed = tagged_hash("unlisted address", number.to_bytes(8, "big"))
        if family(chain) == EVM:
            address = "0x" + seed[:20].hex()
        elif family(chain) == SOLANA:
            address = solana_address(seed)
        else:
            address = segwit_address(chain, 1, program=seed)
        if address not in listed:
            return address
    raise CallerError("more addresses are listed than there are")
