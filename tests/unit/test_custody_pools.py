"""The pools: what is in stock serves whoever is up, and what is not foreseen is made on demand."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path
from typing import cast

import pytest

from custody.adapters.database import StoreThread
from custody.adapters.store import Store
from custody.metrics import Metrics
from custody.pools import Pools, PoolSizes
from custody.ports import FreshPresignature, Node
from custody.quarantine import Quarantine
from custody.signing_sets import family
from policy.errors import OperationalError
from policy.state import KeyRecord, State
from policy.values import replace
from tests.unit.test_custody_signing_sets import world
from tests.waiting import WAIT_S, until

SIZES = PoolSizes(2, 2, 4, 1)


class Maker:
    """A node as far as a pool asks it: it is up or not, and makes presignatures."""

    def __init__(self) -> None:
        self.boot = "1"

    async def presign(
        self, key: str, signers: tuple[str, ...], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[FreshPresignature, ...]:
        tag = f"{signers} {batch_id}".encode()
        return tuple(FreshPresignature((tag + bytes([i]))[-32:].rjust(32), bytes(33)) for i in range(batch))


@contextlib.asynccontextmanager
async def pools(
    folder: Path, state: State, nodes: dict[str, Maker], *, sizes: PoolSizes = SIZES, cosigned: int = 2
) -> AsyncIterator[Pools]:
    store = Store(f"sqlite:///{folder / 'custody.db'}")
    store.take_lease(0, 1)
    database = StoreThread(store)
    made = Pools(
        database,
        cast("dict[str, Node]", nodes),
        sizes=sizes,
        now_ms=lambda: time.time_ns() // 1_000_000,
        metrics=Metrics(),
        quarantine=Quarantine(),
    )
    task = asyncio.create_task(made.run(lambda: state, lambda: cosigned))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    database.close()


def stock_of(made: Pools, signers: tuple[str, ...]) -> int:
    return sum(stock for group, stock in made.report() if group.signers == signers)


async def taken(made: Pools, state: State, key: KeyRecord) -> tuple[str, ...]:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return made.take(state, key)[0].signers
            except OperationalError:
                await asyncio.sleep(0.02)


async def test_whichever_two_of_six_are_down_the_stock_serves(tmp_path: Path) -> None:
    state, key = world(3, 6)
    nodes = {name: Maker() for name in key.participants}
    async with pools(tmp_path, state, nodes) as made:
        await until(lambda: sum(stock >= 2 for _, stock in made.report()) >= len(family(state, key)))

        for down in combinations(key.participants, 2):
            for name, node in nodes.items():
                node.boot = "" if name in down else "1"
            group, items = made.take(state, key)
            made.give_back(group, items)
            assert not set(down) & set(group.signers)


async def test_a_set_nobody_foresaw_is_made_on_demand_and_dropped_again(tmp_path: Path) -> None:
    state, key = world(3, 6)
    nodes = {name: Maker() for name in key.participants}
    kept = {group.signers for group in family(state, key)}
    alone = next(names for names in combinations(key.participants, 3) if names not in kept)
    for name, node in nodes.items():
        node.boot = "1" if name in alone else ""
    async with pools(tmp_path, state, nodes) as made:
        with pytest.raises(OperationalError, match="3 of them are up"):
            made.take(state, key)
        assert await taken(made, state, key) == alone
        for node in nodes.values():
            node.boot = "1"
        await until(lambda: sum(stock >= 2 for _, stock in made.report()) > len(kept))
        left = stock_of(made, alone)
        for _ in range(left):
            made.take(state, key)
        await asyncio.sleep(0.3)

        assert stock_of(made, alone) <= left


async def test_nodes_that_answer_slowly_get_a_set_without_them(tmp_path: Path) -> None:
    state, key = world(2, 4)
    nodes = {name: Maker() for name in key.participants}
    async with pools(tmp_path, state, nodes) as made:
        await taken(made, state, key)
        made.suspect(frozenset(key.participants[:2]), for_ms=60_000)

        await taken(made, state, key)
        await until(lambda: stock_of(made, key.participants[2:]) > 0)

        assert await taken(made, state, key) == key.participants[2:]


class SlowMaker(Maker):
    """A node whose batches take a moment; it notes how many are under way."""

    under_way = 0
    most = 0

    async def presign(
        self, key: str, signers: tuple[str, ...], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[FreshPresignature, ...]:
        SlowMaker.under_way += 1
        SlowMaker.most = max(SlowMaker.most, SlowMaker.under_way)
        await asyncio.sleep(0.02)
        SlowMaker.under_way -= 1
        return await super().presign(key, signers, epoch=epoch, batch_id=batch_id, batch=batch)


async def test_a_stock_below_its_low_mark_is_filled_to_its_high_mark_and_then_left(tmp_path: Path) -> None:
    state, key = world(2, 3)
    nodes: dict[str, Maker] = {name: Maker() for name in key.participants}
    async with pools(tmp_path, state, nodes, sizes=PoolSizes(4, 12, 4, 1)) as made:
        await until(lambda: [stock for _, stock in made.report()] == [12, 12, 12])
        group = made.report()[0][0]
        while stock_of(made, group.signers) > 4:
            made.take(state, key)
        await asyncio.sleep(0.4)
        assert all(4 <= stock <= 12 for _, stock in made.report())
        while stock_of(made, group.signers) >= 4:
            made.take(state, key)

        await until(lambda: stock_of(made, group.signers) >= 12)


@pytest.mark.parametrize("parallel", [1, 2])
async def test_so_many_batches_are_under_way_at_once_and_one_a_set(tmp_path: Path, parallel: int) -> None:
    SlowMaker.most = SlowMaker.under_way = 0
    state, key = world(2, 3)
    nodes: dict[str, Maker] = {name: SlowMaker() for name in key.participants}
    async with pools(tmp_path, state, nodes, sizes=PoolSizes(8, 16, 4, parallel)) as made:
        await until(lambda: all(stock >= 8 for _, stock in made.report()) and len(made.report()) == 3)

    assert SlowMaker.most == parallel * key.min_signers


async def test_presignatures_of_a_new_epoch_are_ordered_once_it_is_cosigned(tmp_path: Path) -> None:
    """Before that its nodes have not heard of it."""
    state, key = world(2, 3)
    nodes = {name: Maker() for name in key.participants}

    async with pools(tmp_path, state, nodes, cosigned=key.index) as made:
        await asyncio.sleep(0.1)
        before = sum(stock for _, stock in made.report())
    async with pools(tmp_path, state, nodes, cosigned=key.index + 1) as made:
        await taken(made, state, key)

    assert before == 0


async def test_the_stock_of_an_epoch_that_is_over_is_dropped(tmp_path: Path) -> None:
    state, key = world(2, 3)
    nodes = {name: Maker() for name in key.participants}

    async with pools(tmp_path, state, nodes) as made:
        await taken(made, state, key)
    refreshed = replace(state, keys=state.keys.set(key.key, replace(key, epoch=key.epoch + 1)))
    async with pools(tmp_path, refreshed, nodes) as made:
        await made.load(state)
        loaded = {group.epoch for group, _ in made.report()}
        await until(lambda: {group.epoch for group, _ in made.report()} == {key.epoch + 1})

    assert key.epoch in loaded
