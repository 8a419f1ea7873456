"""The client of a Solana node: what it makes of answers, right and wrong."""

import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.rpc import GENESIS, LARGE, SolanaRpc
from policy.errors import OperationalError
from tests.chains.served import served
from tests.chains.solana_house import CHAIN, PAYEE

SIGNATURE = b"\x05" * 64
MAINNET, DEVNET = GENESIS["mainnet"], GENESIS["devnet"]
SLOT = {"context": {"slot": 7}}
ACCOUNT = {"lamports": 1, "owner": PAYEE, "data": ["", "base64"], "executable": False}
Call = Callable[[SolanaRpc], Awaitable[object]]


@pytest.fixture(scope="module")
def shared() -> Iterator[ClusterRpc]:
    with ClusterRpc(SolanaCluster()) as rpc:
        yield rpc


@pytest.fixture
def node(shared: ClusterRpc) -> Iterator[ClusterRpc]:
    yield shared
    shared.lies, shared.down = {}, False


def accounts(rpc: SolanaRpc) -> Awaitable[object]:
    return rpc.accounts([PAYEE])


def status(rpc: SolanaRpc) -> Awaitable[object]:
    return rpc.status(SIGNATURE)


def simulated(rpc: SolanaRpc) -> Awaitable[object]:
    return rpc.simulate(b"", [PAYEE])


