"""What a coordinator and corrupt cosigners can do with branches and counters, and what they cannot."""

import itertools
import random
from collections.abc import Callable

import pytest

from policy.ledger import fold, initial
from policy.limits_audit import LimitsAudit
from signer_nodes.witness import Contradiction
from tests.simulation.adversary import Adversary
from tests.simulation.cluster import Clock, SimNode, cosign, cosigned, deal, note_of, started
from tests.simulation.world import LIMIT, START_MS, World

STEPS = 90
PAIRS = tuple(itertools.combinations(World().nodes, 2))


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
                elif outcome.kind in ("signature", "burn") and outcome.accepted:
                    anew.changed(state, outcome.subject)


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
