"""A transaction that is stuck is replaced on its anchor; one that is signed is never forgotten."""

import asyncio
import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import HTTPProvider, Web3

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.fees import raised
from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.transaction import fees_of, payment, with_fees
from custody.parts import Patience
from policy.encoding import parse_canonical
from policy.intent import Intent
from policy.state import Job
from tests.fixtures_anvil import FUNDED, Anvil
from tests.unit.custody_cluster import (
    ANVIL_CHAIN,
    ETHER,
    NODES,
    PAYEE,
    WALLET,
    complete_approval,
    make_request,
)
from tests.unit.custody_house import LIFE_MS, FakeChain, House, Running, later
from tests.waiting import until

pytest_plugins = ("tests.fixtures_anvil",)

AMOUNTS = st.integers(1, 10**12)


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.patience = Patience(300, 2)
    return house


async def submit(
    running: Running, house: House, name: str, *, amount: int = 1, life_ms: int = 600_000
) -> bytes:
    now = house.now_ms()
    _, body, signature = make_request(name, amount=amount, now_ms=now, expires_ms=now + life_ms)
    return (await running.service.submit(body, signature)).request


def jobs_of(running: Running, request: bytes) -> list[Job]:
    state = running.parts.sequencer.state
    return [state.jobs[job] for job in state.requests[request].jobs]


def chain_of(house: House) -> FakeChain:
    assert isinstance(house.chain, FakeChain)
    return house.chain


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 10**18))
def test_raised_fees_are_an_eighth_more_and_within_the_ceiling(
    fee: int, priority: int, market: int, tip: int, ceiling: int
) -> None:
    old = Fees(fee_per_gas=max(fee, priority), priority_per_gas=min(fee, priority), gas=21_000)

    new = raised(old, market=Fees(market, tip, 21_000), ceiling=ceiling)

    if new is None:
        assert (old.fee_per_gas * 9 + 7) // 8 * 21_000 > ceiling or old.fee_per_gas < 8
    else:
        assert new.fee_per_gas * 8 >= old.fee_per_gas * 9 and new.fee_per_gas > old.fee_per_gas
        assert new.priority_per_gas * 8 >= old.priority_per_gas * 9
        assert new.priority_per_gas <= new.fee_per_gas
        assert new.total_max <= ceiling


def test_other_fees_change_nothing_else() -> None:
    intent = Intent(ANVIL_CHAIN, WALLET, "eth", 5, PAYEE)
    low, high = Fees(10, 1, 21_000), Fees(30, 3, 21_000)

    tx = with_fees(payment(intent, contract=None, nonce=7, fees=low), high)

    assert tx == payment(intent, contract=None, nonce=7, fees=high)
    assert fees_of(tx) == high


async def test_a_stuck_payment_is_made_dearer_on_its_anchor_a_bounded_number_of_times(house: House) -> None:
    chain_of(house).held = True
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        await until(lambda: len(jobs_of(running, request)) == 3 if _known(running, request) else False)
        await running.until(request, "broadcast")
        await asyncio.sleep(0.6)
        jobs = jobs_of(running, request)
        chain_of(house).held = False
        chain_of(house).mine(jobs[0].anchor.account)
        settled = await running.until(request, "settled")

        fees = [fees_of(job.tx) for job in jobs]
        assert len(jobs) == 3
        assert {job.anchor for job in jobs} == {jobs[0].anchor}
        assert all(new.fee_per_gas * 8 >= old.fee_per_gas * 9 for old, new in itertools.pairwise(fees))
        assert settled.tx_hash in chain_of(house).mined
        assert len(chain_of(house).mined) == 1


async def test_a_replacement_that_comes_too_late_is_no_failure(house: House) -> None:
    chain = chain_of(house)
    chain.held = True
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        await running.until(request, "broadcast")
        for name in NODES:
            house.nodes[name].mute = True
        await running.until(request, "replacing")
        chain.held = False
        chain.mine(jobs_of(running, request)[0].anchor.account)
        settled = await running.until(request, "settled")

        assert settled.job == jobs_of(running, request)[0].job_id