@pytest.mark.parametrize(
    ("method", "lie", "call", "words"),
    [
        ("getGenesisHash", 7, SolanaRpc.check, "is no base58 of 32 bytes"),
        ("getGenesisHash", "1" * 31, SolanaRpc.check, "is no base58 of 32 bytes"),
        ("getGenesisHash", MAINNET, SolanaRpc.check, "not of solana:localnet"),
        ("getMultipleAccounts", [], accounts, "is no object"),
        ("getMultipleAccounts", {"value": None}, accounts, "has no list"),
        ("getMultipleAccounts", {"value": []}, accounts, "tells of 0 accounts, not 1"),
        ("getMultipleAccounts", {"value": [7]}, accounts, "is no object"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "lamports": -1}]}, accounts, "is no number"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "lamports": 2**64}]}, accounts, "is no number"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "lamports": True}]}, accounts, "is no number"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "lamports": 1.0}]}, accounts, "is no number"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "owner": "x"}]}, accounts, "is no base58"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "data": ["", "hex"]}]}, accounts, "no good account"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "data": ["?", "base64"]}]}, accounts, "no base64"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "data": [7, "base64"]}]}, accounts, "no base64"),
        ("getMultipleAccounts", {"value": [{**ACCOUNT, "executable": 1}]}, accounts, "no good account"),
        ("getMinimumBalanceForRentExemption", "1", lambda rpc: rpc.rent(9), "is no number"),
        ("getRecentPrioritizationFees", {}, lambda rpc: rpc.price([]), "has no list"),
        ("getRecentPrioritizationFees", [{}], lambda rpc: rpc.price([]), "is no number"),
        ("getLatestBlockhash", {"value": {}}, SolanaRpc.blockhash, "is no base58"),
        ("getSignatureStatuses", {"value": []}, status, "tells of 0 transactions"),
        ("getSignatureStatuses", {"value": [{"slot": 1, "err": None}]}, status, "confirmationStatus"),
        ("getSignatureStatuses", {"value": [{"confirmationStatus": []}]}, status, "confirmationStatus"),
        (
            "getSignatureStatuses",
            {"value": [{"slot": None, "err": None, "confirmationStatus": "finalized"}]},
            status,
            "is no number",
        ),
        (
            "getSignatureStatuses",
            {"value": [{"slot": 2**60, "err": None, "confirmationStatus": "finalized"}]},
            status,
            "is no slot",
        ),
        ("getSlot", 2**60, SolanaRpc.slot, "is no slot"),
        ("simulateTransaction", {**SLOT, "value": {"accounts": None}}, simulated, "is no simulation"),
        ("simulateTransaction", {**SLOT, "value": {"err": None, "accounts": []}}, simulated, "no simulation"),
        ("simulateTransaction", {"value": {"err": None, "accounts": None}}, simulated, "is no object"),
    ],
)
async def test_nonsense_is_an_error_that_says_what_is_wrong(
    method: str, lie: object, call: Call, words: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        asked = (await request.json())["method"]
        genesis = "Aj2Qz4JyBkJZ8fFHjYPXgLcPBkDWm5Fe9pbCbFDqkN6N"
        return web.json_response({"result": lie if asked == method else genesis})

    async with served(answer) as url:
        with pytest.raises(OperationalError, match=words):
            await call(SolanaRpc(CHAIN, url, timeout_s=5.0))


@pytest.mark.parametrize(
    ("cluster", "genesis", "right"),
    [
        ("mainnet", MAINNET, True),
        (MAINNET[:32], MAINNET, True),
        ("mainnet", DEVNET, False),
        ("devnet", MAINNET, False),
        (DEVNET[:32], MAINNET, False),
        ("localnet", PAYEE, True),
        ("localnet", DEVNET, False),
        ("mainnet", PAYEE, False),
    ],
)
async def test_a_cluster_is_known_by_its_first_block(
    node: ClusterRpc, cluster: str, genesis: str, right: bool
) -> None:
    node.lies["getGenesisHash"] = lambda _: genesis
    rpc = SolanaRpc(f"solana:{cluster}", node.url, timeout_s=5.0)

    if right:
        await rpc.check()
        return
    with pytest.raises(OperationalError, match="correct its URL"):
        await rpc.accounts([PAYEE])


@pytest.fixture
def usual_depth() -> Iterator[None]:
    """A library of the tests lets recursion go deeper than the stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("text", ["[" * 100_000, "no", '"no"', "{}", '{"jsonrpc": "2.0", "id": 1}'])
async def test_what_is_no_json_rpc_is_an_error(text: str, usual_depth: None) -> None:
    async def always(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with served(always) as url:
        with pytest.raises(OperationalError, match=r"without JSON|no JSON-RPC"):
            await SolanaRpc(CHAIN, url, timeout_s=5.0).check()


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2 * LARGE.bytes_max // 65_536):
            await response.write(bytes(65_536))
        return response

    async with served(endless) as url:
        with pytest.raises(OperationalError, match=f"more than {LARGE.bytes_max} bytes"):
            await SolanaRpc(CHAIN, url, timeout_s=5.0).check()


async def test_an_error_of_the_node_is_cut_and_says_whose_it_is() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"code": -32002, "message": "x" * 10_000}})

    async with served(refuse) as url:
        with pytest.raises(OperationalError, match="solana:localnet refuses getGenesisHash: x") as refused:
            await SolanaRpc(CHAIN, url, timeout_s=5.0).check()

    assert len(str(refused.value)) < 500


async def test_a_node_that_does_not_answer_is_an_error_that_names_it(node: ClusterRpc) -> None:
    node.down = True

    with pytest.raises(OperationalError, match="does not answer getGenesisHash"):
        await SolanaRpc(CHAIN, node.url, timeout_s=5.0).check()


@pytest.mark.parametrize("secret", ["/hunter-2", "/?api-key=hunter-2"])
async def test_no_error_shows_the_key_in_a_url_and_no_redirect_is_followed(secret: str) -> None:
    followed: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        followed.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with served(answer) as url:
        for address in (url.removeprefix("http://"), "127.0.0.1:9"):
            asked = SolanaRpc(CHAIN, f"http://user:hunter-2@{address}{secret}", timeout_s=5.0)
            with pytest.raises(OperationalError) as refused:
                await asked.check()
            assert "hunter-2" not in "".join(traceback.format_exception(refused.value))

    assert "/elsewhere" not in followed


async def test_what_nobody_has_is_nothing(node: ClusterRpc) -> None:
    rpc = SolanaRpc(CHAIN, node.url, timeout_s=5.0)
    found: list[Any] = [await rpc.accounts([PAYEE]), await rpc.accounts([]), await rpc.status(SIGNATURE)]

    assert found == [[None], [], None]


async def test_what_is_missing_is_gone_for_a_node_that_has_come_to_its_slot(node: ClusterRpc) -> None:
    rpc = SolanaRpc(CHAIN, node.url, timeout_s=5.0)
    slot = await rpc.slot()

    assert await rpc.is_gone(SIGNATURE, block=slot)
    with pytest.raises(OperationalError, match=f"come to block {slot}, not to {slot + 9}"):
        await rpc.is_gone(SIGNATURE, block=slot + 9)
