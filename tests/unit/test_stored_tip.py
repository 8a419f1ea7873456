"""A coordinator starts from the stored state of its log, and from the log where that is of no use."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from cli.policies.sample_log import sample_entries
from custody.adapters.state_pages import StatePages
from custody.candidates import EMPTY, Tip, extend
from custody.stored_tip import STATE_FILE, StoredTip
from policy.backtest import Beside
from policy.entries import parse_entry
from policy.errors import InvariantError, OperationalError
from policy.holdings import flows_of
from policy.ledger import initial_unverified
from policy.log.merkle import leaf_hash
from policy.replay import Step
from policy.stored.layered import Layered
from policy.stored.pages import DamagedState, StaleState, page_hash
from policy.windows import Window
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import STORE_EVERY, House, Running
from tests.unit.stored_logs import LOGS
from tests.waiting import until

EVERY, COUNT = 16, 256
ENTRIES = list(islice(sample_entries(), COUNT))
GENESIS = leaf_hash(ENTRIES[0])
MANY = 12
"""Payments: their entries are stored, and some come after."""


class FullDisk(StatePages):
    """Takes no page while it is full."""

    full = False

    def add_pages(self, pages: Mapping[bytes, bytes]) -> None:
        if self.full:
            raise OperationalError("no space left")
        super().add_pages(pages)


def folded(count: int = COUNT) -> Tip:
    tip = Tip(initial_unverified(), EMPTY.frontier)
    for entry in ENTRIES[:count]:
        tip, _ = extend(tip, entry)
    return tip


def follow(stored: StoredTip, tip: Tip, count: int = COUNT) -> list[Tip]:
    """The tips on the way to ``count`` entries, each as a coordinator goes on with it."""
    found = [tip]
    for entry in ENTRIES[tip.frontier.size : count]:
        tip, _ = extend(tip, entry)
        stored.extend([leaf_hash(entry)])
        tip = stored.keep(tip, tip.frontier.size)
        found.append(tip)
    return found


def opened(path: Path, every: int = EVERY, genesis: bytes = GENESIS) -> StoredTip:
    return StoredTip(genesis, StatePages(path / STATE_FILE), every=every)


def stored_log(path: Path, count: int = COUNT) -> None:
    stored = opened(path)
    assert stored.start(0) == EMPTY
    follow(stored, folded(0), count)
    stored.close()


def check_same(tip: Tip, expected: Tip) -> None:
    assert tip.checkpoint() == expected.checkpoint()
    for table in ("requests", "jobs", "anchors", "nonces", "presignatures", "paid"):
        assert dict(getattr(tip.state, table)) == dict(getattr(expected.state, table))


def test_a_start_goes_on_close_to_the_end_with_the_same_state(tmp_path: Path) -> None:
    stored_log(tmp_path)
    stored = opened(tmp_path)

    tip = stored.start(COUNT)

    assert COUNT - tip.frontier.size <= 3 * EVERY
    check_same(tip, folded(tip.frontier.size))
    check_same(follow(stored, tip)[-1], folded())
    stored.close()


def test_every_root_and_leaf_is_known_whatever_is_stored(tmp_path: Path) -> None:
    stored_log(tmp_path)
    stored = opened(tmp_path)
    follow(stored, stored.start(COUNT))

    for size in (0, 1, EVERY, COUNT // 2, COUNT - 1, COUNT):
        assert stored.frontier_at(size) == folded(size).frontier
    assert [stored.leaf_at(n) for n in range(COUNT)] == [leaf_hash(entry) for entry in ENTRIES]
    stored.close()


@pytest.mark.parametrize("size", [0, 1, EVERY])
def test_what_is_stored_of_a_longer_log_is_thrown_away(tmp_path: Path, size: int) -> None:
    stored_log(tmp_path)
    stored = opened(tmp_path)

    assert stored.start(size) == EMPTY
    stored.close()
    assert not StatePages(tmp_path / STATE_FILE).root()


def test_what_is_stored_of_another_log_is_thrown_away(tmp_path: Path) -> None:
    stored_log(tmp_path)

    assert opened(tmp_path, genesis=bytes(32)).start(COUNT) == EMPTY


@pytest.mark.parametrize("data", [b"", b"no database", bytes(5000)])
def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path, data: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(data)

    stored_log(tmp_path)

    assert opened(tmp_path).start(COUNT).frontier.size > COUNT // 2


def test_what_a_storing_left_that_was_broken_off_is_no_part_of_the_next(tmp_path: Path) -> None:
    stored_log(tmp_path, COUNT // 2)
    pages = StatePages(tmp_path / STATE_FILE)
    page = b"left behind"
    pages.add_pages({page_hash(page): page})
    pages.close()

    stored = opened(tmp_path)
    tip = stored.start(COUNT // 2)
    check_same(follow(stored, tip)[-1], folded())
    stored.close()
    assert StatePages(tmp_path / STATE_FILE).page(page_hash(page)) is None


def test_where_nothing_can_be_written_the_log_goes_on_and_it_is_stored_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = FullDisk(tmp_path / STATE_FILE)
    stored = StoredTip(GENESIS, pages, every=EVERY)
    stored.start(0)
    pages.full = True
    with caplog.at_level(logging.WARNING):
        tip = follow(stored, folded(0), COUNT // 2)[-1]
    assert "no space left" in caplog.text and len(caplog.records) <= COUNT // 2 // EVERY
    assert not pages.root()

    pages.full = False
    tip = follow(stored, tip)[-1]

    check_same(tip, folded())
    assert pages.root()
    stored.close()


async def test_a_state_that_was_stored_over_twice_is_stale_and_nothing_is_damaged(tmp_path: Path) -> None:
    stored_log(tmp_path, COUNT // 2)
    stored = opened(tmp_path)
    early, *_, newest = follow(stored, stored.start(COUNT // 2))
    for pages in (stored._stored._pages, stored._stored._older):
        pages.clear()  # as when more came than memory holds

    with pytest.raises(StaleState, match="the newest"):
        dict(early.state.requests)
    check_same(newest, folded())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stored.run(), 0.05)
    stored.close()


def test_a_policy_beside_the_log_stands_over_what_is_stored_now(tmp_path: Path) -> None:
    """What it takes from the log's own state would be stale otherwise, where nothing moves for long."""
    entries = LOGS["tiered"]().entries
    stored = opened(tmp_path, every=4, genesis=leaf_hash(entries[0]))
    tip, beside, early = stored.start(0), None, 0
    for entry in entries:
        before = tip.state
        tip, folded = extend(tip, entry)
        timed = parse_entry(entry)
        step = Step(before, before.size, entry, timed, folded.outcome, folded.state)
        if beside is not None:
            beside = beside.following(step)
        elif any(flows_of(folded.state.windows)):
            beside, early = Beside.of(folded.state.policy, folded.state), folded.state.stored_size
        stored.extend([leaf_hash(entry)])
        tip = stored.keep(tip, tip.frontier.size)

    assert beside is not None and early < folded.state.stored_size
    flows = dict(flows_of(folded.state.windows))
    assert any(isinstance(window.counted, Layered) for window in flows.values())
    for place, window in flows.items():
        assert roots(beside.windows[place]) == roots(window)
    stored.close()


