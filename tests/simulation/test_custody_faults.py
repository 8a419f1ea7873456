"""Each outside call of the coordinator fails once as "not done" and once as "done, not told", and the
coordinator is killed at that point: every request is paid all the same, and once.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from custody.api.errors import CallRefused
from custody.requests import State
from policy import ledger
from policy.encoding import parse_canonical
from policy.entries import ReserveEntry, SignatureEntry, parse_entry
from policy.errors import OperationalError
from policy.state import JobStatus
from tests.simulation.custody_faults import (
    AGAIN_S,
    LIFE_MS,
    Fault,
    Faults,
    FaultyHouse,
    Player,
    Story,
    Way,
    kinds,
    protocols,
)
from tests.unit.custody_cluster import COSIGNERS, ETHER, NODES
from tests.unit.test_custody_branches import Branch
from tests.unit.test_custody_forking import signed

NUMBERS = (1, 1, 2, 3)
AT_ONCE = 8
LIVING = 6
OVER = (State.EXPIRED, State.CANCELLED, State.DENIED)


async def nothing(house: FaultyHouse) -> None:
    return


async def pay(player: Player) -> None:
    """Two small payments, and a large one that an operator approves."""
    await player.key()
    small = [await player.submit(f"small {amount}", amount) for amount in (1, 2)]
    large = await player.submit("large", 5 * ETHER)
    await player.approve(large)
    for request in small:
        await player.reach(request, State.SETTLED)
    await player.patiently(player.service.status)


async def pay_alone(player: Player) -> None:
    """One payment, and nothing that would write the log after it."""
    await player.key()
    await player.reach(await player.submit("alone", 1), State.SETTLED)


async def lose_the_database(house: FaultyHouse) -> None:
    """Pay, and then lose everything that the coordinator had on its disk."""
    await Player(house).live(pay)
    restore(house, {})


async def split(house: FaultyHouse) -> None:
    """node-c is on a branch of its own, which this coordinator does not have; the others are on its log."""
    common = await begin(house)
    await Player(house).live(write_to("node-c"))
    restore(house, common)
    up(house, "node-a", "node-b", "witness")
    await Player(house).live(pay_alone)
    up(house, *COSIGNERS)


async def fall_behind(house: FaultyHouse) -> None:
    """The coordinator's log ends in what no cosigner has seen, and they have gone on without it."""
    common = await begin(house)
    await Player(house).live(write_to())
    own = saved(house)
    restore(house, common)
    up(house, *COSIGNERS)
    await Player(house).live(pay_alone)
    restore(house, own)


async def halve(house: FaultyHouse) -> None:
    """Two cosigners are on a branch of their own, the other two on a longer one; neither is a quorum."""
    common = await begin(house)
    living = Branch()
    living.tip, living.entries = house.nodes["node-c"].tip, list(house.nodes["node-c"].log)
    await Player(house).live(write_to("node-a", "node-b"))
    for number in range(LIVING):
        living.add(f"living {number}", now_ms=house.now_ms())
    living.give(house.nodes["node-c"], house.nodes["witness"])
    restore(house, common)
    up(house, *COSIGNERS)


async def mend(player: Player) -> None:
    """The administrators end the split, again and again until it is; then everything is paid."""
    nodes = player.house.nodes
    while any(node.log[:3] != nodes["node-c"].log[:3] for node in nodes.values()):
        with contextlib.suppress(CallRefused, OperationalError):
            draft: Any = parse_canonical(await player.service.draft_fork("admin", "node-a"), bytes_max=10**6)
            await player.service.enact("admin", signed(draft))
        await asyncio.sleep(AGAIN_S)
    for name, amount in (("tail", 21), ("mended", 22)):
        await player.reach(await player.submit(name, amount), State.SETTLED)
    await player.until(lambda: all(node.log == nodes["node-a"].log for node in nodes.values()))


async def begin(house: FaultyHouse) -> dict[Path, bytes]:
    """A log that all cosigners have; the database there."""
    await Player(house).live(meet)
    return saved(house)


async def meet(player: Player) -> None:
    """All cosigners come to the same log."""
    await player.key()
    nodes = player.house.nodes.values()
    await player.until(lambda: all(len(node.log) == player.service_state().size for node in nodes))


def write_to(*names: str) -> Story:
    """A request that these cosigners alone hear of."""

    async def write(player: Player) -> None:
        up(player.house, *names)
        request = await player.submit("tail", 21)
        await player.until(lambda: request in player.service_state().requests)
        nodes = player.house.nodes
        await player.until(lambda: all(request in nodes[name].tip.state.requests for name in names))

    return write


def saved(house: FaultyHouse) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in house.folder.glob("custody.db*")}


def restore(house: FaultyHouse, files: dict[Path, bytes]) -> None:
    for file in house.folder.glob("custody.db*"):
        file.unlink()
    for file, data in files.items():
        file.write_bytes(data)


