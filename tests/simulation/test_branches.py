"""What cosigners do when the log splits: whom they follow, what they refuse, and how they come back."""

import pytest

from policy.encoding import Json
from policy.entries import make_entry
from policy.log.merkle import leaf_hash
from policy.state import JobStatus
from policy.values import replace
from signer_nodes.session import Phase
from signer_nodes.witness import Branch, Contradiction, last_quorum
from tests.simulation.cluster import (
    SKEW_MS,
    Clock,
    Coordinator,
    SimNode,
    Statement,
    branch_of,
    cosign,
    cosigned,
    deal,
    note_of,
    refusal,
    started,
)
from tests.simulation.world import (
    DAY_MS,
    ORIGIN,
    PAIR,
    START_MS,
    Book,
    World,
    public_key,
    signatures,
    state_as,
)

WORLD = World()
PAIR_23 = ("node-2", "node-3")
THE_OTHERS = ("node-2", "node-3", "witness-1")


def split(*, alone: tuple[str, ...] = ("node-1",)) -> tuple[Coordinator, Book, dict[str, SimNode], bytes]:
    """``alone`` have cosigned a job on branch a, nobody else has; the coordinator's book is branch b."""
    coordinator, nodes = started(WORLD, Clock(START_MS))
    (presignature,) = deal(nodes, PAIR, 1, count=1)
    other = Coordinator(coordinator.book.fork(), nodes)
    job = other.pay(100, nonce=0, presignature=presignature)
    if alone:
        other.send(*alone)
    coordinator.book.idle()
    return coordinator, other.book, nodes, job


def statements(nodes: dict[str, SimNode], branch: Branch, *names: str) -> list[Statement]:
    return [nodes[name].abandon(branch) for name in names]


# Extending.


def test_a_cosigner_cosigns_only_what_extends_its_own_head() -> None:
    coordinator, _, nodes, _ = split()
    node, note = nodes["node-1"], note_of(coordinator.book)

    assert refusal(node.append, node.size - 1, coordinator.book.entries[node.size - 1 :], note) == "head"
    coordinator.book.idle()
    later = note_of(coordinator.book)
    assert refusal(node.append, node.size, coordinator.book.entries[node.size :], later) in ("head", "root")


def test_other_entries_than_a_genuine_quorum_heads_do_not_freeze_a_cosigner() -> None:
    coordinator, _, nodes, _ = split(alone=())
    genuine = coordinator.send("node-2", "node-3", "witness-1")
    node = nodes["node-1"]

    assert refusal(node.append, node.size, [b"something else"], genuine) == "root"


def test_an_entry_of_the_future_is_not_cosigned_and_an_old_one_is() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    clock = nodes["node-1"].clock
    coordinator.book.now_ms = clock.now_ms + SKEW_MS + 1
    coordinator.book.idle()

    assert refusal(coordinator.send, "node-1") == "clock"

    clock.now_ms += 10**9
    coordinator.send("node-1")

    assert nodes["node-1"].size == len(coordinator.book.entries)


def test_another_state_than_the_fold_gives_is_not_cosigned() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    node, book = nodes["node-1"], coordinator.book
    book.idle()
    liar = book.fork()
    liar.state = replace(liar.state, digest=bytes(32))

    assert refusal(node.append, node.size, book.entries[node.size :], note_of(liar)) == "state"


def test_a_checkpoint_is_the_logs_own() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    node, book = nodes["node-1"], coordinator.book
    note = note_of(book)
    forged = note.replace(note.split(b" ")[-1], note.split(b" ")[-1].swapcase())

    for wrong in (b"", b"garbage", note[:-1], forged):
        assert refusal(node.append, node.size, [], wrong) == "checkpoint"


def test_the_logs_key_follows_the_roster() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    node, book = nodes["node-1"], coordinator.book
    log_key = public_key("new log key").hex()
    book.change("roster", WORLD.roster(log_key=log_key), by=["ada", "adam", *WORLD.nodes])
    before = coordinator.send()
    book.advance(DAY_MS)
    node.clock.now_ms = book.now_ms
    book.idle()
    assert book.state.roster.log_key.hex() == log_key
    node.append(node.size, book.entries[node.size :], note_of(book, by="new log key"))
    book.idle()

    assert refusal(node.append, node.size, book.entries[node.size :], note_of(book)) == "checkpoint"
    node.append(node.size, book.entries[node.size :], note_of(book, by="new log key"))
    node.restart()
    assert node.learn(before).size < node.size


def test_a_log_with_another_genesis_is_refused() -> None:
    mine, theirs = Book(WORLD), Book(World(w=4))
    node = SimNode("node-1", mine.entries[0], Clock(START_MS))

    assert refusal(node.append, 0, theirs.entries, note_of(theirs)) == "genesis"


