"""A coordinator that waits follows the log, so that its start reads only what came since."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from custody.adapters.database import StoreThread
from custody.adapters.state_pages import StatePages
from custody.adapters.store import Store
from custody.following import Followed
from custody.stored_tip import StoredTip
from policy.errors import InvariantError
from policy.log.checkpoint import Checkpoint
from policy.log.merkle import leaf_hash
from tests.unit.custody_cluster import ORIGIN, make_request
from tests.unit.custody_house import STORE_EVERY, House, Running

EMPTY_HEAD = Checkpoint(ORIGIN, 1, bytes(32), bytes(32))


class Counted:
    """A database that counts the entries it is asked for."""

    def __init__(self, inner: StoreThread) -> None:
        self._inner, self.read = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def entries(self, start: int, stop: int, **options: Any) -> tuple[bytes, ...]:
        found = await self._inner.entries(start, stop, **options)
        self.read += len(found)
        return found


def beside(house: House) -> Any:
    return Counted(StoreThread(Store(house.database, holder="another")))


def following(database: Any, house: House) -> Followed:
    """Read by another process, whose own stored state is in a file of its own."""
    pages = StatePages(house.folder / "another.db")
    return Followed(database, StoredTip(leaf_hash(house.genesis), pages, every=STORE_EVERY))


async def pay(house: House, running: Running, name: str) -> None:
    _, body, signature = make_request(name, amount=1, now_ms=house.now_ms())
    await running.until((await running.service.submit(body, signature)).request, "settled")


async def test_what_was_followed_is_not_read_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    database = beside(house)
    followed = following(database, house)
    async with house.with_key() as running:
        await followed.look(60)
        first = database.read
        assert followed.tip.state.digest == running.parts.sequencer.state.digest

        await pay(house, running, "one")
        await followed.look(60)
        size = running.parts.sequencer.state.size

    assert 0 < first < size
    assert database.read == size
    await followed.all()
    assert database.read == followed.tip.frontier.size
    database.close()


async def test_a_log_that_was_replaced_is_followed_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = House(tmp_path / "a"), House(tmp_path / "b")
    for house, count in ((one, 1), (other, 2)):
        async with house.with_key() as running:
            for number in range(count):
                await pay(house, running, f"{count}-{number}")
    databases = beside(one), beside(other)
    followed = following(databases[0], one)
    await followed.all()
    followed._database = databases[1]

    await followed.all()

    async with other.running() as running:
        assert followed.tip.state.digest == running.parts.sequencer.state.digest
    for database in databases:
        database.close()


async def test_a_log_that_lost_its_newest_entries_is_followed_from_what_is_stored(tmp_path: Path) -> None:
    house, older = House(tmp_path), tmp_path / "older.db"
    after = beside(house)
    followed = following(after, house)
    async with house.with_key() as running:
        for number in range(STORE_EVERY // 2):
            await pay(house, running, f"kept-{number}")
            await followed.look(60)
    with closing(sqlite3.connect(tmp_path / "custody.db")) as now, closing(sqlite3.connect(older)) as then:
        now.backup(then)
    async with house.running() as running:
        await pay(house, running, "lost")
    await followed.all()
    longer = followed.size
    before = Counted(StoreThread(Store(f"sqlite:///{older}", holder="another")))
    followed._database = before

    await followed.all()

    assert before.read < followed.size < longer
    after.close()
    before.close()


async def test_a_look_at_a_log_that_is_shorter_begins_anew(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key():
        pass
    database = beside(house)
    followed = following(database, house)
    await followed.all()
    store = Store(house.database, holder="writer")
    store.take_lease(2**60, 0)
    store.set_aside_log(1)
    store.close()

    await followed.look(60)

    assert followed.size == 0
    database.close()


async def test_a_log_that_does_not_lead_to_its_checkpoint_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key():
        pass
    database = beside(house)
    size, note = await database.head()
    store = Store(house.database, holder="writer")
    store.take_lease(2**60, 0)
    store.append(size, [b"no entry"], note=note, changes=(), now_ms=1)
    store.close()

    with pytest.raises(InvariantError, match="do not lead to its checkpoint"):
        await following(database, house).all()
    database.close()


@pytest.mark.parametrize("note", [b"no note", None])
async def test_a_look_at_a_damaged_log_ends_nothing(tmp_path: Path, note: bytes | None) -> None:
    house = House(tmp_path)
    store = Store(house.database, holder="writer")
    store.take_lease(0, 0)
    good = house.build().log_key.note(EMPTY_HEAD).to_bytes()
    store.append(0, [b"no genesis entry"], note=good if note is None else note, changes=(), now_ms=1)
    store.close()
    database = beside(house)
    followed = following(database, house)

    await followed.look(60)

    assert followed.size == 0
    database.close()
