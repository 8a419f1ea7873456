"""Policies of any size to measure with, and what verdicts, proofs and comparisons of them cost here."""

import copy
import functools
import gc
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from immutables import Map

from cli.policies.bench_start import start_s
from cli.results import Document, Result
from policy.counting import usage_without
from policy.document import parse_policy
from policy.encoding import Json, tagged_hash
from policy.evaluate import Facts, Given, evaluate
from policy.limits import limit_scopes
from policy.model import Policy
from policy.prove.differences import compare
from policy.prove.invariants import parse_invariants
from policy.prove.proofs import prove
from policy.state import State
from policy.windows import Counted, Window

RULES = (10, 100, 300)
PROOF_RULES = 300
ENTRIES = 1_000
START_ENTRIES_QUICK = 50
SECONDS = 1.0
DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + DAY_MS // 2
WALLETS, LISTS, GROUPS = 10, 8, 4
ETHER = 10**18
TIERS = ("hot", "warm", "cold")


def run(arguments: Namespace) -> Result:
    """``bench policy``: all figures in processor time of one core."""
    seconds, proof_rules = (0.0, RULES[0]) if arguments.quick else (SECONDS, PROOF_RULES)
    document: Document = {
        "verdicts_per_s": {str(n): round(verdicts_per_s(n, seconds)) for n in RULES},
        "prove_s": round(prove_s(proof_rules), 3),
        "diff_s": round(diff_s(proof_rules), 3),
        "start_s": start_s(START_ENTRIES_QUICK if arguments.quick else arguments.entries),
    }
    verdicts = ", ".join(f"{n} rules: {rate}" for n, rate in document["verdicts_per_s"].items())
    return Result(
        document,
        (
            f"verdicts a second, {ENTRIES} payments in the windows: {verdicts}",
            f"one invariant of {proof_rules} rules: {document['prove_s']} s",
            f"what two policies of {proof_rules} rules differ in: {document['diff_s']} s",
            f"a node's start on a long log: {document['start_s']} s",
        ),
    )


def verdicts_per_s(rules: int, seconds: float = SECONDS) -> float:
    """Verdicts a second of processor time, with ``ENTRIES`` payments in the windows of the limits."""
    policy = parse_policy(sample_document(rules))
    facts = sample_facts(policy, rules)
    done, start = 0, time.process_time()
    while done < len(facts) or time.process_time() - start < seconds:
        for one in facts:
            evaluate(policy, one)
        done += len(facts)
    return done / (time.process_time() - start)


def prove_s(rules: int) -> float:
    """Seconds of processor time for one invariant, the formulas and the search for idle rules included."""
    body = sample_document(rules)
    return _timed(lambda: prove(parse_policy(body), parse_invariants(SAMPLE_INVARIANTS, parse_policy(body))))


def diff_s(rules: int) -> float:
    """Seconds of processor time to tell two policies apart that differ in a rule, a list and a limit."""
    old, new = sample_document(rules), changed_document(rules)
    return _timed(lambda: compare(parse_policy(old), parse_policy(new)))


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


SAMPLE_INVARIANTS: Json = {
    "version": 1,
    "invariants": [
        {
            "name": "above-two-somebody-agrees",
            "when": {"assets": ["eth"], "amount_min": str(2 * ETHER + 1)},
            "must": {"approvals_min": 1},
        }
    ],
}


def sample_facts(policy: Policy, rules: int) -> list[Facts]:
    """Payments that different rules decide, and some that none does, with approvals."""
    steps = max(1, rules // WALLETS)
    payments = [(wallet, step) for wallet in range(WALLETS) for step in {1, steps // 2 + 1, steps + 1}]
    return [_with_usage(policy, _payment(wallet, step)) for wallet, step in payments]


def _payment(wallet: int, step: int) -> Facts:
    amount = step * ETHER
    approvals = tuple(
        Given(f"person-{n}", frozenset({f"group-{n % GROUPS}"}), NOW_MS - DAY_MS // 4) for n in range(4)
    )
    return Facts(
        initiator="shop",
        initiator_groups=frozenset({"backends"}),
        kind="transfer",
        chain="evm:1",
        wallet=f"wallet-{wallet}",
        tier=TIERS[wallet % len(TIERS)],
        asset="eth",
        amount=amount,
        total=amount + 10**15,
        value=step * 1_000,
        destination=_listed(1 + step % (LISTS - 1), 3),
        destination_tier="",
        first_use=False,
        contract="",
        method="",
        arguments={},
        fee_ceiling=10**15,
        fee_max=10**15,
        screening="clear",
        risk=1,
        approvals=approvals,
        initiator_people=frozenset({"alice"}),
        usage={},
        since_ms=NOW_MS - DAY_MS // 2,
        time_ms=NOW_MS,
    )


def _with_usage(policy: Policy, facts: Facts) -> Facts:
    """The facts with ``ENTRIES`` others' payments in every window that the payment counts into."""
    places = [(scope.limit.name, scope.scope_key) for scope in limit_scopes(policy, facts)]
    state = State(policy_or_none=policy, time_ms=NOW_MS, windows=Map(dict.fromkeys(places, _full_window())))
    return replace(facts, usage=usage_without(state, bytes(32), time_ms=NOW_MS))


@functools.cache
def _full_window() -> Window:
    window = Window()
    for number in range(ENTRIES):
        request = tagged_hash("sample", number.to_bytes(4, "big"))
        window = window.with_request(request, Counted(1, NOW_MS - DAY_MS // 2 + number))
    return window


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
        "lists": {f"list-{n}": [_listed(n, m) for m in range(20)] for n in range(LISTS)},
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


def _listed(number: int, member: int) -> str:
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