def test_the_same_head_can_be_cosigned_again() -> None:
    coordinator, _ = started(WORLD, Clock(START_MS))
    first = coordinator.send("node-1")

    assert coordinator.send("node-1") == first


# Quorum heads.


def test_a_node_gives_no_partial_without_w_cosignatures_over_its_own_log() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    (presignature,) = deal(nodes, PAIR, 1, count=1)
    job = coordinator.pay(100, nonce=0, presignature=presignature)
    two = coordinator.send("node-1", "node-2")

    assert refusal(nodes["node-1"].finish, two, job) == "quorum"

    three = coordinator.send("witness-1")

    assert nodes["node-1"].finish(three, job).job.job_id == job
    assert refusal(nodes["node-3"].finish, three, job) == "behind"


def test_a_reservation_after_the_quorum_head_is_not_signed() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    (presignature,) = deal(nodes, PAIR, 1, count=1)
    earlier = coordinator.send()
    job = coordinator.pay(100, nonce=0, presignature=presignature)
    coordinator.send()

    assert refusal(nodes["node-1"].finish, earlier, job) == "declined"


def test_one_cosigner_counts_once() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    coordinator.book.idle()
    note = coordinator.send("node-1")
    for time_s in (2, 3, 4):
        note = cosigned(note, cosign("node-1", note, time_s))

    assert refusal(nodes["node-1"].learn, note) == "quorum"


def test_a_quorum_on_another_branch_does_not_freeze_who_is_alone_below_quorum() -> None:
    coordinator, _, nodes, _ = split()
    coordinator.book.idle()
    note = coordinator.send("node-2", "node-3", "witness-1")

    assert refusal(nodes["node-1"].learn, note) in ("behind", "branch")

    alone, others = started(WORLD, Clock(START_MS))
    elsewhere = alone.book.fork()
    alone.book.idle()
    elsewhere.order("veto", b"\x01" * 32)
    alone.send("node-1")

    assert refusal(others["node-1"].learn, Coordinator(elsewhere, others).send(*THE_OTHERS)) == "branch"


def test_a_quorum_head_that_contradicts_ones_own_is_evidence() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    other = coordinator.book.fork()
    coordinator.book.idle()
    other.order("veto", b"\x01" * 32)
    nodes["node-1"].learn(coordinator.send())
    theirs = cosigned(note_of(other), *(cosign(name, note_of(other)) for name in THE_OTHERS))

    with pytest.raises(Contradiction) as caught:
        nodes["node-1"].learn(theirs)
    assert caught.value.evidence == theirs
    with pytest.raises(Contradiction):
        nodes["node-1"].append(nodes["node-1"].size, [], theirs)


def test_two_branches_never_both_get_w_honest_cosignatures() -> None:
    coordinator, other, nodes, job = split(alone=("node-1", "node-2"))
    coordinator.send("node-3", "witness-1")
    for name in ("node-1", "node-2"):
        assert refusal(coordinator.send, name) == "head"
    lone = Coordinator(other, nodes)
    for name in ("node-3", "witness-1"):
        assert refusal(lone.send, name) in ("head", "root")
    assert job not in nodes["node-3"].cosigner.state.jobs


# Leaving a branch.


def test_a_branch_below_quorum_is_left_on_the_word_of_enough_others() -> None:
    _, _, nodes, job = split()
    node = nodes["node-1"]
    branch = branch_of(node)
    said = statements(nodes, branch, "node-2", "node-3", "witness-1")
    assert refusal(node.leave, said[:2]) == "leave"
    assert refusal(node.leave, [said[0]] * 3) == "leave"
    node.leave(said)

    assert node.size == branch.q_size
    assert node.phases[job] is Phase.BURNED
    assert job not in node.cosigner.state.jobs


def test_who_left_cosigns_only_sizes_above_the_head_it_left() -> None:
    coordinator, _, nodes, _ = split()
    node, floor = nodes["node-1"], nodes["node-1"].size
    node.leave(statements(nodes, branch_of(node), *THE_OTHERS))
    while len(coordinator.book.entries) < floor:
        coordinator.book.idle()
    assert refusal(coordinator.send, "node-1") == "abandoned"
    coordinator.book.idle()
    coordinator.send()

    assert node.size == floor + 1


def test_who_left_never_goes_back_nor_denies_that_it_was_there() -> None:
    _, other, nodes, _ = split()
    node = nodes["node-1"]
    branch = branch_of(node)
    node.leave(statements(nodes, branch, *THE_OTHERS))
    other.idle()
    node.restart()

    assert refusal(Coordinator(other, nodes).send, "node-1") == "abandoned"
    assert refusal(node.abandon, branch) == "cosigned"


