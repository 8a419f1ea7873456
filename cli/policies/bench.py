"""What verdicts, proofs, comparisons and folding a log cost on this machine."""

import functools
import gc
import itertools
import time
from argparse import Namespace
from collections.abc import Callable

from immutables import Map

from cli.policies.bench_start import start_s
from cli.policies.sample_log import sample_entries
from cli.policies.sample_policy import (
    DAY_MS,
    ETHER,
    GROUPS,
    LISTS,
    TIERS,
    WALLETS,
    changed_document,
    listed,
    sample_document,
)
from cli.results import Document, Misuse, Result
from policy.collecting import uncollected
from policy.counting import usage_without
from policy.document import parse_policy
from policy.encoding import Json, tagged_hash
from policy.errors import InvariantError
from policy.evaluate import Facts, Given, evaluate
from policy.ledger import fold, initial_unverified
from policy.limits import limit_scopes
from policy.model import Policy
from policy.prove.differences import compare
from policy.prove.invariants import parse_invariants
from policy.prove.proofs import prove
from policy.state import State
from policy.values import replace
from policy.windows import Counted, Window

RULES = (10, 100, 300)
PROOF_RULES = 300
ENTRIES = 1_000
START_ENTRIES_QUICK = 50
SECONDS = 1.0
NOW_MS = 20_000 * DAY_MS + DAY_MS // 2
FOLD_WARM, FOLD_QUICK, FOLD_BLOCK = 4_000, 100, 1_000


def run(arguments: Namespace) -> Result:
    """``bench policy``: all figures in processor time of one core."""
    if arguments.entries < 1:
        raise Misuse(f"--entries is {arguments.entries}: fold at least one")
    seconds, proof_rules = (0.0, RULES[0]) if arguments.quick else (SECONDS, PROOF_RULES)
    entries = FOLD_QUICK if arguments.quick else arguments.entries
    document: Document = {
        "verdicts_per_s": {str(n): round(verdicts_per_s(n, seconds)) for n in RULES},
        "prove_s": round(prove_s(proof_rules), 3),
        "diff_s": round(diff_s(proof_rules), 3),
        "fold_million_s": round(1e6 * fold_entry_s(entries), 1),
        "start_s": start_s(START_ENTRIES_QUICK if arguments.quick else entries),
    }
    verdicts = ", ".join(f"{n} rules: {rate}" for n, rate in document["verdicts_per_s"].items())
    return Result(
        document,
        (
            f"verdicts a second, {ENTRIES} payments in the windows: {verdicts}",
            f"one invariant of {proof_rules} rules: {document['prove_s']} s",
            f"what two policies of {proof_rules} rules differ in: {document['diff_s']} s",
            f"a million entries, their signatures not checked again: {document['fold_million_s']} s",
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


def fold_entry_s(entries: int) -> float:
    """Seconds of processor time to fold one entry of a log, its signatures not checked again.

    A first part of the log is folded untimed, until as much leaves the windows as enters them.
    """
    log, state, total = sample_entries(), initial_unverified(), 0.0
    state, _ = _fold_block(state, list(itertools.islice(log, min(FOLD_WARM, entries))))
    with uncollected():
        for start in range(0, entries, FOLD_BLOCK):
            state, seconds = _fold_block(state, list(itertools.islice(log, min(FOLD_BLOCK, entries - start))))
            total += seconds
    return total / entries


def _fold_block(state: State, entries: list[bytes]) -> tuple[State, float]:
    start = time.process_time()
    for entry in entries:
        state, outcome = fold(state, entry)
        if not outcome.accepted:
            raise InvariantError(f"an entry of the sample log is not taken in: {outcome.reason}")
    return state, time.process_time() - start


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
        destination=listed(1 + step % (LISTS - 1), 3),
        destination_tier="",
        first_use=False,
        contract="",
        method="",
        typed_data="",
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
