"""A payment waits for its delay by each node's clock, wherever the coordinator puts the log's time."""

from pathlib import Path
from typing import Any

import pytest

from policy.delays import LAG_MS_MAX
from policy.encoding import Json
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from policy.state import CANCEL, Outcome
from signer_nodes.late import EVERYTHING, LATE_MAX, Late, from_bytes, late_ms, noted, to_bytes
from signer_nodes.ports import Mark
from signer_nodes.witness import Extension, Identity, Refusal, fold_entries, new_cosigner
from tests.simulation.cluster import (
    Clock,
    Coordinator,
    SimNode,
    deal,
    note_of,
    started,
)
from tests.simulation.memory_token import MemoryToken
from tests.simulation.test_delays import node_log
from tests.simulation.weak_nodes import ByLogTime
from tests.simulation.world import DAY_MS, ORIGIN, PAIR, START_MS, Book, World, public_key

TWO = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]}


class SlowWorld(World):
    """Every payment can be stopped for a day, from when it is asked for or, a large one, approved."""

    def policy(self, **changed: Any) -> dict[str, Json]:
        small: Json = {"name": "small", "when": {"assets": ["eth"], "amount_max": "100"}}
        large: Json = {"name": "large", "when": {"assets": ["eth"]}}
        allowed = {**small, "then": {"outcome": "allow", "delay_ms": DAY_MS}}  # type: ignore[dict-item]
        approved = {**large, "then": {**TWO, "delay_ms": DAY_MS}}  # type: ignore[dict-item]
        return super().policy(**{"rules": [allowed, approved], **changed})


WORLD = SlowWorld()
SMALL, LARGE = 50, 200


def withheld(kind: type[SimNode] = SimNode) -> tuple[Coordinator, dict[str, SimNode], Clock]:
    """A request of a day ago that nobody was shown, dated then, in a log that stood still."""
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock, kind=kind)
    coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    assert coordinator.book.last.accepted
    clock.now_ms += DAY_MS
    return coordinator, nodes, clock


def reserved(coordinator: Coordinator, clock: Clock, batch: int) -> bytes:
    """Reserve the one request of the log, now; the job."""
    (presignature,) = deal(coordinator.nodes, PAIR, batch, count=1)
    book = coordinator.book
    book.now_ms = clock.now_ms
    (request,) = book.state.requests
    job = book.reserve(request, nonce=0, presignatures=[presignature.hex()])
    assert book.last.accepted
    return job


def signed(coordinator: Coordinator, job: bytes) -> int:
    """How many of the signers give their partial signature."""
    note = coordinator.send()
    given = 0
    for name in PAIR:
        try:
            coordinator.nodes[name].finish(note, job)
            given += 1
        except Refusal as refusal:
            assert refusal.code == "declined" and "delay is over at" in str(refusal)
    return given


def test_by_the_logs_time_alone_a_withheld_request_is_paid_before_anybody_can_stop_it() -> None:
    coordinator, _, clock = withheld(ByLogTime)

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 2


def test_a_withheld_request_waits_for_its_delay_from_when_the_nodes_had_it() -> None:
    coordinator, nodes, clock = withheld()

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 0
    clock.now_ms += DAY_MS - LAG_MS_MAX - 1
    assert signed(coordinator, reserved(coordinator, clock, 2)) == 0
    clock.now_ms += 1
    assert signed(coordinator, reserved(coordinator, clock, 3)) == 2
    assert len(nodes["node-1"].given) == 1


def test_a_withheld_approval_begins_the_delay_when_it_comes() -> None:
    clock = Clock(START_MS)
    coordinator, _ = started(WORLD, clock)
    book = coordinator.book
    request = book.request(LARGE, expires_ms=START_MS + 9 * DAY_MS)
    coordinator.send()
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, expires_ms=START_MS + 9 * DAY_MS)
    clock.now_ms += DAY_MS

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 0
    clock.now_ms += DAY_MS - LAG_MS_MAX
    assert signed(coordinator, reserved(coordinator, clock, 2)) == 2