def roots(window: Window) -> list[bytes]:
    tables = (window.counted, window.queue)
    return [table.base.root if isinstance(table, Layered) else b"" for table in tables]


DAMAGE = "UPDATE pages SET page = CAST(page || x'00' AS BLOB) WHERE name NOT IN (SELECT root FROM stored)"
"""Every page but the one that names the tables."""


async def pay(running: Running, house: House, name: str) -> None:
    _, body, signature = make_request(name, amount=1, now_ms=house.now_ms())
    await running.until((await running.service.submit(body, signature)).request, "settled")


async def test_a_coordinator_starts_from_what_it_stored(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        for number in range(MANY):
            await pay(running, house, f"before-{number}")
        before = running.parts.sequencer.tip

    pages = StatePages(tmp_path / STATE_FILE)
    stored = StoredTip(leaf_hash(house.genesis), pages, every=STORE_EVERY)
    assert before.frontier.size - stored.start(before.frontier.size).frontier.size <= 3 * STORE_EVERY
    stored.close()
    async with house.running() as running:
        assert running.parts.sequencer.tip.checkpoint() == before.checkpoint()
        await pay(running, house, "after")


async def test_pages_that_are_damaged_at_a_start_are_no_loss(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        for number in range(MANY):
            await pay(running, house, f"before-{number}")
    with sqlite3.connect(tmp_path / STATE_FILE) as database:
        database.execute(DAMAGE)
    database.close()

    async with house.running() as running:
        assert len(dict(running.parts.sequencer.state.requests)) == MANY
        await pay(running, house, "after")


def test_what_was_found_damaged_is_not_met_again(tmp_path: Path) -> None:
    stored_log(tmp_path)
    with sqlite3.connect(tmp_path / STATE_FILE) as database:
        database.execute(DAMAGE)
    database.close()
    stored = opened(tmp_path)
    tip = stored.start(COUNT)
    with pytest.raises(DamagedState):
        dict(tip.state.requests)
    stored.close()

    assert opened(tmp_path).start(COUNT) == EMPTY


def test_a_file_that_somebody_holds_is_left_alone(tmp_path: Path) -> None:
    stored_log(tmp_path)
    holder = StatePages(tmp_path / STATE_FILE)
    root = holder.root()

    with pytest.raises(OperationalError, match="locked"):
        StatePages(tmp_path / STATE_FILE, wait_s=0)
    holder.close()
    assert StatePages(tmp_path / STATE_FILE).root() == root != b""


async def test_a_damaged_page_ends_a_coordinator_and_its_next_start_folds_the_log(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        for number in range(MANY):
            await pay(running, house, f"before-{number}")

    with pytest.raises(ExceptionGroup) as ended:
        async with house.running() as running:
            stored = running.parts.sequencer.stored
            assert isinstance(stored._pages, StatePages)
            stored._pages._connection.execute(DAMAGE)
            stored._stored._pages.clear()
            with pytest.raises(DamagedState, match="altered"):
                dict(running.parts.sequencer.state.requests)
            await until(running.task.done)
    assert ended.group_contains(InvariantError, match="folds the log anew")

    async with house.running() as running:
        assert len(dict(running.parts.sequencer.state.requests)) == MANY
        await pay(running, house, "after")
