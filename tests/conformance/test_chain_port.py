"""What holds on every chain that payments are made on: whatever happens, a request is paid at most once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.parts import Patience
from custody.requests import is_over
from policy.accounts import account_at
from policy.decode.decoded import Cancel, Source, Transfer
from policy.ids import family
from policy.reservations import DECODERS
from policy.state import CANCEL, Job
from tests.chains.bitcoin_house import fresh_core
from tests.chains.scenes import BitcoinScene, EvmScene, Scene, SolanaScene, chain_of
from tests.unit.custody_house import Running
from tests.waiting import until


@pytest.fixture(params=["evm", "bitcoin", "solana"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if request.param == "evm":
        yield EvmScene(tmp_path)
        return
    if request.param == "solana":
        with ClusterRpc(SolanaCluster()) as rpc:
            yield SolanaScene(tmp_path, rpc)
        return
    with CoreRpc(fresh_core()) as core:
        yield BitcoinScene(tmp_path, core)


def jobs_of(running: Running, request: bytes) -> list[Job]:
    state = running.parts.sequencer.state
    return [state.jobs[job] for job in state.requests[request].jobs] if request in state.requests else []


async def sent(scene: Scene, running: Running, name: str = "one", amount: int = 1) -> bytes:
    """A request that was handed to the network."""
    request = (await running.service.submit(*scene.request(name, amount))).request
    await running.until(request, "broadcast")
    return request


async def raws(running: Running, request: bytes) -> list[bytes]:
    return [one.raw for one in await running.parts.database.transactions(request)]


async def test_the_bytes_of_every_kind_decode_to_what_was_asked(scene: Scene) -> None:
    """A payment and a dearer one pay just the intent; a cancellation nobody; all from one anchor."""
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        (job,) = jobs_of(running, request)
        state, chain = running.parts.sequencer.state, chain_of(running)
        intent = state.requests[request].request.intent
        key = state.keys[job.key]
        accounts = tuple(account_at(key, one.path, chain=intent.chain) for one in job.signings)
        source = Source(intent.chain, accounts, lambda text: (intent.chain, text) in state.owned)
        ceiling = state.policy.cancel_ceiling(intent.chain)

        empty = await chain.cancellation(job.anchor, job.tx, ceiling=ceiling)
        replaced = await chain.dearer(job, None, ceiling=ceiling)

        decoder = DECODERS[family(intent.chain)]
        payment = decoder.decode(job.tx, source)
        assert isinstance(payment, Transfer)
        assert (payment.recipient, payment.amount) == (intent.destination, intent.amount)
        assert payment.fee_max <= state.requests[request].request.fee_ceiling
        for tx in (empty, replaced):
            cancel = decoder.decode_cancel(tx or b"", source)
            assert isinstance(cancel, Cancel)
            assert cancel.anchor == payment.anchor == job.anchor and cancel.fee_max <= ceiling
        assert await chain.dearer(job, None, ceiling=payment.fee_max // 10) is None
        assert not chain.can_be_dearer(job.tx, purpose=CANCEL, ceiling=payment.fee_max // 10)


async def test_a_payment_settles_once_it_is_deep_enough(scene: Scene) -> None:
    scene.house.confirmations = 3
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        scene.mine(2)
        await asyncio.sleep(0.2)
        early = (await running.service.get(request)).state
        scene.mine()
        await running.until(request, "settled")

        assert early == "broadcast"
        assert scene.paid() == [1]


async def test_of_a_payment_and_its_replacements_one_confirms(scene: Scene) -> None:
    scene.house.patience = Patience(100_000, 1)
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        scene.clock.ahead_ms += 150_000
        if scene.replaces:
            await until(lambda: len(jobs_of(running, request)) == 2)
        await asyncio.sleep(0.2)
        await until(lambda: all(job.signed_ms for job in jobs_of(running, request)))
        await running.until(request, "broadcast")
        both = await raws(running, request)
        scene.mine()
        await running.until(request, "settled")
        for raw in both:
            scene.resend(raw)
        scene.mine(2)

        first, *others = jobs_of(running, request)
        assert [first.anchor] * scene.replaces == [other.anchor for other in others]
        assert all(scene.offer(other) > scene.offer(first) for other in others)
        assert len(both) == 1 + len(others) and scene.paid() == [1]


async def test_what_expired_and_was_cancelled_is_never_paid_later(scene: Scene) -> None:
    scene.house.patience = Patience(100_000, 1)
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        scene.clock.ahead_ms += 700_000
        await until(lambda: len(jobs_of(running, request)) == 2)
        await running.until(request, "broadcast")
        await until(lambda: bool(jobs_of(running, request)[1].signed_ms))
        await asyncio.sleep(0.2)
        if not scene.replaces:  # either could confirm, so let the network have forgotten the first one
            scene.forget()
            await until(lambda: scene.waiting() == 1)
        scene.mine()
        over = await running.until(request, "cancelled", "settled")
        for raw in await raws(running, request):
            scene.resend(raw)
        scene.mine(2)

        assert over.state == "cancelled" and jobs_of(running, request)[1].purpose == CANCEL
        assert scene.paid() == []


@pytest.mark.parametrize("forget", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_reorganisation_makes_it_pending_and_the_same_bytes_confirm(
    scene: Scene, forget: bool
) -> None:
    scene.house.confirmations = 3
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        before = await raws(running, request)
        scene.mine(2)
        await asyncio.sleep(0.1)
        scene.reorganise(2, forget=forget)
        gone = scene.paid()
        await until(lambda: scene.waiting() == 1)
        pending = (await running.service.get(request)).state
        scene.mine(3)
        await running.until(request, "settled")

        assert (gone, pending) == ([], "broadcast")
        assert scene.paid() == [1] and await raws(running, request) == before


async def test_a_reorganisation_deeper_than_the_confirmations_undoes_it_and_the_same_bytes_confirm(
    scene: Scene,
) -> None:
    scene.house.confirmations = 2
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        before = await raws(running, request)
        scene.mine(2)
        await running.until(request, "settled")
        scene.reorganise(2, forget=True)
        gone = scene.paid()
        await running.until(request, "signed", "broadcast")
        await until(lambda: scene.waiting() == 1)
        scene.mine(2)
        again = await running.until(request, "settled")

        assert gone == [] and scene.paid() == [1]
        assert await raws(running, request) == before and len(jobs_of(running, request)) == 1
        assert again.block > 2


async def test_what_the_network_forgot_is_sent_again(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        scene.fund(running)
        request = await sent(scene, running)
        scene.forget()
        await until(lambda: scene.waiting() == 1)
        scene.mine()
        await running.until(request, "settled")

        assert scene.paid() == [1]


async def test_a_coordinator_that_dies_at_any_stage_pays_once(scene: Scene) -> None:
    """Killed after each of a request's states, it goes on from its database and the log."""
    stages = ("received", "logged", "ready", "reserved", "signed", "broadcast")
    async with scene.house.with_key() as running:
        scene.fund(running)
    asked = scene.request("one", 1)
    for stage in stages:
        async with scene.house.running() as running:
            request = (await running.service.submit(*asked)).request
            await running.until(request, *stages[stages.index(stage) :])
    async with scene.house.running() as running:
        await running.until(request, "broadcast")
        scene.mine()
        settled = await running.until(request, "settled")

        assert is_over(settled.state)
        assert len({job.anchor for job in jobs_of(running, request)}) == 1
        assert scene.paid() == [1]


async def test_requests_side_by_side_have_places_of_their_own(scene: Scene) -> None:
    async with scene.house.with_key() as running:
        scene.fund(running)
        asked = [scene.request(f"r{i}", 1) for i in range(3)]
        requests = [(await running.service.submit(*one)).request for one in (*asked, *asked)]
        for request in requests:
            await running.until(request, "broadcast")
        anchors = {jobs_of(running, request)[0].anchor for request in requests}
        scene.mine()
        for request in requests:
            await running.until(request, "settled")

        assert len(set(requests)) == len(anchors) == 3
        assert scene.paid() == [1, 1, 1]