async def test_a_stuck_payment_that_needed_an_approval_needs_no_other(house: House) -> None:
    chain_of(house).held = True
    async with house.with_key() as running:
        request = await submit(running, house, "large", amount=5 * ETHER)
        await running.until(request, "waiting")
        draft = parse_canonical((await running.service.pending("otto"))[0], bytes_max=10_000)
        await running.service.approve(*complete_approval(draft, "otto"))
        await until(lambda: len(jobs_of(running, request)) >= 2)

        assert running.parts.sequencer.state.requests[request].approvals


async def test_a_stuck_payment_is_cancelled_once_its_request_has_expired(house: House) -> None:
    house.patience = Patience(1_000, 2)
    chain_of(house).held = True
    async with house.with_key() as running:
        request = await submit(running, house, "one", life_ms=LIFE_MS)
        await running.until(request, "broadcast")
        later(house)
        await until(lambda: jobs_of(running, request)[-1].purpose == "cancel")
        await until(lambda: bool(jobs_of(running, request)[-1].signatures[0]))
        await running.until(request, "broadcast")
        chain_of(house).held = False
        chain_of(house).mine(jobs_of(running, request)[0].anchor.account)

        await running.until(request, "cancelled")
        assert len(chain_of(house).mined) == 1


async def test_a_signed_payment_is_broadcast_after_its_request_expired(house: House) -> None:
    house.patience = Patience(0, 0)
    chain_of(house).refuses = True
    async with house.with_key() as running:
        request = await submit(running, house, "late", life_ms=LIFE_MS)
        await running.until(request, "signed")
        later(house)
        await asyncio.sleep(1.5)
        shown = await running.service.get(request)
        chain_of(house).refuses = False

        assert shown.state == "signed"
        await running.until(request, "settled")


@pytest.mark.parametrize("seed", range(3))
async def test_replacing_survives_ends_at_any_moment(house: House, seed: int) -> None:
    source = random.Random(seed)
    chain_of(house).held = True
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        await running.until(request, "broadcast")
    for _ in range(4):
        async with house.running():
            await asyncio.sleep(0.2 + source.random() * 0.3)
    (house.folder / "custody.db").unlink()
    chain_of(house).held = False
    async with house.running() as running:
        await running.until(request, "settled")

        assert len(chain_of(house).mined) == 1
        assert len({job.anchor for job in jobs_of(running, request)}) == 1


async def test_a_real_chain_mines_the_dearer_one(tmp_path: Path, anvil: Anvil) -> None:
    house = House(tmp_path)
    house.patience = Patience(500, 1)
    house.chain = chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    async with house.with_key() as running:
        account, _, _ = running.service.address(WALLET, "")
        web3 = await asyncio.to_thread(_funded, anvil, account.address)
        web3.provider.make_request("evm_setAutomine", [False])  # type: ignore[arg-type]
        request = await submit(running, house, "one")
        await until(lambda: _known(running, request) and len(jobs_of(running, request)) == 2)
        await until(lambda: bool(jobs_of(running, request)[1].signatures[0]))
        await running.until(request, "broadcast")
        web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]

        settled = await running.until(request, "settled")
        assert settled.job == jobs_of(running, request)[1].job_id
    await chain.close()


def _known(running: Running, request: bytes) -> bool:
    return request in running.parts.sequencer.state.requests


def _funded(anvil: Anvil, account: str) -> Web3:
    web3 = Web3(HTTPProvider(anvil.url))
    paid = {"from": Web3.to_checksum_address(FUNDED), "to": Web3.to_checksum_address(account), "value": ETHER}
    web3.eth.wait_for_transaction_receipt(web3.eth.send_transaction(paid))  # type: ignore[arg-type]
    return web3
