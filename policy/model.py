"""The parts of a policy, as data: chains, assets, keys, wallets, rules, limits."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from policy.decode.abi import Method
from policy.decode.typed_data import Declaration
from policy.rules import LOWERS, RAISES, SAME, When

AMOUNT, COUNT, VALUE = MEASURES = ("amount", "count", "value")
SCOPES = ("wallet", "tier", "initiator", "asset", "destination")
HOT, WARM, COLD = ROLES = ("hot", "warm", "cold")
"""What signs for a tier: the policy alone; people as well; people after a delay, by machines off line."""
WHOLE_BP = 10_000
TIER_MAXIMUM, TIER_MINIMUM, TIER_SHARE = TIER_VERDICTS = ("tier-maximum", "tier-minimum", "tier-share")


@dataclass(frozen=True, slots=True)
class Chain:
    """``native`` is the asset fees are paid in; ``fee_ceiling`` the most one transaction may cost."""

    native: str
    fee_ceiling: int


@dataclass(frozen=True, slots=True)
class Asset:
    """What can be transferred: ``contract`` is None for a chain's native asset.

    A payment from outside of less than ``deposit_min`` is no deposit of its own.
    """

    name: str
    chain: str
    contract: str | None
    decimals: int
    deposit_min: int

    @property
    def native(self) -> bool:
        """Whether this is what the chain's fees are paid in."""
        return self.contract is None


@dataclass(frozen=True, slots=True)
class Key:
    """A key shared among ``participants``, any ``min_signers`` of whom can sign.

    ``imported``: it existed before as a whole, and is to be taken in that way only.
    """

    name: str
    suite: str
    imported: bool
    min_signers: int
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wallet:
    """Accounts of one key on one chain, all under the same rules."""

    name: str
    tier: str
    key: str
    chain: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """How a list changes one address at a time: signed by so many administrators, after a cool-down."""

    quorum: int
    cool_down_ms: int


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that may be called, by the methods that may be called of it, each under its own name."""

    name: str
    chain: str
    address: str
    methods: Mapping[str, Method]


@dataclass(frozen=True, slots=True)
class Prices:
    """What amounts are worth: in ``unit``, of ``decimals`` places, by prices at most ``max_age_ms`` old."""

    unit: str
    decimals: int
    max_age_ms: int

    @property
    def scale(self) -> str:
        """What one unit of a value is, as in ``usd/8``."""
        return f"{self.unit}/{self.decimals}"


@dataclass(frozen=True, slots=True)
class Level:
    """So much of a tier's holdings: in the policy's unit of value, of single assets, or both; or nothing."""

    value: int | None = None
    amounts: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.value is not None or bool(self.amounts)


@dataclass(frozen=True, slots=True)
class Tier:
    """Wallets that stand for one another in how exposed they are; ``role`` says how strict their rules are.

    No transaction that is signed takes the tier above ``maximum``, or its share of all holdings out of what
    is from ``share_min_bp`` to ``share_max_bp`` (basis points). Moves that nobody approves leave ``minimum``.
    A rebalancer keeps it from ``target_min`` to ``target_max``; to the nodes these say nothing.
    """

    name: str
    role: str
    minimum: Level = Level()
    target_min: Level = Level()
    target_max: Level = Level()
    maximum: Level = Level()
    share_min_bp: int | None = None
    share_max_bp: int | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    """``count`` different operators of ``group``."""

    group: str
    count: int


@dataclass(frozen=True, slots=True)
class Allow:
    """No approval is needed; ``delay_ms`` after the log took in the request it may be paid."""

    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and no later rule is looked at."""


@dataclass(frozen=True, slots=True)
class Approve:
    """Yes, ``delay_ms`` after every requirement of one alternative is met, by people of its own."""

    alternatives: tuple[tuple[Requirement, ...], ...]
    delay_ms: int = 0


Then: TypeAlias = Allow | Deny | Approve


@dataclass(frozen=True, slots=True)
class Forbid:
    """What no rule and no approval can allow."""

    name: str
    when: When


