"""Exactly one coordinator writes a database, whoever believes otherwise."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest
from sqlalchemy import create_engine, text

from custody import coordinator, main
from custody.adapters.database import StoreThread
from custody.adapters.identity import boot_credentials
from custody.adapters.store import Store
from custody.following import Followed
from custody.lease import holder_of, renewed, take_lease
from custody.main import Standing
from custody.records import NewRequest, PendingApproval, PooledPresignature
from custody.requests import Effect
from custody.storage import LeaseTaken
from policy.errors import InvariantError, OperationalError
from tests.unit.custody_cluster import identity, make_request
from tests.unit.custody_house import House
from tests.waiting import until

NEW = NewRequest(b"\x01" * 32, "shop", "key-1", b"{}", b"s" * 64, expires_ms=1_000)


pytest_plugins = ("tests.fixtures_postgres",)


@pytest.fixture
def stores(database_url: str) -> Iterator[tuple[Store, Store]]:
    both = Store(database_url, holder="first"), Store(database_url, holder="second")
    yield both
    for store in both:
        store.close()


def test_a_second_writer_waits_until_the_first_is_silent(stores: tuple[Store, Store]) -> None:
    first, second = stores
    first.take_lease(1_000, 500)

    with pytest.raises(OperationalError, match="coordinator first writes this database"):
        second.take_lease(1_499, 500)
    first.renew_lease(1_400, 500)
    with pytest.raises(LeaseTaken) as taken:
        second.take_lease(1_899, 500)
    assert taken.value.until_ms == 1_900

    assert second.take_lease(1_900, 500) == 2


def test_of_two_writers_that_find_no_lease_one_is_told_of_the_other(
    stores: tuple[Store, Store], database_url: str
) -> None:
    """The other has made its lease and not committed: of several connections none sees it."""
    _, second = stores
    made = "INSERT INTO lease (place, fence, holder, until_ms, doors) VALUES (0, 1, 'first', 1500, '{}')"
    engine = create_engine(database_url)
    with ThreadPoolExecutor() as pool, engine.connect() as db:
        db.execute(text(made))
        taking = pool.submit(second.take_lease, 1_000, 500)
        sleep(0.2)
        db.commit()
        engine.dispose()

        with pytest.raises(LeaseTaken):
            taking.result(timeout=20)


WRITES: list[Callable[[Store], object]] = [
    lambda store: store.append(0, [b"{}"], note=b"n", changes=[], now_ms=1),
    lambda store: store.set_quorum(1, b"n"),
    lambda store: store.submit(NEW, 1),
    lambda store: store.drop_duty(NEW.request, Effect.LOG, now_ms=1),
    lambda store: store.release_slot(NEW.request),
    lambda store: store.add_approval(PendingApproval(bytes(32), bytes(32), b"", b"")),
    lambda store: store.add_presignatures([PooledPresignature(bytes(32), bytes(33), "hot", 0, "a,b", "1,1")]),
    lambda store: store.renew_lease(1, 500),
    lambda store: store.show_doors({"api": "thief.example.com:1"}),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_writer_that_was_replaced_writes_nothing(
    stores: tuple[Store, Store], write: Callable[[Store], object]
) -> None:
    first, second = stores
    first.take_lease(1_000, 500)
    second.take_lease(2_000, 500)

    with pytest.raises(InvariantError, match="another coordinator writes it"):
        write(first)

    assert second.head() == (0, b"")
    assert second.duties() == ()


def test_nothing_is_written_without_a_lease(stores: tuple[Store, Store]) -> None:
    with pytest.raises(InvariantError):
        stores[0].submit(NEW, 1)


def test_a_holder_may_have_the_longest_of_host_names(database_url: str) -> None:
    store = Store(database_url, holder=f"{'a' * 253}/{'0' * 32}")

    assert store.take_lease(1_000, 500) == 1
    store.close()


def test_who_waits_is_told_where_the_holder_serves(stores: tuple[Store, Store]) -> None:
    first, second = stores
    first.take_lease(1_000, 500)
    first.show_doors({"api": "custody-1.example.com:7600"})

    with pytest.raises(LeaseTaken) as taken:
        second.take_lease(1_001, 500)
    assert taken.value.doors == {"api": "custody-1.example.com:7600"}

    second.take_lease(1_500, 500)
    with pytest.raises(LeaseTaken) as taken:
        first.take_lease(1_501, 500)
    assert taken.value.doors == {}


def test_the_same_coordinator_goes_on_at_once_after_a_crash(
    stores: tuple[Store, Store], database_url: str
) -> None:
    first, _ = stores
    first.take_lease(1_000, 500)
    again = Store(database_url, holder="first")

    assert again.take_lease(1_001, 500) == 2
    with pytest.raises(InvariantError):
        first.submit(NEW, 1)
    again.close()


def test_an_ended_writer_leaves_the_lease(stores: tuple[Store, Store]) -> None:
    first, second = stores
    first.take_lease(1_000, 500)
    first.renew_lease(1_001, 0)

    assert second.take_lease(1_002, 500) == 2


async def test_a_start_that_fails_leaves_the_lease_to_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'custody.db'}"
    failing, other = StoreThread(Store(url, holder="failing")), Store(url, holder="other")
    with pytest.raises(OperationalError, match="upgrade it"):
        async with renewed(failing, lambda: 1_000):
            with pytest.raises(LeaseTaken):
                other.take_lease(1_001, 500)
            raise OperationalError("upgrade it")

    assert other.take_lease(1_002, 500) == 2
    failing.close()
    other.close()


async def test_a_start_that_succeeds_keeps_the_lease(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'custody.db'}"
    started, other = StoreThread(Store(url, holder="started")), Store(url, holder="other")
    async with renewed(started, lambda: 1_000):
        pass

    with pytest.raises(LeaseTaken):
        other.take_lease(1_001, 500)
    started.close()
    other.close()


async def test_a_coordinator_whose_door_does_not_open_leaves_the_lease_to_another(tmp_path: Path) -> None:
    house, key = House(tmp_path), identity("coordinator")
    (tmp_path / "genesis.json").write_bytes(house.genesis)
    parts, named = house.build(), Simple(genesis=tmp_path / "genesis.json", data_dir=tmp_path, advertise="")
    named.metrics_port, named.metrics_address = 0, "127.0.0.1"
    named.http = named.console = named.mail = named.webhooks = named.listen_file = None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        named.listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OperationalError, match="cannot listen on"):
            await main._run(
                cast("Any", named), parts, credentials=boot_credentials("c", key), standing=Standing()
            )
    gc.unfreeze()
    parts.database.close()
    other = Store(house.database, holder="other")

    assert other.take_lease(house.now_ms(), 500) == 2
    other.close()


async def test_a_coordinator_that_fails_before_its_parts_begin_leaves_the_lease_to_another(
    tmp_path: Path,
) -> None:
    def no_clock() -> int:
        raise OperationalError("the clock is gone")

    house = House(tmp_path)
    house.wall_ms = no_clock
    parts = house.build()
    with contextlib.closing(house.stored()) as stored:
        await coordinator.start(parts, house.genesis, followed=Followed(parts.database, stored))
        with pytest.raises(OperationalError, match="the clock is gone"):
            await coordinator.run(parts, None)
    parts.database.close()
    other = Store(house.database, holder="other")

    assert other.take_lease(house.now_ms(), 500) == 2
    other.close()


class Lingering:
    """A database whose renewal takes its time to be cancelled."""

    def __init__(self) -> None:
        self.renewing, self.ending = asyncio.Event(), asyncio.Event()
        self.given_up = False

    async def take_lease(self, _now_ms: int, _lease_ms: int) -> int:
        return 1

    async def renew_lease(self, _now_ms: int, lease_ms: int) -> None:
        if not lease_ms:
            self.given_up = True
            return
        self.renewing.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await asyncio.sleep(0.01)


async def test_a_start_that_is_told_to_end_at_its_end_does_not_go_on() -> None:
    database, went_on = Lingering(), list[bool]()

    async def start() -> None:
        async with renewed(cast("Any", database), lambda: 1_000):
            await database.renewing.wait()
        went_on.append(True)

    starting = asyncio.create_task(start())
    await database.ending.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not went_on and database.given_up


def test_a_folder_has_one_name_and_one_process(tmp_path: Path) -> None:
    with take_lease(tmp_path), pytest.raises(OperationalError, match="another coordinator"):
        take_lease(tmp_path)

    assert holder_of(tmp_path) == holder_of(tmp_path) != holder_of(tmp_path / "other")


def test_a_full_disk_does_not_keep_a_folder_from_being_locked(tmp_path: Path) -> None:
    (tmp_path / "coordinator.lock").symlink_to("/dev/full")
    with take_lease(tmp_path), pytest.raises(OperationalError, match="another coordinator"):
        take_lease(tmp_path)


def test_a_folder_that_takes_no_lock_is_said(tmp_path: Path) -> None:
    (tmp_path / "coordinator.lock").mkdir()

    with pytest.raises(OperationalError, match="check its disk and rights"):
        take_lease(tmp_path)


async def test_a_coordinator_whose_lease_was_taken_stops(tmp_path: Path) -> None:
    house = House(tmp_path)
    with pytest.raises(BaseExceptionGroup) as stopped:
        async with house.with_key() as running:
            thief = Store(f"sqlite:///{tmp_path / 'custody.db'}", holder="thief")
            thief.take_lease(house.now_ms() + 60_000, 500)
            size = thief.head()[0]
            _, body, signature = make_request("one", amount=1, now_ms=house.now_ms())
            with pytest.raises(InvariantError):
                await running.service.submit(body, signature)
            await until(running.task.done)

    assert stopped.group_contains(InvariantError)
    assert thief.head()[0] == size
    thief.close()
