"""Payments by PSBTs of other wallets, and coins made one, on a chain that Core's own code validates."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from cli.demo.chains.bitcoin.core import ANYONE, COINBASE_MATURITY
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.api.errors import CallRefused, Code
from custody.chains.bitcoin.transaction import Coin, read, script_of, unsigned
from custody.console.requests import decoded, units
from custody.holdings import holdings
from custody.parts import Patience
from custody.records import request_body
from policy.decode.psbt import Output
from policy.intent import parse_request
from policy.state import CANCEL, PAYMENT
from policy.suites import DKLS23_SECP256K1, FROST_TAPROOT
from tests.chains.bitcoin_house import CHAIN, COIN, PATHS, PAYEE, BitcoinHouse, fresh_core
from tests.unit.custody_cluster import WALLET, make_request
from tests.unit.custody_house import House, Running
from tests.unit.http_house import http_opened, submission
from tests.unit.test_custody_bitcoin import bulky_coin, jobs_of, shown
from tests.waiting import until

SUITES = (DKLS23_SECP256K1, FROST_TAPROOT)
FEE = 5_000


@pytest.fixture
def core() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        yield core


@pytest.fixture
def house(tmp_path: Path, core: CoreRpc) -> BitcoinHouse:
    return BitcoinHouse(tmp_path, core)


def coins(house: BitcoinHouse, running: Running, *paths: str) -> list[tuple[str, int]]:
    """The outpoints that the chain has under paths of the wallet."""
    scripts = [house.script(running, path) for path in paths]
    return [place for place, one in house.core.core.unspent.items() if one.script in scripts]


def psbt(places: list[tuple[str, int]], *paid: tuple[int, bytes]) -> bytes:
    """What a wallet that only watches would write: no amounts of its coins."""
    spent = [TransactionInput(bytes.fromhex(txid), place) for txid, place in places]
    outputs = [TransactionOutput(amount, Script(script)) for amount, script in paid]
    return bytes(PSBT(Transaction(2, spent, outputs, 0)).serialize())


async def hand_in(house: BitcoinHouse, running: Running, amount: int, data: bytes, to: str = PAYEE) -> bytes:
    """A request that comes with a PSBT; its id."""
    asked = house.request(f"{amount}", amount, destination=to)
    return (await running.service.submit(*asked, psbt=data)).request


@pytest.mark.parametrize("suite", SUITES)
async def test_a_psbt_of_another_wallet_is_paid_by_just_its_coins_and_outputs(
    tmp_path: Path, core: CoreRpc, suite: str
) -> None:
    house = BitcoinHouse(tmp_path, core, suite=suite)
    async with house.with_key() as running:
        house.fund(running, *PATHS, amount=COIN)
        chosen, change = coins(house, running, "m/0/2", "m/0/1"), house.script(running, "m/0/1")
        paid = (COIN, script_of(CHAIN, PAYEE)), (COIN - FEE, change)
        request = await hand_in(house, running, COIN, psbt(chosen, *reversed(paid)))
        await running.until(request, "broadcast")
        core.core.mine()
        settled = await running.until(request, "settled")

        mined = core.core.transaction(settled.tx_hash.hex())
        assert [(one.txid.hex(), one.vout) for one in mined.vin] == chosen
        assert [(one.value, one.script_pubkey.data) for one in mined.vout] == list(reversed(paid))
        for version in (0, 2):
            exported, signed = await running.service.psbt(request, "shop", version=version)
            theirs = PSBT.parse(exported)
            assert signed and theirs.fee() == FEE and theirs.tx.txid() == settled.tx_hash
            witnesses = [one.final_scriptwitness.serialize() for one in theirs.inputs]
            assert witnesses == [one.witness.serialize() for one in mined.vin]


async def test_what_is_not_signed_yet_is_exported_for_others_to_look_at(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0")
        request = await house.pay(running, "large", 2 * COIN)
        await running.until(request, "waiting")
        exported, signed = await running.service.psbt(request, version=2)

        theirs = PSBT.parse(exported)
        assert not signed and 2 * COIN in [one.value for one in theirs.tx.vout]
        assert theirs.fee() == read((await running.service.get(request)).tx).fee


async def test_operators_are_shown_what_a_payment_of_several_coins_does(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, *PATHS, amount=COIN)
        record = await running.until(await house.pay(running, "large", 2 * COIN), "waiting")
        request = parse_request(request_body(record))
        told = dict(decoded(running.parts, record, request=request))

        assert len(read(record.tx).inputs) == 3
        fee = units(running.parts.sequencer.state.policy, read(record.tx).fee, unit="btc")
        assert (told["decoded.pays"], told["decoded.fee"]) == ("2 btc", fee)


async def test_a_psbt_with_a_foreign_coin_or_one_that_is_taken_is_refused_at_the_door(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        paid = (50 * COIN - FEE, script_of(CHAIN, PAYEE))
        foreign = next(place for place, one in core.core.unspent.items() if one.script == ANYONE)
        with pytest.raises(CallRefused, match="is no coin of the wallet") as refused:
            await hand_in(house, running, paid[0], psbt([foreign], paid))
        first = await house.pay(running, "first", COIN)
        await running.until(first, "broadcast")
        anchor = (await running.service.get(first)).account.split(":")
        with pytest.raises(CallRefused, match="that no other request has"):
            await hand_in(house, running, paid[0], psbt([(anchor[0], int(anchor[1]))], paid))

        assert refused.value.code == Code.PSBT_REFUSED


async def test_of_two_requests_with_one_psbt_one_is_paid_and_the_other_says_why_it_waits(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", amount=COIN)
        paid = (COIN - FEE, script_of(CHAIN, PAYEE))
        data = psbt(coins(house, running, "m/0/0"), paid)
        sent = [house.request(name, paid[0]) for name in ("one", "two")]
        answers = await asyncio.gather(*(running.service.submit(*one, psbt=data) for one in sent))
        await until(lambda: len(core.core.mempool) == 1)
        (late,) = [
            one.request
            for one in answers
            if (await running.service.get(one.request)).state not in ("signed", "broadcast")
        ]
        await shown(running, late, "of its PSBT is spent, or another request's")
        core.core.mine(3)

        assert (await running.service.get(late)).tx == b""


async def test_the_smallest_coins_become_one_and_the_request_counts_as_a_sweep(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, *PATHS, "m/0/2", "m/0/2", amount=COIN // 10)
        destination, found = await running.service.gather(WALLET, to_wallet="", coins_max=0)
        request = await hand_in(house, running, found.amount, found.psbt, destination)
        sent = await running.until(request, "broadcast")
        core.core.mine()
        settled = await running.until(request, "settled")

        assert (found.coins, found.left) == (4, 1)
        assert found.amount + found.fee == 4 * COIN // 10 and len(coins(house, running, *PATHS)) == 2
        assert settled.tx == sent.tx == found.psbt


async def test_coins_that_cannot_be_shown_with_others_are_left_for_another_time(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        core.core.mine(COINBASE_MATURITY + 4)
        for _ in range(2):
            bulky_coin(core.core, house.script(running, "m/0/0"), COIN // 10, outputs=200)
        house.fund(running, "m/0/1", "m/0/2", amount=COIN // 5)
        _, found = await running.service.gather(WALLET, to_wallet="", coins_max=0)

        assert (found.coins, found.left) == (2, 2)
        assert sorted(one.spent.amount for one in read(found.psbt).inputs) == [COIN // 5, COIN // 5]


async def test_coins_that_become_one_pay_a_higher_fee_out_of_what_becomes_of_them(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    house.patience = Patience(1_000, 2)
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1", amount=COIN // 3)
        destination, found = await running.service.gather(WALLET, to_wallet="", coins_max=0)
        request = await hand_in(house, running, found.amount, found.psbt, destination)
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 10_000
        await until(lambda: len(jobs_of(running, request)) == 2, 10)
        await until(lambda: any(one.fee > found.fee for one in core.core.mempool.values()), 10)
        core.core.mine()
        settled = await running.until(request, "settled")

        first, second = (read(job.tx) for job in jobs_of(running, request))
        assert [one.outpoint for one in second.inputs] == [one.outpoint for one in first.inputs]
        assert second.fee >= first.fee * 5 // 4
        assert second.outputs[0].amount + second.fee == found.amount + found.fee
        assert settled.job == jobs_of(running, request)[1].job_id


async def test_coins_that_became_one_for_too_little_are_given_back_when_their_time_is_over(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    house.patience = Patience(1_000, 3)
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1", amount=COIN // 3)
        destination, found = await running.service.gather(WALLET, to_wallet="", coins_max=0)
        request = await hand_in(house, running, found.amount, found.psbt, destination)
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 610_000
        await until(lambda: len(jobs_of(running, request)) == 2)
        await until(lambda: len(read(jobs_of(running, request)[1].tx).inputs) == 1)

        assert jobs_of(running, request)[1].purpose == CANCEL


async def test_a_stuck_payment_to_what_became_the_wallets_own_is_not_made_dearer(house: BitcoinHouse) -> None:
    """An administrator lists the address that was paid as one of the wallet's, while it is not mined."""
    async with house.with_key() as running:
        chain = running.parts.chains[CHAIN]
        first, second, third = (house.script(running, path) for path in PATHS)
        spent = [Coin(bytes([at]) * 36, Output(COIN, first), 1, coinbase=False) for at in (1, 2)]
        tx = unsigned(spent, [Output(COIN, second), Output(COIN - FEE, third)], proofs={})

        assert not chain.can_be_dearer(tx, purpose=PAYMENT, ceiling=COIN)
        assert chain.can_be_dearer(tx, purpose=CANCEL, ceiling=COIN)


