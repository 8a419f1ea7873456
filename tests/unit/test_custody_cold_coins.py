"""Cold keys that spend several coins in one ceremony, by either kind of signature."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.candidates import Candidate
from custody.chains.bitcoin.chain import Rates
from custody.cold_signing import batch_of
from custody.planning import COLD_SIGNATURES_MAX
from custody.ports import FinishJob
from custody.requests import State
from custody.storage import Database
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.ids import GENERATE
from policy.state import JobStatus
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.envelope import reply_envelope
from signer_nodes.api.presignature_ids import names_of_batch
from signer_nodes.key_changes import Plan
from signer_nodes.mpc.ot.extension import check_batch
from tests.chains.bitcoin_house import COIN, PATHS, BitcoinHouse, fresh_core
from tests.unit.custody_cluster import KEY, WALLET, FakeNode, identity
from tests.unit.custody_house import Running
from tests.unit.test_custody_bitcoin import jobs_of, paid, shown
from tests.unit.test_custody_cold import COLD, Machine, step

PASSES_MAX = 6


class Signer(Machine):
    """A cold machine that signs, with what a dealer dealt."""

    def __init__(self, running: Running, name: str, house: BitcoinHouse) -> None:
        super().__init__(running, name)
        self.node = FakeNode(name, house.dealer)

    async def sign(self, data: bytes) -> bytes:
        """Take a letter in, and do what it asks; its answer."""
        opened, calls = self.opened(data)
        replies = []
        for call in calls:
            kind = str(call.WhichOneof("what"))
            answer = await getattr(self, f"_{kind}")(getattr(call, kind))
            replies.append(reply_envelope(call.call, kind, answer=answer))
        return self.written(opened, replies)

    async def _append(self, call: pb.Append) -> pb.AppendReply:
        done = await self.node.append(call.start, tuple(call.entries), note=call.checkpoint)
        openings = [pb.Opening(job=one.job, index=one.index, rho=one.rho) for one in done.openings]
        return pb.AppendReply(cosignature=done.cosignature, openings=openings)

    async def _presign(self, call: pb.Presign) -> pb.PresignReply:
        made = await self.node.presign(
            call.key_id, tuple(call.signers), epoch=call.epoch, batch_id=call.batch_id, batch=call.batch
        )
        suite = self.node.tip.state.keys[call.key_id].suite
        names = names_of_batch(
            suite,
            key_id=call.key_id,
            epoch=call.epoch,
            batch_id=call.batch_id,
            boot_ids=dict.fromkeys(call.signers, self.boot.boot_id),
            count=call.batch,
        )
        for name, one in zip(names, made, strict=True):
            self.node._pool[name] = self.node._pool.pop(one.presignature)
        return pb.PresignReply(presignatures=names, nonce_points=[one.nonce_point for one in made])

    async def _finish(self, call: pb.Finish) -> pb.FinishReply:
        jobs = []
        for job in call.jobs:
            opened = tuple((one.index, one.signer, one.rho) for one in job.opened)
            jobs.append(FinishJob(job.job, opened))
        done = await self.node.finish(call.note, tuple(jobs))
        return pb.FinishReply(
            partials=[pb.Partial(job=one.job, index=one.index, partial=one.partial) for one in done.partials]
        )


@pytest.fixture
def core() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        yield core


async def with_cold_key(house: BitcoinHouse, running: Running, suite: str) -> None:
    """The dealer's key, on the word of the machines."""
    body = house.dealer.key_body(Plan(GENERATE, KEY, suite, 0, 2, COLD, COLD, COLD, None), 1)
    signatures = {name: identity(name).sign(statement("keygen", body)) for name in COLD}
    proof: dict[str, Json] = {"signatures": signature_list(signatures)}
    outcome = await running.parts.sequencer.log(Candidate("key", body, proof))
    assert outcome.accepted, outcome.reason


async def ceremony(house: BitcoinHouse, running: Running, request: bytes) -> str:
    """A ceremony to its end; what it came to."""
    machines = {name: Signer(running, name, house) for name in COLD[:2]}
    await step(running, files=tuple(machine.hello() for machine in machines.values()))
    report, letters = await step(running, request=request)
    for _ in range(PASSES_MAX):
        if not letters:
            break
        answers = [await machines[name].sign(data) for name, _, data in letters]
        report, letters = await step(running, files=tuple(answers))
    return f"{report['stage']}: {report['outcome']}"


