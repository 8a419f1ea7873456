"""The second pass over a policy: every reference between its parts is to something that is there."""

from collections.abc import Collection, Iterable

from policy.decode.abi import Method
from policy.decode.typed_data import Declaration
from policy.errors import MalformedError
from policy.ids import EVM, family
from policy.model import AMOUNT, TIER_VERDICTS, VALUE, Key, Limit, Policy, Wallet
from policy.rules import ArgumentListed, ArgumentWithin, AtLeast, AtMost, When
from policy.suites import CHAIN_SUITES, suite_named
from policy.tier_document import check_tiers

RESERVED_NAMES = ("no-rule-matches", "fee-ceiling", "error", *TIER_VERDICTS)


def check_references(policy: Policy) -> None:
    """Refuse what names no part, or means nothing. Raises ``MalformedError`` with its path."""
    _check_definitions(policy)
    _check_conditions(policy)
    for index, limit in enumerate(policy.limits):
        _check_limit(policy, f"limits[{index}]", limit)
    check_tiers(policy)


def known(path: str, names: str | tuple[str, ...] | None, *, defined: Collection[str], kind: str) -> None:
    """Refuse a name that is not among ``defined``."""
    if isinstance(names, str):
        if names not in defined:
            raise MalformedError(f"{path}: unknown {kind} {names!r}")
        return
    for index, name in enumerate(names or ()):
        known(f"{path}[{index}]", name, defined=defined, kind=kind)


def distinct(items: Iterable[tuple[str, str]]) -> None:
    """Refuse what stands at two paths."""
    seen: dict[str, str] = {}
    for path, item in items:
        if item in seen:
            raise MalformedError(f"{path}: {item!r} is already at {seen[item]}")
        seen[item] = path


def _check_definitions(policy: Policy) -> None:
    for name, chain in policy.chains.items():
        known(f"chains.{name}.native", chain.native, defined=policy.assets, kind="asset")
        native = policy.assets[chain.native]
        if not native.native or native.chain != name:
            raise MalformedError(f"chains.{name}.native: {chain.native!r} is not the native asset of {name}")
    for name, asset in policy.assets.items():
        known(f"assets.{name}.chain", asset.chain, defined=policy.chains, kind="chain")
        if asset.native and policy.chains[asset.chain].native != name:
            raise MalformedError(f"assets.{name}: {asset.chain} already has a native asset")
    for name, wallet in policy.wallets.items():
        known(f"wallets.{name}.key", wallet.key, defined=policy.keys, kind="key")
        known(f"wallets.{name}.chain", wallet.chain, defined=policy.chains, kind="chain")
        _check_wallet_key(f"wallets.{name}", wallet, policy.keys[wallet.key])
    distinct((f"assets.{a.name}", f"{a.chain} {a.contract}") for a in policy.assets.values() if a.contract)
    for name, contract in policy.contracts.items():
        known(f"contracts.{name}.chain", contract.chain, defined=policy.chains, kind="chain")
    distinct((f"contracts.{c.name}", f"{c.chain} {c.address}") for c in policy.contracts.values())
    for name, one in policy.typed_data.items():
        known(f"typed_data.{name}.chain", one.chain, defined=policy.chains, kind="chain")
    distinct(
        (f"typed_data.{one.name}", f"{one.encoded_type} for {one.domain_separator.hex()}")
        for one in policy.typed_data.values()
    )
    # An account under two wallets would let whoever asks choose the laxer rules. What is signed for Solana
    # or Bitcoin does not name the network, so there an account is one on all networks.
    distinct(
        (f"wallets.{w.name}.paths[{i}]", f"{_replay_domain(w.chain)} {w.key} {path}")
        for w in policy.wallets.values()
        for i, path in enumerate(w.paths)
    )


def _check_wallet_key(path: str, wallet: Wallet, key: Key) -> None:
    needed = CHAIN_SUITES[family(wallet.chain)]
    if key.suite not in needed:
        wanted = " or ".join(needed)
        raise MalformedError(f"{path}.key: {wallet.chain} needs a key of {wanted}, not {key.suite}")
    if not suite_named(key.suite).derivable:
        if wallet.paths != ("m",):
            raise MalformedError(f"{path}.paths: a key of {key.suite} is one account: its only path is 'm'")
    elif "m" in wallet.paths:
        raise MalformedError(
            f"{path}.paths[{wallet.paths.index('m')}]: 'm' is the key itself: give a path such as 'm/0/0'"
        )


def _replay_domain(chain: str) -> str:
    return chain if family(chain) == EVM else family(chain)


def _check_conditions(policy: Policy) -> None:
    named = [(f"forbids[{i}]", forbid.name, forbid.when) for i, forbid in enumerate(policy.forbids)]
    named += [(f"rules[{i}]", rule.name, rule.when) for i, rule in enumerate(policy.rules)]
    for path, _, when in named:
        check_when(policy, f"{path}.when", when=when)
    names = [(f"{path}.name", name) for path, name, _ in named]
    names += [(f"limits[{i}].name", limit.name) for i, limit in enumerate(policy.limits)]
    distinct(names)
    for path, name in names:
        if name in RESERVED_NAMES:
            raise MalformedError(f"{path}: {name!r} is a verdict's own word, choose another name")


