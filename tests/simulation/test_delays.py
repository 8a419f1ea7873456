"""A change waits for its delay by the clocks of cosigners, wherever the coordinator puts the log's time."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from policy.delays import LAG_MS_MAX
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from signer_nodes.adapters.store import NodeStore
from signer_nodes.node_log import NodeLog
from signer_nodes.witness import Identity
from tests.simulation.cluster import (
    SKEW_MS,
    Clock,
    Coordinator,
    SimNode,
    branch_of,
    cosign,
    cosigned,
    deal,
    note_of,
    refusal,
    started,
)
from tests.simulation.memory_token import MemoryToken
from tests.simulation.weak_nodes import ByLogTime
from tests.simulation.world import DAY_MS, ORIGIN, PAIR, START_MS, STRANGER, Book, World, public_key

WORLD = World()
WEEK_MS = 7 * DAY_MS
THREE = ("node-1", "node-2", "node-3")
PAYS_A_STRANGER = WORLD.policy(name="robbed", lists={"customers": [STRANGER], "sanctioned": []})


def back_dated(kind: type[SimNode] = SimNode) -> tuple[Coordinator, dict[str, SimNode], bytes]:
    """After a week without entries: a change dated a week ago, and a payment under it dated now."""
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock, kind=kind)
    (presignature,) = deal(nodes, PAIR, 1, count=1)
    clock.now_ms += WEEK_MS
    book = coordinator.book
    book.change("policy", PAYS_A_STRANGER)
    assert book.last.accepted
    book.now_ms = clock.now_ms
    request = book.request(500, to=STRANGER)
    job = book.reserve(request, presignatures=[presignature.hex()])
    assert book.last.accepted
    return coordinator, nodes, job


def changed(*, seen_by: Sequence[str]) -> tuple[Coordinator, dict[str, SimNode], Clock]:
    """A change that these cosigners have had for its delay, at the moment it is due."""
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock)
    coordinator.book.change("policy", WORLD.policy(name="second"))
    note = coordinator.send(*seen_by)
    if len(seen_by) >= WORLD.w:
        for name in seen_by:
            nodes[name].learn(note)
    clock.now_ms += DAY_MS
    coordinator.book.now_ms = clock.now_ms
    return coordinator, nodes, clock


def test_by_the_logs_time_alone_a_back_dated_change_pays_a_stranger_at_once() -> None:
    coordinator, nodes, job = back_dated(ByLogTime)
    note = coordinator.send()

    assert [nodes[name].finish(note, job).job.job_id for name in PAIR] == [job, job]


def test_a_back_dated_change_is_in_no_head_that_a_cosigner_cosigns() -> None:
    coordinator, nodes, job = back_dated()

    assert {refusal(coordinator.send, name) for name in nodes} == {"early"}
    note = cosigned(note_of(coordinator.book), cosign("witness-1", note_of(coordinator.book)))
    assert {refusal(nodes[name].finish, note, job) for name in PAIR} == {"behind"}


@pytest.mark.parametrize("part", ["the change", "all but the payment"])
def test_showing_a_back_dated_change_by_itself_shortens_no_delay(part: str) -> None:
    coordinator, nodes, _ = back_dated()
    book, clock = coordinator.book, nodes["node-1"].clock
    first = book.fork(3 if part == "the change" else 4)
    if part == "the change":
        Coordinator(first, nodes).send()
    else:
        assert refusal(Coordinator(first, nodes).send, "node-1") == "early"
        Coordinator(book.fork(3), nodes).send()
    clock.now_ms += DAY_MS - LAG_MS_MAX - 1

    assert {refusal(coordinator.send, name) for name in nodes} == {"early"}
    clock.now_ms += 1
    coordinator.send()
    assert nodes["node-1"].cosigner.state.policy.name == "robbed"


def test_a_change_that_all_have_had_takes_effect_when_it_is_due() -> None:
    coordinator, nodes, _ = changed(seen_by=tuple(WORLD.cosigners))
    coordinator.book.idle()
    coordinator.send()

    assert {node.cosigner.state.policy.name for node in nodes.values()} == {"second"}


def test_entries_that_reach_cosigners_a_minute_late_stop_nothing() -> None:
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock)
    coordinator.book.change("policy", WORLD.policy(name="second"))
    clock.now_ms += LAG_MS_MAX
    coordinator.send()
    clock.now_ms = coordinator.book.now_ms = START_MS + DAY_MS
    coordinator.book.idle()
    coordinator.send()

    assert nodes["node-1"].cosigner.state.policy.name == "second"


def test_an_outage_between_a_changes_entry_and_its_cosigning_comes_again_once_and_passes() -> None:
    outage_ms = 3_600_000
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock)
    coordinator.book.change("policy", WORLD.policy(name="second"))
    clock.now_ms += outage_ms
    coordinator.send()
    clock.now_ms = coordinator.book.now_ms = START_MS + DAY_MS
    coordinator.book.idle()

    assert refusal(coordinator.send, "node-1") == "early"
    clock.now_ms += outage_ms - LAG_MS_MAX
    coordinator.send()
    assert nodes["node-1"].cosigner.state.policy.name == "second"


def test_a_veto_before_it_is_due_stops_a_late_change_from_stopping_anything() -> None:
    clock = Clock(START_MS)
    coordinator, nodes = started(WORLD, clock)
    digest = coordinator.book.change("policy", WORLD.policy(name="second"))
    clock.now_ms = coordinator.book.now_ms = START_MS + DAY_MS - 1
    coordinator.book.order("veto", digest)
    coordinator.send()
    clock.now_ms = coordinator.book.now_ms = START_MS + WEEK_MS
    coordinator.book.idle()
    coordinator.send()

    assert nodes["node-1"].cosigner.state.policy.name == "first"


# A cosigner that was away, and what helps it.


def test_a_cosigner_that_had_a_change_late_takes_the_head_of_a_quorum_that_did_not() -> None:
    coordinator, nodes, _ = changed(seen_by=THREE)
    coordinator.book.idle()
    late = nodes["witness-1"]

    assert refusal(coordinator.send, "witness-1") == "early"
    note = coordinator.send(*THREE)
    line = late.append(late.size, coordinator.book.entries[late.size :], note)
    assert line.name == "witness-1"
    coordinator.book.idle()
    coordinator.send()


def test_the_first_note_over_a_change_proves_to_a_late_cosigner_since_when_it_is_public() -> None:
    coordinator, nodes, _ = changed(seen_by=THREE)
    first = nodes["node-1"].quorum
    late = nodes["witness-1"]
    coordinator.book.now_ms -= 1
    coordinator.book.idle()
    coordinator.send("witness-1")
    coordinator.book.now_ms += 1
    coordinator.book.idle()

    assert refusal(coordinator.send, "witness-1") == "early"
    late.learn(first)
    coordinator.send("witness-1", "node-1", "node-2")
    assert late.cosigner.state.policy.name == "second"


def test_f_corrupt_cosigners_prove_no_time_before_an_honest_one() -> None:
    coordinator, nodes, _ = back_dated()
    book, clock = coordinator.book.fork(3), nodes["node-1"].clock
    note = note_of(book)
    lines = [nodes[name].append(2, book.entries[2:], note) for name in ("node-1", "node-2")]
    full = cosigned(note, *lines, cosign("witness-1", note, time_s=0))
    for name in ("node-1", "node-2"):
        nodes[name].learn(full)
        assert refusal(coordinator.send, name) == "early"
    clock.now_ms += DAY_MS - LAG_MS_MAX - 1000
    assert refusal(coordinator.send, "node-1") == "early"


def test_a_restart_forgets_no_time() -> None:
    coordinator, nodes, _ = changed(seen_by=tuple(WORLD.cosigners))
    for node in nodes.values():
        node.restart()
    coordinator.book.idle()
    coordinator.send()

    assert nodes["node-1"].cosigner.state.policy.name == "second"


def test_the_same_change_on_another_branch_waits_anew() -> None:
    coordinator, nodes, clock = changed(seen_by=("node-1",))
    node = nodes["node-1"]
    other = coordinator.book.fork(2)
    other.now_ms = START_MS + 1
    other.change("policy", WORLD.policy(name="second"))
    Coordinator(other, nodes).send("node-2", "node-3", "witness-1")
    branch = branch_of(node)
    node.leave([nodes[name].abandon(branch) for name in ("node-2", "node-3", "witness-1")])
    other.now_ms = clock.now_ms + 1
    clock.now_ms += 1
    other.idle()

    assert refusal(Coordinator(other, nodes).send, "node-1") == "early"


# On a disk, and at a start.


def node_log(folder: Path, token: MemoryToken, *, world: World = WORLD) -> tuple[NodeLog, NodeStore]:
    store = NodeStore(folder / "node.db")
    identity = Identity("node-1", ORIGIN, leaf_hash(Book(world).entries[0]), public_key(COORDINATOR))
    log = NodeLog(identity, token, store=store, skew_ms=SKEW_MS)
    log.load()
    log.ready = True
    return log, store


def test_since_when_a_change_is_had_is_on_disk(tmp_path: Path) -> None:
    token, book = MemoryToken("node-1"), Book(WORLD)
    log, store = node_log(tmp_path, token)
    book.change("policy", WORLD.policy(name="second"))
    log.extend(0, book.entries, note=note_of(book), now_ms=START_MS, marks=lambda _: ())
    store.close()
    log, store = node_log(tmp_path, token)
    book.now_ms = START_MS + DAY_MS
    book.idle()
    log.extend(3, book.entries[3:], note=note_of(book), now_ms=book.now_ms, marks=lambda _: ())

    assert log.cosigner.state.policy.name == "second"
    store.close()


@pytest.mark.parametrize("ahead_ms", [0, DAY_MS])
def test_what_one_peer_cosigned_is_followed_at_a_start_but_not_cosigned_too_early(
    tmp_path: Path, ahead_ms: int
) -> None:
    log, store = node_log(tmp_path, MemoryToken("node-1"))
    coordinator, _, _ = back_dated()
    book, now_ms = coordinator.book, START_MS + WEEK_MS
    if ahead_ms:
        book = book.fork(2)
        book.now_ms = now_ms + ahead_ms
        book.idle()
    note = cosigned(note_of(book), cosign("witness-1", note_of(book)))
    log.follow(book.entries, note, cosigned_by="witness-1", now_ms=now_ms)
    log.cosign_own_head(now_ms)

    assert log.cosigner.size == len(book.entries)
    assert store.latest_cosigned() is None
    code = "clock" if ahead_ms else "early"
    assert refusal(lambda: log.recosign(note, now_ms=now_ms)) == code
    assert refusal(lambda: log.recosign(note, now_ms=now_ms + DAY_MS - LAG_MS_MAX - 1)) == code
    log.recosign(note, now_ms=now_ms + DAY_MS)
    store.close()