@pytest.mark.parametrize("lag_ms", [0, LAG_MS_MAX])
def test_a_request_that_the_nodes_had_in_time_is_paid_when_it_is_due(lag_ms: int) -> None:
    clock = Clock(START_MS)
    coordinator, _ = started(WORLD, clock)
    coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    clock.now_ms += lag_ms
    coordinator.send()
    clock.now_ms = START_MS + DAY_MS

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 2


def test_a_late_request_can_be_cancelled_at_once() -> None:
    coordinator, _, clock = withheld()
    job = reserved(coordinator, clock, 1)
    assert signed(coordinator, job) == 0
    (request,) = coordinator.book.state.requests
    coordinator.book.reject(request, by="alice")
    (presignature,) = deal(coordinator.nodes, PAIR, 2, count=1)
    cancelled = coordinator.book.reserve(request, purpose=CANCEL, nonce=0, presignatures=[presignature.hex()])
    assert coordinator.book.last.accepted

    assert signed(coordinator, cancelled) == 2


def test_a_payment_without_a_delay_may_come_as_late_as_it_likes() -> None:
    clock = Clock(START_MS)
    coordinator, _ = started(World(), clock)
    coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    clock.now_ms += DAY_MS

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 2


@pytest.mark.parametrize(("world", "delay_ms"), [(World(), 0), (WORLD, DAY_MS)], ids=["no delay", "a delay"])
def test_a_clock_that_was_ahead_when_a_request_came_holds_it_up_no_longer_than_its_delay(
    world: World, delay_ms: int
) -> None:
    clock = Clock(START_MS)
    coordinator, _ = started(world, clock)
    coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    clock.now_ms += 7 * DAY_MS
    coordinator.send()
    clock.now_ms = coordinator.book.now_ms = START_MS + 1000
    coordinator.book.idle()
    coordinator.send()
    clock.now_ms += delay_ms

    assert signed(coordinator, reserved(coordinator, clock, 1)) == 2


# On a disk, and how much of it.


def test_what_came_late_is_known_before_the_gate_decides_and_after_a_restart(tmp_path: Path) -> None:
    token, book = MemoryToken("node-1"), Book(WORLD)
    log, store = node_log(tmp_path, token, world=WORLD)
    request, now_ms = book.request(SMALL), START_MS + DAY_MS
    seen: list[Late] = []

    def marks(_: Extension) -> tuple[Mark, ...]:
        seen.append(log.late)
        return ()

    log.extend(0, book.entries, note=note_of(book), now_ms=now_ms, marks=marks)
    store.close()
    log, store = node_log(tmp_path, token, world=WORLD)

    assert seen == [{request: now_ms}]
    assert log.late == {request: now_ms}
    store.close()


def outcomes(book: Book) -> tuple[Outcome, ...]:
    identity = Identity("node-1", ORIGIN, leaf_hash(book.entries[0]), public_key(COORDINATOR))
    return fold_entries(new_cosigner(identity), book.entries)[1]


def test_a_request_that_is_over_is_forgotten_when_another_comes_late() -> None:
    book = Book(WORLD)
    first, second = book.request(SMALL), book.request(SMALL)
    book.reject(first, by="alice")

    late = noted(
        {first: 1}, book.entries, outcomes=outcomes(book), state=book.state, now_ms=START_MS + DAY_MS
    )

    assert late == {second: START_MS + DAY_MS}


def test_more_late_requests_than_are_told_apart_are_all_of_them() -> None:
    book = Book(WORLD)
    request = book.request(SMALL)
    many = {number.to_bytes(32, "big"): 1 for number in range(LATE_MAX)}

    late = noted(many, book.entries, outcomes=outcomes(book), state=book.state, now_ms=START_MS + DAY_MS)

    assert late == {EVERYTHING: START_MS + DAY_MS}
    assert late_ms(late, request) == late_ms(late, bytes(32)) == START_MS + DAY_MS
    assert from_bytes(to_bytes(late)) == late and from_bytes(to_bytes(many)) == many
    assert from_bytes(None) == {}
