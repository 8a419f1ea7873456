"""The client of a Bitcoin Core node: what it makes of answers, right and wrong."""

import gc
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from cli.demo.chains.bitcoin.core import ANYONE, COINBASE_MATURITY, BitcoinCore, Unspent
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.chains.answers import SMALL
from custody.chains.bitcoin.coins import Coins
from custody.chains.bitcoin.deep import coins_at, is_spent
from custody.chains.bitcoin.rpc import BitcoinRpc, Block, made_in, satoshi
from custody.chains.bitcoin.transaction import script_of
from policy.errors import OperationalError
from tests.chains.bitcoin_house import CHAIN, COIN, PAYEE, fresh_core
from tests.chains.served import served

SCRIPT = script_of(CHAIN, PAYEE)
Call = Callable[[BitcoinRpc], Awaitable[object]]


@pytest.fixture(scope="module")
def shared() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        core.core.mine(2, SCRIPT, amount=COIN)
        core.core.mine(COINBASE_MATURITY)
        yield core


@pytest.fixture
def core(shared: CoreRpc) -> Iterator[CoreRpc]:
    yield shared
    shared.lies, shared.down = {}, False


@pytest.fixture
def rpc(core: CoreRpc) -> BitcoinRpc:
    return BitcoinRpc(CHAIN, core.url, timeout_s=5.0)


async def mined(rpc: BitcoinRpc) -> object:
    block = await rpc.block(await rpc.best())
    return await rpc.mined(block.transactions[0]["txid"])


async def scanned(rpc: BitcoinRpc) -> object:
    return await Coins(rpc).of(frozenset({SCRIPT}))


@pytest.mark.parametrize(
    ("method", "lie", "call", "words"),
    [
        ("getblockchaininfo", {"chain": "main"}, BitcoinRpc.check, "is on 'main', not bitcoin:regtest"),
        ("getblockchaininfo", {"chain": 7}, BitcoinRpc.check, "no good 'chain'"),
        ("getblockchaininfo", [], BitcoinRpc.check, "is no object"),
        ("getindexinfo", {}, BitcoinRpc.check, "lacks a whole txindex"),
        ("getindexinfo", {"txindex": {"synced": False}}, BitcoinRpc.check, "lacks a whole txindex"),
        ("getbestblockhash", "best", BitcoinRpc.best, "is no hash"),
        ("estimatesmartfee", {"feerate": -1}, lambda rpc: rpc.rate(3), "is no amount of bitcoin"),
        ("estimatesmartfee", {"feerate": 0.000000001}, lambda rpc: rpc.rate(3), "is no amount of bitcoin"),
        ("getmempoolinfo", {}, lambda rpc: rpc.rate(3), "is no amount of bitcoin"),
        ("scantxoutset", {"success": False}, scanned, "ended its scan early"),
        ("scantxoutset", {"success": True, "unspents": [7], "bestblock": "00" * 32}, scanned, "is no object"),
        ("getblock", {"hash": "00" * 32}, mined, "gives another block"),
        ("getblockheader", {"hash": "00" * 32}, scanned, "gives another block"),
        ("getindexinfo", {"txindex": []}, BitcoinRpc.check, "lacks a whole txindex"),
        ("getindexinfo", [], BitcoinRpc.check, "is no object"),
        ("getrawtransaction", {"blockhash": "00" * 32, "confirmations": "1"}, mined, "no good 'confirm"),
        ("getblockheader", {"confirmations": None}, mined, "no good 'confirmations'"),
    ],
)
async def test_nonsense_is_an_error_that_says_what_is_wrong(
    core: CoreRpc, rpc: BitcoinRpc, method: str, lie: object, call: Call, words: str
) -> None:
    core.lies[method] = lambda _: lie

    with pytest.raises(OperationalError, match=words):
        await call(rpc)


