"""A cold node acts on letters: calls one after the other, a person before each signature, no old head."""

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.roster import COORDINATOR
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.desk import Desk
from signer_nodes.api.errors import Refused
from signer_nodes.api.hello import NO_TLS, Hello, verify_hello
from signer_nodes.api.letters import CALL, HELLO, LETTER, Inbox, LetterRefused
from signer_nodes.cold import HEAD_AGE_MS_MAX, ColdNode, ColdParts
from signer_nodes.cold_peers import ColdPeers
from tests.simulation.cluster import Clock, Coordinator, deal, started
from tests.simulation.world import ORIGIN, PAIR, START_MS, World

COLD, COORDINATORS, PEER = (Ed25519PrivateKey.generate() for _ in range(3))
KEYS = {"cold-1": COLD.public_key().public_bytes_raw()}
BOOT = b"\x01" * 32


@dataclass
class Handler:
    """Notes what it is asked; a presign writes to a peer and waits for the answer."""

    peers: ColdPeers
    clone: bool = False
    done: list[str] = field(default_factory=list)
    peers_answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def greeted(self, caller: Any) -> None:
        if self.clone:
            raise Refused("clone", "two processes ran as it")

    async def append(self, caller: Any, call: pb.Append) -> pb.AppendReply:
        self.done.append(f"append {call.start}")
        if call.start == 99:
            raise Refused("head", "send what follows")
        return pb.AppendReply()

    async def presign(self, caller: Any, call: pb.Presign) -> pb.PresignReply:
        await self.peers.send_protocol("cold-2", bytes(32), payload=b"round 1")
        await self.peers_answered.wait()
        self.done.append("presign")
        return pb.PresignReply()

    async def finish(self, caller: Any, call: pb.Finish) -> pb.FinishReply:
        self.done.append("finish")
        return pb.FinishReply()


@dataclass
class Room:
    """One cold node, its desk, and a log with a job."""

    coordinator: Coordinator
    clock: Clock
    job: bytes
    note: bytes
    wanted: bool = True
    looks_ms: int = 0
    looks_s: float = 0.0
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        key = X25519PrivateKey.generate()
        boot = BootStatement(ORIGIN, "cold-1", 1, BOOT, NO_TLS, 0, bytes(32))
        self.peers = ColdPeers()
        self.handler = Handler(self.peers)
        self.log = Simple(cosigner=self.coordinator.nodes["node-1"].cosigner)
        parts = ColdParts(
            handler=cast("Any", self.handler),
            log=cast("Any", self.log),
            hsm=cast("Any", Simple(sign_statement=COLD.sign)),
            inbox=Inbox("cold-1", ORIGIN, BOOT, key, COORDINATOR),
            peers=self.peers,
            hello=Hello(boot, key.public_key().public_bytes_raw(), START_MS),
            coordinator=COORDINATORS.public_key().public_bytes_raw(),
            first_roster=self.log.cosigner.state.roster,
            clock_ms=lambda: self.clock.now_ms,
            confirm=self.confirm,
        )
        self.node = ColdNode(parts)
        raw = self.node.hello()
        hello = verify_hello(raw, origin=ORIGIN, key=KEYS["cold-1"])
        self.desk = Desk(ORIGIN, b"\x02" * 32, sign=COORDINATORS.sign, hellos={"cold-1": (hello, raw)})

    def know_peer(self) -> None:
        """Have the roster name another cold node."""
        state = self.log.cosigner.state
        cold = {"cold-2": PEER.public_key().public_bytes_raw()}
        roster = replace(state.roster, cold=cold)
        self.log.cosigner = Simple(size=0, roster_at=lambda _size: roster)

    async def confirm(self, job: bytes) -> bool:
        self.asked.append(job)
        self.clock.now_ms += self.looks_ms
        await asyncio.sleep(self.looks_s)
        return self.wanted

    async def walk(self) -> None:
        """One pass."""
        letters = self.desk.letters(self.clock.now_ms)
        self.desk.take(await self.node.read(letters["cold-1"]), keys=KEYS, now_ms=self.clock.now_ms)

    def finish(self, *jobs: bytes) -> None:
        self.desk.ask(pb.Finish(note=self.note, jobs=[pb.FinishJob(job=job) for job in jobs or (self.job,)]))


@pytest.fixture
async def room() -> Room:
    clock = Clock(START_MS)
    coordinator, nodes = started(World(), clock)
    (presignature,) = deal(nodes, PAIR, 1, count=1)
    job = coordinator.pay(50, nonce=0, presignature=presignature)
    note = coordinator.send()
    return Room(coordinator, clock, job, note)


async def test_calls_are_done_one_after_the_other_across_passes(room: Room) -> None:
    room.peers.met["cold-2"] = cast("Any", Simple(boot=Simple(boot_id=bytes(32)), key=bytes(range(32))))
    room.desk.ask(pb.Append(start=1))
    room.desk.ask(pb.Presign())
    room.desk.ask(pb.Append(start=2))
    letters = room.desk.letters(START_MS)

    first = await room.node.read(letters["cold-1"])
    before = list(room.handler.done)
    room.handler.peers_answered.set()
    await asyncio.sleep(0.05)

    assert first
    assert before == ["append 1"], "what follows a run waits for it"
    assert room.handler.done == ["append 1", "presign", "append 2"]


