"""Calls of the database that wait together: one commit, each its own answer, no failure of another's."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event

from custody.adapters.database import StoreThread
from custody.adapters.store import Store
from custody.adapters.together import CallsTogether
from custody.records import IdempotencyConflict, NewRequest
from policy.errors import InvariantError, OperationalError
from tests.waiting import WAIT_S

pytest_plugins = ("tests.fixtures_postgres",)


def a_request(number: int, *, key: int | None = None) -> NewRequest:
    name = f"key-{number if key is None else key}"
    return NewRequest(bytes([number]) * 32, "shop", name, b"{}", b"s" * 64, expires_ms=1_000)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.take_lease(0, 1_000)
    yield store
    store.close()


async def test_calls_that_wait_together_are_one_commit(store: Store) -> None:
    commits: list[object] = []
    event.listen(store._engine, "commit", commits.append)
    database = StoreThread(store)

    await asyncio.gather(*(database.submit(a_request(number), 5) for number in range(1, 6)))

    assert len(await database.requests()) == 5
    assert len(commits) < 5


async def test_a_call_that_fails_takes_no_other_with_it(store: Store) -> None:
    database = StoreThread(store)
    calls = [database.submit(a_request(1), 5), database.submit(a_request(2, key=1), 5)]
    calls += [database.submit(a_request(3), 5)]

    first, conflict, last = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(conflict, IdempotencyConflict)
    assert not isinstance(first, BaseException) and first[1]
    assert not isinstance(last, BaseException) and last[1]
    assert len(await database.requests()) == 2


async def test_who_lost_the_lease_writes_nothing_of_several_calls(store: Store, database_url: str) -> None:
    other = Store(database_url, holder="other")
    other.take_lease(2_000, 1_000)
    database = StoreThread(store)

    answers = await asyncio.gather(
        *(database.submit(a_request(number), 5) for number in (1, 2)), return_exceptions=True
    )

    assert all(isinstance(answer, InvariantError) for answer in answers)
    assert other.requests() == ()
    other.close()


async def test_nothing_is_told_before_it_is_durable(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'custody.db'}")
    store.take_lease(0, 1_000)
    database = StoreThread(store)
    seen: list[int] = []

    async def submit(number: int) -> None:
        await database.submit(a_request(number), 5)
        with contextlib.closing(sqlite3.connect(tmp_path / "custody.db")) as other:
            found = other.execute("SELECT request FROM requests").fetchall()
        seen.append((a_request(number).request,) in found)

    await asyncio.gather(*map(submit, range(1, 20)))

    assert seen == [True] * 19
    database.close()


async def test_a_commit_that_may_have_failed_is_told_to_all_and_not_tried_again() -> None:
    begun, goes_on, done = threading.Event(), threading.Event(), list[int]()

    @contextlib.contextmanager
    def torn() -> Iterator[None]:
        yield
        raise OperationalError("the disk")

    def hold_up() -> None:
        begun.set()
        goes_on.wait(WAIT_S)

    with ThreadPoolExecutor(1) as thread:
        calls = CallsTogether(thread, torn)
        first = asyncio.ensure_future(calls.ask(hold_up))
        await asyncio.to_thread(begun.wait, WAIT_S)
        both = [asyncio.ensure_future(calls.ask(partial(done.append, number))) for number in (1, 2)]
        await asyncio.sleep(0)
        goes_on.set()
        answers = await asyncio.gather(first, *both, return_exceptions=True)

    assert answers[0] is None
    assert all(isinstance(answer, OperationalError) for answer in answers[1:])
    assert done == [1, 2]


async def test_an_urgent_call_waits_for_what_is_under_way_alone(store: Store) -> None:
    begun, goes_on, order = threading.Event(), threading.Event(), list[int]()

    def hold_up() -> None:
        begun.set()
        goes_on.wait(WAIT_S)

    with ThreadPoolExecutor(1) as thread:
        calls = CallsTogether(thread, store.together)
        first = asyncio.ensure_future(calls.ask(hold_up))
        await asyncio.to_thread(begun.wait, WAIT_S)
        waiting = [asyncio.ensure_future(calls.ask(partial(order.append, number))) for number in (1, 2)]
        await asyncio.sleep(0)
        urgent = asyncio.ensure_future(calls.ask_urgently(partial(order.append, 0)))
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(first, urgent, *waiting)

    assert order == [0, 1, 2]


async def test_a_lease_is_renewed_before_what_waits_and_given_up_after_it(store: Store) -> None:
    database, told, goes_on = StoreThread(store), list[str](), threading.Event()
    database._thread.submit(goes_on.wait, WAIT_S)

    async def tell(name: str, call: Awaitable[object]) -> None:
        await call
        told.append(name)

    calls = asyncio.gather(
        tell("first", database.submit(a_request(1), 5)),
        tell("given up", database.renew_lease(1_000, 0)),
        tell("last", database.submit(a_request(2), 5)),
        tell("renewed", database.renew_lease(1_000, 1_000)),
    )
    await asyncio.sleep(0)
    goes_on.set()
    await calls

    assert told == ["renewed", "first", "given up", "last"]
    assert len(store.requests()) == 2
