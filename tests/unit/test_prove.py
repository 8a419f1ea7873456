"""Proofs: what holds is proved, what does not is shown by a transaction that the evaluator allows."""

from typing import Any, cast

import pytest

from policy.addresses import solana_address
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import InvariantError, MalformedError
from policy.evaluate import Outcome
from policy.model import Policy
from policy.prove.formulas import Formulas
from policy.prove.invariants import UNREACHABLE, parse_invariants
from policy.prove.mutants import score
from policy.prove.proofs import Answer, Finding, prove
from policy.prove.transactions import Search, confirmed
from policy.prove.world import World
from tests.unit.typed_data_house import PERMITS, TYPED_DATA

DAY_MS, ETHER, TOKEN = 86_400_000, 10**18, "0x" + "cd" * 20
CUSTOMER = "0x" + "ab" * 20
COLD_RULE: dict[str, Any] = {
    "name": "cold",
    "when": {"tiers": ["cold"], "destinations": ["whitelist"]},
    "then": {
        "outcome": "approve",
        "approvals": [{"group": "treasury", "count": 1}, {"group": "board", "count": 1}],
        "delay_ms": DAY_MS,
    },
}
SMALL_RULE: dict[str, Any] = {
    "name": "small",
    "when": {"tiers": ["hot"], "assets": ["eth"], "amount_max": str(100 * ETHER)},
    "then": {"outcome": "allow"},
}
LARGE_RULE: dict[str, Any] = {
    "name": "large",
    "when": {"tiers": ["hot"]},
    "then": {
        "outcome": "approve",
        "any_of": [
            {"approvals": [{"group": "treasury", "count": 2}, {"group": "board", "count": 1}]},
            {"approvals": [{"group": "treasury", "count": 1}, {"group": "board", "count": 1}]},
        ],
    },
}
DAILY = {
    "name": "daily",
    "asset": "eth",
    "window_ms": DAY_MS,
    "amount_max": str(500 * ETHER),
    "per": ["wallet"],
}
WHITELIST: dict[str, Any] = {
    "name": "cold-pays-the-whitelist",
    "when": {"tiers": ["cold"], "not_destinations": ["whitelist"]},
    "must": {"never": True},
}
TWO_GROUPS: dict[str, Any] = {
    "name": "above-100-eth-two-groups",
    "when": {"assets": ["eth"], "amount_min": str(100 * ETHER + 1)},
    "must": {"approvals_min": 2, "different_groups": True},
}