@dataclass(frozen=True, slots=True)
class Rule:
    """The first rule whose conditions hold decides."""

    name: str
    when: When
    then: Then


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``maximum`` in any ``window_ms``, by one measure.

    ``amount``: of ``asset``, fees in it included; ``count``: of payments; ``value``: what they and their fees
    are worth in the policy's unit. ``per`` keeps a separate count for each wallet, tier, initiator, asset or
    destination; ``wallets``, ``tiers``, ``initiators`` and ``assets`` say to what it applies, None is to all.
    """

    name: str
    measure: str
    asset: str | None
    window_ms: int
    maximum: int
    per: tuple[str, ...]
    wallets: tuple[str, ...] | None
    tiers: tuple[str, ...] | None
    initiators: tuple[str, ...] | None
    assets: tuple[str, ...] | None


@dataclass(frozen=True)
class Policy:
    """A policy whose every reference is defined.

    ``lists`` are sets of canonical addresses; ``books`` are those of them that change address by address.
    ``tiers`` are in order from the hottest to the coldest, none at all if the policy does not declare them;
    what wallets hold is known by statements at most ``holdings_max_age_ms`` old.
    What is looked up for each entry of a log is worked out once for a policy, which never changes.
    """

    name: str
    chains: Mapping[str, Chain]
    assets: Mapping[str, Asset]
    keys: Mapping[str, Key]
    wallets: Mapping[str, Wallet]
    lists: Mapping[str, frozenset[str]]
    labels: Mapping[str, str]
    books: Mapping[str, Book]
    contracts: Mapping[str, Contract]
    typed_data: Mapping[str, Declaration]
    prices: Prices | None
    forbids: tuple[Forbid, ...]
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    cancel_fee_ceiling: int
    tiers: tuple[Tier, ...] = ()
    holdings_max_age_ms: int = 0

    def tier_rank(self, name: str) -> int | None:
        """The place of a declared tier, 0 being the hottest."""
        return next((rank for rank, tier in enumerate(self.tiers) if tier.name == name), None)

    def exposure(self, tier: str, destination_tier: str) -> str:
        """What a move between two own tiers does; empty unless both are declared."""
        source, destination = self.tier_rank(tier), self.tier_rank(destination_tier)
        if source is None or destination is None:
            return ""
        return SAME if source == destination else RAISES if destination < source else LOWERS

    def rules_for(self, wallet: str) -> tuple[Rule, ...]:
        """The rules in their order, without those that hold for other wallets only. One of the policy's."""
        found = self._rules_for.get(wallet)
        if found is None:
            found = tuple(rule for rule in self.rules if not rule.when.excludes("wallet", wallet))
            self._rules_for[wallet] = found
        return found

    @functools.cached_property
    def _rules_for(self) -> dict[str, tuple[Rule, ...]]:
        return {}

    @functools.cached_property
    def windows_ms(self) -> Mapping[str, int]:
        """The window of each limit."""
        return {limit.name: limit.window_ms for limit in self.limits}

    @functools.cached_property
    def _assets_at(self) -> Mapping[tuple[str, str | None], Asset]:
        return {(asset.chain, asset.contract): asset for asset in reversed(tuple(self.assets.values()))}

    def cancel_ceiling(self, chain: str) -> int:
        """The most a cancellation may cost on a chain, in its smallest unit; 0 on one the policy has not.

        ``cancel_fee_ceiling`` is one number for all chains: what is a small fee in wei is all there is in
        satoshi. So the chain's own ceiling holds as well.
        """
        known = self.chains.get(chain)
        return min(self.cancel_fee_ceiling, known.fee_ceiling) if known else 0

    def asset_at(self, chain: str, contract: str | None) -> Asset | None:
        """The asset a decoded transaction moves, or None for one this policy does not know."""
        return self._assets_at.get((chain, contract))

    def contract_at(self, chain: str, address: str) -> Contract | None:
        """The contract at an address, or None for one this policy does not know."""
        found = (one for one in self.contracts.values() if (one.chain, one.address) == (chain, address))
        return next(found, None)

    def method_named(self, name: str) -> Method | None:
        """The method ``contract.method``, or None."""
        contract, _, method = name.rpartition(".")
        return self.contracts[contract].methods.get(method) if contract in self.contracts else None

    def rule_named(self, name: str) -> Rule | None:
        """The rule of that name, if there is one."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def delay_ms(self, rule: str) -> int:
        """How long a payment waits after what the rule of that name needs is there; 0 if there is none."""
        found = self.rule_named(rule)
        return found.then.delay_ms if found and not isinstance(found.then, Deny) else 0

    def delay_ms_max(self) -> int:
        """The longest delay of any rule."""
        return max((self.delay_ms(rule.name) for rule in self.rules), default=0)

    def groups_named(self) -> frozenset[str]:
        """Every approver group some rule needs; the roster must have them all."""
        return frozenset(need.group for rule in self.rules for need in requirements(rule.then))

    def initiators_named(self) -> frozenset[str]:
        """Every initiator some condition or limit names; a name the roster lacks is a typing mistake."""
        named = [when.names("initiators") for when in self.whens()]
        named += [limit.initiators for limit in self.limits]
        return frozenset(name for names in named for name in names or ())

    def initiator_groups_named(self) -> frozenset[str]:
        """Every group of initiators some condition names."""
        named = (when.names("initiator_groups") for when in self.whens())
        return frozenset(name for names in named for name in names or ())

    def whens(self) -> list[When]:
        """The conditions of every forbid and every rule."""
        return [forbid.when for forbid in self.forbids] + [rule.when for rule in self.rules]


def requirements(then: Then) -> tuple[Requirement, ...]:
    """Every requirement of any alternative of an outcome."""
    return tuple(need for needs in then.alternatives for need in needs) if isinstance(then, Approve) else ()
