"""The policy document, version 1: what an organisation lets its wallets do, as data.

A document is read in two passes: every field by itself, then every reference between its parts. It
is refused whole, with the path of the first mistake. What is written here is closed: an unknown
field, a name that is defined nowhere, a rule that counts nothing, are errors and never ignored.
Names of initiators and groups are the roster's; whoever puts a policy in force compares
``initiators_named`` and ``groups_named`` with the roster in force there.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from policy.bip32 import parse_address, parse_path
from policy.encoding import Json, document_hash
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import CHAIN, EVM, family
from policy.suites import CHAIN_SUITES, SUITES, suite_named

CHAINS_MAX, ASSETS_MAX, KEYS_MAX, WALLETS_MAX, LISTS_MAX = 64, 256, 64, 1024, 64
PATHS_MAX, PARTICIPANTS_MAX, ADDRESSES_MAX = 4096, 9, 10_000
RULES_MAX, NAMES_MAX, APPROVALS_MAX, APPROVERS_MAX = 512, 256, 8, 16
WINDOW_MS_MAX = 366 * 24 * 3600 * 1000
SCOPES = ("wallet", "initiator", "destination")
RESERVED_NAMES = ("no-rule-matches", "fee-ceiling", "error")
_PATH = re.compile(r"m(?:/[0-9]+)*")


@dataclass(frozen=True, slots=True)
class Chain:
    """``native`` is the asset fees are paid in; ``fee_ceiling`` the most one transaction may cost."""

    native: str
    fee_ceiling: int


@dataclass(frozen=True, slots=True)
class Asset:
    """What can be transferred: ``contract`` is None for a chain's native asset."""

    name: str
    chain: str
    contract: str | None
    decimals: int

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
class When:
    """Conditions that must all hold; None is no condition. Amounts are inclusive bounds."""

    initiators: tuple[str, ...] | None
    tiers: tuple[str, ...] | None
    wallets: tuple[str, ...] | None
    assets: tuple[str, ...] | None
    destinations: tuple[str, ...] | None
    not_destinations: tuple[str, ...] | None
    amount_min: int | None
    amount_max: int | None


@dataclass(frozen=True, slots=True)
class Requirement:
    """``count`` different operators of ``group``."""

    group: str
    count: int


@dataclass(frozen=True, slots=True)
class Allow:
    """No approval is needed."""


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and no later rule is looked at."""


@dataclass(frozen=True, slots=True)
class Approve:
    """Yes, once every requirement is met by people of its own."""

    approvals: tuple[Requirement, ...]


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
    """At most ``amount_max`` of ``asset``, fees in it included, in any ``window_ms``.

    ``per`` keeps a separate count for each wallet, initiator or destination; ``wallets`` and
    ``initiators`` say to whom it applies, None is to all.
    """

    name: str
    asset: str
    window_ms: int
    amount_max: int
    per: tuple[str, ...]
    wallets: tuple[str, ...] | None
    initiators: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy whose every reference is defined. ``lists`` are sets of canonical addresses."""

    name: str
    chains: Mapping[str, Chain]
    assets: Mapping[str, Asset]
    keys: Mapping[str, Key]
    wallets: Mapping[str, Wallet]
    lists: Mapping[str, frozenset[str]]
    forbids: tuple[Forbid, ...]
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    cancel_fee_ceiling: int

    def cancel_ceiling(self, chain: str) -> int:
        """The most a cancellation may cost on a chain, in its smallest unit; 0 on one the policy has not.

        ``cancel_fee_ceiling`` is one number for all chains: what is a small fee in wei is all there is in
        satoshi. So the chain's own ceiling holds as well.
        """
        known = self.chains.get(chain)
        return min(self.cancel_fee_ceiling, known.fee_ceiling) if known else 0

    def asset_at(self, chain: str, contract: str | None) -> Asset | None:
        """The asset a decoded transaction moves, or None for one this policy does not know."""
        found = (
            asset for asset in self.assets.values() if (asset.chain, asset.contract) == (chain, contract)
        )
        return next(found, None)

    def groups_named(self) -> frozenset[str]:
        """Every approver group some rule needs; the roster must have them all."""
        approvals = (rule.then.approvals for rule in self.rules if isinstance(rule.then, Approve))
        return frozenset(requirement.group for needed in approvals for requirement in needed)

    def initiators_named(self) -> frozenset[str]:
        """Every initiator some condition or limit names; a name the roster lacks is a typing mistake."""
        named = [forbid.when.initiators for forbid in self.forbids]
        named += [rule.when.initiators for rule in self.rules]
        named += [limit.initiators for limit in self.limits]
        return frozenset(name for names in named for name in names or ())


