"""Where none of a request's transactions is found on the chain, the chain says what took their place."""

import asyncio
from pathlib import Path

import pytest
from coincurve import PrivateKey

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.transaction import attach_signature, cancellation, finished, transaction_hash
from custody.ports import Finished, FinishJob, Landed, Receipt
from policy.errors import OperationalError
from policy.keccak import keccak256
from policy.state import Job
from signer_nodes.mpc.curve import Q
from tests.unit.custody_cluster import ANVIL_CHAIN, FakeNode
from tests.unit.custody_house import FakeChain, House, Running
from tests.unit.test_custody_enacting import pay
from tests.waiting import found, until


class Losing(FakeNode):
    """Gives its partial signature, and the answer may be lost, of one job for good."""

    loses, lost = True, b""

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        finished = await super().finish(note, jobs)
        if self.loses or self.lost in [one.job for one in jobs]:
            raise OperationalError("the answer is lost")
        return finished


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.nodes = {name: Losing(name, house.dealer) for name in house.nodes}
    return house


def jobs_of(running: Running, request: bytes) -> list[Job]:
    state = running.parts.sequencer.state
    return [state.jobs[job] for job in state.requests[request].jobs] if request in state.requests else []


async def send(house: House, job: Job, tx: bytes) -> bytes:
    """Have the chain take what the key of a job signs; its hash."""
    secret = (house.dealer.secret + job.signings[0].tweak) % Q
    signed = PrivateKey(secret.to_bytes(32, "big")).sign_recoverable(keccak256(tx), hasher=None)
    r, s = (int.from_bytes(signed[at : at + 32], "big") for at in (0, 32))
    raw = attach_signature(tx, r=r, s=s, recovery_id=signed[64])
    await house.chain.broadcast(raw)
    return transaction_hash(raw)


def find_answers(house: House, *, but: bytes = b"") -> None:
    for node in house.nodes.values():
        assert isinstance(node, Losing)
        node.loses, node.lost = False, but


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_signature_that_the_chain_alone_has_settles_its_request(house: House, tries: int) -> None:
    """A coordinator's database is lost between sending a transaction and having its signature cosigned."""
    async with house.with_key() as running:
        request = await pay(running, "one")
        await until(lambda: len(jobs_of(running, request)) >= tries)
        first = jobs_of(running, request)[0]
        sent = await send(house, first, first.tx)
        find_answers(house, but=first.job_id)
        settled = await running.until(request, "settled")

        assert isinstance(house.chain, FakeChain)
        assert (settled.tx_hash, set(house.chain.mined)) == (sent, {sent})
        assert (
            finished(running.parts.sequencer.state.jobs[settled.job])[1] == sent
        )  # jobs have the same bytes


class Lying(FakeChain):
    """Says that a request's own bytes are mined, under a signature that its key never made."""

    tx = b""

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        return Landed(Receipt(b"\xab" * 32, 7, True, 99), self.tx, (bytes(31) + b"\1" + bytes(31) + b"\1\0",))


async def test_what_an_endpoint_says_is_mined_settles_nothing_that_the_key_did_not_sign(house: House) -> None:
    house.chain = chain = Lying()
    chain.held = True
    async with house.with_key() as running:
        find_answers(house)
        request = await pay(running, "one")
        chain.tx = (await running.until(request, "broadcast")).tx
        while "the log does not know" not in (await running.service.get(request)).error:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        chain.held = False
        chain.mine(jobs_of(running, request)[0].anchor.account)
        settled = await running.until(request, "settled")

        assert settled.tx_hash in chain.mined


async def test_what_somebody_else_signed_at_the_place_of_a_request_is_told_to_people(house: House) -> None:
    async with house.with_key() as running:
        request = await pay(running, "one")
        await until(lambda: bool(jobs_of(running, request)), 10)
        first = jobs_of(running, request)[0]
        fees = Fees(fee_per_gas=10**9, priority_per_gas=1, gas=21_000)
        place = first.anchor
        tx = cancellation(ANVIL_CHAIN, account=place.account, nonce=place.nonce, fees=fees)
        sent = await send(house, first, tx)
        find_answers(house)
        record = await running.until(request, "signed")
        while "the log does not know" not in record.error:
            record = await running.service.get(request)

        assert f"0x{sent.hex()}" in record.error and "Who else has the key?" in record.error
        assert record.state == "signed"


async def test_a_signature_beside_the_logs_own_under_its_bytes_is_told_to_people(house: House) -> None:
    """Whoever signs the very bytes of a job once more has its key."""
    house.chain = chain = FakeChain()
    chain.held = True
    async with house.with_key() as running:
        find_answers(house)
        request = await pay(running, "one")
        ours = (await running.until(request, "broadcast")).tx_hash
        first = jobs_of(running, request)[0]
        sent = await send(house, first, first.tx)
        chain.held = False
        chain.mine(first.anchor.account)
        told = await found(lambda: running.service.get(request), lambda one: sent.hex() in one.error)

        assert sent != ours and "Who else has the key?" in told.error
        assert told.state == "broadcast"
