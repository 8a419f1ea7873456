"""Several branches of the log: which one a start goes on with, and how a cosigner is brought back to it."""

import asyncio
from pathlib import Path

import pytest

from custody.branches import ASK_AGAIN_S, ask_heads
from custody.candidates import EMPTY, Candidate, Tip, extend, write_batch
from custody.ports import Head
from policy.log.checkpoint import cosignature, cosignature_message
from policy.log.note import Note
from tests.unit.custody_cluster import (
    COSIGNERS,
    NODES,
    FakeNode,
    identity,
    log_key,
    make_request,
    public,
)
from tests.unit.custody_house import House, Running
from tests.waiting import until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class Branch:
    """A continuation of the log, written by hand: its entries and a checkpoint after each."""

    def __init__(self, before: "Branch | None" = None) -> None:
        self.tip: Tip = before.tip if before else EMPTY
        self.entries: list[bytes] = list(before.entries) if before else []

    def add(self, name: str, *, now_ms: int) -> "Branch":
        """One request more."""
        request, _, signature = make_request(name, amount=1, now_ms=now_ms)
        candidate = Candidate("request", request.body(), {"signature": signature.hex()})
        batch = write_batch(self.tip, [candidate], now_ms=now_ms)
        assert batch.outcomes[0].accepted
        self.tip, self.entries = batch.tip, [*self.entries, batch.written[0].entry]
        return self

    def begin(self, genesis: bytes) -> "Branch":
        self.tip, _ = extend(self.tip, genesis)
        self.entries = [genesis]
        return self

    @property
    def note(self) -> Note:
        return log_key().note(self.tip.checkpoint())

    def cosigned(self, *names: str) -> Note:
        note = self.note
        for name in names:
            signature = identity(name).sign(cosignature_message(note.body, time_s=1))
            note = note.with_signatures(cosignature(name, public(name), time_s=1, signature=signature))
        return note

    def give(self, *nodes: FakeNode) -> None:
        """Put cosigners on this branch, as though they had cosigned its head."""
        for node in nodes:
            node.log, node.tip = list(self.entries), self.tip
            node.note = self.cosigned(node.name)


def begun(house: House) -> Branch:
    return Branch().begin(house.genesis)


async def written(running: Running) -> list[bytes]:
    return list(await running.parts.database.entries(0, running.parts.sequencer.state.size))


async def own_tail(house: House, *, length: int) -> list[bytes]:
    """A database with ``length`` requests that no cosigner ever saw."""
    async with house.running() as running:
        await until(lambda: all(len(node.log) == 1 for node in house.nodes.values()))
        for node in house.nodes.values():
            node.down = True
        for i in range(length):
            _, body, signature = make_request(f"own {i}", amount=1, now_ms=house.now_ms())
            await running.service.submit(body, signature)
        await until(lambda: running.parts.sequencer.state.size == 1 + length)
        entries = await written(running)
    for node in house.nodes.values():
        node.down = False
    return entries


async def test_a_quorums_branch_comes_before_a_longer_own_tail_nobody_cosigned(house: House) -> None:
    await own_tail(house, length=4)
    theirs = begun(house).add("theirs", now_ms=house.now_ms())
    nodes = [house.nodes[name] for name in ("node-a", "node-b", "witness")]
    theirs.give(*nodes)
    for node in nodes:
        node.quorum_note = theirs.cosigned("node-a", "node-b", "witness").to_bytes()

    async with house.running() as running:
        entries = await written(running)
        await until(lambda: running.parts.sequencer.state.size >= 6)  # what was received is logged anew

        assert entries[:2] == theirs.entries
        assert len({bytes(r) for r in running.parts.sequencer.state.requests}) == 5
        await until(lambda: house.nodes["node-c"].log == house.nodes["node-a"].log)


async def test_without_a_quorum_the_longest_that_anyone_cosigned_comes_first(house: House) -> None:
    await own_tail(house, length=3)
    theirs = begun(house).add("theirs", now_ms=house.now_ms())
    theirs.give(house.nodes["node-a"])

    async with house.running() as running:
        assert (await written(running))[:2] == theirs.entries


async def test_addresses_are_in_doubt_where_the_cosigners_went_another_way(house: House) -> None:
    await own_tail(house, length=3)
    begun(house).add("theirs", now_ms=house.now_ms()).give(house.nodes["node-a"])

    async with house.running() as running:
        assert await running.parts.feeds.addresses_in_doubt()


async def test_addresses_are_not_in_doubt_where_only_an_own_tail_was_not_sent(house: House) -> None:
    await own_tail(house, length=3)

    async with house.running() as running:
        assert not await running.parts.feeds.addresses_in_doubt()


async def test_a_longer_branch_does_not_beat_one_with_a_quorum(house: House) -> None:
    now = house.now_ms()
    quorum = begun(house).add("one", now_ms=now)
    longer = begun(house).add("two", now_ms=now).add("three", now_ms=now).add("four", now_ms=now)
    longer.give(house.nodes["witness"])
    nodes = [house.nodes[name] for name in NODES]
    quorum.give(*nodes)
    nodes[0].quorum_note = quorum.cosigned(*NODES).to_bytes()

    async with house.running() as running:
        assert (await written(running))[:2] == quorum.entries


