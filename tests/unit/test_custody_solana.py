"""Payments in SOL, from request to settlement, on a cluster whose transactions LiteSVM runs."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from solders.account import Account
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM

from cli.demo.chains.rpc import RpcError
from cli.demo.chains.solana.cluster import NONCE_BYTES, SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.api.errors import CallRefused
from custody.chains.solana.chain import Options
from custody.parts import Patience
from policy.addresses import solana_address
from policy.base58 import encode
from policy.encoding import parse_canonical
from policy.state import CANCEL, Job
from tests.chains.solana_house import CHAIN, PAYEE, PAYEE_KEY, SOL, SolanaHouse
from tests.unit.custody_cluster import complete_approval
from tests.unit.custody_house import Running
from tests.waiting import found, until

RENT = 890_880
FEE = 5_000


@pytest.fixture
def rpc() -> Iterator[ClusterRpc]:
    with ClusterRpc(SolanaCluster()) as rpc:
        yield rpc


@pytest.fixture
def house(tmp_path: Path, rpc: ClusterRpc) -> SolanaHouse:
    return SolanaHouse(tmp_path, rpc)


def jobs_of(running: Running, request: bytes) -> list[Job]:
    state = running.parts.sequencer.state
    return [state.jobs[job] for job in state.requests[request].jobs] if request in state.requests else []


async def shown(running: Running, request: bytes, words: str) -> None:
    """Wait until a request says why it waits."""
    await found(lambda: running.service.get(request), lambda record: words in record.error)


async def approve(running: Running, operator: str = "otto") -> None:
    (draft,) = await running.service.pending(operator)
    await running.service.approve(*complete_approval(parse_canonical(draft, bytes_max=10_000), operator))


async def settled_after_slots(house: SolanaHouse, running: Running, request: bytes) -> None:
    await running.until(request, "broadcast")
    house.mine(3)
    await running.until(request, "settled")


async def test_a_payment_settles_under_its_signature(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        sent = await running.until(request, "broadcast")
        house.mine()
        settled = await running.until(request, "settled")

        (job,) = jobs_of(running, request)
        assert house.paid() == SOL
        assert settled.tx_hash == sent.tx_hash == job.signatures[0]
        assert settled.block == house.rpc.cluster.height


async def test_a_node_that_has_forgotten_what_is_final_undoes_nothing(house: SolanaHouse) -> None:
    house.confirmations = 3
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await settled_after_slots(house, running, request)
        house.rpc.lies["getSignatureStatuses"] = lambda told: {**told, "value": [None]}
        await asyncio.sleep(1)

        assert (await running.service.get(request)).state == "settled"


async def test_an_approval_may_take_longer_than_any_blockhash_lasts(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "large", 2 * SOL)
        waiting = await running.until(request, "waiting")
        house.mine(300)
        await approve(running)
        await settled_after_slots(house, running, request)

        assert {job.anchor.account for job in jobs_of(running, request)} == {waiting.account}
        assert house.paid() == 2 * SOL


async def test_when_all_nonce_accounts_are_taken_the_next_request_says_so_and_waits(
    tmp_path: Path, rpc: ClusterRpc
) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=2)
    async with house.with_key() as running:
        house.fund()
        first, second = [await house.pay(running, name, SOL) for name in ("one", "two")]
        for request in (first, second):
            await running.until(request, "broadcast")
        third = await house.pay(running, "three", SOL // 2)
        await shown(running, third, "all 2 nonce accounts of the wallet are in use")
        house.mine(3)
        await settled_after_slots(house, running, third)

        assert house.paid() == 2 * SOL + SOL // 2


async def test_what_waits_for_people_leaves_an_account_to_what_does_not(
    tmp_path: Path, rpc: ClusterRpc
) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=2)
    async with house.with_key() as running:
        house.fund()
        first = await house.pay(running, "large", 2 * SOL)
        await running.until(first, "waiting")
        second = await house.pay(running, "larger", 3 * SOL)
        await shown(running, second, "2 nonce accounts but one wait for people")
        small = await house.pay(running, "small", SOL)

        await settled_after_slots(house, running, small)
        assert house.paid() == SOL


async def test_a_restart_keeps_the_nonce_of_what_waits_for_people(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "large", 2 * SOL)
        waiting = await running.until(request, "waiting")

    async with house.running() as running:
        small = await house.pay(running, "small", SOL)
        other = await running.until(small, "broadcast")
        await approve(running)
        await settled_after_slots(house, running, request)

        assert other.account != waiting.account
        assert jobs_of(running, request)[0].anchor.account == waiting.account


async def test_a_wallet_without_nonce_accounts_says_how_to_make_some(tmp_path: Path, rpc: ClusterRpc) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=1)
    (account,) = house.options.nonce_accounts
    rpc.cluster.svm.set_account(Pubkey.from_string(account), Account(RENT, b"", SYSTEM))
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await shown(running, request, "the wallet has no nonce account: make some")


async def test_a_nonce_account_of_another_key_is_not_used(tmp_path: Path, rpc: ClusterRpc) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=1)
    rpc.cluster.make_nonce(0, b"\x44" * 32)
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await shown(running, request, "the wallet has no nonce account")


@pytest.mark.parametrize(
    ("funds", "amount", "fee", "words"),
    [
        (SOL, RENT - 1, FEE, f"less than the {RENT} that a new account"),
        (SOL, SOL - FEE - RENT + 1, FEE, f"left with {RENT - 1} lamports, less than its rent"),
        (SOL, SOL - FEE + 1, FEE, f"has {SOL} lamports, {SOL + 1} are needed"),
        (2 * SOL, SOL, FEE - 1, f"the fee ceiling {FEE - 1} does not reach"),
    ],
)
async def test_what_the_cluster_would_refuse_is_said_before_anything_is_reserved(
    house: SolanaHouse, funds: int, amount: int, fee: int, words: str
) -> None:
    async with house.with_key() as running:
        house.fund(funds)
        request = await house.pay(running, "one", amount, fee=fee)

        await shown(running, request, words)
        assert jobs_of(running, request) == [] and await running.parts.database.slots() == ()


@pytest.mark.parametrize("left", [0, RENT])
async def test_a_wallet_may_be_emptied_or_left_with_its_rent(house: SolanaHouse, left: int) -> None:
    async with house.with_key() as running:
        house.fund(SOL)
        request = await house.pay(running, "all", SOL - FEE - left)
        await settled_after_slots(house, running, request)

        assert house.rpc.cluster.lamports(house.wallet_key) == left


async def test_a_program_is_not_paid(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL, destination=solana_address(bytes(32)))
        await shown(running, request, "is a program, which takes no payment")


async def test_an_account_of_a_program_is_not_paid(house: SolanaHouse) -> None:
    """SOL in somebody's token account is lost to many who send it."""
    program = Pubkey(b"\x66" * 32)
    house.rpc.cluster.svm.set_account(Pubkey(PAYEE_KEY), Account(RENT, b"", program))
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await shown(running, request, f"is kept by program {program}")
        assert jobs_of(running, request) == []


