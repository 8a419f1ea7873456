"""What the coordinator brings cold machines of the log, and what it tells people who come too early."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from custody import cold_log
from custody.api.errors import CallRefused
from custody.candidates import Candidate
from custody.ceremonies import SITTING_MS_MAX
from custody.cold import ColdStep
from custody.enacting import moment
from custody.requests import State
from custody.storage import ENTRIES_BYTES_MAX, Database
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.ids import GENERATE
from policy.roster import COORDINATOR
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.desk import Desk, letters_key
from signer_nodes.api.envelope import parse_call, reply_envelope
from signer_nodes.api.hello import NO_TLS, Hello
from signer_nodes.api.letters import CALL, LIFE_MS, REPLY, Header, Inbox, Opened, write_letter
from tests.unit.custody_cluster import (
    ETHER,
    KEY,
    ORIGIN,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import Clock, FakeChain, House, Running

COLD = ("cold-a", "cold-b", "cold-c")


def cold_policy() -> dict[str, Json]:
    key: Json = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list[Json](COLD)}
    return {**policy_document(), "keys": {KEY: key}}


def hello(name: str, *, counter: int = 1, size: int = 0) -> bytes:
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    boot = BootStatement(ORIGIN, name, counter, bytes([counter]) * 32, NO_TLS, size, bytes(32))
    made = Hello(boot, key, 0)
    return made.to_bytes(identity(name).sign(made.message()))


async def with_key(running: Running) -> None:
    """The key, on the word of its three nodes."""
    points = [PrivateKey(bytes([n]) * 32).public_key.format().hex() for n in (1, 2, 3, 4)]
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "key": KEY,
        "epoch": 0,
        "suite": "dkls23-secp256k1",
        "change": GENERATE,
        "dealers": list(COLD),
        "min_signers": 2,
        "participants": list(COLD),
        "group_key": points[3],
        "chain_code": "07" * 32,
        "public_shares": list[Json](points[:3]),
        "transcript": "08" * 32,
    }
    signatures = {name: identity(name).sign(statement("keygen", body)) for name in COLD}
    outcome = await running.parts.sequencer.log(
        Candidate("key", body, {"signatures": signature_list(signatures)})
    )
    assert outcome.accepted, outcome.reason


@pytest.fixture
async def house(tmp_path: Path) -> House:
    """One whose only key is cold."""
    named: list[Json] = [{"name": name, "key": public(name).hex()} for name in COLD]
    made = House(tmp_path, policy=cold_policy(), roster=roster_document(cold=named))
    async with made.running() as first:
        await with_key(first)
    return made


@pytest.fixture
async def running(house: House) -> AsyncIterator[Running]:
    """A coordinator."""
    async with house.running() as made:
        yield made


class Dies:
    """A database that stops for ever at the nth time that ceremonies are kept: before or after it is done."""

    def __init__(self, inner: Database, *, nth: int, when: str) -> None:
        self._inner = inner
        self._left = nth
        self._when = when
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def keep_ceremonies(self, document: bytes) -> None:
        self._left -= 1
        if self._left or self._when == "after":
            await self._inner.keep_ceremonies(document)
        if not self._left:
            self.dead.set()
            await asyncio.Event().wait()


async def asked(running: Running, name: str = "order") -> bytes:
    _, body, signature = make_request(name, amount=ETHER // 2, now_ms=running.parts.now_ms())
    record = await running.service.submit(body, signature)
    await running.until(record.request, State.AWAITING_CEREMONY)
    return record.request


async def step(
    running: Running, caller: str = "otto", **wanted: Any
) -> tuple[dict[str, Any], list[tuple[str, int, bytes]]]:
    document, letters = await running.service.cold(caller, ColdStep(**wanted))
    return json.loads(document), letters


class Machine:
    """A cold node that takes every call in and makes nothing: what it was brought, and its answers."""

    def __init__(self, running: Running, name: str) -> None:
        self.name, self.running = name, running
        self.key = X25519PrivateKey.generate()
        self.boot = BootStatement(ORIGIN, name, 1, b"\1" * 32, NO_TLS, 0, bytes(32))
        self.inbox = Inbox(name, ORIGIN, self.boot.boot_id, self.key, COORDINATOR)
        self.brought: list[pb.Append] = []
        self.letters: list[int] = []

    def hello(self) -> bytes:
        made = Hello(self.boot, self.key.public_key().public_bytes_raw(), 0)
        return made.to_bytes(identity(self.name).sign(made.message()))

    def read(self, data: bytes) -> bytes:
        """Take a letter in; its answer."""
        opened, calls = self.opened(data)
        answers = {"append": pb.AppendReply(), "presign": pb.PresignReply()}
        kinds = [(call.call, str(call.WhichOneof("what"))) for call in calls]
        return self.written(
            opened, [reply_envelope(number, kind, answer=answers[kind]) for number, kind in kinds]
        )

    def opened(self, data: bytes) -> tuple[Opened, list[pb.Call]]:
        """A letter and the calls in it."""
        now_ms = self.running.parts.now_ms()
        opened = self.inbox.open(data, {COORDINATOR: public("coordinator")}, now_ms=now_ms)
        self.letters.append(sum(len(frame) for _, frame in opened.frames))
        calls = [parse_call(frame) for frame in opened.of(CALL)]
        self.brought += [call.append for call in calls if call.WhichOneof("what") == "append"]
        return opened, calls

    def written(self, opened: Opened, replies: list[pb.Reply]) -> bytes:
        """The letter with these replies."""
        now_ms = self.running.parts.now_ms()
        header = Header(
            ORIGIN,
            opened.header.ceremony,
            self.name,
            COORDINATOR,
            opened.header.ceremony,
            len(self.letters),
            now_ms,
            now_ms + LIFE_MS,
            self.inbox.public_key,
        )
        frames = [(REPLY, reply.SerializeToString()) for reply in replies]
        return write_letter(header, frames, key=opened.header.reply_key, sign=identity(self.name).sign)


async def notes(running: Running, count: int) -> None:
    """So many entries of most of a kilobyte."""
    bodies: list[dict[str, Json]] = [
        {"origin": ORIGIN, "by": "shop", "about": "plan", "text": f"{n} " + "x" * 490, "noted_ms": n}
        for n in range(count)
    ]
    logged = [
        running.parts.sequencer.log(Candidate("note", body, {"signatures": signature_list({"shop": signed})}))
        for body in bodies
        for signed in (identity("shop").sign(statement("note", body)),)
    ]
    assert all(outcome.accepted for outcome in await asyncio.gather(*logged))


@pytest.mark.parametrize(
    ("count", "pass_bytes_max"),
    [(1_200, 50_000), pytest.param(24_000, None, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
async def test_a_long_log_comes_in_several_passes_none_of_them_long(
    running: Running, count: int, pass_bytes_max: int | None
) -> None:
    ceremonies = running.parts.ceremonies
    ceremonies.pass_bytes_max = pass_bytes_max or ceremonies.pass_bytes_max
    for _ in range(0, count, 400):
        await notes(running, 400)
    request = await asked(running)
    machines = {name: Machine(running, name) for name in COLD[:2]}
    hellos = tuple(one.hello() for one in machines.values())
    report, letters = await step(running, files=hellos, request=request)
    while report["stage"] == "catching-up":
        answers = tuple(machines[name].read(data) for name, _, data in letters)
        report, letters = await step(running, files=answers)
    for name, _, data in letters:
        machines[name].read(data)

    entries: list[bytes] = []
    while more := await running.parts.database.entries(len(entries), running.parts.sequencer.state.size):
        entries += more
    bound = min(cold_log.MACHINE_BYTES_MAX, ceremonies.pass_bytes_max // 2)
    for machine in machines.values():
        brought = [(one.start + n, entry) for one in machine.brought for n, entry in enumerate(one.entries)]
        assert brought == list(enumerate(entries)), "whole, in order, once"
        assert len(machine.letters) > 2
        assert max(machine.letters) < bound + ENTRIES_BYTES_MAX


def appends(desk: Desk, name: str) -> list[Any]:
    calls = [parse_call(data) for kind, data in desk.seats[name].frames if kind == CALL]
    return [call.append for call in calls if call.WhichOneof("what") == "append"]


async def test_the_log_comes_in_pieces_that_prove_since_when_a_request_was_public(running: Running) -> None:
    await asked(running)
    parts = running.parts
    index = parts.sequencer.state.size - 1
    for number in range(5):
        await parts.sequencer.log(moment(ORIGIN, f"later {number}"))
    await parts.replication.wait_quorum(parts.sequencer.state.size, 5)
    parts.ceremonies.greet(hello("cold-a"), origin=ORIGIN, roster=parts.sequencer.state.roster)
    parts.ceremonies.greet(hello("cold-b", size=2), origin=ORIGIN, roster=parts.sequencer.state.roster)
    desk = Desk(ORIGIN, bytes(32), sign=parts.ceremonies.sign, hellos=parts.ceremonies.spend(COLD[:2]))

    whole = await cold_log.ship(parts, desk)

    proof = await parts.database.first_quorum(index)
    entries = await parts.database.entries(0, parts.sequencer.state.size)
    assert whole and proof is not None
    for name, start in (("cold-a", 0), ("cold-b", 2)):
        sent = appends(desk, name)
        assert [entry for one in sent for entry in one.entries] == list(entries[start:])
        ends = [one.start + len(one.entries) for one in sent]
        assert proof[0] in ends and proof[0] < len(entries), "its proof is not that of a later head"
        assert sent[ends.index(proof[0])].checkpoint == proof[1]
        assert sent[-1].checkpoint == parts.replication.quorum.note


async def test_who_comes_too_early_is_told_what_is_missing(running: Running) -> None:
    request = await asked(running)

    with pytest.raises(CallRefused, match="takes 2 of cold-a, cold-b, cold-c, and there are hellos of none"):
        await step(running, request=request)
    await step(running, files=(hello("cold-b"),))
    with pytest.raises(CallRefused, match="there are hellos of cold-b"):
        await step(running, request=request)
    with pytest.raises(CallRefused, match="no ceremony is under way"):
        await step(running, files=(b"QKCOLD1\nwhatever",))
    with pytest.raises(CallRefused, match="forbidden"):
        await step(running, "shop", files=(hello("cold-a"),))


async def test_a_hello_is_of_a_cold_node_of_the_roster_and_the_newest(running: Running) -> None:
    await step(running, files=(hello("cold-a", counter=2),))

    with pytest.raises(CallRefused, match="was started again"):
        await step(running, files=(hello("cold-a", counter=1),))
    with pytest.raises(CallRefused, match="is no cold node"):
        await step(running, files=(hello("node-a"),))
    with pytest.raises(CallRefused, match="hello"):
        await step(running, files=(b"{}",))
    with pytest.raises(CallRefused, match="give the files that a cold machine wrote"):
        await step(running, files=(b"name = 'cold-a'",))


async def test_a_machine_that_is_started_anew_ends_the_ceremony_it_was_in(running: Running) -> None:
    request = await asked(running)
    await step(running, files=(hello("cold-a"), hello("cold-b")), request=request)
    await running.until(request, State.RESERVED)

    await step(running, files=(hello("cold-a", counter=2),))

    current = running.parts.ceremonies.current
    assert current is not None and "cold-a was started anew" in current.outcome
    await running.until(request, State.AWAITING_CEREMONY)
    await step(running, files=(hello("cold-b", counter=2),), request=request)
    await running.until(request, State.RESERVED)


async def test_no_pool_is_kept_of_a_cold_key(running: Running) -> None:
    await asked(running)

    assert running.parts.pools.report() == [] or all(not stock for _, stock in running.parts.pools.report())


async def test_a_cold_key_is_not_changed_over_the_wire(running: Running) -> None:
    with pytest.raises(CallRefused, match="has no network: hold a ceremony"):
        await running.service.change_key("admin", KEY, change="refresh")


async def test_a_ceremony_outlives_its_coordinator_with_the_same_letters(house: House) -> None:
    async with house.running() as first:
        request = await asked(first)
        await step(first, files=(hello("cold-a"), hello("cold-b"), hello("cold-c")))
        report, letters = await step(first, request=request)

    async with house.running() as second:
        await second.until(request, State.RESERVED)
        found, again = await step(second)
        with pytest.raises(CallRefused, match=r"a ceremony for \w+ is under way"):
            await step(second, request=await asked(second, "another"))

    assert len(letters) == 2 and again == letters
    assert found == report and found["hellos"] == ["cold-c"]


async def test_a_start_takes_part_in_one_ceremony_also_at_another_coordinator(house: House) -> None:
    used = hello("cold-a")
    async with house.running() as first:
        request = await asked(first)
        await step(first, files=(used, hello("cold-b")), request=request)
        report, _ = await step(first, files=(used,))
        assert report["stage"] == "presigning", "a hello that is brought twice ends nothing"
        await step(first, files=(hello("cold-b", counter=2),))

    async with house.running() as second:
        with pytest.raises(CallRefused, match="has taken part in a ceremony with this start: start it anew"):
            await step(second, files=(used,))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_coordinator_that_dies_while_it_reserves_reserves_once(
    house: House, nth: int, when: str
) -> None:
    hellos = (hello("cold-a"), hello("cold-b"))
    async with house.running() as before:
        request = await asked(before)
    house.around_database = lambda inner: cast("Database", Dies(inner, nth=nth, when=when))
    async with house.running() as dying:
        beginning = asyncio.create_task(step(dying, files=hellos, request=request))
        await cast("Dies", dying.parts.database).dead.wait()
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)

    house.around_database = lambda inner: inner
    async with house.running() as successor:
        report, letters = await step(successor, files=hellos, request=request)
        state = successor.parts.sequencer.state
        current = successor.parts.ceremonies.current

    assert current is not None and report["stage"] == "presigning"
    assert [job.hex() for job in state.requests[request].jobs] == [report["job"]]
    assert state.jobs[bytes.fromhex(report["job"])].presignatures == current.presignatures
    assert [node for node, _, _ in letters] == ["cold-a", "cold-b"]
    for seat in current.desk.seats.values():
        assert seat.out is not None
        kinds = [parse_call(data).WhichOneof("what") for kind, data in seat.out.frames if kind == CALL]
        assert kinds[-2:] == ["presign", "append"], "the machine makes the presignature before it opens it"


def test_each_ceremony_has_its_own_key_of_letters_and_the_same_after_a_restart(house: House) -> None:
    first, again = (letters_key(house.sign, ORIGIN, ceremony=bytes(32)) for _ in "12")
    other = letters_key(house.sign, ORIGIN, ceremony=b"\1" * 32)

    assert first.private_bytes_raw() == again.private_bytes_raw() != other.private_bytes_raw()


async def test_nothing_that_is_kept_tells_the_key_of_the_letters(running: Running) -> None:
    request = await asked(running)
    await step(running, files=(hello("cold-a"), hello("cold-b")), request=request)
    current = running.parts.ceremonies.current
    assert current is not None
    secret = current.desk.inbox.private_key.private_bytes_raw()

    kept = zlib.decompress(await running.parts.database.ceremonies())

    assert secret.hex().encode() not in kept and secret not in kept
    assert secret.hex() not in repr(running.parts.ceremonies)


async def test_a_ceremony_that_somebody_ends_gives_its_request_back(running: Running) -> None:
    request = await asked(running)
    await step(running, files=(hello("cold-a"), hello("cold-b")), request=request)
    await running.until(request, State.RESERVED)

    report, letters = await step(running, ended_by="otto")

    await running.until(request, State.AWAITING_CEREMONY)
    assert (report["stage"], report["outcome"], letters) == ("failed", "otto ended it", [])
    assert report["began_ms"] <= report["ended_ms"] <= running.parts.now_ms()
    with pytest.raises(CallRefused, match="no ceremony is under way that could be ended") as refused:
        await step(running, ended_by="otto")
    assert refused.value.code == "no-ceremony"


async def test_a_ceremony_that_nobody_comes_back_to_holds_its_request_for_hours_and_not_for_ever(
    house: House,
) -> None:
    async with house.running() as first:
        request = await asked(first)
        await step(first, files=(hello("cold-a"), hello("cold-b")), request=request)
        await first.until(request, State.RESERVED)

    house.now_ms = Clock(SITTING_MS_MAX - 60_000)
    async with house.running() as soon:
        assert (await step(soon))[0]["stage"] == "presigning"
    house.now_ms = Clock(SITTING_MS_MAX + 60_000)
    async with house.running() as late:
        await late.until(request, State.AWAITING_CEREMONY, State.EXPIRED)
        assert (await step(late))[0]["outcome"] == "it was not over 8 hours after it began"


@pytest.mark.parametrize(
    ("change", "names", "why"),
    [
        ("generate", COLD, "is in epoch 0 already: --change refresh begins the next"),
        ("refresh", COLD[:2], "all of them take part: start cold-c and import its hello"),
        ("reshare", COLD, "has key hot where it is: --change refresh renews its shares"),
        ("import", COLD, "a ceremony has no import: it has generate, refresh and reshare"),
    ],
)
async def test_a_change_of_a_key_that_cannot_be_costs_no_start_of_a_machine(
    running: Running, change: str, names: tuple[str, ...], why: str
) -> None:
    await step(running, files=tuple(hello(name) for name in names))

    with pytest.raises(CallRefused, match=why):
        await step(running, key=KEY, change=change)

    assert sorted(running.parts.ceremonies.hellos) == sorted(names)
    assert running.parts.ceremonies.current is None


async def test_a_refresh_asks_all_machines_for_the_next_epoch_once_they_have_the_log(
    running: Running,
) -> None:
    report, letters = await step(
        running, files=tuple(hello(name) for name in COLD), key=KEY, change="refresh"
    )

    current = running.parts.ceremonies.current
    assert current is not None and (report["stage"], report["purpose"]) == ("making-key", "refresh")
    assert (current.epoch, current.holders, len(letters)) == (1, COLD, 3)
    for seat in current.desk.seats.values():
        assert seat.out is not None
        calls = [parse_call(data) for kind, data in seat.out.frames if kind == CALL]
        assert (calls[-1].change_key.change, list(calls[-1].change_key.dealers)) == ("refresh", [])
        assert {call.WhichOneof("what") for call in calls[:-1]} == {"append"}


async def test_what_could_not_be_reached_costs_no_pass(house: House) -> None:
    chain = cast("FakeChain", house.chain)
    async with house.running() as running:
        request = await asked(running)

    chain.down = True
    async with house.running() as running:
        with pytest.raises(CallRefused, match="the chain is down"):
            await step(running, files=(hello("cold-a"), hello("cold-b")), request=request)
        with pytest.raises(CallRefused, match="the chain is down"):
            await step(running)

    chain.down = False
    async with house.running() as running:
        report, letters = await step(running)
        jobs = running.parts.sequencer.state.requests[request].jobs
        current = running.parts.ceremonies.current

    assert current is not None and not current.is_due
    assert (report["stage"], report["passes"], len(letters), len(jobs)) == ("presigning", 1, 2, 1)
    for seat in current.desk.seats.values():
        assert seat.out is not None
        kinds = [parse_call(data).WhichOneof("what") for kind, data in seat.out.frames if kind == CALL]
        assert kinds[-2:] == ["presign", "append"] and kinds.count("presign") == 1