def test_who_stated_never_to_cosign_a_branch_never_does() -> None:
    _, other, nodes, _ = split()
    statements(nodes, branch_of(nodes["node-1"]), "node-2")
    nodes["node-2"].restart()

    assert refusal(Coordinator(other, nodes).send, "node-2") == "abandoned"


def test_nobody_states_against_its_own_branch() -> None:
    _, _, nodes, _ = split(alone=("node-1", "node-2"))
    branch = branch_of(nodes["node-1"])

    assert refusal(nodes["node-2"].abandon, branch) == "cosigned"


def test_statements_count_only_for_this_branch_this_quorum_head_and_once_a_cosigner() -> None:
    _, _, nodes, _ = split()
    node = nodes["node-1"]
    branch = branch_of(node)
    said = statements(nodes, branch, "node-2", "node-3")
    for wrong in (
        Branch(branch.q_size, branch.q_root, bytes(32)),
        Branch(branch.q_size - 1, branch.q_root, branch.entry),
        Branch(branch.q_size, bytes(32), branch.entry),
    ):
        body = wrong.body(ORIGIN, "witness-1")
        assert refusal(node.leave, [*said, (body, state_as("abandon", body, "witness-1"))]) == "leave"
    for name in ("node-1", "ada"):
        body = branch.body(ORIGIN, name)
        assert refusal(node.leave, [*said, (body, state_as("abandon", body, name))]) == "leave"
    body = branch.body(ORIGIN, "witness-1")
    with pytest.raises(Exception, match="not signed by witness-1"):
        node.leave([*said, (body, state_as("abandon", body, "node-2"))])


def test_a_quorum_head_is_never_left() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    node = nodes["node-1"]
    size, root = last_quorum(node.cosigner)
    bodies = [
        Branch(size - 1, root, leaf_hash(node.entries[size - 1])).body(ORIGIN, n)
        for n in ("node-2", "node-3", "witness-1")
    ]
    said = [(body, state_as("abandon", body, str(body["cosigner"]))) for body in bodies]  # type: ignore[index, call-overload]

    assert refusal(node.leave, said) == "leave"
    assert len(coordinator.book.entries) == size


def test_a_split_before_the_first_quorum_is_left_too() -> None:
    book = Book(WORLD, start=False)
    book.genesis()
    nodes = {name: SimNode(name, book.entries[0], Clock(START_MS)) for name in WORLD.cosigners}
    Coordinator(book, nodes).send()
    first, second = Coordinator(book.fork(), nodes), Coordinator(book, nodes)
    first.book.idle()
    first.send("node-1")
    branch = branch_of(nodes["node-1"])
    nodes["node-1"].leave(statements(nodes, branch, *THE_OTHERS))
    second.book.key()
    second.book.idle()
    second.send()

    assert {node.size for node in nodes.values()} == {3}


def test_an_unresolved_split_ends_by_the_administrators_word_and_burns() -> None:
    coordinator, other, nodes, job = split(alone=("node-1", "node-2"))
    coordinator.book.request(5)
    coordinator.send("node-3", "witness-1")
    nodes["node-1"].phases[job] = nodes["node-2"].phases[job] = Phase.BOUND
    survivor = nodes["node-3"]
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "size": survivor.size,
        "root": survivor.cosigner.frontier.root().hex(),
        "abandoned": [job.hex()],
    }

    def fork_entry(burners: tuple[str, ...], administrators: tuple[str, ...]) -> bytes:
        burn: Json = {"origin": ORIGIN, "job": job.hex()}
        burns: list[Json] = [{"job": job.hex(), "signatures": signatures("burn", burn, burners)}]
        signed = signatures("fork", body, administrators)
        return make_entry("fork", START_MS, body=body, signatures=signed, burns=burns)

    node = nodes["node-1"]
    assert refusal(node.leave_by_fork, fork_entry(PAIR, ("ada",))) == "fork"
    assert refusal(node.leave_by_fork, fork_entry(("node-1",), ("ada", "adam"))) == "fork"
    assert refusal(survivor.leave_by_fork, fork_entry(PAIR, ("ada", "adam"))) == "fork"
    good = fork_entry(PAIR, ("ada", "adam"))
    for name in PAIR:
        nodes[name].leave_by_fork(good)
    coordinator.book.append(good)
    coordinator.send()

    assert coordinator.book.last.accepted
    assert node.phases[job] is Phase.BURNED
    assert {n.cosigner.state.digest for n in nodes.values()} == {coordinator.book.state.digest}
    assert other.state.jobs[job].status is JobStatus.RESERVED
