"""What a real chain says would come of a transaction, before anybody has signed it."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from web3 import HTTPProvider, Web3

from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.simulation import read_simulation, revert_reason
from custody.chains.evm.transaction import payment
from custody.ports import BalanceChange, Simulated
from policy.errors import MalformedError, OperationalError
from policy.intent import Intent
from tests.conformance.test_evm_chain import FEES, TOKEN_FEES, deploy, intent
from tests.fixtures_anvil import FUNDED, Anvil
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, PAYEE, WALLET

pytest_plugins = ("tests.fixtures_anvil",)
SUPPLY = 1000


async def simulate(
    url: str, wanted: Intent, contract: str | None = None, *, sender: str = FUNDED
) -> Simulated:
    chain = EvmRpc(ANVIL_CHAIN, url)
    tx = payment(wanted, contract=contract, nonce=99, fees=TOKEN_FEES if contract else FEES)
    try:
        return await chain.simulate(tx, account=sender, watched=[(sender, contract), (PAYEE, contract)])
    finally:
        await chain.close()


async def test_native_balances_before_and_after_are_told_and_nothing_happens(anvil: Anvil) -> None:
    web3 = Web3(HTTPProvider(anvil.url))
    before = web3.eth.get_balance(Web3.to_checksum_address(FUNDED))
    found = await simulate(anvil.url, intent(5 * ETHER))

    assert found == Simulated(
        0,
        True,
        "",
        (
            BalanceChange(FUNDED, None, before, before - 5 * ETHER),
            BalanceChange(PAYEE, None, 0, 5 * ETHER),
        ),
    )
    assert web3.eth.get_balance(Web3.to_checksum_address(FUNDED)) == before
    assert web3.eth.block_number == 0


async def test_a_tokens_balances_are_told_and_why_its_transfer_fails(anvil: Anvil) -> None:
    token = deploy(Web3(HTTPProvider(anvil.url)), SUPPLY)
    found = await simulate(anvil.url, intent(30), token)
    failing = await simulate(anvil.url, intent(SUPPLY + 1), token)

    assert found.success
    assert [(one.before, one.after) for one in found.balances] == [(SUPPLY, SUPPLY - 30), (0, 30)]
    assert not failing.success
    assert failing.reason == "balance too low"
    assert [(one.before, one.after) for one in failing.balances] == [(SUPPLY, SUPPLY), (0, 0)]


async def test_an_account_without_funds_is_said_to_have_none(anvil: Anvil) -> None:
    found = await simulate(anvil.url, intent(5), sender="0x" + "77" * 20)

    assert not found.success
    assert "nsufficient funds" in found.reason
    assert [(one.before, one.after) for one in found.balances] == [(0, None), (0, None)]


async def test_a_call_that_the_contract_refuses_is_told_in_its_words(anvil: Anvil) -> None:
    token = deploy(Web3(HTTPProvider(anvil.url)), SUPPLY)
    data = bytes.fromhex("a9059cbb") + bytes(12) + bytes.fromhex(PAYEE[2:]) + (SUPPLY + 1).to_bytes(32, "big")
    called = Intent(ANVIL_CHAIN, WALLET, "eth", 0, token, data)
    found = await simulate(anvil.url, called)

    assert (found.success, found.reason) == (False, "balance too low")


@pytest.fixture
async def old_endpoint(anvil: Anvil) -> AsyncIterator[str]:
    """The same chain behind an endpoint that has no ``eth_simulateV1``."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["method"] == "eth_simulateV1":
            error = {"code": -32601, "message": "the method does not exist"}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        async with ClientSession() as session, session.post(anvil.url, json=asked) as passed:
            return web.Response(body=await passed.read(), content_type="application/json")

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def test_an_endpoint_that_cannot_simulate_says_whether_it_fails_and_nothing_of_afterwards(
    anvil: Anvil, old_endpoint: str
) -> None:
    token = deploy(Web3(HTTPProvider(anvil.url)), SUPPLY)
    found = await simulate(old_endpoint, intent(30), token)
    failing = await simulate(old_endpoint, intent(SUPPLY + 1), token)

    assert (found.success, [(one.before, one.after) for one in found.balances]) == (
        True,
        [(SUPPLY, None), (0, None)],
    )
    assert (failing.success, failing.reason) == (False, "balance too low")


async def test_a_chain_that_does_not_answer_says_nothing() -> None:
    with pytest.raises(OperationalError, match="it is asked again"):
        await simulate("http://127.0.0.1:9", intent(5))


@pytest.mark.parametrize(
    "answer",
    [
        {"result": []},
        {"result": [{"calls": []}]},
        {"result": None},
        {"result": [{"calls": [1, 2, 3, 4, 5]}]},
        {"error": {"code": 1, "message": "busy"}},
        {"error": {"code": 1, "message": "busy", "data": "0xzz"}},
        {"error": "busy"},
    ],
)
async def test_an_answer_that_is_none_is_no_simulation(answer: dict[str, object]) -> None:
    async def always(request: web.Request) -> web.Response:
        asked = await request.json()
        told = {"result": "0x1"} if asked["method"] == "eth_blockNumber" else answer
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], **told})

    application = web.Application()
    application.router.add_post("/", always)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        with pytest.raises(OperationalError, match="gives no simulation"):
            await simulate(f"http://{host}:{port}", intent(5))
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("08c379a0" + f"{32:064x}{3:064x}" + "6e6f21".ljust(64, "0"), "no!"),
        ("08c379a0" + f"{32:064x}{2**255:064x}" + "6e6f21".ljust(64, "0"), "no!" + "?" * 29),
        ("4e487b71" + f"{0x11:064x}", "panic 0x11"),
        ("08c379a0", "0x08c379a0"),
        ("", "execution reverted"),
        ("08c379a0" + f"{32:064x}{4:064x}" + "0a1b5b6d".ljust(64, "0"), "??[m"),
    ],
)
def test_a_reason_is_short_and_printable_whatever_a_contract_says(data: str, said: str) -> None:
    assert revert_reason(bytes.fromhex(data), "execution reverted") == said


WORDS = st.sampled_from(["0x", "0x1", "0x" + "00" * 32, "status", "returnData", "error", "calls", "", "0xg"])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(calls=st.lists(ANSWERS, min_size=5, max_size=5), wrong=ANSWERS)
def test_no_answer_of_an_endpoint_is_more_than_malformed(calls: object, wrong: object) -> None:
    watched = [(FUNDED, None), (PAYEE, None)]
    for answer in ([{"calls": calls}], wrong):
        with contextlib.suppress(MalformedError):
            read_simulation(answer, watched, block=1)
