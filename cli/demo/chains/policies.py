"""The policy of a demo on several chains."""

from collections.abc import Sequence
from typing import Any

from cli.demo import policy as names
from cli.demo.chains import EVM
from cli.demo.chains.family import Family, Pocket
from policy.encoding import Json


def policy_of(families: Sequence[Family], token: str) -> dict[str, Json]:
    """On EVM the demo's own; on each other chain the wallets of the road, their rules and a limit."""
    document: dict[str, Any] = names.demo_policy(token) if EVM in families else names.base_policy()
    # What customers pay in goes to the hot wallet by itself: both are in one tier.
    sweeper: dict[str, Json] = {"initiators": [names.SWEEPER]}
    document["rules"].insert(0, _rule("sweep", {**sweeper, "kinds": ["sweep"], "tiers": [names.HOT]}, ALLOW))
    document["forbids"].append({"name": "sweeper-sweeps", "when": {**sweeper, "kinds": ["transfer", "call"]}})
    for family in families:
        if family is EVM:
            document["wallets"][family.deposits.wallet] = _wallet(family, family.deposits)
        else:
            _add(document, family)
    return document


ALLOW: Json = {"outcome": "allow"}


def _add(document: dict[str, Any], family: Family) -> None:
    """Everything that the policy says of one more chain."""
    amounts, asset = family.amounts, family.asset
    document["chains"][family.chain] = {"native": asset, "fee_ceiling": str(family.fee_ceiling)}
    document["assets"][asset] = {"kind": "native", "chain": family.chain, "decimals": family.decimals}
    document["keys"] |= {key: names.key_of(family.suite) for key in family.keys}
    document["wallets"] |= {one.wallet: _wallet(family, one) for one in family.pockets}
    document["lists"][names.CUSTOMERS].append(family.customer)
    hot: dict[str, Json] = {"tiers": [names.HOT], "assets": [asset]}
    document["rules"] += [
        _rule(f"{family.name}-small", {**hot, "amount_max": str(amounts.small)}, ALLOW),
        _rule(f"{family.name}-large", {**hot, "amount_max": str(amounts.large)}, names.approvals(1)),
    ]
    document["limits"].append(names.daily_limit(f"{family.name}-daily", asset=asset, most=amounts.daily_max))


def _rule(name: str, when: Json, then: Json) -> Json:
    return {"name": name, "when": when, "then": then}


def _wallet(family: Family, pocket: Pocket) -> Json:
    return {"tier": pocket.tier, "key": pocket.key, "chain": family.chain, "paths": list(pocket.paths)}
