"""The coordinator's clock follows the wall clock by small steps, and the cosigners by large ones."""

import asyncio
import random
from pathlib import Path

import pytest

from custody.log_clock import STEP_MS, LogClock
from custody.node_statements import NodeStatements
from policy.entries import parse_entry
from tests.unit.custody_cluster import FakeNode
from tests.unit.custody_house import Clock, House
from tests.unit.test_custody_enacting import pay
from tests.waiting import until

HOUR_MS, START_MS = 3_600_000, 1_700_000_000_000


class Machine:
    """A wall clock that people set, and one that nobody can."""

    def __init__(self) -> None:
        self.wall_ms, self.steady_ms = START_MS, 5_000
        self.clock = LogClock(lambda: self.wall_ms, lambda: self.steady_ms)

    def passes(self, time_ms: int) -> int:
        """Time passes; what the clock says then."""
        self.wall_ms += time_ms
        self.steady_ms += time_ms
        return self.clock()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS, STEP_MS + 1])
def test_a_wall_clock_that_is_set_is_not_followed_until_it_is_set_right(
    machine: Machine, step_ms: int
) -> None:
    machine.wall_ms += step_ms
    wrong = machine.passes(7)
    machine.wall_ms -= step_ms - 3
    right = machine.passes(10)

    assert wrong == START_MS + 7
    assert right == START_MS + 20


def test_small_steps_of_the_wall_clock_are_followed_however_many(machine: Machine) -> None:
    source = random.Random(1)
    for _ in range(200):
        machine.wall_ms += source.randint(0, STEP_MS)
        assert machine.passes(10) == machine.wall_ms

    assert machine.wall_ms > START_MS + 50 * STEP_MS


def test_a_machine_that_slept_follows_its_wall_clock_once_the_cosigners_agree(machine: Machine) -> None:
    machine.wall_ms += HOUR_MS
    before = machine.passes(5)
    machine.clock.hear([0, -20, 20])
    after = machine.passes(5)

    assert before == START_MS + 5
    assert after == machine.wall_ms == START_MS + HOUR_MS + 10


@pytest.mark.parametrize("off_ms", [[STEP_MS] * 4, [0, 0, HOUR_MS, HOUR_MS], [-HOUR_MS, 0, 0]])
def test_cosigners_that_are_near_or_few_change_nothing(machine: Machine, off_ms: list[int]) -> None:
    machine.clock.hear(off_ms)

    assert machine.passes(5) == START_MS + 5


def test_cosigners_who_say_that_the_wall_clock_is_wrong_are_followed(machine: Machine) -> None:
    machine.clock.hear([-HOUR_MS, -HOUR_MS + 5, 0])
    started_wrong = machine.passes(5)
    machine.wall_ms -= HOUR_MS
    set_right = machine.passes(5)

    assert started_wrong == START_MS - HOUR_MS + 10
    assert set_right == machine.wall_ms


class SettingNode(FakeNode):
    """A slow one, during whose answer somebody sets the coordinator's clock."""

    wall = Clock()

    async def status(self) -> bytes:
        answer = await super().status()
        await asyncio.sleep(0.05)
        self.wall.ahead_ms = HOUR_MS
        return answer


async def test_a_clock_that_is_set_while_the_cosigners_are_asked_is_not_followed(tmp_path: Path) -> None:
    house, right = House(tmp_path), Clock()
    slow = next(iter(house.nodes))
    house.nodes[slow] = SettingNode(slow, house.dealer)
    clock = LogClock(SettingNode.wall, right)
    house.now_ms, house.wall_ms, house.hear_clocks = clock, SettingNode.wall, clock.hear
    for node in house.nodes.values():
        node.clock = right
    async with house.running() as running:
        SettingNode.wall.ahead_ms = 0
        await NodeStatements().hear(running.parts)
        followed_ms = clock() - right()

    assert SettingNode.wall.ahead_ms == HOUR_MS
    assert abs(followed_ms) < HOUR_MS // 2


async def test_no_entry_is_dated_by_a_clock_that_the_cosigners_do_not_go_along_with(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key():
        pass
    right, wrong = Clock(), Clock(ahead_ms=HOUR_MS)
    clock = LogClock(wrong, lambda: right() - START_MS)
    house.now_ms, house.wall_ms, house.hear_clocks = clock, wrong, clock.hear
    for node in house.nodes.values():
        node.clock = right
    async with house.running() as running:
        await until(lambda: abs(clock() - right()) < HOUR_MS // 2)  # by the same clock we date the request
        await running.until(await pay(running, "one"), "settled")
        (newest,) = await running.parts.database.entries(running.parts.sequencer.state.size - 1, 10**6)

    assert abs(parse_entry(newest).time_ms - right()) < HOUR_MS // 2
