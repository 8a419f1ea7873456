"""A node without a network has its own clock and the cosignatures: what it takes in, and when it refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from signer_nodes.adapters.store import NodeStore
from signer_nodes.gate import Declined, Node, may_sign
from signer_nodes.late import late_ms
from signer_nodes.node_log import NodeLog
from signer_nodes.witness import Identity, Refusal
from tests.simulation.cluster import Clock, Coordinator, cosign, cosigned, note_of, started
from tests.simulation.memory_token import MemoryToken
from tests.simulation.test_payment_delays import SMALL, WORLD
from tests.simulation.world import DAY_MS, ORIGIN, START_MS, Book, public_key

HOUR_MS = 60 * 60 * 1000
SKEW_MS = 2000


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[NodeLog]:
    """The log of a node that cosigns nothing. Its token has the name of one that the key knows."""
    store = NodeStore(tmp_path / "node.db")
    identity = Identity("node-1", ORIGIN, leaf_hash(Book(WORLD).entries[0]), public_key(COORDINATOR))
    log = NodeLog(identity, MemoryToken("node-1"), store=store, skew_ms=SKEW_MS, cosigns=False)
    log.load()
    log.ready = True
    yield log
    store.close()


def taken(cold: NodeLog, book: Book, note: bytes, *, now_ms: int) -> bytes:
    """Bring it what it lacks; the cosignature that comes of it."""
    size = cold.cosigner.size
    _, line = cold.extend(size, book.entries[size:], note=note, now_ms=now_ms, marks=lambda _: ())
    return line


def refused(cold: NodeLog, book: Book, note: bytes, *, now_ms: int) -> str:
    with pytest.raises(Refusal) as caught:
        taken(cold, book, note, now_ms=now_ms)
    return caught.value.code


def begun() -> tuple[Coordinator, Clock]:
    clock = Clock(START_MS)
    coordinator, _ = started(WORLD, clock)
    return coordinator, clock


def test_it_takes_no_head_but_a_quorums_and_cosigns_none(cold: NodeLog) -> None:
    coordinator, _ = begun()
    book = coordinator.book
    alone = cosigned(note_of(book), cosign("node-2", note_of(book)), cosign("node-3", note_of(book)))

    assert refused(cold, book, note_of(book), now_ms=START_MS) == "quorum"
    assert refused(cold, book, alone, now_ms=START_MS) == "quorum"
    assert cold.cosigner.size == 0
    assert taken(cold, book, coordinator.send(), now_ms=START_MS) == b""
    assert cold.cosigner.size == len(book.entries)
    with pytest.raises(Refusal, match="cosigns nothing"):
        cold.recosign(coordinator.send(), now_ms=START_MS)


def test_a_clock_that_is_behind_is_named(cold: NodeLog) -> None:
    coordinator, _ = begun()
    note = coordinator.send()

    assert refused(cold, coordinator.book, note, now_ms=START_MS - HOUR_MS) == "clock"
    assert taken(cold, coordinator.book, note, now_ms=START_MS) == b""


def test_f_corrupt_cosigners_cannot_have_a_right_clock_refused(cold: NodeLog) -> None:
    coordinator, _ = begun()
    note = note_of(coordinator.book)
    right = [cosign(name, note, START_MS // 1000) for name in ("node-1", "node-2")]
    wrong = cosign("node-3", note, (START_MS + 99 * DAY_MS) // 1000)

    assert taken(cold, coordinator.book, cosigned(note, *right, wrong), now_ms=START_MS) == b""


def delayed_job(coordinator: Coordinator, clock: Clock) -> bytes:
    """A request whose delay of a day is over, and its reservation."""
    book = coordinator.book
    (request,) = book.state.requests
    book.now_ms = clock.now_ms
    return book.reserve(request, nonce=0)


def gate(cold: NodeLog, job: bytes, *, now_ms: int) -> object:
    node = Node("node-1", now_ms, False, cold.late, 4 * HOUR_MS)
    return may_sign(cold.cosigner.state, job, node=node, quorum_size=cold.cosigner.size)


def test_a_delay_counts_from_when_a_quorum_proves_the_request_public(cold: NodeLog) -> None:
    coordinator, clock = begun()
    request = coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    proof, size = coordinator.send(), len(coordinator.book.entries)
    clock.now_ms += DAY_MS
    job = delayed_job(coordinator, clock)
    newest = coordinator.send()
    entries, now_ms = coordinator.book.entries, clock.now_ms + HOUR_MS

    cold.extend(0, entries[:size], note=proof, now_ms=now_ms, marks=lambda _: ())
    cold.extend(size, entries[size:], note=newest, now_ms=now_ms, marks=lambda _: ())

    assert late_ms(cold.late, request) is None
    assert not isinstance(gate(cold, job, now_ms=now_ms), Declined)


def test_without_that_proof_a_withheld_request_waits_at_a_cold_node_too(cold: NodeLog) -> None:
    coordinator, clock = begun()
    request = coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    clock.now_ms += DAY_MS  # nobody was shown it meanwhile
    job = delayed_job(coordinator, clock)
    note = coordinator.send()

    taken(cold, coordinator.book, note, now_ms=clock.now_ms + HOUR_MS)

    had_ms = late_ms(cold.late, request)
    assert had_ms is not None and had_ms >= clock.now_ms
    declined = gate(cold, job, now_ms=clock.now_ms + HOUR_MS)
    assert isinstance(declined, Declined) and "delay is over at" in declined.reason


def test_a_reservation_may_be_four_hours_old_and_no_older(cold: NodeLog) -> None:
    coordinator, clock = begun()
    coordinator.book.request(SMALL, expires_ms=START_MS + 9 * DAY_MS)
    coordinator.send()
    clock.now_ms += DAY_MS
    job = delayed_job(coordinator, clock)
    coordinator.send()
    node = coordinator.nodes["node-1"]
    state, size = node.cosigner.state, node.size

    def signed(age_ms: int) -> object:
        at = Node("node-1", clock.now_ms + age_ms, False, {}, 4 * HOUR_MS)
        return may_sign(state, job, node=at, quorum_size=size)

    assert not isinstance(signed(4 * HOUR_MS), Declined)
    declined = signed(4 * HOUR_MS + 1)
    assert isinstance(declined, Declined) and "reserve again" in declined.reason
