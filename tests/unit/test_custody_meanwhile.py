"""What is written while cosigners meet on a checkpoint, and what waits until they have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from custody.candidates import Candidate
from custody.ports import Appended, Finished, FinishJob
from policy.encoding import Json
from policy.entries import parse_entry
from policy.errors import CallerError, OperationalError, QuorumkeepError
from policy.state import State
from tests.unit.custody_cluster import COSIGNERS, FakeNode, make_request
from tests.unit.custody_dealer import Dealer
from tests.unit.custody_house import House, Running
from tests.waiting import WAIT_S, until

MOMENT_S = 0.05


class Held(FakeNode):
    """A cosigner whose answers to either round can be held back."""

    def __init__(self, name: str, dealer: Dealer) -> None:
        super().__init__(name, dealer)
        self.cosigns, self.finishes = asyncio.Event(), asyncio.Event()
        self.cosigns.set()
        self.finishes.set()
        self.asked_to_finish = False

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        await self.cosigns.wait()
        return await super().append(start, entries, note=note)

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        self.asked_to_finish = True
        await self.finishes.wait()
        return await super().finish(note, jobs)


class Held4(House):
    """A house of four of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held = [Held(name, self.dealer) for name in COSIGNERS]
        self.nodes = {node.name: node for node in self.held}

    def sent(self) -> list[list[str]]:
        """The kinds of entries in each checkpoint that the first cosigner took."""
        return [[parse_entry(data).kind for data in entries] for _, entries, _ in self.held[0].appends]

    @asynccontextmanager
    async def meeting(self, running: Running) -> AsyncIterator[None]:
        """While cosigners meet on a first request's reservation."""
        for node in self.held:
            node.cosigns.clear()
        request = await submit(running, self, "first")
        await running.until(request, "reserved")
        await asyncio.sleep(MOMENT_S)
        yield
        for node in self.held:
            node.cosigns.set()


@pytest.fixture
async def house(tmp_path: Path) -> Held4:
    return Held4(tmp_path)


async def submit(running: Running, house: House, name: str) -> bytes:
    _, body, signature = make_request(name, amount=1, now_ms=house.now_ms())
    return (await running.service.submit(body, signature)).request


async def test_what_can_be_made_again_is_written_while_cosigners_meet_and_sent_together(
    house: Held4,
) -> None:
    house.together_s = 60.0  # a request waits for its reservation, however slow this machine is
    async with house.with_key() as running:
        before = len(house.sent())
        async with house.meeting(running):
            requests = [await submit(running, house, name) for name in ("second", "third")]
            for request in requests:
                await running.until(request, "reserved")

            assert len(house.sent()) == before
        for request in requests:
            await running.until(request, "settled")

        first, second, *_ = house.sent()[before:]
        assert first == ["request", "reserve"]
        assert sorted(second) == ["request", "request", "reserve", "reserve"]


async def test_a_signature_is_not_written_while_cosigners_meet(house: Held4) -> None:
    async with house.with_key() as running:
        for node in house.held:
            node.finishes.clear()
        earlier = await submit(running, house, "earlier")
        await until(lambda: any(node.asked_to_finish for node in house.held))
        async with house.meeting(running):
            for node in house.held:
                node.finishes.set()
            await asyncio.sleep(MOMENT_S)
            later = await submit(running, house, "later")
            await running.until(later, "reserved")

            assert (await running.service.get(earlier)).state == "reserved"
        await running.until(earlier, "settled")
        await running.until(later, "settled")


async def test_while_cosigners_meet_nothing_but_signatures_is_overtaken(house: Held4) -> None:
    async with house.with_key() as running:
        log = running.parts.sequencer.log
        async with house.meeting(running):
            veto = asyncio.create_task(log(Candidate("veto", {})))
            await asyncio.sleep(0)
            request, _, signature = make_request("behind it", amount=1, now_ms=house.now_ms())
            behind = asyncio.create_task(
                log(Candidate("request", request.body(), {"signature": signature.hex()}))
            )
            await asyncio.sleep(MOMENT_S)

            assert not veto.done() and not behind.done()
        assert not (await veto).accepted
        assert (await behind).accepted


async def test_cosigners_that_do_not_meet_hold_nothing_up_for_ever(house: Held4) -> None:
    async with house.with_key() as running, house.meeting(running):
        veto = asyncio.create_task(running.parts.sequencer.log(Candidate("veto", {})))

        assert not (await asyncio.wait_for(veto, WAIT_S)).accepted


@pytest.mark.parametrize("error", [OperationalError("no wallet treasury"), CallerError("no wallet treasury")])
async def test_a_reservation_that_was_made_impossible_while_it_waited_is_not_written_and_the_log_goes_on(
    house: Held4, error: QuorumkeepError
) -> None:
    def body(before: State) -> Json:
        raise error

    async with house.with_key() as running:
        impossible = asyncio.create_task(running.parts.sequencer.log(Candidate("reserve", body)))
        request = await submit(running, house, "after it")

        assert "no wallet treasury" in (await asyncio.wait_for(impossible, WAIT_S)).reason
        await running.until(request, "settled")
