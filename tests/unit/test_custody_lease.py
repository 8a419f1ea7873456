"""Exactly one coordinator writes a database, whoever believes otherwise."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from custody.adapters.store import Store
from custody.lease import holder_of, take_lease
from custody.records import NewRequest, PendingApproval, PooledPresignature
from custody.requests import Effect
from custody.storage import LeaseTaken
from policy.errors import InvariantError, OperationalError
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House, until

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


def test_a_folder_has_one_name_and_one_process(tmp_path: Path) -> None:
    with take_lease(tmp_path), pytest.raises(OperationalError, match="another coordinator"):
        take_lease(tmp_path)

    assert holder_of(tmp_path) == holder_of(tmp_path) != holder_of(tmp_path / "other")


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
            await until(running.task.done, 6)

    assert stopped.group_contains(InvariantError)
    assert thief.head()[0] == size
    thief.close()