@pytest.mark.parametrize(
    "address",
    ["0x" + "11" * 20, "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202", PAYEE[:-1], encode(b"\x33" * 33)],
)
async def test_an_address_of_another_kind_is_refused_at_the_door(house: SolanaHouse, address: str) -> None:
    async with house.with_key() as running:
        with pytest.raises(CallRefused, match="destination"):
            await house.pay(running, "one", SOL, destination=address)


async def test_what_fails_on_chain_costs_its_fee_and_is_not_paid_again(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund(2 * SOL)
        request = await house.pay(running, "one", SOL)
        await running.until(request, "broadcast")
        cluster = house.rpc.cluster
        cluster.svm.set_account(Pubkey(house.wallet_key), Account(SOL // 2, b"", SYSTEM))
        house.mine(3)
        over = await running.until(request, "failed", "settled")
        house.fund(2 * SOL)
        for one in await running.parts.database.transactions(request):
            cluster.waiting[cluster.slots[-3].ran[0][0]] = one.raw
        house.mine(3)

        assert over.state == "failed" and house.paid() == 0


async def test_a_nonce_of_what_was_never_signed_is_used_up_and_serves_again(
    tmp_path: Path, rpc: ClusterRpc
) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=1)
    house.patience = Patience(1_000, 3)
    async with house.with_key() as running:
        house.fund()
        for node in house.nodes.values():
            node.mute = True
        request = await house.pay(running, "one", SOL, life_ms=60_000)
        await until(lambda: bool(jobs_of(running, request)))
        house.clock.ahead_ms += 61_000
        await running.until(request, "expired")
        for node in house.nodes.values():
            node.mute = False
        await until(lambda: jobs_of(running, request)[-1].purpose == CANCEL)
        await until(lambda: bool(rpc.cluster.waiting))
        house.mine(3)
        await running.until(request, "cancelled")
        other = await house.pay(running, "two", SOL // 2)
        await settled_after_slots(house, running, other)

        assert house.paid() == SOL // 2


async def test_what_was_planned_on_a_slot_that_went_away_pays_nothing_and_says_so(house: SolanaHouse) -> None:
    house.commitment = "processed"  # no configuration reads what is so unsure
    house.options = Options(house.options.nonce_accounts[:1])
    async with house.with_key() as running:
        house.fund()
        first = await house.pay(running, "one", SOL)
        await running.until(first, "broadcast")
        house.mine()
        await running.until(first, "settled")
        second = await house.pay(running, "two", SOL // 2)
        await running.until(second, "broadcast")
        with house.rpc.turn:
            house.rpc.cluster.reorganise(1, forget=True)
        house.rpc.cluster.waiting.clear()
        await shown(running, second, "has another value by now")
        await until(lambda: bool(house.rpc.cluster.waiting))  # what was settled is sent again
        house.mine(3)

        one, two = (jobs_of(running, request)[0].anchor for request in (first, second))
        assert one.account == two.account and one.nonce != two.nonce
        assert house.rpc.cluster.transfers(PAYEE_KEY) == [SOL]
        assert (await running.service.get(second)).block == 0


@pytest.mark.parametrize("remembers", [True, False])
async def test_what_a_node_has_forgotten_is_found_by_its_nonce_account(
    house: SolanaHouse, remembers: bool
) -> None:
    house.rpc.lies["getSignatureStatuses"] = lambda found: {**found, "value": [None]}
    if not remembers:
        house.rpc.lies["getSignaturesForAddress"] = lambda _: []
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await running.until(request, "broadcast")
        (sent,) = await running.parts.database.transactions(request)
        house.mine(3)
        if not remembers:
            await shown(running, request, "ask a node that keeps its history")
            house.rpc.lies.pop("getSignaturesForAddress")
        settled = await running.until(request, "settled")

        assert settled.tx_hash == sent.tx_hash and house.paid() == SOL


async def test_a_node_of_another_cluster_is_not_asked(house: SolanaHouse) -> None:
    house.rpc.lies["getGenesisHash"] = lambda _: "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await shown(running, request, f"not of {CHAIN}: correct its URL")
        assert jobs_of(running, request) == []


def nonce_value(value: bytes) -> Callable[[Any], Any]:
    """An answer that has this value in every nonce account."""

    def told(found: Any) -> Any:
        for account in found["value"]:
            data = b"" if account is None else b64decode(account["data"][0])
            if len(data) == NONCE_BYTES:
                account["data"][0] = b64encode(data[:40] + value + data[72:]).decode()
        return found

    return told


async def test_a_nonce_that_the_node_invents_gives_nothing_that_confirms(house: SolanaHouse) -> None:
    rpc = house.rpc
    async with house.with_key() as running:
        house.fund()
        rpc.lies["getMultipleAccounts"] = nonce_value(b"\x99" * 32)
        request = await house.pay(running, "one", SOL)
        await shown(running, request, "the cluster would not do it")
        early = jobs_of(running, request)
        rpc.lies["simulateTransaction"] = lambda found: {**found, "value": {**found["value"], "err": None}}
        await until(lambda: bool(jobs_of(running, request)))
        await shown(running, request, "BlockhashNotFound")
        house.mine(3)

        assert early == [] and house.paid() == 0


async def test_a_recent_blockhash_in_place_of_a_nonce_pays_once(house: SolanaHouse) -> None:
    """Nobody can see that it is none; there is one message, and the cluster takes it once."""
    rpc, cluster = house.rpc, house.rpc.cluster
    rpc.lies["getMultipleAccounts"] = nonce_value(bytes(cluster.slots[-1].blockhash))
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await running.until(request, "broadcast")
        (sent,) = await running.parts.database.transactions(request)
        house.mine()
        await running.until(request, "settled")
        with pytest.raises(RpcError, match="already been processed"):
            cluster.accept(sent.raw)

        assert house.paid() == SOL


async def test_a_node_that_invents_money_gets_nothing_signed(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.rpc.lies["getMultipleAccounts"] = lambda found: {
            **found,
            "value": [
                {"lamports": 9 * SOL, "owner": encode(bytes(32)), "data": ["", "base64"], "executable": False}
                if one is None
                else one
                for one in found["value"]
            ],
        }
        request = await house.pay(running, "one", SOL)
        await shown(running, request, "the cluster would not do it")
        assert jobs_of(running, request) == []


async def test_a_node_that_is_down_only_delays(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        house.rpc.down = True
        request = await house.pay(running, "one", SOL)
        await shown(running, request, "does not answer")
        house.rpc.down = False
        await settled_after_slots(house, running, request)

        assert house.rpc.cluster.transfers(PAYEE_KEY) == [SOL]
