"""A policy of any size to measure with, as a treasury of ten wallets may grow to."""

import copy
from typing import Any

from policy.encoding import Json

DAY_MS = 86_400_000
WALLETS, LISTS, GROUPS = 10, 8, 4
ETHER = 10**18
TIERS = ("hot", "warm", "cold")


def changed_document(rules: int) -> dict[str, Any]:
    """The sample policy with a bound, an outcome, a list and a limit changed."""
    document: dict[str, Any] = copy.deepcopy(sample_document(rules))
    document["rules"][rules // 2]["when"]["amount_max"] = str(1_000 * ETHER)
    document["rules"][-1]["then"] = {"outcome": "approve", "approvals": [{"group": "group-0", "count": 1}]}
    document["lists"]["list-1"].append("0x" + "ee" * 20)
    document["limits"][0]["amount_max"] = str(20_000 * ETHER)
    return document


def sample_document(rules: int) -> dict[str, Json]:
    """A policy of ``rules`` rules, as a treasury of ten wallets may grow to; each of them is reachable."""
    return {
        "version": 1,
        "name": "sample",
        "chains": {"evm:1": {"native": "eth", "fee_ceiling": str(ETHER)}},
        "assets": {
            "eth": {"chain": "evm:1", "kind": "native", "decimals": 18},
            "usdc": {"chain": "evm:1", "kind": "erc20", "contract": "0x" + "cd" * 20, "decimals": 6},
        },
        "keys": {"main": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": ["a", "b", "c"]}},
        "wallets": {f"wallet-{n}": _wallet(n) for n in range(WALLETS)},
        "lists": {f"list-{n}": [listed(n, m) for m in range(20)] for n in range(LISTS)},
        "prices": {"unit": "usd", "decimals": 2, "max_age_ms": 3_600_000},
        "forbids": [{"name": "blocked", "when": {"destinations": ["list-0"]}}],
        "rules": [_rule(n) for n in range(rules)],
        "limits": [
            _limit("eth-day", {"asset": "eth", "amount_max": str(10_000 * ETHER)}, ["wallet"]),
            _limit("payments-day", {"count_max": 5_000}, ["initiator"]),
            _limit("value-day", {"value_max": "10000000000"}, []),
        ],
        "cancel": {"fee_ceiling": str(ETHER)},
    }


def listed(number: int, member: int) -> str:
    return f"0x{number + 1:02x}{member:038x}"


def _wallet(number: int) -> dict[str, Json]:
    tier = TIERS[number % len(TIERS)]
    return {"tier": tier, "key": "main", "chain": "evm:1", "paths": [f"m/0/{number}"]}


def _rule(number: int) -> dict[str, Json]:
    """Rules for one wallet follow each other from small amounts to large ones."""
    wallet, step = number % WALLETS, number // WALLETS + 1
    when: dict[str, Json] = {
        "wallets": [f"wallet-{wallet}"],
        "assets": ["eth"],
        "amount_max": str(step * ETHER),
        "destinations": [f"list-{1 + step % (LISTS - 1)}"],
    }
    if step % 5 == 0:
        when["initiators"] = ["shop", "payroll"]
    if step % 7 == 0:
        when["value_max"] = str(step * 100_000)
    if step % 6 == 0:
        when["hours"] = [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}]
    return {"name": f"rule-{number}", "when": when, "then": _then(number, step)}


def _then(number: int, step: int) -> dict[str, Json]:
    if step <= 2:
        return {"outcome": "allow"}
    approvals: list[Json] = [{"group": f"group-{number % GROUPS}", "count": 1 + step % 3}]
    if step > 10:
        approvals.append({"group": f"group-{(number + 1) % GROUPS}", "count": 1})
    return {"outcome": "approve", "approvals": approvals, "delay_ms": 1_000 * step}


def _limit(name: str, maximum: dict[str, Json], per: list[Json]) -> dict[str, Json]:
    return {"name": name, "window_ms": DAY_MS, "per": per, **maximum}
