"""Payments in bitcoin, from request to settlement, on a chain that Bitcoin Core's own code validates."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from cli.demo.chains.bitcoin.core import ANYONE, COINBASE_MATURITY, BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.chains.rpc import RpcError
from custody.adapters.http.views import resource
from custody.api.errors import CallRefused
from custody.chains.bitcoin.transaction import read, script_of
from custody.webhooks import event_document
from policy.addresses import segwit_address
from policy.encoding import parse_canonical
from policy.state import Job
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.bitcoin_house import CHAIN, COIN, PATHS, PAYEE, BitcoinHouse, fresh_core
from tests.unit.custody_cluster import complete_approval
from tests.unit.custody_house import Running
from tests.waiting import found, until

SUITES = (DKLS23_SECP256K1, FROST_TAPROOT)


@pytest.fixture
def core() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        yield core


@pytest.fixture
def house(tmp_path: Path, core: CoreRpc) -> BitcoinHouse:
    return BitcoinHouse(tmp_path, core)


def paid(core: BitcoinCore, address: str = PAYEE) -> list[int]:
    """The amounts that blocks have left under an address."""
    return sorted(one.amount for one in core.unspent.values() if one.script == script_of(CHAIN, address))


def jobs_of(running: Running, request: bytes) -> list[Job]:
    state = running.parts.sequencer.state
    return [state.jobs[job] for job in state.requests[request].jobs] if request in state.requests else []


async def shown(running: Running, request: bytes, words: str) -> None:
    """Wait until a request says why it waits."""
    await found(lambda: running.service.get(request), lambda record: words in record.error)


@pytest.mark.parametrize("suite", SUITES)
async def test_a_payment_of_several_coins_settles(tmp_path: Path, core: CoreRpc, suite: str) -> None:
    house = BitcoinHouse(tmp_path, core, suite=suite)
    async with house.with_key() as running:
        house.fund(running, *PATHS, amount=COIN // 3)

        request = await house.pay(running, "one", COIN // 2 + COIN // 3)
        sent = await running.until(request, "broadcast")
        core.core.mine()
        settled = await running.until(request, "settled")
        (told,) = await running.service.shown(settled, own=False)
        seen = [event_document(told.event), resource(told, running.parts.sequencer.state)]

        (job,) = jobs_of(running, request)
        assert sorted(signing.path for signing in job.signings) == PATHS
        assert paid(core.core) == [COIN // 2 + COIN // 3]
        assert settled.tx_hash == sent.tx_hash and settled.block == core.core.height
        assert {one["tx_hash"] for one in seen} == set(core.core.mined) & {settled.tx_hash.hex()}


async def test_a_reviewed_payment_keeps_the_coin_its_approval_names(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        request = await house.pay(running, "large", 2 * COIN)
        waiting = await running.until(request, "waiting")
        other = await house.pay(running, "small", COIN)
        await running.until(other, "broadcast")

        (draft,) = await running.service.pending("otto")
        await running.service.approve(*complete_approval(parse_canonical(draft, bytes_max=10_000), "otto"))
        await running.until(request, "broadcast")
        core.core.mine()
        settled = await running.until(request, "settled")
        await running.until(other, "settled")

        assert settled.account == waiting.account
        assert {job.anchor.account for job in jobs_of(running, request)} == {waiting.account}
        assert paid(core.core) == [COIN, 2 * COIN]


async def test_change_goes_to_the_wallets_first_account(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/2")
        request = await house.pay(running, "one", COIN)
        await running.until(request, "broadcast")
        core.core.mine()
        await running.until(request, "settled")

        (change,) = [
            one for one in core.core.unspent.values() if one.script == house.script(running, "m/0/0")
        ]
        assert change.amount == 50 * COIN - COIN - read(jobs_of(running, request)[0].tx).fee


async def test_a_coordinator_that_dies_before_it_sends_pays_once(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        core.lies["sendrawtransaction"] = lambda _: None
        request = await house.pay(running, "one", COIN)
        await until(lambda: "sendrawtransaction" in core.calls)
        body = await running.service.get(request)
    core.lies.clear()
    core.core.mempool.clear()

    async with house.running() as running:
        await until(lambda: len(core.core.mempool) == 1)
        core.core.mine()
        settled = await running.until(request, "settled")
        another = await house.pay(running, "two", COIN)
        await running.until(another, "broadcast")

        assert settled.account == body.account
        assert paid(core.core) == [COIN]
        assert jobs_of(running, another)[0].anchor.account != settled.account


async def test_a_coin_that_comes_back_after_it_was_settled_pays_nobody_else(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        first = await house.pay(running, "one", COIN)
        await running.until(first, "broadcast")
        core.core.mine()
        settled = await running.until(first, "settled")
        core.core.reorganise(1, forget=True)  # deeper than what was waited for
        again = await house.pay(running, "two", COIN)
        other = await running.until(again, "broadcast")

        assert other.account != settled.account
        sent = (await running.parts.database.transactions(first))[0].raw
        with contextlib.suppress(RpcError):  # the coordinator may have sent it again by now
            core.core.accept(sent)
        core.core.mine()
        assert paid(core.core) == [COIN, COIN]


async def test_a_restart_keeps_the_coins_of_what_waits_for_people(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        waiting = await running.until(await house.pay(running, "large", 2 * COIN), "waiting")

    async with house.running() as running:
        small = await running.until(await house.pay(running, "small", COIN), "broadcast")
        assert small.account != waiting.account


def bulky_coin(core: BitcoinCore, script: bytes, amount: int, *, outputs: int) -> None:
    """A coin of ours that a transaction of that many outputs made."""
    place, free = next(
        (place, one) for place, one in core.unspent.items() if one.script == ANYONE and one.amount > 2 * COIN
    )
    others = [
        TransactionOutput(400, Script(b"\x51\x20" + bytes([index % 256]) * 32)) for index in range(outputs)
    ]
    back = TransactionOutput(free.amount - amount - outputs * 500 - 20_000, Script(ANYONE))
    spent = [TransactionInput(bytes.fromhex(place[0]), place[1])]
    paid = [TransactionOutput(amount, Script(script)), back, *others]
    core.accept(Transaction(2, spent, paid, 0).serialize())
    core.mine()


async def test_what_expires_while_it_is_planned_keeps_no_coin(house: BitcoinHouse, core: CoreRpc) -> None:
    expired = threading.Event()
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        core.lies["estimatesmartfee"] = lambda found: (expired.wait(10), found)[1]
        late = await house.pay(running, "late", COIN, life_ms=1_500)
        await running.until(late, "expired")
        expired.set()
        other = await house.pay(running, "other", COIN)
        await running.until(other, "broadcast")

        assert [slot.account for slot, _ in await running.parts.database.slots()] == [
            jobs_of(running, other)[0].anchor.account
        ]


async def test_what_was_approved_and_never_reserved_gives_its_coin_back_without_a_fee(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        request = await house.pay(running, "large", 2 * COIN, life_ms=3_000)
        await running.until(request, "waiting")
        for node in house.nodes.values():
            node.down = True
        (draft,) = await running.service.pending("otto")
        await running.service.approve(*complete_approval(parse_canonical(draft, bytes_max=10_000), "otto"))
        await running.until(request, "expired")
        for node in house.nodes.values():
            node.down = False
        other = await house.pay(running, "other", COIN)
        await running.until(other, "broadcast")

        assert jobs_of(running, request) == []
        assert len(core.core.mempool) == 1


@pytest.mark.parametrize("outputs", [200, 1_600])  # of more than 8 KiB, and of more than 64
async def test_coins_that_cannot_be_shown_together_are_left_out(
    house: BitcoinHouse, core: CoreRpc, outputs: int
) -> None:
    async with house.with_key() as running:
        core.core.mine(COINBASE_MATURITY + 4)
        for _ in range(2):
            bulky_coin(core.core, house.script(running, "m/0/0"), COIN * 3 // 5, outputs=outputs)
        request = await house.pay(running, "one", COIN)
        await shown(running, request, "made by transactions too large to be shown to nodes")
        alone = await house.pay(running, "alone", COIN // 2)
        await running.until(alone, "broadcast")
        house.fund(running, "m/0/1", "m/0/2", amount=COIN * 4 // 7)
        sent = await running.until(request, "broadcast")

        assert len(read(sent.tx).inputs) == 2


async def test_dust_waits_with_a_reason_and_pays_nothing(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        request = await house.pay(running, "one", 329)

        await shown(running, request, "329 satoshi are dust")
        assert jobs_of(running, request) == [] and not core.core.mempool


@pytest.mark.parametrize(
    "address",
    [
        segwit_address("bitcoin:mainnet", 1, program=b"\x33" * 32),
        PAYEE[:-1] + ("q" if PAYEE[-1] != "q" else "p"),
        PAYEE.upper(),
        "2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc",
    ],
)
async def test_an_address_of_another_kind_is_refused_at_the_door(house: BitcoinHouse, address: str) -> None:
    async with house.with_key() as running:
        with pytest.raises(CallRefused, match="destination"):
            await house.pay(running, "one", COIN, destination=address)


async def test_too_little_money_and_too_low_a_ceiling_say_so(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        low = await house.pay(running, "low", COIN, fee=50)
        await shown(running, low, "the fee ceiling 50 does not reach")
        taken = await house.pay(running, "taken", COIN)
        await running.until(taken, "broadcast")
        poor = await house.pay(running, "poor", COIN)

        await shown(running, poor, "0 satoshi in at most 4 coins are free and confirmed")
        core.core.mine()
        await running.until(poor, "broadcast")


@pytest.mark.parametrize("suite", SUITES)
async def test_a_node_that_lies_about_an_amount_gets_nothing_that_confirms(
    tmp_path: Path, core: CoreRpc, suite: str
) -> None:
    house = BitcoinHouse(tmp_path, core, suite=suite)
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        core.lies["scantxoutset"] = lambda found: {
            **found,
            "unspents": [{**one, "amount": 49.0} for one in found["unspents"]],
        }
        request = await house.pay(running, "one", COIN)
        await shown(running, request, "script-verify-flag")

        assert not core.core.mempool


async def test_a_node_that_is_down_only_delays(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        core.down = True
        request = await house.pay(running, "one", COIN)
        await shown(running, request, "does not answer")
        core.down = False

        await running.until(request, "broadcast")


async def test_a_dear_market_is_followed_up_to_the_configured_rate(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    core.core.rate = 10**8
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        request = await house.pay(running, "one", COIN)
        await running.until(request, "broadcast")

        (pooled,) = core.core.mempool.values()
        assert pooled.fee <= house.rates.most * (pooled.vsize + 1)