async def test_a_refusal_is_told_in_the_answer_and_what_follows_is_done(room: Room) -> None:
    room.desk.ask(pb.Append(start=99), is_optional=True)
    room.desk.ask(pb.Append(start=2))
    await room.walk()

    replies = room.desk.seats["cold-1"].replies
    assert [reply.WhichOneof("what") for reply in replies] == ["refusal", "append"]
    assert room.desk.refusals() == []


async def test_the_answer_of_a_machine_that_left_the_roster_is_refused_and_people_are_told(
    room: Room,
) -> None:
    room.desk.ask(pb.Append(start=2))
    answer = await room.node.read(room.desk.letters(START_MS)["cold-1"])

    with pytest.raises(LetterRefused, match=r"cold-1 left the roster .*quorumkeep cold end"):
        room.desk.take(answer, keys={}, now_ms=START_MS)

    assert room.desk.seats["cold-1"].replies == []


@pytest.mark.parametrize("call", [pb.EntriesQuery(), pb.HeadQuery(), pb.Leave(), pb.Abandon(), pb.Protocol()])
async def test_other_calls_than_those_of_a_ceremony_are_refused(room: Room, call: Any) -> None:
    room.desk.ask(call)
    await room.walk()

    (refusal,) = room.desk.refusals()
    assert "not-allowed" in refusal


async def test_a_person_is_asked_before_each_signature(room: Room) -> None:
    room.finish()
    await room.walk()

    assert (room.asked, room.handler.done) == ([room.job], ["finish"])


async def test_without_a_persons_yes_nothing_is_computed(room: Room) -> None:
    room.wanted = False
    room.finish()
    await room.walk()

    assert room.handler.done == []
    assert "did not want it signed" in room.desk.refusals()[0]


async def test_the_answer_waits_for_a_person_who_looks_for_longer_than_anything_else_may_take(
    room: Room,
) -> None:
    room.node.settle_timeout_s, room.looks_s = 0.05, 0.4
    room.finish()
    await room.walk()

    assert [reply.WhichOneof("what") for reply in room.desk.seats["cold-1"].replies] == ["finish"]


async def test_a_job_that_the_log_lacks_is_not_even_shown(room: Room) -> None:
    room.finish(b"\x07" * 32)
    await room.walk()

    assert (room.asked, room.handler.done) == ([], [])
    assert "no admitted job" in room.desk.refusals()[0]


@pytest.mark.parametrize(("late_ms", "is_done"), [(0, True), (999, True), (2000, False)])
async def test_no_head_older_than_an_hour_is_signed_on(room: Room, late_ms: int, is_done: bool) -> None:
    room.clock.now_ms += HEAD_AGE_MS_MAX + late_ms
    room.finish()
    await room.walk()

    assert room.handler.done == (["finish"] if is_done else [])
    assert [("stale" in one) for one in room.desk.refusals()] == ([] if is_done else [True])


async def test_a_head_that_grows_old_while_a_person_looks_is_not_signed_on(room: Room) -> None:
    room.looks_ms = HEAD_AGE_MS_MAX + 2_000
    room.finish()
    await room.walk()

    assert (len(room.asked), room.handler.done) == (1, [])
    assert "stale" in room.desk.refusals()[0]


async def test_a_note_without_a_quorum_signs_nothing(room: Room) -> None:
    lines = room.coordinator.send().split(b"\n")
    room.note = b"\n".join(lines[:-4]) + b"\n"
    room.finish()
    await room.walk()

    assert room.handler.done == []
    assert "quorum" in room.desk.refusals()[0]


async def test_a_wrong_part_of_a_right_letter_is_told_and_the_rest_is_done(room: Room) -> None:
    seat = room.desk.seats["cold-1"]
    room.desk.ask(pb.Append(start=1))
    seat.frames += [(HELLO, b"{}"), (LETTER, b"QKCOLD1\n"), (CALL, b"\xff\xff")]
    await room.walk()

    codes = [reply.refusal.code for reply in seat.replies if reply.WhichOneof("what") == "refusal"]
    assert codes == ["malformed", "truncated", "malformed"]
    assert room.handler.done == ["append 1"]
    room.desk.ask(pb.Append(start=2))
    await room.walk()
    assert room.handler.done == ["append 1", "append 2"]


def peer_hello(*, counter: int = 1) -> bytes:
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    boot = BootStatement(ORIGIN, "cold-2", counter, bytes([counter]) * 32, NO_TLS, 0, bytes(32))
    made = Hello(boot, key, START_MS)
    return made.to_bytes(PEER.sign(made.message()))


@pytest.mark.parametrize("clone", [False, True])
async def test_a_peer_is_met_by_its_hello_unless_it_was_cloned(room: Room, clone: bool) -> None:
    room.know_peer()
    room.handler.clone = clone
    room.desk.seats["cold-1"].frames.append((HELLO, peer_hello()))
    await room.walk()

    assert room.peers.names == (() if clone else ("cold-2",))
    assert [("clone" in one) for one in room.desk.refusals()] == ([True] if clone else [])


async def test_a_peer_that_was_started_anew_is_another_ceremonys(room: Room) -> None:
    room.know_peer()
    for counter in (1, 2):
        room.desk.seats["cold-1"].frames.append((HELLO, peer_hello(counter=counter)))
        await room.walk()

    assert room.peers.met["cold-2"].boot.boot_counter == 1
    assert "was started anew" in room.desk.refusals()[0]


async def test_a_stranger_is_not_met(room: Room) -> None:
    room.desk.seats["cold-1"].frames.append((HELLO, peer_hello()))
    await room.walk()

    assert room.peers.names == ()
    assert "no other cold node" in room.desk.refusals()[0]
