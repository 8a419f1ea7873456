"""An EVM endpoint may answer anything: what it says is understood, or is an error that is tried again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.rpc import ANSWER_BYTES_MAX, EvmRpc
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


async def test_an_answer_without_end_is_an_error() -> None:
    async with lying("0" * ANSWER_BYTES_MAX) as url:
        rpc = EvmRpc(CHAIN, url)
        with pytest.raises(OperationalError, match=f"more than {ANSWER_BYTES_MAX} bytes"):
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
