"""Tokens of the first Token program, and what is offered to be in the next slot."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.token import ID as TOKEN
from solders.token.associated import get_associated_token_address

from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.chain import Options
from custody.chains.solana.transaction import PAYMENT_UNITS, TOKEN_UNITS, fee_of, priority_of
from custody.parts import Patience
from policy.addresses import solana_address
from policy.decode.solana import TOKEN_ACCOUNT_RENT
from policy.state import CANCEL
from tests.chains.scenes import chain_of
from tests.chains.solana_house import SOL, SolanaHouse, solana_policy
from tests.unit.custody_cluster import genesis_entry
from tests.unit.custody_house import Running
from tests.unit.test_custody_solana import FEE, jobs_of, settled_after_slots, shown
from tests.waiting import until

OWNER = bytes(Pubkey.from_string("9B5XszUGdMaxCZ7uSQhPzdks5ZQSmWxrmzCSvtJ6Ns6g"))
TO = solana_address(OWNER)
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")


@pytest.fixture
def rpc() -> Iterator[ClusterRpc]:
    with ClusterRpc(SolanaCluster()) as rpc:
        yield rpc


@pytest.fixture
def mint(rpc: ClusterRpc) -> bytes:
    return rpc.cluster.make_mint(0, 6)


@pytest.fixture
def house(tmp_path: Path, rpc: ClusterRpc, mint: bytes) -> SolanaHouse:
    house = SolanaHouse(tmp_path, rpc, token=solana_address(mint))
    house.fund(SOL)
    rpc.cluster.give_tokens(house.wallet_key, mint, amount=1_000)
    return house


async def pay(house: SolanaHouse, running: Running, amount: int, *, name: str = "one", to: str = TO) -> bytes:
    return await house.pay(running, name, amount, asset="tok", destination=to)


async def test_tokens_reach_an_owner_who_has_no_account_for_them_and_one_who_has(
    house: SolanaHouse, mint: bytes
) -> None:
    cluster = house.rpc.cluster
    async with house.with_key() as running:
        first = await pay(house, running, 300)
        await settled_after_slots(house, running, first)
        after_first = cluster.lamports(house.wallet_key)
        second = await pay(house, running, 200, name="two")
        await settled_after_slots(house, running, second)

        assert cluster.tokens(OWNER, mint) == 500
        assert after_first == SOL - FEE - TOKEN_ACCOUNT_RENT
        assert cluster.lamports(house.wallet_key) == after_first - FEE
        assert {jobs_of(running, one)[0].fee_max for one in (first, second)} == {FEE + TOKEN_ACCOUNT_RENT}


async def test_balances_and_simulations_are_those_of_the_token_accounts(
    house: SolanaHouse, mint: bytes
) -> None:
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        await running.until(request, "broadcast")
        chain, job = chain_of(running), jobs_of(running, request)[-1]  # one before may have lost its openings
        wallet, token = solana_address(house.wallet_key), solana_address(mint)
        watched = [(job.anchor.account, token), (TO, token), (job.anchor.account, None), (TO, None)]
        found = await chain.simulate(job.tx, account=job.anchor.account, watched=watched)

        assert (await chain.balance(wallet, token), await chain.balance(TO, token)) == (1_000, 0)
        assert [(one.account, one.before, one.after) for one in found.balances] == [
            (wallet, 1_000, 700),
            (TO, 0, 300),
            (wallet, SOL, SOL - TOKEN_ACCOUNT_RENT),
            (TO, 0, 0),
        ]


@pytest.mark.parametrize("state", [0, 2])
async def test_a_frozen_account_is_said_before_anything_is_reserved(
    house: SolanaHouse, mint: bytes, state: int
) -> None:
    house.rpc.cluster.give_tokens(OWNER, mint, amount=0, state=state)
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        await shown(running, request, f"the token account of {TO} is frozen")
        assert jobs_of(running, request) == []


async def test_an_account_that_somebody_else_has_now_is_not_paid(house: SolanaHouse, mint: bytes) -> None:
    svm = house.rpc.cluster.svm
    house.rpc.cluster.give_tokens(OWNER, mint, amount=0)
    place = get_associated_token_address(Pubkey(OWNER), Pubkey(mint), TOKEN)
    account = svm.get_account(place)
    assert account is not None
    data = account.data[:32] + b"\x44" * 32 + account.data[64:]
    svm.set_account(place, type(account)(account.lamports, data, account.owner))
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        await shown(running, request, "is somebody else's by now")


async def test_too_few_tokens_say_how_many_there_are(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        request = await pay(house, running, 1_001)
        await shown(running, request, "1000 of 1001 are in the token account")


async def test_a_token_of_another_program_is_not_paid(tmp_path: Path, rpc: ClusterRpc) -> None:
    mint = rpc.cluster.make_mint(1, 6, program=TOKEN_2022)
    house = SolanaHouse(tmp_path, rpc, token=solana_address(mint))
    house.fund(SOL)
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        await shown(running, request, "is no mint of the first Token program")


async def test_a_token_account_in_the_owners_place_is_refused(house: SolanaHouse, mint: bytes) -> None:
    place = str(get_associated_token_address(Pubkey(OWNER), Pubkey(mint), TOKEN))
    async with house.with_key() as running:
        request = await pay(house, running, 300, to=place)
        await shown(running, request, f"{place} is no key, but perhaps a token account")


async def test_decimals_that_are_not_the_policys_are_denied(tmp_path: Path, rpc: ClusterRpc) -> None:
    mint = rpc.cluster.make_mint(2, 9)
    house = SolanaHouse(tmp_path, rpc, token=solana_address(mint))
    house.fund(SOL)
    rpc.cluster.give_tokens(house.wallet_key, mint, amount=1_000)
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        over = await running.until(request, "denied")
        assert "decimals" in over.error


async def test_a_ceiling_has_to_reach_for_the_account_of_who_is_paid(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        request = await house.pay(running, "one", 300, asset="tok", destination=TO, fee=TOKEN_ACCOUNT_RENT)
        await shown(running, request, f"does not reach for the {TOKEN_ACCOUNT_RENT + FEE} lamports")


@pytest.mark.parametrize(
    ("prices", "most", "lamports"),
    [
        ([], 1_000_000, 0),
        ([0, 0, 0, 0], 1_000_000, 0),
        ([5_000_000] * 3 + [9_000_000], 1_000_000, 9_000),
        ([1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000], 1_000_000, 4_000),
        ([10**15], 20_000, 20_000),
        ([10**15], 10_000_000, 10_000),
        ([10**15], 0, 0),
    ],
)
async def test_priority_costs_what_others_pay_within_what_is_configured_and_the_ceiling(
    house: SolanaHouse, prices: list[int], most: int, lamports: int
) -> None:
    house.rpc.cluster.prices = prices
    house.options = Options(house.options.nonce_accounts, most)
    async with house.with_key() as running:
        request = await house.pay(running, "one", SOL // 2, fee=FEE + 10_000 if most > 10**6 else FEE + 10**6)
        await settled_after_slots(house, running, request)

        (job,) = jobs_of(running, request)
        assert job.fee_max == fee_of(priority_of(job.tx)) == FEE + lamports
        assert house.rpc.cluster.lamports(house.wallet_key) == SOL - SOL // 2 - FEE - lamports


async def test_tokens_are_paid_with_priority_too(house: SolanaHouse, mint: bytes) -> None:
    house.rpc.cluster.prices = [100_000]
    house.options = Options(house.options.nonce_accounts, 100_000)
    async with house.with_key() as running:
        request = await pay(house, running, 300)
        await settled_after_slots(house, running, request)

        priority = priority_of(jobs_of(running, request)[0].tx)
        assert priority is not None and (priority.units, priority.lamports) == (TOKEN_UNITS, 8_000)
        assert house.rpc.cluster.tokens(OWNER, mint) == 300


async def test_a_ceiling_that_leaves_no_room_for_another_cancellation_has_none_asked_for(
    house: SolanaHouse,
) -> None:
    """Nodes add up the fees of all cancellations of a request: a third one would be denied for ever."""
    house.genesis = genesis_entry({**solana_policy(), "cancel": {"fee_ceiling": str(2 * FEE + 5_000)}})
    house.options = Options(house.options.nonce_accounts, 10_000)
    house.patience = Patience(1_000, 5)
    house.rpc.cluster.prices = [4_000_000]
    async with house.with_key() as running:
        request = await house.pay(running, "one", SOL // 2, life_ms=60_000)
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 62_000
        for count in (2, 3):
            await until(lambda count=count: len(jobs_of(running, request)) == count, 20)  # type: ignore[misc]
            await running.until(request, "broadcast")
            house.clock.ahead_ms += 2_000
        await asyncio.sleep(1)
        record = await running.service.get(request)

        assert [job.fee_max for job in jobs_of(running, request)[1:]] == [FEE, FEE + 4_000]
        assert (record.state, record.error) == ("broadcast", "")


async def test_a_cancellation_that_was_not_signed_is_tried_again_under_a_ceiling_for_one(
    house: SolanaHouse,
) -> None:
    house.genesis = genesis_entry({**solana_policy(), "cancel": {"fee_ceiling": str(FEE)}})
    house.patience = Patience(1_000, 5)
    async with house.with_key() as running:
        request = await house.pay(running, "one", SOL // 2, life_ms=60_000)
        await running.until(request, "broadcast")
        for node in house.nodes.values():
            node.mute = True
        house.clock.ahead_ms += 62_000
        await until(lambda: len(jobs_of(running, request)) == 2, 20)
        await running.until(request, "broadcast")
        for node in house.nodes.values():
            node.mute = False
        house.clock.ahead_ms += 2_000
        await until(lambda: any(job.signed_ms for job in jobs_of(running, request)[1:]), 20)

        assert len({job.tx for job in jobs_of(running, request)[1:]}) == 1


async def test_a_cancellation_may_be_dearer_up_to_what_is_configured(house: SolanaHouse) -> None:
    house.options = Options(house.options.nonce_accounts, 10_000)
    house.patience = Patience(1_000, 5)
    async with house.with_key() as running:
        request = await house.pay(running, "one", SOL // 2, life_ms=60_000)
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 62_000
        await until(lambda: len(jobs_of(running, request)) == 2)
        house.rpc.cluster.prices = [4_000_000]
        house.clock.ahead_ms += 2_000
        await until(lambda: len(jobs_of(running, request)) == 3)
        await running.until(request, "broadcast")
        house.rpc.cluster.waiting.clear()
        await until(lambda: bool(house.rpc.cluster.waiting))
        house.mine(3)
        await running.until(request, "cancelled")

        payment, *cancels = jobs_of(running, request)
        assert {job.purpose for job in cancels} == {CANCEL}
        assert [job.fee_max for job in cancels[:2]] == [FEE, FEE + 4_000_000 * PAYMENT_UNITS // 10**6]
        assert {job.anchor for job in cancels} == {payment.anchor} and house.paid() == 0
