"""Whatever a coordinator and one corrupt cosigner of four do: limits hold, and nothing denied is signed."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from policy.accounts import Account
from policy.decode.decoded import Source, Transfer, Undecodable
from policy.decode.evm import decode
from policy.ledger import fold, initial
from policy.limits_audit import LimitsAudit
from signer_nodes.witness import Contradiction
from tests.simulation.adversary import PAIRS, Adversary, Signed, most_in_a_window
from tests.simulation.cluster import Clock, SimNode, cosign, cosigned, deal, note_of, started
from tests.simulation.world import CUSTOMER, DAY_MS, LIMIT, SMALL_MAX, START_MS, World

RUNS, STEPS = 28, 90
CORRUPT = ("node-1", "node-2", "node-3", "witness-1")


def spent(signed: Signed) -> int:
    """What a transaction can take out of its account, decoded from its bytes."""
    tx = decoded(signed)
    return signed.job.fee_max + (tx.amount if isinstance(tx, Transfer) else 0)


def decoded(signed: Signed) -> Transfer | Undecodable:
    slot = signed.job.anchor
    account = Account("", slot.account, b"", 0, None)
    return decode(signed.job.tx, Source(slot.chain, (account,), lambda _: False))


def by_request(signed: list[Signed]) -> dict[bytes, list[Signed]]:
    groups: dict[bytes, list[Signed]] = defaultdict(list)
    for one in signed:
        groups[one.job.request_id].append(one)
    return groups


def check(run: Adversary) -> None:
    """What must hold of everything that can be on chain."""
    signed = run.signed()
    requests = by_request(signed)
    anchors = {request: {one.job.anchor for one in group} for request, group in requests.items()}
    assert all(len(found) == 1 for found in anchors.values()), "a request has two anchors"
    assert len({a for found in anchors.values() for a in found}) == len(anchors), (
        "two requests share an anchor"
    )
    used = [p for one in signed for p in one.job.presignatures]
    assert len(set(used)) == len(used), "a presignature served twice"
    for one in signed:
        tx = decoded(one)
        if isinstance(tx, Transfer):
            assert tx.recipient == CUSTOMER, "a forbidden destination was paid"
            assert tx.amount <= SMALL_MAX, "what needs approvals was paid without them"
    for times in (min, max):
        amounts = [(max(map(spent, g)), times(one.log_ms for one in g)) for g in requests.values()]
        assert most_in_a_window(amounts, DAY_MS) <= LIMIT, "a limit was exceeded"


def test_no_coordinator_gets_more_than_a_limit_signed() -> None:
    met: Counter[str] = Counter()
    for number, corrupt in itertools.product(range(RUNS // len(CORRUPT)), CORRUPT):
        run = Adversary(random.Random(f"{corrupt} {number}"), corrupt=(corrupt,))
        run.run(STEPS)

        check(run)
        met += run.met
        met["signed"] += len(run.signed())
        met["full"] += sum(map(spent, run.signed())) > LIMIT * 0.9
    for what in ("reserved", "cosigned", "signed", "signature logged", "restarted", "left", "full"):
        assert met[what], f"the adversary never got to: {what} ({met})"


def test_limits_added_up_anew_agree_on_every_branch_an_adversary_writes() -> None:
    for number in range(6):
        run = Adversary(random.Random(f"limits {number}"), corrupt=("witness-1",))
        run.run(STEPS)
        for book in run.books:
            anew, state = LimitsAudit(), initial()
            for entry in book.entries:
                state, outcome = fold(state, entry)
                if outcome.kind == "reserve" and outcome.accepted:
                    assert anew.reserved(state, outcome.subject) == ""


# The attack that separate counters do not withstand.


class NaiveNode:
    """What we do not build: a node that counts for itself what it signed."""

    def __init__(self) -> None:
        self.used = 0

    def sign(self, amount: int) -> bool:
        if self.used + amount > LIMIT:
            return False
        self.used += amount
        return True


def rotate_quorums(sign: Callable[[tuple[str, str], int], bool]) -> int:
    """Ask every pair in turn for 100 as long as any of them signs; what was signed in all."""
    total, refusals, turn = 0, 0, 0
    while refusals < len(PAIRS):
        signed = sign(PAIRS[turn % len(PAIRS)], 100)
        total, refusals, turn = total + 100 * signed, 0 if signed else refusals + 1, turn + 1
    return total


def test_counters_of_their_own_let_rotated_quorums_sign_half_as_much_again() -> None:
    nodes = {name: NaiveNode() for name in World().nodes}

    def sign(pair: tuple[str, str], amount: int) -> bool:
        if any(nodes[name].used + amount > LIMIT for name in pair):
            return False
        return [nodes[name].sign(amount) for name in pair] == [True, True]

    assert rotate_quorums(sign) == LIMIT * 3 // 2


def test_one_log_lets_rotated_quorums_sign_the_limit_exactly() -> None:
    coordinator, nodes = started(World(), Clock(START_MS))
    pools = {pair: deal(nodes, pair, 1, count=8) for pair in PAIRS}

    def sign(pair: tuple[str, str], amount: int) -> bool:
        book = coordinator.book
        request = book.request(amount, fee_ceiling=0)
        if not book.last.accepted:
            return False
        presignature = pools[pair].pop().hex()
        nonce = len(book.state.jobs)
        job = book.reserve(request, nonce=nonce, fee=0, signers=list(pair), presignatures=[presignature])
        note = coordinator.send()
        return book.last.accepted and {nodes[name].finish(note, job).job.job_id for name in pair} == {job}

    assert rotate_quorums(sign) == LIMIT


# Above the bound.


def two_worlds(corrupt: tuple[str, ...]) -> tuple[dict[str, SimNode], list[tuple[bytes, bytes, str]]]:
    """Two branches of 590 each, one shown to node-1, one to node-2; corrupt cosigners cosign both."""
    coordinator, nodes = started(World(), Clock(START_MS))
    books = [coordinator.book, coordinator.book.fork()]
    shown = []
    for book, name in zip(books, ("node-1", "node-2"), strict=True):
        presignature = deal(nodes, (name, "node-3"), 1)[0].hex()
        request = book.request(590, idempotency_key=name)
        job = book.reserve(request, nonce=0, signers=[name, "node-3"], presignatures=[presignature])
        note = note_of(book)
        line = nodes[name].append(nodes[name].size, book.entries[nodes[name].size :], note)
        shown.append((cosigned(note, line, *(cosign(who, note) for who in corrupt)), job, name))
    return nodes, shown


def test_with_more_corrupt_cosigners_than_f_both_branches_are_signed() -> None:
    nodes, shown = two_worlds(("node-3", "witness-1"))
    for note, job, name in shown:
        assert nodes[name].finish(note, job).job.job_id == job


def test_with_f_corrupt_cosigners_neither_branch_gets_its_quorum() -> None:
    for corrupt in (("node-3",), ("witness-1",)):
        nodes, shown = two_worlds(corrupt)
        for note, job, name in shown:
            with pytest.raises(Exception, match="lacks the cosignatures of a quorum"):
                nodes[name].finish(note, job)


def test_two_quorum_heads_that_contradict_one_another_are_evidence() -> None:
    nodes, shown = two_worlds(("node-3", "witness-1"))
    (ours, job, _), (theirs, _, _) = shown
    nodes["node-1"].finish(ours, job)

    with pytest.raises(Contradiction) as caught:
        nodes["node-1"].learn(theirs)
    assert caught.value.evidence == theirs


def test_a_frozen_node_opens_and_signs_nothing() -> None:
    coordinator, nodes = started(World(), Clock(START_MS))
    (presignature,) = deal(nodes, ("node-1", "node-2"), 1, count=1)
    job = coordinator.pay(100, nonce=0, presignature=presignature)
    note = coordinator.send()
    nodes["node-1"].frozen = True

    with pytest.raises(Exception, match="frozen"):
        nodes["node-1"].finish(note, job)