class Killed(FakeNode):
    """Its entries are on its disk, its own note went with its process: it cosigns anew when it was asked."""

    anew: Note | None = None

    async def head(self) -> Head:
        shown = await super().head()
        self.note = self.anew or self.note
        return shown


async def test_what_killed_cosigners_are_about_to_cosign_anew_is_waited_for(house: House) -> None:
    nodes = [Killed(name, house.dealer) for name in ("node-a", "node-b", "witness")]
    house.nodes |= {node.name: node for node in nodes}
    earlier, theirs = begun(house), begun(house).add("theirs", now_ms=house.now_ms())
    theirs.give(*nodes)
    for node in nodes:
        node.note, node.anew = earlier.cosigned(node.name), theirs.cosigned(node.name)

    async with house.running() as running:
        assert (await written(running))[:2] == theirs.entries


async def test_a_cosigner_that_never_cosigns_what_it_has_is_not_waited_for_for_ever(house: House) -> None:
    theirs = begun(house)
    theirs.give(*house.nodes.values())
    house.nodes["witness"].log.append(b"more")

    state = theirs.tip.state
    held = await ask_heads(house.nodes, origin=state.origin, roster=state.roster, settling_s=0.01)

    assert {branch.checkpoint.size for branch in held} == {1}


async def test_a_start_that_waits_for_cosigners_says_so_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = begun(house)
    theirs.give(*house.nodes.values())
    for node in house.nodes.values():
        node.down = True
    state = theirs.tip.state
    waiting = asyncio.create_task(
        ask_heads(house.nodes, origin=state.origin, roster=state.roster, settling_s=0.01)
    )
    await asyncio.sleep(4 * ASK_AGAIN_S)
    for node in house.nodes.values():
        node.down = False
    await waiting

    assert caplog.text.count("cosigners answered, waiting") == 1
    assert caplog.text.count("gives no head") == len(house.nodes)


async def test_an_own_tail_that_continues_the_cosigners_is_kept_and_sent_on(house: House) -> None:
    entries = await own_tail(house, length=4)

    async with house.running() as running:
        await until(lambda: all(node.log[:5] == entries for node in house.nodes.values()))

        assert (await written(running))[:5] == entries


async def split(house: House, *, ours: int, theirs: int) -> tuple[Branch, Branch]:
    """Three cosigners on one branch with a quorum, the witness alone on another."""
    now = house.now_ms()
    main, other = begun(house), begun(house)
    for i in range(ours):
        main.add(f"main {i}", now_ms=now)
    for i in range(theirs):
        other.add(f"other {i}", now_ms=now)
    nodes = [house.nodes[name] for name in NODES]
    main.give(*nodes)
    nodes[0].quorum_note = main.cosigned(*NODES).to_bytes()
    other.give(house.nodes["witness"])
    return main, other


@pytest.mark.parametrize("theirs", [1, 2, 6])
async def test_a_cosigner_on_another_branch_is_brought_back(house: House, theirs: int) -> None:
    main, other = await split(house, ours=2, theirs=theirs)

    async with house.running() as running:
        await until(lambda: house.nodes["witness"].floor == len(other.entries))
        for i in range(theirs):
            _, body, signature = make_request(f"more {i}", amount=1, now_ms=house.now_ms())
            await running.service.submit(body, signature)
        await until(lambda: house.nodes["witness"].log[:3] == main.entries)
        await until(lambda: running.parts.replication.followers["witness"].live)

        stated = [branch for name in NODES for branch in house.nodes[name].stated]
        assert {(branch.q_size, branch.q_root) for branch in stated} == {(1, _root(other))}
        await until(lambda: house.nodes["witness"].log == house.nodes["node-a"].log)


async def test_where_too_few_can_state_it_the_status_says_so_and_nobody_is_asked(house: House) -> None:
    await split(house, ours=2, theirs=3)
    house.nodes["node-c"].down = True

    async with house.running() as running:
        await until(lambda: "administrators" in _problem(running, "witness"))
        document = await running.service.status()

        assert isinstance(document, dict) and isinstance(document["nodes"], list)
        shown = {str(one["name"]): str(one["problem"]) for one in document["nodes"] if isinstance(one, dict)}
        assert "2 of 3 cosigners follow this log: needs the administrators' fork entry" in shown["witness"]
        assert all(not node.stated for node in house.nodes.values())
        assert shown["node-a"] == shown["node-b"] == ""

        house.nodes["node-c"].down = False
        await until(lambda: house.nodes["witness"].floor > 0)


async def test_a_cosigner_that_knows_a_contradicting_quorum_is_left_alone(house: House) -> None:
    _, other = await split(house, ours=4, theirs=2)
    liar = house.nodes["witness"]

    async with house.running() as running:
        await until(lambda: liar.floor > 0)
    other.give(liar)
    liar.quorum_note = other.cosigned(*COSIGNERS).to_bytes()
    node = house.nodes["node-a"]
    node.quorum_note = running.parts.replication.quorum.note

    async with house.running() as running:
        await until(lambda: "enrol anew" in _problem(running, "witness"))

        assert liar.log == other.entries


def _problem(running: Running, name: str) -> str:
    return running.parts.replication.followers[name].problem


def _root(branch: Branch) -> bytes:
    tip, _ = extend(EMPTY, branch.entries[0])
    return tip.frontier.root()
