"""A full disk, a clock an hour off, another deployment's database: said by name, and nothing is lost."""

import contextlib
from pathlib import Path

import pytest

from custody.adapters.store import Store
from custody.api.errors import CallRefused
from custody.backup.main import back_up
from policy.errors import InvariantError, OperationalError
from tests.conformance.test_custody_backup import configured
from tests.fixtures_small_disk import SmallDisk
from tests.unit.custody_cluster import ETHER, genesis_entry, make_request, policy_document
from tests.unit.custody_house import Clock, FakeChain, House, Running
from tests.waiting import WAIT_S, until

pytest_plugins = ("tests.fixtures_small_disk",)
HOUR_MS = 3_600_000


async def pay(running: Running, house: House, name: str, wait_s: float = WAIT_S) -> None:
    now_ms = Clock()()
    _, body, signature = make_request(
        name, amount=ETHER // 100, now_ms=now_ms, expires_ms=now_ms + 12 * HOUR_MS
    )
    record = await running.service.submit(body, signature)
    await running.until(record.request, "settled", wait_s=wait_s)


async def test_a_full_disk_takes_nothing_in_and_loses_nothing(tmp_path: Path, small_disk: SmallDisk) -> None:
    house = House(tmp_path)
    house.database = f"sqlite:///{small_disk.folder / 'custody.db'}"
    refused: list[BaseException] = []
    with contextlib.suppress(ExceptionGroup):  # what runs beside the call finds the disk full, too, and ends
        async with house.with_key() as running:
            await pay(running, house, "before")
            small_disk.fill()
            with pytest.raises((OperationalError, CallRefused)) as caught:
                await pay(running, house, "full")
            refused.append(caught.value)
    config = configured(tmp_path / "coordinator", house.database, genesis=house.genesis)
    with pytest.raises(OperationalError, match="free space"):
        back_up(config, small_disk.folder / "backup")
    left = [path.name for path in small_disk.folder.iterdir() if "backup" in path.name]
    small_disk.free()
    async with house.running() as running:
        await pay(running, house, "full")
        await pay(running, house, "after")
        counts = await running.parts.database.counts()

    assert "full" in str(refused[0]) or "unavailable" in str(refused[0])
    assert left == []
    assert counts == {"settled": 3}
    assert isinstance(house.chain, FakeChain) and len(house.chain.mined) == 3


async def test_with_the_coordinators_clock_an_hour_ahead_nothing_is_signed(tmp_path: Path) -> None:
    """Nodes compare an entry's time with their own clocks. What nobody cosigned goes with the database."""
    house = House(tmp_path)
    for node in house.nodes.values():
        node.clock = Clock()
    async with house.with_key() as running:
        await pay(running, house, "before")
        await until(lambda: running.parts.replication.quorum.size == running.parts.sequencer.state.size)
        quorum = running.parts.replication.quorum.size
    house.now_ms = Clock(ahead_ms=HOUR_MS)
    async with house.running() as running:
        with pytest.raises(TimeoutError):
            await pay(running, house, "wrong", wait_s=1.0)
        problems = {one.problem for one in running.parts.replication.followers.values()}
        unmoved = running.parts.replication.quorum.size
    house.now_ms = Clock()
    (tmp_path / "custody.db").rename(tmp_path / "kept.db")
    async with house.running() as running:
        await pay(running, house, "wrong")
        counts = await running.parts.database.counts()

    assert unmoved == quorum
    assert all("ahead of this clock" in problem for problem in problems)
    assert counts == {"settled": 2}
    assert isinstance(house.chain, FakeChain) and len(house.chain.mined) == 2


async def test_a_node_whose_clock_is_an_hour_behind_stops_nobody_and_is_named(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.nodes["node-a"].clock = Clock(ahead_ms=-HOUR_MS)
    async with house.with_key() as running:
        await pay(running, house, "without it")
        problem = running.parts.replication.followers["node-a"].problem
        house.nodes["node-a"].clock = Clock()
        size = running.parts.sequencer.state.size
        await until(lambda: len(house.nodes["node-a"].log) >= size)

    assert "ahead of this clock" in problem


async def test_another_deployments_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        await pay(running, house, "before")
        size = running.parts.sequencer.state.size
    house.genesis = genesis_entry(policy_document(), time_ms=2_000)

    with pytest.raises(InvariantError, match=r"is of another log of .*: move it away"):
        async with house.running():
            raise AssertionError("it started")
    store = Store(house.database)
    assert store.head()[0] == size
    store.close()