@pytest.mark.parametrize("suite", [DKLS23_SECP256K1, FROST_TAPROOT])
async def test_a_cold_key_spends_several_coins_in_one_ceremony(
    tmp_path: Path, core: CoreRpc, suite: str
) -> None:
    house = BitcoinHouse(tmp_path, core, suite=suite, cold=COLD)
    house.rates = Rates(coins_max=16)
    async with house.running() as running:
        await with_cold_key(house, running, suite)
        house.fund(running, *PATHS, *PATHS, amount=COIN // 5)
        request = await house.pay(running, "one", COIN // 2)
        await running.until(request, State.AWAITING_CEREMONY)
        outcome = await ceremony(house, running, request)
        await running.until(request, State.BROADCAST)
        core.core.mine()
        await running.until(request, State.SETTLED)

        (job,) = jobs_of(running, request)
        assert outcome == f"done: signed: {' '.join(one.hex() for one in job.signatures)}"
        assert len(job.signings) == 3 and paid(core.core) == [COIN // 2]


class DiesBetween:
    """A database that stops for ever when a second signature is to be written."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self._signatures = 0
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, start: int, entries: Sequence[bytes], **more: Any) -> Any:
        self._signatures += sum(b'"kind":"signature"' in entry for entry in entries)
        if self._signatures > 1:
            self.dead.set()
            await asyncio.Event().wait()
        return await self._inner.append(start, entries, **more)


async def test_a_coordinator_that_dies_between_two_signatures_logs_the_second_one(
    tmp_path: Path, core: CoreRpc
) -> None:
    house = BitcoinHouse(tmp_path, core, suite=FROST_TAPROOT, cold=COLD)
    house.around_database = lambda inner: cast("Database", DiesBetween(inner))
    async with house.running() as dying:
        await with_cold_key(house, dying, FROST_TAPROOT)
        house.fund(dying, *PATHS, amount=COIN // 5)
        request = await house.pay(dying, "one", COIN // 2)
        await dying.until(request, State.AWAITING_CEREMONY)
        last = asyncio.create_task(ceremony(house, dying, request))
        await cast("DiesBetween", dying.parts.database).dead.wait()
        last.cancel()
        await asyncio.gather(last, return_exceptions=True)

    house.around_database = lambda inner: inner
    async with house.running() as successor:
        (before,) = jobs_of(successor, request)
        report, letters = await step(successor, request=request)
        (after,) = jobs_of(successor, request)

        assert [bool(one) for one in before.signatures] == [True, False, False]
        assert (report["stage"], letters) == ("done", []) and after.status is JobStatus.SIGNED


async def test_more_coins_than_a_ceremony_signs_for_are_made_fewer_first(
    tmp_path: Path, core: CoreRpc
) -> None:
    house = BitcoinHouse(tmp_path, core, suite=FROST_TAPROOT, cold=COLD)
    house.rates = Rates(coins_max=16)
    async with house.running() as running:
        await with_cold_key(house, running, FROST_TAPROOT)
        house.fund(running, *PATHS, *PATHS, amount=COIN // 10)
        request = await house.pay(running, "one", COIN // 2)
        await shown(running, request, f"in at most {COLD_SIGNATURES_MAX} coins are free and confirmed")
        destination, found = await running.service.gather(WALLET, to_wallet="", coins_max=0)
        asked = house.request("tidy", found.amount, destination=destination)
        tidy = (await running.service.submit(*asked, psbt=found.psbt)).request
        await running.until(tidy, State.AWAITING_CEREMONY)
        assert (await ceremony(house, running, tidy)).startswith("done")
        await running.until(tidy, State.BROADCAST)
        core.core.mine()

        assert found.coins == COLD_SIGNATURES_MAX
        await running.until(request, State.AWAITING_CEREMONY)


@pytest.mark.parametrize("count", [1, 4, 5, 16])
def test_what_is_ordered_is_enough_and_what_nodes_make(count: int) -> None:
    batch = batch_of(DKLS23_SECP256K1, count)

    check_batch(batch)
    assert count <= batch < count + 4
    assert batch_of(FROST_TAPROOT, count) == count