def parse_policy(body: Json) -> Policy:
    """Read a policy document in its canonical form.

    Raises ``MalformedError`` with the path of the first mistake, as in
    ``rules[2].when.assets[0]: unknown asset 'etc'``.
    """
    fields = Fields(body, "")
    fields.integer("version", low=1, high=1)
    cancel = fields.nested("cancel")
    policy = Policy(
        name=fields.name("name"),
        chains=fields.table("chains", _read_chain, count_max=CHAINS_MAX, keys=CHAIN),
        assets=fields.table("assets", _read_asset, count_max=ASSETS_MAX),
        keys=fields.table("keys", _read_key, count_max=KEYS_MAX),
        wallets=fields.table("wallets", _read_wallet, count_max=WALLETS_MAX),
        lists=_read_lists(fields),
        forbids=fields.objects("forbids", _read_forbid, count_max=RULES_MAX),
        rules=fields.objects("rules", _read_rule, count_max=RULES_MAX),
        limits=fields.objects("limits", _read_limit, count_max=RULES_MAX),
        cancel_fee_ceiling=cancel.amount("fee_ceiling"),
    )
    cancel.done()
    fields.done()
    _check_definitions(policy)
    _check_conditions(policy)
    _check_limits(policy)
    return policy


def policy_hash(body: Json) -> bytes:
    """The 32-byte hash by which approvals and jobs name this exact document."""
    return document_hash("policy", body)


def normalise_document(body: Json) -> Json:
    """Lower-case the EVM addresses of a policy written by people, at an outer door only.

    A mixed-case one must carry a correct EIP-55 checksum; raises ``MalformedError`` with its
    path. Anything else that is wrong is left as it is, for ``parse_policy`` to refuse.
    """
    if not isinstance(body, dict):
        return body
    normal = dict(body)
    assets, lists = normal.get("assets"), normal.get("lists")
    if isinstance(assets, dict):
        normal["assets"] = {name: _normal_asset(f"assets.{name}", asset) for name, asset in assets.items()}
    if isinstance(lists, dict):
        normal["lists"] = {name: _normal_list(f"lists.{name}", items) for name, items in lists.items()}
    return normal


def _normal_asset(path: str, asset: Json) -> Json:
    if not isinstance(asset, dict) or "contract" not in asset:
        return asset
    return {**asset, "contract": _normal_address(f"{path}.contract", asset["contract"])}


def _normal_list(path: str, items: Json) -> Json:
    if not isinstance(items, list):
        return items
    return [_normal_address(f"{path}[{index}]", item) for index, item in enumerate(items)]


def _normal_address(path: str, text: Json) -> Json:
    if not isinstance(text, str) or not text.startswith("0x"):
        return text
    with _at(path):
        return parse_address(text)


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Put ``path`` before the message of an error raised inside."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{path}: {error}") from error


# The first pass: each part by itself.


def _read_chain(chain: str, fields: Fields) -> Chain:
    family(chain)
    return Chain(fields.name("native"), fields.amount("fee_ceiling"))


def _read_asset(name: str, fields: Fields) -> Asset:
    chain = fields.chain("chain")
    kinds = ("native", "erc20") if family(chain) == EVM else ("native",)
    kind = fields.choice("kind", *kinds)
    return Asset(
        name=name,
        chain=chain,
        contract=fields.address("contract", chain=chain) if kind == "erc20" else None,
        decimals=fields.integer("decimals", high=77),
    )


def _read_key(name: str, fields: Fields) -> Key:
    participants = fields.names("participants", count_min=2, count_max=PARTICIPANTS_MAX)
    return Key(
        name=name,
        suite=fields.choice("suite", *SUITES),
        imported=fields.boolean("imported") if fields.has("imported") else False,
        min_signers=fields.integer("min_signers", low=2, high=len(participants)),
        participants=participants,
    )