def up(house: FaultyHouse, *names: str) -> None:
    for name, node in house.nodes.items():
        node.down = name not in names


async def heal(player: Player) -> None:
    """The backend asks for everything again, and all cosigners come to the same log."""
    for name, amount in (("tail", 21), ("alone", 1), ("healed", 22)):
        await player.reach(await player.submit(name, amount), State.SETTLED)
    nodes = player.house.nodes
    await player.until(lambda: all(node.log == nodes["node-a"].log for node in nodes.values()))


async def rebuild(player: Player) -> None:
    """The same requests again, and one more."""
    await pay(player)
    await player.reach(await player.submit("after", 3), State.SETTLED)


async def expire(player: Player) -> None:
    """A reserved payment and a waiting one expire; the slot of the first is cancelled, one behind is paid.

    The chain mines nothing until it was asked what used up a slot.
    """
    await player.key()
    mute(player, True)
    player.house.watched.held = True
    stuck = await player.submit("stuck", 11)
    unapproved = await player.submit("unapproved", 5 * ETHER + 1)
    await player.until(lambda: is_reserved(player, stuck))
    await player.reach(unapproved, State.WAITING, *OVER)
    if not player.house.later_ms:
        player.house.jump(LIFE_MS)
    await player.reach(stuck, *OVER)
    await player.reach(unapproved, *OVER)
    mute(player, False)
    behind = await player.submit("behind", 12)
    await player.until(lambda: player.house.faults.calls["EvmEndpoint.sent_at"] > 0)
    player.house.watched.held = False
    await player.reach(behind, State.SETTLED)
    await player.reach(stuck, State.CANCELLED)
    await player.until(lambda: no_job_waits(player))


def is_reserved(player: Player, request: bytes) -> bool:
    known = player.service_state().requests.get(request)
    return known is not None and known.anchor is not None


def no_job_waits(player: Player) -> bool:
    """None is reserved but those of which a partial signature is out: a kill came before the signature."""
    nodes = player.house.nodes.values()
    open_jobs = [
        job.job_id for job in player.service_state().jobs.values() if job.status is JobStatus.RESERVED
    ]
    return all(any(node.gave(job) for node in nodes) for job in open_jobs)


def mute(player: Player, on: bool) -> None:
    for name in NODES:
        player.house.nodes[name].mute = on


@dataclass(frozen=True)
class Case:
    """A story, how the house comes to its beginning, and what is paid by its end."""

    name: str
    prepare: Callable[[FaultyHouse], Awaitable[None]]
    story: Story
    paid: tuple[int, ...]
    one_to_spare: bool = True


CASES = (
    Case("pay", nothing, pay, (1, 2, 5 * ETHER)),
    Case("rebuild", lose_the_database, rebuild, (1, 2, 3, 5 * ETHER)),
    Case("expire", nothing, expire, (12,)),
    Case("split", split, heal, (1, 21, 22), one_to_spare=False),
    Case("aside", fall_behind, heal, (1, 21, 22), one_to_spare=False),
    Case("halves", halve, mend, (*(1,) * LIVING, 21, 22), one_to_spare=False),
)
ALONE = Case("alone", nothing, pay_alone, (1,))
UNUSED = {
    "EvmEndpoint.balance": "for people who look; nothing is decided by it",
    "EvmEndpoint.simulate": "for people who look; nothing is decided by it",
    "EvmEndpoint.is_gone": "of what a reorganisation took, in tests/unit/test_custody_reorganisations.py",
    "EvmEndpoint.check": "before the coordinator starts",
    "Database.first_quorum": "for a cosigner that had a change late; asked again when it refuses again",
    "Database.paid_to": "for people who look; nothing is decided by it",
    "Database.put_report": "for people who look; nothing is decided by it",
    "Database.reports": "for people who look; nothing is decided by it",
    "Database.show_doors": "where one of several coordinators serves, in tests/e2e/test_standby.py",
    "Database.keep_ceremonies": "in cold ceremonies alone, with crashes in tests/unit/test_custody_cold.py",
    "Database.set_aside_ceremonies": "of what cannot be read, in tests/unit/test_custody_cold.py",
    "Node.close": "at the end of the process",
    "Node.import_offer": "for the operator who imports a key; asked again by hand",
    "Node.read": "for people who look; nothing is decided by it",
}
CASE_OF = {
    **dict.fromkeys(("Database.quorum_between", "Node.abandon", "Node.leave"), CASES[3]),
    "Database.set_aside_log": CASES[4],
    **dict.fromkeys(("Node.leave_by_fork", "Node.quorum"), CASES[5]),
    **dict.fromkeys(("Database.checkpoint_between", "Node.entries"), CASES[1]),
    **dict.fromkeys(
        (
            "EvmEndpoint.cancel_fees",
            "EvmEndpoint.sent_at",
            "Database.drop_duty",
            "Database.postpone",
            "Database.release_slot",
            "Database.slot_is_waited_for",
            "Node.burn",
        ),
        CASES[2],
    ),
}
"""The story in which a call is made, when it is not the first."""