def policy_of(*rules: dict[str, Any], **more: object) -> Policy:
    document: dict[str, Any] = {
        "version": 1,
        "name": "treasury",
        "chains": {"evm:1": {"native": "eth", "fee_ceiling": "1000"}},
        "assets": {
            "eth": {"chain": "evm:1", "kind": "native", "decimals": 18},
            "usdc": {"chain": "evm:1", "kind": "erc20", "contract": TOKEN, "decimals": 6},
        },
        "keys": {"main": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": ["a", "b", "c"]}},
        "wallets": {
            "hot": {"tier": "hot", "key": "main", "chain": "evm:1", "paths": ["m/0/0"]},
            "cold": {"tier": "cold", "key": "main", "chain": "evm:1", "paths": ["m/1/0"]},
        },
        "lists": {"whitelist": [CUSTOMER]},
        "forbids": [],
        "rules": list(rules) or [COLD_RULE, SMALL_RULE, LARGE_RULE],
        "limits": [DAILY],
        "cancel": {"fee_ceiling": "1000"},
    }
    return parse_policy(cast("Json", {**document, **more}))


def proved(policy: Policy, *invariants: dict[str, Any]) -> dict[str, Finding]:
    body = {"version": 1, "invariants": list(invariants)}
    found = prove(policy, parse_invariants(cast("Json", body), policy))
    return {one.invariant: one for one in found}


def demand(when: dict[str, Any], **said: object) -> dict[str, Any]:
    return {"name": "demand", "when": when, "must": said}


def test_what_always_holds_is_proved() -> None:
    found = proved(policy_of(), WHITELIST, TWO_GROUPS)

    assert {one.answer for one in found.values()} == {Answer.PROVED}


@pytest.mark.parametrize("invariant", [WHITELIST, TWO_GROUPS])
def test_what_does_not_hold_is_shown_by_a_transaction_that_the_evaluator_allows(
    invariant: dict[str, Any],
) -> None:
    policy = policy_of({"name": "all", "when": {}, "then": {"outcome": "allow"}})

    finding = proved(policy, invariant)[invariant["name"]]

    assert finding.answer is Answer.BROKEN
    assert finding.transaction is not None
    assert finding.transaction.judged(policy).outcome is Outcome.ALLOW


def test_a_call_whose_arguments_no_condition_is_about_is_shown_in_whole() -> None:
    method = "pay(address[2] to,uint256[] amounts,bytes note,string memo,bytes4 mark,int8 sign,bool last)"
    vault = {"chain": "evm:1", "address": "0x" + "77" * 20, "methods": {"pay": method}}
    calls = {"name": "calls", "when": {"methods": ["vault.pay"]}, "then": {"outcome": "allow"}}
    policy = policy_of(calls, contracts={"vault": vault})

    finding = proved(policy, demand({"kinds": ["call"]}, never=True))["demand"]

    assert finding.transaction is not None
    facts = finding.transaction.under(policy)
    assert (facts.method, facts.arguments["to"]) == ("vault.pay", ("0x" + "00" * 20,) * 2)


def test_typed_data_is_proved_about_like_calls_and_shown_in_whole() -> None:
    any_of = {"name": "orders", "when": {"typed_data": ["order", "permit"]}, "then": {"outcome": "allow"}}
    prices = {"unit": "usd", "decimals": 2, "max_age_ms": 1000}
    lists = {"customers": [CUSTOMER]}
    lax = policy_of(any_of, PERMITS, typed_data=TYPED_DATA, prices=prices, lists=lists)
    strict = policy_of(PERMITS, typed_data=TYPED_DATA, lists=lists)
    worth = demand({"kinds": ["typed_data"], "value_min": "1"}, never=True)
    above = {"typed_data": ["permit"], "arguments": [{"argument": "value", "min": "101"}]}
    orders = proved(lax, demand({"typed_data": ["order"]}, never=True))["demand"]

    assert proved(lax, worth)["demand"].answer is Answer.IDLE  # it is worth nothing
    assert proved(lax, demand(above, never=True))["demand"].answer is Answer.BROKEN
    assert proved(strict, demand(above, never=True))["demand"].answer is Answer.PROVED
    assert orders.transaction is not None
    facts = orders.transaction.under(lax)
    assert (facts.kind, facts.typed_data, facts.amount) == ("typed_data", "order", 0)
    assert facts.arguments == {"sums": (), "open": False, "note": ""}


def test_a_token_on_solana_is_proved_about_like_any_other() -> None:
    chain, mint = "solana:localnet", solana_address(b"\x22" * 32)
    customer = solana_address(b"\x33" * 32)
    policy = policy_of(
        {
            "name": "small",
            "when": {"assets": ["tok"], "amount_max": "100", "destinations": ["customers"]},
            "then": {"outcome": "allow"},
        },
        chains={chain: {"native": "sol", "fee_ceiling": "5000000"}},
        assets={
            "sol": {"chain": chain, "kind": "native", "decimals": 9},
            "tok": {"chain": chain, "kind": "spl", "contract": mint, "decimals": 6},
        },
        keys={"ed": {"suite": "frost-ed25519-sha512", "min_signers": 2, "participants": ["a", "b"]}},
        wallets={"hot": {"tier": "hot", "key": "ed", "chain": chain, "paths": ["m"]}},
        lists={"customers": [customer]},
        limits=[],
    )
    found = proved(policy, demand({"assets": ["tok"], "amount_min": "100"}, never=True))["demand"]

    assert proved(policy, demand({"not_destinations": ["customers"]}, never=True))["demand"].answer is (
        Answer.PROVED
    )
    assert found.answer is Answer.BROKEN and found.transaction is not None
    facts = found.transaction.under(policy)
    assert (facts.chain, facts.asset, facts.destination, facts.amount) == (chain, "tok", customer, 100)


def test_a_counterexample_breaks_the_invariant_by_its_own_numbers() -> None:
    policy = policy_of({**LARGE_RULE, "when": {"assets": ["eth"]}, "then": COLD_RULE["then"]})

    finding = proved(policy, {**TWO_GROUPS, "must": {"approvals_min": 3}})[TWO_GROUPS["name"]]

    assert finding.transaction is not None
    facts = finding.transaction.under(policy)
    assert facts.amount > 100 * ETHER
    assert len({given.operator for given in facts.approvals}) == 2


def test_two_people_of_one_group_are_not_two_groups() -> None:
    policy = policy_of(
        {
            "name": "two",
            "when": {},
            "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
        }
    )

    two = proved(policy, demand({}, approvals_min=2))["demand"]
    apart = proved(policy, demand({}, approvals_min=2, different_groups=True))["demand"]

    assert (two.answer, apart.answer) == (Answer.PROVED, Answer.BROKEN)


def test_a_delay_is_that_of_the_laxest_rule() -> None:
    enough = proved(policy_of(), demand({"tiers": ["cold"]}, delay_min_ms=DAY_MS))["demand"]
    missing = proved(policy_of(), demand({}, delay_min_ms=DAY_MS))["demand"]

    assert (enough.answer, missing.answer) == (Answer.PROVED, Answer.BROKEN)


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, Answer.PROVED),
        ({"amount_max": str(501 * ETHER)}, Answer.BROKEN),
        ({"window_ms": DAY_MS - 1}, Answer.BROKEN),
        ({"per": ["destination"]}, Answer.BROKEN),
        ({"tiers": ["hot"]}, Answer.BROKEN),
    ],
)
def test_a_limit_bounds_what_it_counts_for_as_long_as_is_demanded(
    changed: dict[str, Any], answer: Answer
) -> None:
    bound = {"asset": "eth", "amount_max": str(500 * ETHER), "window_ms": DAY_MS, "per": ["wallet"]}
    policy = policy_of(limits=[{**DAILY, **changed}])

    finding = proved(policy, demand({"assets": ["eth"]}, limited_by=bound))["demand"]

    assert finding.answer is answer