def _read_wallet(name: str, fields: Fields) -> Wallet:
    where = fields.path("paths")
    paths = fields.words("paths", _PATH, expected="an unhardened path such as 'm/0/0'", count_max=PATHS_MAX)
    for index, path in enumerate(paths):
        with _at(f"{where}[{index}]"):
            parse_path(path)
    return Wallet(name, fields.name("tier"), fields.name("key"), fields.chain("chain"), paths)


def _read_lists(fields: Fields) -> dict[str, frozenset[str]]:
    entries = fields.mapping("lists", count_max=LISTS_MAX)
    lists = Fields(entries, "lists")
    return {name: frozenset(lists.addresses(name, count_max=ADDRESSES_MAX)) for name in sorted(entries)}


def _read_forbid(fields: Fields) -> Forbid:
    return Forbid(fields.name("name"), _read_when(fields))


def _read_rule(fields: Fields) -> Rule:
    return Rule(fields.name("name"), _read_when(fields), _read_then(fields.nested("then")))


def _read_when(outer: Fields) -> When:
    fields = outer.nested("when")
    when = When(
        initiators=_optional_names(fields, "initiators"),
        tiers=_optional_names(fields, "tiers"),
        wallets=_optional_names(fields, "wallets"),
        assets=_optional_names(fields, "assets"),
        destinations=_optional_names(fields, "destinations"),
        not_destinations=_optional_names(fields, "not_destinations"),
        amount_min=fields.amount("amount_min") if fields.has("amount_min") else None,
        amount_max=fields.amount("amount_max") if fields.has("amount_max") else None,
    )
    fields.done()
    return when


def _read_then(fields: Fields) -> Then:
    then: Then
    match fields.choice("outcome", "allow", "deny", "approve"):
        case "allow":
            then = Allow()
        case "deny":
            then = Deny()
        case _:
            then = Approve(_read_approvals(fields))
    fields.done()
    return then


def _read_approvals(fields: Fields) -> tuple[Requirement, ...]:
    path = fields.path("approvals")
    approvals = fields.objects("approvals", _read_requirement, count_max=APPROVALS_MAX)
    if not approvals:
        raise MalformedError(f"{path}: an approval by nobody is no approval; name a group and a count")
    _check_distinct((f"{path}[{i}]", item.group) for i, item in enumerate(approvals))
    return approvals


def _read_requirement(fields: Fields) -> Requirement:
    return Requirement(fields.name("group"), fields.integer("count", low=1, high=APPROVERS_MAX))


def _read_limit(fields: Fields) -> Limit:
    path = fields.path("per")
    per = fields.names("per", count_max=len(SCOPES))
    _check_known(path, per, SCOPES, "scope")
    return Limit(
        name=fields.name("name"),
        asset=fields.name("asset"),
        window_ms=fields.integer("window_ms", low=1, high=WINDOW_MS_MAX),
        amount_max=fields.amount("amount_max", low=1),
        per=tuple(scope for scope in SCOPES if scope in per),
        wallets=_optional_names(fields, "wallets"),
        initiators=_optional_names(fields, "initiators"),
    )


def _optional_names(fields: Fields, name: str) -> tuple[str, ...] | None:
    """A condition on names; an empty list would match nothing and is refused."""
    return fields.names(name, count_min=1, count_max=NAMES_MAX) if fields.has(name) else None


# The second pass: references between parts.


def _check_definitions(policy: Policy) -> None:
    for name, chain in policy.chains.items():
        _check_known(f"chains.{name}.native", chain.native, policy.assets, "asset")
        native = policy.assets[chain.native]
        if not native.native or native.chain != name:
            raise MalformedError(f"chains.{name}.native: {chain.native!r} is not the native asset of {name}")
    for name, asset in policy.assets.items():
        _check_known(f"assets.{name}.chain", asset.chain, policy.chains, "chain")
        if asset.native and policy.chains[asset.chain].native != name:
            raise MalformedError(f"assets.{name}: {asset.chain} already has a native asset")
    for name, wallet in policy.wallets.items():
        _check_known(f"wallets.{name}.key", wallet.key, policy.keys, "key")
        _check_known(f"wallets.{name}.chain", wallet.chain, policy.chains, "chain")
        _check_wallet_key(f"wallets.{name}", wallet, policy.keys[wallet.key])
    tokens = ((f"assets.{a.name}", f"{a.chain} {a.contract}") for a in policy.assets.values() if a.contract)
    _check_distinct(tokens)
    # An account under two wallets would let whoever asks choose the laxer rules. What is signed for Solana
    # or Bitcoin does not name the network, so there an account is one on all networks.
    _check_distinct(
        (f"wallets.{w.name}.paths[{i}]", f"{_replay_domain(w.chain)} {w.key} {path}")
        for w in policy.wallets.values()
        for i, path in enumerate(w.paths)
    )