def check_when(policy: Policy, path: str, *, when: When) -> None:
    """Refuse conditions that name no part, or whose amounts have no unit."""
    tiers = _tiers(policy)
    methods = {f"{one.name}.{name}" for one in policy.contracts.values() for name in one.methods}
    defined: dict[str, tuple[Collection[str], str]] = {
        "tiers": (tiers, "tier"),
        "destination_tiers": (tiers, "tier"),
        "wallets": (policy.wallets, "wallet"),
        "assets": (policy.assets, "asset"),
        "chains": (policy.chains, "chain"),
        "contracts": (policy.contracts, "contract"),
        "methods": (methods, "method"),
        "typed_data": (policy.typed_data, "typed data"),
        "destinations": (policy.lists, "list"),
        "not_destinations": (policy.lists, "list"),
    }
    for name, (parts, kind) in defined.items():
        known(f"{path}.{name}", when.names(name), defined=parts, kind=kind)
    if when.names("exposure") and not policy.tiers:
        raise MalformedError(f"{path}.exposure: declare under 'tiers' which tier is hotter than which")
    _check_arguments(policy, path, when)
    _check_amounts(policy, path, when)


def _check_arguments(policy: Policy, path: str, when: When) -> None:
    """An argument is one of all that is named, of a type that the condition can be about."""
    typed_data = when.names("typed_data") or ()
    if typed_data and (when.names("methods") or when.names("contracts")):
        raise MalformedError(f"{path}.typed_data: a call is no typed data: write a rule for each")
    named: dict[str, Method | Declaration | None] = {name: policy.typed_data[name] for name in typed_data}
    named |= {name: policy.method_named(name) for name in when.names("methods") or ()}
    for condition in when.conditions:
        if not isinstance(condition, ArgumentWithin | ArgumentListed):
            continue
        if not named:
            raise MalformedError(
                f"{path}.arguments: say under 'methods' or 'typed_data' whose arguments they are"
            )
        wanted = "uint" if isinstance(condition, ArgumentWithin) else "address"
        for name, found in named.items():
            kind = found.type_of(condition.argument) if found else None
            if kind is None or not kind.startswith(wanted) or "[" in kind:
                raise MalformedError(
                    f"{path}.arguments: {name} has no {wanted} called {condition.argument!r}"
                )
        if isinstance(condition, ArgumentListed):
            known(f"{path}.arguments", condition.lists, defined=policy.lists, kind="list")


def _tiers(policy: Policy) -> frozenset[str]:
    declared = frozenset(tier.name for tier in policy.tiers)
    return declared or frozenset(wallet.tier for wallet in policy.wallets.values())


def _check_amounts(policy: Policy, path: str, when: When) -> None:
    bounds = {c.name: c.bound for c in when.conditions if isinstance(c, AtLeast | AtMost)}
    assets = when.names("assets") or ()
    if any(name.startswith(("amount_", "total_")) for name in bounds) and len(assets) != 1:
        raise MalformedError(
            f"{path}: an amount needs its unit: name exactly one asset in 'assets', there are {len(assets)}"
        )
    if any(name.startswith("total_") for name in bounds) and not policy.assets[assets[0]].native:
        raise MalformedError(f"{path}: the fee of {assets[0]!r} is paid in another asset: bound the 'amount'")
    if any(name.startswith("value_") for name in bounds) and policy.prices is None:
        raise MalformedError(f"{path}: a value needs its unit: say under 'prices' what it is worth in")
    for name in ("amount", "total", "value", "risk"):
        low, high = bounds.get(f"{name}_min"), bounds.get(f"{name}_max")
        if low is not None and high is not None and low > high:
            raise MalformedError(f"{path}: no {name} is from {low} to {high}")


def _check_limit(policy: Policy, path: str, limit: Limit) -> None:
    known(f"{path}.asset", limit.asset, defined=policy.assets, kind="asset")
    known(f"{path}.assets", limit.assets, defined=policy.assets, kind="asset")
    known(f"{path}.wallets", limit.wallets, defined=policy.wallets, kind="wallet")
    known(f"{path}.tiers", limit.tiers, defined=_tiers(policy), kind="tier")
    if limit.measure == VALUE and policy.prices is None:
        raise MalformedError(f"{path}: a value needs its unit: say under 'prices' what it is worth in")
    if limit.measure == AMOUNT and limit.assets is not None:
        raise MalformedError(f"{path}.assets: an amount is of one 'asset'")
    if limit.asset is None:
        return
    chain = policy.assets[limit.asset].chain
    for i, name in enumerate(limit.wallets or ()):
        if policy.wallets[name].chain != chain:
            raise MalformedError(f"{path}.wallets[{i}]: {name!r} is not on {chain}, where {limit.asset} is")
