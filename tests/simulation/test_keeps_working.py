"""What must keep working (c = 4, w = 3, f = 1), and what a node looks at before its partial signature."""

from typing import Any

import pytest

from signer_nodes.session import Phase
from tests.simulation.cluster import (
    Clock,
    Coordinator,
    SimNode,
    deal,
    refusal,
    sign_with,
    started,
)
from tests.simulation.world import (
    CUSTOMER,
    OTHER,
    PAIR,
    START_MS,
    World,
)

WORLD = World()
PAIR_23 = ("node-2", "node-3")
THE_OTHERS = ("node-2", "node-3", "witness-1")


def test_signing_goes_on_with_one_node_down_and_it_catches_up_while_another_is() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    presignatures = {pair: deal(nodes, pair, 1) for pair in (PAIR, PAIR_23)}
    job = coordinator.pay(100, nonce=0, presignature=presignatures[PAIR][0])
    note = coordinator.send("node-1", "node-2", "witness-1")
    assert sign_with(nodes, PAIR, note, job)
    coordinator.book.sign(job)

    job = coordinator.pay(100, nonce=1, presignature=presignatures[PAIR_23][0], signers=list(PAIR_23))
    note = coordinator.send("node-2", "node-3", "witness-1")

    assert sign_with(nodes, PAIR_23, note, job)
    assert nodes["node-3"].cosigner.state.digest == coordinator.book.state.digest


def test_a_node_that_restarts_signs_again_with_new_presignatures() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    lost = deal(nodes, PAIR, 1)[0]
    job = coordinator.pay(100, nonce=0, presignature=lost)
    note = coordinator.send()
    nodes["node-1"].restart()
    assert refusal(nodes["node-1"].finish, note, job) == "declined"

    request = coordinator.book.state.jobs[job].request_id
    (fresh, *_) = deal(nodes, PAIR, 2)
    again = coordinator.book.reserve(request, presignatures=[fresh.hex()])
    note = coordinator.send()

    assert sign_with(nodes, PAIR, note, again)
    assert refusal(nodes["node-2"].finish, note, job) == "declined"
    assert coordinator.book.used() == 110


@pytest.mark.parametrize("hours", [0, 1, 100])
@pytest.mark.parametrize("told", [("node-1",), ("witness-1",), ("node-2", "node-3"), ()])
def test_a_coordinator_killed_while_sending_goes_on_with_its_database(
    told: tuple[str, ...], hours: int
) -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    coordinator.pay(100, nonce=0, presignature=deal(nodes, PAIR, 1)[0])
    if told:
        coordinator.send(*told)
    clock = nodes["node-1"].clock
    clock.now_ms += hours * 3_600_000
    restarted = Coordinator(coordinator.book.fork(), nodes)
    restarted.send()

    assert signs(restarted, nodes)


@pytest.mark.parametrize("hours", [0, 1, 100])
@pytest.mark.parametrize("told", [("node-1",), ("witness-1",), ("node-2", "node-3"), ()])
@pytest.mark.parametrize("down", ["node-2", "node-3"])
def test_a_coordinator_killed_while_sending_goes_on_without_its_database(
    told: tuple[str, ...], hours: int, down: str
) -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    coordinator.pay(100, nonce=0, presignature=deal(nodes, PAIR, 1)[0])
    if told:
        coordinator.send(*told)
    nodes["node-1"].clock.now_ms += hours * 3_600_000
    restarted = Coordinator.recovered(WORLD, nodes)
    restarted.send(*(name for name in nodes if name != down))

    assert signs(restarted, nodes)


def signs(coordinator: Coordinator, nodes: dict[str, SimNode]) -> bool:
    """Whether a new payment goes through with every cosigner."""
    coordinator.book.now_ms = nodes["node-1"].clock.now_ms
    presignature = deal(nodes, PAIR, 9)[0]
    job = coordinator.pay(50, nonce=8, presignature=presignature)
    note = coordinator.send()
    return sign_with(nodes, PAIR, note, job)


def test_the_same_partial_comes_out_again_and_excludes_the_burn() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    job = coordinator.pay(100, nonce=0, presignature=deal(nodes, PAIR, 1)[0])
    note = coordinator.send()
    given = nodes["node-1"].finish(note, job)

    assert nodes["node-1"].finish(note, job) is given
    with pytest.raises(Exception, match="partial signature is out already"):
        nodes["node-1"].burn(job)


def test_a_job_burned_before_it_was_logged_is_not_bound_when_it_is() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    ahead = Coordinator(coordinator.book.fork(), nodes)
    job = ahead.pay(100, nonce=0, presignature=deal(nodes, PAIR, 1)[0])
    nodes["node-1"].burn(job)
    note = ahead.send()

    assert nodes["node-1"].phases[job] is Phase.BURNED
    with pytest.raises(Exception, match="it is burned"):
        nodes["node-1"].finish(note, job)


def test_who_burned_never_signs() -> None:
    coordinator, nodes = started(WORLD, Clock(START_MS))
    job = coordinator.pay(100, nonce=0, presignature=deal(nodes, PAIR, 1)[0])
    note = coordinator.send()
    nodes["node-2"].burn(job)

    with pytest.raises(Exception, match="it is burned"):
        nodes["node-2"].finish(note, job)


class Listed(World):
    """A world whose customers come and go one at a time."""

    def policy(self, **changed: Any) -> Any:
        listed = {"addresses": [CUSTOMER, OTHER], "quorum": 1, "cool_down_ms": 1000}
        return super().policy(lists={"customers": listed, "sanctioned": []}, **changed)


@pytest.mark.parametrize("event", ["freeze", "policy", "settled", "ban", "retry", "old", "list"])
def test_a_node_looks_again_at_its_latest_head_before_the_partial(event: str) -> None:
    coordinator, nodes = started(Listed(), Clock(START_MS))
    book, clock = coordinator.book, nodes["node-1"].clock
    first, second, *_ = deal(nodes, PAIR, 1)
    if event == "policy":
        book.change("policy", WORLD.policy(name="second"))
        coordinator.send()
        book.advance(86_400_000 - 1)
        clock.now_ms = book.now_ms
    job = coordinator.pay(100, nonce=0, presignature=first)
    note = coordinator.send()
    match event:
        case "freeze":
            book.order("freeze", bytes(32))
        case "policy":
            book.advance(1)
            book.idle()
        case "settled":
            request = book.state.jobs[job].request_id
            book.sign(job)
            job = book.reserve(request, presignatures=[second.hex()])
            book.settle(book.state.requests[request].jobs[0])
        case "ban":
            book.ban("node-2", "node-1")
        case "list":
            book.list_address("remove", CUSTOMER)
        case "retry":
            book.reserve(book.state.jobs[job].request_id, presignatures=[second.hex()])
        case _:
            clock.now_ms += 11 * 60_000
    note = coordinator.send()
    clock.now_ms = max(clock.now_ms, book.now_ms)

    assert refusal(nodes["node-1"].finish, note, job) == "declined"