def _check_wallet_key(path: str, wallet: Wallet, key: Key) -> None:
    needed = CHAIN_SUITES[family(wallet.chain)]
    if key.suite != needed:
        raise MalformedError(f"{path}.key: {wallet.chain} needs a key of {needed}, not {key.suite}")
    if not suite_named(needed).derivable:
        if wallet.paths != ("m",):
            raise MalformedError(f"{path}.paths: a key of {needed} is one account: its only path is 'm'")
    elif "m" in wallet.paths:
        raise MalformedError(
            f"{path}.paths[{wallet.paths.index('m')}]: 'm' is the key itself: give a path such as 'm/0/0'"
        )


def _replay_domain(chain: str) -> str:
    return chain if family(chain) == EVM else family(chain)


def _check_conditions(policy: Policy) -> None:
    tiers = {wallet.tier for wallet in policy.wallets.values()}
    named = [(f"forbids[{i}]", forbid.name, forbid.when) for i, forbid in enumerate(policy.forbids)]
    named += [(f"rules[{i}]", rule.name, rule.when) for i, rule in enumerate(policy.rules)]
    for path, _, when in named:
        _check_known(f"{path}.when.tiers", when.tiers, tiers, "tier")
        _check_known(f"{path}.when.wallets", when.wallets, policy.wallets, "wallet")
        _check_known(f"{path}.when.assets", when.assets, policy.assets, "asset")
        _check_known(f"{path}.when.destinations", when.destinations, policy.lists, "list")
        _check_known(f"{path}.when.not_destinations", when.not_destinations, policy.lists, "list")
        _check_amounts(f"{path}.when", when)
    names = [(f"{path}.name", name) for path, name, _ in named]
    names += [(f"limits[{i}].name", limit.name) for i, limit in enumerate(policy.limits)]
    _check_distinct(names)
    for path, name in names:
        if name in RESERVED_NAMES:
            raise MalformedError(f"{path}: {name!r} is a verdict's own word, choose another name")


def _check_amounts(path: str, when: When) -> None:
    if when.amount_min is None and when.amount_max is None:
        return
    if when.assets is None or len(when.assets) != 1:
        count = 0 if when.assets is None else len(when.assets)
        raise MalformedError(
            f"{path}: an amount needs its unit: name exactly one asset in 'assets', there are {count}"
        )
    if when.amount_min is not None and when.amount_max is not None and when.amount_min > when.amount_max:
        raise MalformedError(f"{path}: no amount is from {when.amount_min} to {when.amount_max}")


def _check_limits(policy: Policy) -> None:
    for index, limit in enumerate(policy.limits):
        path = f"limits[{index}]"
        _check_known(f"{path}.asset", limit.asset, policy.assets, "asset")
        _check_known(f"{path}.wallets", limit.wallets, policy.wallets, "wallet")
        chain = policy.assets[limit.asset].chain
        for i, name in enumerate(limit.wallets or ()):
            if policy.wallets[name].chain != chain:
                raise MalformedError(
                    f"{path}.wallets[{i}]: {name!r} is not on {chain}, where {limit.asset} is"
                )


def _check_known(path: str, names: str | tuple[str, ...] | None, defined: Collection[str], kind: str) -> None:
    if isinstance(names, str):
        if names not in defined:
            raise MalformedError(f"{path}: unknown {kind} {names!r}")
        return
    for index, name in enumerate(names or ()):
        _check_known(f"{path}[{index}]", name, defined, kind)


def _check_distinct(items: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> None:
    seen: dict[str, str] = {}
    for path, item in items:
        if item in seen:
            raise MalformedError(f"{path}: {item!r} is already at {seen[item]}")
        seen[item] = path