async def played(case: Case, folder: Path, fault: Fault | None, *, down: bool = False) -> FaultyHouse:
    """Play a case with one fault, and perhaps without the witness; check all that must hold."""
    house = FaultyHouse(folder, Faults())
    house.nodes["witness"].down = down and case.one_to_spare
    await case.prepare(house)
    house.faults = Faults(fault)
    player = Player(house)
    await player.live(case.story)
    assert all(isinstance(error, OperationalError) for error in player.ends), player.ends
    check(case, house)
    return house


def check(case: Case, house: FaultyHouse) -> None:
    """Each request is paid once, by one anchor; nothing is used twice; all cosigners agree."""
    assert Counter(amount for amount in house.watched.paid() if amount) == Counter(case.paid)
    logs = sorted((house.nodes[name].log for name in COSIGNERS), key=len)
    assert all(log == logs[-1][: len(log)] for log in logs)
    state = ledger.initial()
    for entry in logs[-1]:
        state, _ = ledger.fold(state, entry)
    assert all(node.tip.state.digest == state.digest for node in house.nodes.values() if node.log == logs[-1])
    anchors = Counter(
        anchor
        for request in state.requests.values()
        for anchor in {state.jobs[j].anchor for j in request.jobs}
    )
    assert set(anchors.values()) <= {1}
    assert all(len({state.jobs[j].anchor for j in one.jobs}) <= 1 for one in state.requests.values())
    entries = [parse_entry(entry).entry for entry in logs[-1]]
    reserved = [p for entry in entries if isinstance(entry, ReserveEntry) for p in entry.presignatures]
    signed = [entry for entry in entries if isinstance(entry, SignatureEntry)]
    assert len(reserved) == len(set(reserved))
    assert len(signed) == len({entry.job for entry in signed})
    assert len(signed) == len({entry.signature[:32] for entry in signed})


async def all_of(*cases: Awaitable[object]) -> None:
    """Run several at once: they wait more than they work."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case: Awaitable[object]) -> None:
        async with gate:
            await case

    async with asyncio.TaskGroup() as group:
        for case in cases:
            group.create_task(one(case))


def test_every_port_of_the_coordinator_has_faults_around_it() -> None:
    assert set(protocols()) == {"EvmEndpoint", "Database", "Node"}
    assert set(UNUSED) | set(CASE_OF) <= set(kinds())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_stories_end_well_without_a_fault(case: Case, tmp_path: Path) -> None:
    house = await played(case, tmp_path, None)

    assert not [kind for kind in UNUSED if house.faults.calls[kind]]


async def with_fault(fault: Fault, folder: Path, *, down: bool) -> None:
    """Play the story in which the call is made, and see that it was."""
    house = await played(CASE_OF.get(fault.kind, CASES[0]), folder, fault, down=down)
    assert house.faults.calls[fault.kind], f"{fault.kind} is not called by its story: give it one"
    assert house.faults.happened or fault.number > 1


CALLED = [kind for kind in kinds() if kind not in UNUSED]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", CALLED)
async def test_a_call_that_goes_wrong_loses_no_request_and_pays_none_twice(kind: str, tmp_path: Path) -> None:
    source = random.Random(kind)
    cases = [
        (Fault(kind, source.choice(NUMBERS), way), source.random() < 0.5)
        for way in (Way.NOT_DONE, Way.DONE_NOT_TOLD)
    ]

    await all_of(
        *(with_fault(fault, tmp_path / fault.way.value, down=down) for fault, down in cases),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", CALLED)
@pytest.mark.parametrize("number", range(1, 7))
async def test_every_call_of_a_story_may_go_wrong(kind: str, number: int, tmp_path: Path) -> None:
    faults = [(Fault(kind, number, way), down) for way in Way for down in (False, True)]

    await all_of(
        *(with_fault(fault, tmp_path / f"{fault.way.value}-{down}", down=down) for fault, down in faults)
    )


@pytest.mark.parametrize("way", [Way.NOT_DONE, Way.DONE_NOT_TOLD], ids=lambda way: way.value)
async def test_a_quorum_that_could_not_be_kept_is_found_again(way: Way, tmp_path: Path) -> None:
    async def one(number: int) -> None:
        (folder := tmp_path / str(number)).mkdir()
        house = await played(ALONE, folder, Fault("Database.set_quorum", number, way), down=True)
        assert house.faults.happened

    await all_of(*(one(number) for number in range(1, 5)))
