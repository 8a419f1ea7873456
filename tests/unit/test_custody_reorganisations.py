"""Reorganisations deeper than the confirmations: what settled and is gone is sent again, the same bytes."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from custody.chains.evm.chain import EvmChain
from custody.chains.evm.transaction import transaction_hash
from custody.parts import Patience
from custody.ports import Receipt
from custody.records import Change, RequestRecord
from custody.reorganisations import WINDOW_BLOCKS, Settled
from custody.requests import Event as Happened
from custody.requests import State, advance
from policy.errors import OperationalError
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, make_request
from tests.unit.custody_house import Clock, FakeChain, House, Running
from tests.waiting import found, until


class Scene:
    """A coordinator on a chain that the test takes blocks from."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.chain = FakeChain()
        self.house.chain = self.chain

    async def paid(self, running: Running, name: str = "one") -> RequestRecord:
        """A request that is settled."""
        _, body, signature = make_request(name, amount=ETHER // 100, now_ms=self.house.now_ms())
        record = await running.service.submit(body, signature)
        return await running.until(record.request, "settled")

    def take(self, *records: RequestRecord) -> None:
        """The chain has these transactions no more, and takes no new ones."""
        self.chain.refuses = True
        for record in records:
            del self.chain.mined[record.tx_hash]

    def bring(self, record: RequestRecord, *, block: int, success: bool = True, depth: int = 1) -> None:
        """A block has the transaction."""
        self.chain.refuses = False
        self.chain.mined[record.tx_hash] = Receipt(record.tx_hash, block, success, depth)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_what_settled_and_is_gone_is_sent_again_and_settles_again(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        size = running.parts.sequencer.state.size

        scene.take(settled)
        undone = await running.until(settled.request, "signed")
        assert undone.tx_hash == settled.tx_hash
        scene.bring(settled, block=40)
        again = await running.until(settled.request, "settled")

        assert again.block == 40
        assert running.parts.sequencer.state.size == size
        assert len(await running.parts.database.transactions(settled.request)) == 1


async def test_the_feed_tells_that_it_is_open_again(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.take(settled)
        await running.until(settled.request, "signed")
        scene.bring(settled, block=40)
        await running.until(settled.request, "settled")

        events = await running.parts.feeds.events(0, request=settled.request)
        states = [one.state for one in events]
        assert states[-4:] == ["settled", "signed", "broadcast", "settled"]
        assert "reorganisation" in events[-3].error


async def test_a_start_remembers_what_settled(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
    scene.take(settled)

    async with scene.house.running() as running:
        await running.until(settled.request, "signed")
        scene.bring(settled, block=40)
        await running.until(settled.request, "settled")


async def test_one_absurd_block_number_hides_nothing_of_what_settled_after_a_start(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = [await scene.paid(running, name) for name in ("one", "two", "three")]
        database = running.parts.database
        await database.apply(Change(settled[1].request, None, {"block": 2**40}), 1)

        found = await database.settled(ANVIL_CHAIN, WINDOW_BLOCKS, states=[State.SETTLED])
    assert {one.request for one in found} == {one.request for one in settled}


async def test_a_crash_between_undone_and_sent_sends_it_after_the_start(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.take(settled)
        await running.until(settled.request, "signed")
    scene.bring(settled, block=40)

    async with scene.house.running() as running:
        await running.until(settled.request, "settled")


async def test_what_failed_may_succeed_in_another_block(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        scene.chain.held = True
        _, body, signature = make_request("one", amount=ETHER // 100, now_ms=scene.house.now_ms())
        record = await running.service.submit(body, signature)
        sent = await running.until(record.request, "broadcast")
        scene.bring(sent, block=9, success=False)
        failed = await running.until(record.request, "failed")

        scene.take(failed)
        await running.until(record.request, "signed")
        scene.bring(failed, block=40)

        assert not (await running.until(record.request, "settled")).error


async def test_what_had_settled_is_sent_and_not_a_cancellation_signed_before(scene: Scene) -> None:
    scene.house.patience, clock = Patience(100_000, 1), Clock()
    scene.house.now_ms, scene.chain.held = clock, True
    async with scene.house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER // 100, now_ms=clock())
        request = (await running.service.submit(body, signature)).request
        paid = (await running.until(request, "broadcast")).tx_hash
        clock.ahead_ms += 4_000_000
        await found(lambda: running.parts.database.transactions(request), lambda sent: len(sent) >= 2)
        scene.chain.mined[paid] = Receipt(paid, 9, True, 1)
        settled = await running.until(request, "settled")
        assert settled.tx_hash == paid

        scene.chain.waiting.clear()
        del scene.chain.mined[paid]
        await running.until(request, "signed", "broadcast")
        await until(lambda: bool(scene.chain.waiting))

        assert [transaction_hash(raw) for raw in scene.chain.waiting.values()] == [paid]


async def test_one_answer_without_it_undoes_nothing(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        watched = Settled(running.parts, ANVIL_CHAIN)
        await watched.load()

        receipt = scene.chain.mined.pop(settled.tx_hash)
        await watched.look()
        scene.chain.mined[settled.tx_hash] = receipt
        await watched.look()
        scene.chain.mined.pop(settled.tx_hash)
        await watched.look()
        scene.chain.mined[settled.tx_hash] = receipt

        assert (await running.service.get(settled.request)).state == "settled"


async def test_what_is_in_another_block_as_deep_is_shown_there(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.bring(settled, block=41)

        await found(lambda: running.service.get(settled.request), lambda record: record.block == 41)
        assert (await running.service.get(settled.request)).state == "settled"


async def test_what_is_in_another_block_and_not_as_deep_waits_again(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        watched = Settled(replace(running.parts, confirmations={ANVIL_CHAIN: 3}), ANVIL_CHAIN)
        await watched.load()
        scene.bring(settled, block=40, depth=1)
        for _ in range(2):
            await watched.look()
        await running.until(settled.request, "settled")

        states = [one.state for one in await running.parts.feeds.events(0, request=settled.request)]
        assert states[-3:] == ["signed", "broadcast", "settled"]


async def test_one_missing_of_a_block_has_all_of_it_asked_about(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        records = [await scene.paid(running, name) for name in ("one", "two", "three")]
        for record in records:
            scene.bring(record, block=9)
        for settled in records:
            await found(partial(running.service.get, settled.request), lambda record: record.block == 9)

        scene.take(*records)
        for record in records:
            await running.until(record.request, "signed")


async def test_what_is_deeper_than_the_window_is_looked_at_no_more(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        receipt = scene.chain.mined[settled.tx_hash]
        scene.chain.mined[settled.tx_hash] = replace(receipt, confirmations=WINDOW_BLOCKS + 1)
        watched = Settled(running.parts, ANVIL_CHAIN)
        await watched.load()
        await watched.look()
        assert not len(watched)


class FinalChain(EvmChain):
    """A chain that takes nothing back with two confirmations."""

    final_at = 2


def with_finality(scene: Scene, running: Running, *, confirmations: int) -> Settled:
    """What settles on a chain that makes blocks final, when so many confirmations are asked for."""
    chains, depths = {ANVIL_CHAIN: FinalChain(scene.chain)}, {ANVIL_CHAIN: confirmations}
    return Settled(replace(running.parts, chains=chains, confirmations=depths), ANVIL_CHAIN)


async def test_what_settles_when_it_is_final_is_never_asked_about(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        await scene.paid(running)
        asked, final = (with_finality(scene, running, confirmations=depth) for depth in (1, 2))
        await asked.load()
        await final.load()

        assert (len(asked), len(final)) == (1, 0)


async def test_what_has_become_final_is_asked_about_no_more(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        watched = with_finality(scene, running, confirmations=1)
        await watched.load()
        await watched.look()
        before = len(watched)
        scene.chain.mined[settled.tx_hash] = replace(scene.chain.mined[settled.tx_hash], confirmations=2)
        await watched.look()

        assert (before, len(watched)) == (1, 0)


async def test_a_start_long_after_asks_about_nothing_that_must_be_final_by_now(scene: Scene) -> None:
    scene.house.now_ms = clock = Clock()
    async with scene.house.with_key() as running:
        await scene.paid(running)
        clock.ahead_ms += 3_600_001
        later, endless = with_finality(scene, running, confirmations=1), Settled(running.parts, ANVIL_CHAIN)
        await later.load()
        await endless.load()

        assert (len(later), len(endless)) == (0, 1)


async def test_what_enough_endpoints_cannot_tell_undoes_nothing(scene: Scene) -> None:
    class Behind(FakeChain):
        async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
            raise OperationalError("endpoints are behind")

    scene.house.chain = scene.chain = Behind()
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.take(settled)
        watched = Settled(running.parts, ANVIL_CHAIN)
        await watched.load()
        await watched.look()
        for _ in range(2):
            with pytest.raises(OperationalError, match="behind"):
                await watched.look()

        assert (await running.service.get(settled.request)).state == "settled"


async def test_a_chain_that_does_not_answer_undoes_nothing(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.chain.down = True
        await asyncio.sleep(0.3)
        scene.chain.down = False

        assert (await running.service.get(settled.request)).state == "settled"


class Forgetful:
    """A chain that has nothing any more, and an outbox that cannot write just now."""

    final_at = None

    async def receipt(self, _: bytes) -> None:
        return None

    async def is_gone(self, _: bytes, *, block: int) -> bool:
        return True

    async def apply(self, _: Change) -> None:
        raise OperationalError("the database is away")


async def test_what_could_not_be_undone_for_the_database_is_undone_later(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        await scene.paid(running)
        away: Any = Forgetful()
        parts = replace(running.parts, chains={ANVIL_CHAIN: away}, duties=away)
        watched = Settled(parts, ANVIL_CHAIN)
        await watched.load()

        await watched.look()
        for _ in range(2):
            with pytest.raises(OperationalError):
                await watched.look()

        assert len(watched) == 1


async def test_what_is_undone_is_never_replaced_by_other_bytes(scene: Scene) -> None:
    scene.house.patience = Patience(1, 3)
    async with scene.house.with_key() as running:
        settled = await scene.paid(running)
        scene.chain.held = True
        scene.chain.nonces.clear()
        del scene.chain.mined[settled.tx_hash]
        await running.until(settled.request, "broadcast")
        await asyncio.sleep(0.3)

        assert (await running.service.get(settled.request)).state == "broadcast"
        assert len(running.parts.sequencer.state.requests[settled.request].jobs) == 1


def test_only_what_was_mined_is_undone() -> None:
    undone = [state for state in State if advance(state, Happened.UNDONE) is not None]
    assert undone == [State.SETTLED, State.FAILED, State.CANCELLED]