@pytest.fixture
def usual_depth() -> Iterator[None]:
    """A library of the tests lets recursion go deeper than the stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("answer", ["[" * 100_000, '{"result": 1e99999999999999999999}'])
async def test_what_no_reader_of_json_can_take_is_an_error_too(answer: str, usual_depth: None) -> None:
    async def always(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    async with served(always) as url:
        with pytest.raises(OperationalError, match="without JSON"):
            await BitcoinRpc(CHAIN, url).check()


@pytest.mark.parametrize("tx", [7, {"txid": "00" * 32, "vout": [7], "vin": []}])
async def test_a_block_with_nonsense_in_it_is_an_error(core: CoreRpc, rpc: BitcoinRpc, tx: object) -> None:
    core.lies["getblock"] = lambda found: {**found, "tx": [tx]}

    with pytest.raises(OperationalError, match="is no object"):
        made_in(await rpc.block(await rpc.best()), frozenset({SCRIPT}))


async def test_a_node_that_does_not_answer_is_an_error_that_names_it(core: CoreRpc, rpc: BitcoinRpc) -> None:
    core.down = True

    with pytest.raises(OperationalError, match="does not answer getblockchaininfo"):
        await rpc.best()


async def test_no_error_shows_the_password_of_a_url_and_no_redirect_is_followed() -> None:
    followed: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        followed.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with served(answer) as url:
        for address in (url.removeprefix("http://"), "127.0.0.1:9"):
            asked = BitcoinRpc(CHAIN, f"http://user:hunter-2@{address}/wallet", timeout_s=5.0)
            with pytest.raises(OperationalError) as refused:
                await asked.check()
            assert "hunter-2" not in "".join(traceback.format_exception(refused.value))

    assert "/elsewhere" not in followed


async def test_a_longer_answer_than_a_call_can_have_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(64):
            await answer.write(b"0" * 2**20)
            sent += 1
        return answer

    async with served(endless) as url:
        with pytest.raises(OperationalError, match=f"more than {SMALL.bytes_max} bytes"):
            await BitcoinRpc(CHAIN, url, timeout_s=5.0).check()
    assert sent < 64


async def test_credentials_come_from_a_file_each_time(tmp_path: Path) -> None:
    """Core writes a new cookie at each start."""
    cookie = tmp_path / ".cookie"
    with CoreRpc(fresh_core(), credentials="__cookie__:secret") as core:
        rpc = BitcoinRpc(CHAIN, core.url, credentials=cookie)
        with pytest.raises(OperationalError, match=r"cannot read .*cookie"):
            await rpc.check()
        cookie.write_text("__cookie__:old")
        with pytest.raises(OperationalError, match="correct credentials"):
            await rpc.check()
        cookie.write_text("__cookie__:secret\n")
        await rpc.check()


async def test_coins_are_followed_through_blocks_and_reorganisations(core: CoreRpc, rpc: BitcoinRpc) -> None:
    coins, node = Coins(rpc), core.core
    first = await coins.of(frozenset({SCRIPT}))
    node.mine(3, SCRIPT, amount=COIN)
    node.mine(COINBASE_MATURITY - 2)
    core.calls.clear()
    walked = await coins.of(frozenset({SCRIPT}))
    asked = set(core.calls)
    node.reorganise(COINBASE_MATURITY)
    back = await coins.of(frozenset({SCRIPT}))

    assert asked == {"getbestblockhash", "getblockheader", "getblock"}
    assert [len(seen.coins) for seen in (first, walked, back)] == [2, 4, 3]
    assert {coin.text for coin in back.coins.values()} <= {
        f"{txid}:{place}" for (txid, place), one in node.unspent.items() if one.script == SCRIPT
    }


async def test_what_is_missing_is_gone_for_a_node_that_has_come_to_its_block(
    core: CoreRpc, rpc: BitcoinRpc
) -> None:
    height, there = core.core.height, (await rpc.block(await rpc.best())).transactions[0]["txid"]

    assert await rpc.is_gone("ab" * 32, block=height)
    assert not await rpc.is_gone(there, block=height + 1)
    with pytest.raises(OperationalError, match=f"come to block {height}, not to {height + 1}"):
        await rpc.is_gone("ab" * 32, block=height + 1)


async def test_coins_some_blocks_deep_are_those_that_there_were(rpc: BitcoinRpc, core: CoreRpc) -> None:
    at: dict[int, dict[str, int]] = {}
    for _ in range(5):
        free = [place for place, one in core.core.unspent.items() if is_free(core.core, one)][:2]
        for place in free:
            spent = [TransactionInput(bytes.fromhex(place[0]), place[1])]
            amount = core.core.unspent[place].amount // 3
            paid = [TransactionOutput(amount, Script(one)) for one in (ANYONE, SCRIPT)]
            core.core.accept(Transaction(2, spent, paid, 0).serialize())
        core.core.mine(1, SCRIPT, amount=COIN)
        at[core.core.height] = held(core.core)

    for depth in range(1, 6):
        found = await coins_at(rpc, frozenset({SCRIPT, ANYONE}), depth=depth)
        told = {coin.text: coin.amount for coin in found.coins.values()}
        assert told == at[found.height] and found.height == core.core.height - depth + 1
    gone = next(place for place in at[core.core.height - 1] if place not in at[core.core.height])
    assert await is_spent(rpc, gone, at=await coins_at(rpc, frozenset({SCRIPT, ANYONE}), depth=1))
    assert not await is_spent(rpc, gone, at=await coins_at(rpc, frozenset({SCRIPT, ANYONE}), depth=2))


def is_free(core: BitcoinCore, one: Unspent) -> bool:
    """Whether anybody may spend it now."""
    return (
        one.script == ANYONE
        and one.amount > COIN
        and (not one.coinbase or core.height + 1 - one.height >= COINBASE_MATURITY)
    )


def held(core: BitcoinCore) -> dict[str, int]:
    """The amounts of what is unspent under the two scripts."""
    return {
        f"{txid}:{place}": one.amount
        for (txid, place), one in core.unspent.items()
        if one.script in (SCRIPT, ANYONE)
    }


class Watched(BitcoinRpc):
    """Counts the blocks that are in memory as each one comes."""

    most = 0

    async def block(self, block_hash: str, *, prevouts: bool = False) -> Block:
        found = await super().block(block_hash, prevouts=prevouts)
        alive = sum(isinstance(one, Block) for one in gc.get_objects())
        self.most = max(self.most, alive)
        return found


async def test_a_day_of_blocks_is_never_in_memory_at_once(core: CoreRpc) -> None:
    rpc = Watched(CHAIN, core.url, timeout_s=5.0)
    coins = Coins(rpc)
    await coins.of(frozenset({SCRIPT}))
    core.core.mine(6)
    await coins.of(frozenset({SCRIPT}))

    assert rpc.most <= 2


@pytest.mark.parametrize("value", ["1", None, [], 21_000_001, -1, Decimal("1e999999")])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(OperationalError, match="no amount"):
        satoshi(value)
