"""An EVM endpoint may answer anything: what it says is understood, or is an error that is tried again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from custody.chains.answers import SMALL
from custody.chains.evm.endpoint import Fees
from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.transaction import payment
from policy.errors import OperationalError
from policy.intent import Intent
from tests.chains.served import served

CHAIN = "evm:1"
CHAIN_ID = "0x1"
ACCOUNT, TOKEN = "0x" + "22" * 20, "0x" + "33" * 20
PAID = Intent(CHAIN, "hot", "eth", 1, "0x" + "11" * 20)
TX = payment(PAID, contract=None, nonce=0, fees=Fees(fee_per_gas=30, priority_per_gas=1, gas=21_000))
CALLS: dict[str, Callable[[EvmRpc], Awaitable[object]]] = {
    "check": lambda rpc: rpc.check(),
    "nonce": lambda rpc: rpc.account_nonce(ACCOUNT),
    "balance": lambda rpc: rpc.balance(ACCOUNT),
    "token": lambda rpc: rpc.balance(ACCOUNT, TOKEN),
    "fees": lambda rpc: rpc.fees(PAID, account=ACCOUNT, contract=TOKEN, ceiling=10**18),
    "simulation": lambda rpc: rpc.simulate(TX, account=ACCOUNT, watched=()),
    "receipt": lambda rpc: rpc.receipt(bytes(32)),
    "sent": lambda rpc: rpc.sent_at(ACCOUNT, 0),
    "final receipt": lambda rpc: rpc.receipt(bytes(32)),
}


@asynccontextmanager
async def lying(result: object) -> AsyncIterator[str]:
    """An endpoint of the right chain that says ``result`` to everything else."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        told = CHAIN_ID if asked["method"] == "eth_chainId" and result != "chain" else result
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": told})

    async with served(answer) as url:
        yield url


@pytest.mark.parametrize("result", ["abc", 1.5, [], [7], True, {"blockNumber": []}, {"number": {}}, "chain"])
async def test_nonsense_is_never_more_than_an_error_that_is_tried_again(result: object) -> None:
    async with lying(result) as url:
        for name, call in CALLS.items():
            rpc = EvmRpc(CHAIN, url, head="finalized" if name == "final receipt" else "latest")
            try:
                found = await call(rpc)
            except OperationalError:
                continue
            finally:
                await rpc.close()
            assert found is None, name


@pytest.mark.parametrize("head", ["latest", "finalized"])
async def test_a_height_that_no_document_or_table_can_hold_is_an_error(head: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        method = (await request.json())["method"]
        told = {"blockNumber": hex(2**63), "status": "0x1", "number": hex(2**64)}
        return web.json_response({"result": hex(2**64) if method == "eth_blockNumber" else told})

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url, head=head)
        for call in (rpc.receipt(bytes(32)), rpc.head()):
            with pytest.raises(OperationalError, match="ask its provider"):
                await call
        await rpc.close()


@pytest.mark.parametrize("told", [2**53, 2**64 - 1, 2**64, 2**255])
async def test_a_nonce_that_no_account_has_come_to_is_no_answer(told: int) -> None:
    async with lying(hex(told)) as url:
        rpc = EvmRpc(CHAIN, url)
        with pytest.raises(OperationalError, match=r"gives no nonce: .*ask its provider"):
            await rpc.account_nonce(ACCOUNT)
        await rpc.close()


async def test_an_answer_without_end_is_an_error() -> None:
    async with lying("0" * SMALL.bytes_max) as url:
        rpc = EvmRpc(CHAIN, url)
        with pytest.raises(OperationalError, match=f"more than {SMALL.bytes_max} bytes"):
            await rpc.balance(ACCOUNT)
        await rpc.close()


async def test_a_long_refusal_is_shown_in_part_and_a_redirect_is_not_followed() -> None:
    followed = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/elsewhere":
            followed.append(await request.text())
        if (await request.json())["method"] == "eth_blockNumber":
            raise web.HTTPTemporaryRedirect("/elsewhere")
        return web.json_response({"error": {"code": 1, "message": "no" * 100_000}})

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url)
        for call in (rpc.check(), rpc.broadcast(b"\x02raw")):
            with pytest.raises(OperationalError, match="nono") as refused:
                await call
            assert len(str(refused.value)) < 1000
        with pytest.raises(OperationalError):
            await rpc.simulate(TX, account=ACCOUNT, watched=())
        await rpc.close()

    assert followed == []


@pytest.mark.parametrize("gas", ["0x0", "0x1"])
async def test_a_transaction_is_given_the_gas_that_every_one_takes(gas: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        method = (await request.json())["method"]
        told = {"eth_estimateGas": gas, "eth_getBlockByNumber": {"baseFeePerGas": "0x7"}}
        return web.json_response({"result": told.get(method, "0x1")})

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url)
        call = Intent(CHAIN, "hot", "eth", 0, "0x" + "11" * 20, calldata=b"\x01" * 4)
        for asked, contract in ((PAID, TOKEN), (call, None)):
            found = await rpc.fees(asked, account=ACCOUNT, contract=contract, ceiling=10**18)
            assert found.gas == 21_000
        await rpc.close()


async def test_an_error_nested_deeper_than_can_be_printed_is_an_error() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text='{"error": {"message": ' + "[" * 1000 + "]" * 1000 + "}}")

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url)
        for call in CALLS.values():
            with pytest.raises(OperationalError):
                await call(rpc)
        with pytest.raises(OperationalError):
            await rpc.broadcast(b"\x02signed")
        await rpc.close()


async def test_what_is_missing_is_gone_for_an_endpoint_that_has_come_to_its_block() -> None:
    async with lying(None) as url:
        rpc = EvmRpc(CHAIN, url)
        with pytest.raises(OperationalError):
            await rpc.is_gone(bytes(32), block=0)
        await rpc.close()

    async def answer(request: web.Request) -> web.Response:
        method = (await request.json())["method"]
        return web.json_response({"result": "0x5" if method == "eth_blockNumber" else None})

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url)
        assert await rpc.is_gone(bytes(32), block=5)
        with pytest.raises(OperationalError, match="come to block 5, not to 6"):
            await rpc.is_gone(bytes(32), block=6)
        await rpc.close()


async def test_what_an_endpoint_wants_remembered_is_not() -> None:
    asked_with: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked_with.append(request.headers.get("Cookie", ""))
        told = web.json_response({"result": CHAIN_ID})
        told.set_cookie(f"name-{len(asked_with)}", "x" * 4000)
        return told

    async with served(answer) as url:
        rpc = EvmRpc(CHAIN, url.replace("127.0.0.1", "localhost"))
        for _ in range(3):
            await rpc.check()
        await rpc.close()

    assert asked_with == ["", "", ""]