def test_two_limits_for_one_wallet_each_are_no_limit_on_both() -> None:
    limits = [{**DAILY, "name": f"of-{name}", "wallets": [name], "per": []} for name in ("hot", "cold")]
    bound = {"asset": "eth", "amount_max": str(500 * ETHER), "window_ms": DAY_MS}
    policy = policy_of(limits=limits)

    together = proved(policy, demand({"assets": ["eth"]}, limited_by={**bound, "per": []}))["demand"]
    apart = proved(policy, demand({"assets": ["eth"]}, limited_by={**bound, "per": ["wallet"]}))["demand"]

    assert (together.answer, apart.answer) == (Answer.BROKEN, Answer.PROVED)


def test_a_rule_behind_one_that_covers_it_is_unreachable() -> None:
    policy = policy_of(LARGE_RULE, SMALL_RULE, COLD_RULE)

    finding = proved(policy)[UNREACHABLE]

    assert finding.answer is Answer.BROKEN
    assert "decided by small:" in finding.reason


def test_an_invariant_must_hold_of_what_cannot_be_told() -> None:
    prices = {"unit": "usd", "decimals": 2, "max_age_ms": 1000}
    dear = demand({"value_min": "100"}, approvals_min=1)
    cheap = {"name": "cheap", "when": {"assets": ["eth"], "value_max": "99"}, "then": {"outcome": "allow"}}
    rest = {"name": "rest", "when": {"tiers": ["hot"]}, "then": {"outcome": "allow", "delay_ms": 1}}

    finding = proved(policy_of(cheap, rest, prices=prices), dear)["demand"]

    assert finding.answer is Answer.BROKEN


def test_an_invariant_about_nothing_is_not_proved() -> None:
    finding = proved(policy_of(), demand({"kinds": ["call"]}, never=True), WHITELIST)["demand"]
    nothing = proved(policy_of(), demand({"kinds": ["call"], "destination_tiers": ["hot"]}, never=True))

    assert (finding.answer, nothing["demand"].answer) == (Answer.IDLE, Answer.IDLE)


def test_a_model_that_disagrees_with_the_evaluator_is_never_silent() -> None:
    policy, other = policy_of(), policy_of({"name": "none", "when": {}, "then": {"outcome": "deny"}})
    world = World((policy, other))
    found = Search(world).find(Formulas(world, policy).allowed)
    assert found is not None

    with pytest.raises(InvariantError, match="disagree"):
        confirmed(found, Formulas(world, other), outcome=Outcome.ALLOW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"must": {}}, r"invariants\[0\].must: demands nothing"),
        ({"must": {"different_groups": True, "never": True}}, "of how many"),
        ({"must": {"never": True, "delay_min_ms": 1}}, "needs no other demand"),
        ({"must": {"ever": True}}, "ever"),
        ({"name": UNREACHABLE}, "always checked"),
        ({"when": {"tiers": ["tepid"]}}, r"invariants\[0\].when.tiers\[0\]: unknown tier 'tepid'"),
        ({"must": {"limited_by": {"value_max": "1", "window_ms": 1, "per": []}}}, "needs its unit"),
        (
            {"must": {"limited_by": {"asset": "doge", "amount_max": "1", "window_ms": 1, "per": []}}},
            "unknown asset 'doge'",
        ),
    ],
)
def test_a_mistake_in_an_invariant_is_refused_with_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        proved(policy_of(), {**WHITELIST, **change})


def test_mutants_that_allow_more_are_counted_and_those_that_break_an_invariant_caught() -> None:
    policy = policy_of()
    body = {"version": 1, "invariants": [WHITELIST, TWO_GROUPS]}

    without = score(policy, ())
    found = score(policy, parse_invariants(cast("Json", body), policy))

    assert (without.caught, without.counted) == (0, found.counted)
    assert "cold: without destinations" not in found.survivors
    assert "daily: dropped" in found.survivors
    assert 0 < found.caught < found.counted