async def test_a_psbt_that_is_stuck_is_made_dearer_from_its_anchor_and_pays_the_same(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    house.patience = Patience(1_000, 3)
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1", amount=COIN)
        chosen, change = coins(house, running, "m/0/1"), house.script(running, "m/0/1")
        paid = (COIN // 2, script_of(CHAIN, PAYEE))
        request = await hand_in(house, running, paid[0], psbt(chosen, paid, (COIN // 2 - FEE, change)))
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 10_000
        await until(lambda: len(jobs_of(running, request)) == 2)
        await until(lambda: all(one.fee > FEE for one in core.core.mempool.values()))
        core.core.mine()
        settled = await running.until(request, "settled")

        first, second = jobs_of(running, request)
        mined = core.core.transaction(settled.tx_hash.hex())
        assert first.anchor == second.anchor and settled.job == second.job_id
        assert [(one.txid.hex(), one.vout) for one in mined.vin] == chosen
        assert paid in [(one.value, one.script_pubkey.data) for one in mined.vout]


async def test_a_payment_of_all_there_is_that_is_stuck_says_why_it_is_not_made_dearer_and_settles(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    house.patience = Patience(1_000, 3)
    async with house.with_key() as running:
        house.fund(running, "m/0/0", amount=COIN)
        data = psbt(coins(house, running, "m/0/0"), (COIN - FEE, script_of(CHAIN, PAYEE)))
        request = await hand_in(house, running, COIN - FEE, data)
        await running.until(request, "broadcast")
        house.clock.ahead_ms += 10_000
        await shown(running, request, "wait for others to confirm, or fund the wallet")
        core.core.mine()
        await running.until(request, "settled")

        assert len(jobs_of(running, request)) == 1


async def test_what_a_wallet_holds_is_told_to_rebalancers(house: BitcoinHouse, core: CoreRpc) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/2", amount=COIN)
        told = await holdings(running.parts)
        assert isinstance(told, dict) and isinstance(told["accounts"], list)

        found = [(one["path"], one["balance"]) for one in told["accounts"] if isinstance(one, dict)]
        assert found == [("m/0/0", str(COIN)), ("m/0/1", "0"), ("m/0/2", str(COIN))]


async def test_a_payment_to_the_wallet_itself_without_a_psbt_says_what_to_do(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1")
        destination, _ = await running.service.gather(WALLET, to_wallet="", coins_max=0)
        request = await house.pay(running, "own", COIN, destination=destination)

        await shown(running, request, "ask anew with one")
        assert not core.core.mempool


async def test_over_http_a_wallets_coins_are_gathered_handed_in_and_looked_at(
    house: BitcoinHouse, core: CoreRpc
) -> None:
    async with http_opened(house) as door:
        house.fund(door.running, "m/0/0", "m/0/1", amount=COIN // 3)
        found = (await door.ask("GET", f"/v1/wallets/{WALLET}/gathered")).json()
        asked = house.request("tidy", int(found["amount"]), destination=found["destination"])
        sent = await door.ask("POST", "/v1/requests", submission(*asked) | {"psbt": found["psbt"]})
        await door.running.until(bytes.fromhex(sent.json()["id"]), "broadcast")
        shown = (await door.ask("GET", f"/v1/requests/{sent.json()['id']}/psbt?version=2")).json()
        again = house.request("again", int(found["amount"]), destination=found["destination"])
        late = await door.ask("POST", "/v1/requests", submission(*again) | {"psbt": found["psbt"]})
        nothing = await door.ask("GET", f"/v1/wallets/{WALLET}/gathered")

        assert shown["signed"] and PSBT.from_string(shown["psbt"]).fee() == int(found["fee"])
        assert (late.status_code, late.json()["code"]) == (422, "psbt-refused")
        assert (nothing.status_code, nothing.json()["code"]) == (422, "psbt-refused")


async def test_a_chain_without_coins_takes_no_psbt(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        with pytest.raises(CallRefused, match="has no PSBTs: ask without one"):
            await running.service.gather(WALLET, to_wallet="", coins_max=0)
        _, body, signature = make_request("one", amount=5, now_ms=running.parts.now_ms())
        with pytest.raises(CallRefused, match="has no PSBTs: ask without one"):
            await running.service.submit(body, signature, psbt=b"psbt\xff")
        assert await running.service.requests(state="", initiator="", limit=1, before=b"") == ()
