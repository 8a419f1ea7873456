"""What watches chains, on an EVM chain and on Bitcoin: the same answers to the same questions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from cli.demo.chains.bitcoin.core import ANYONE, COINBASE_MATURITY, Outpoint, Unspent
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import script_of
from custody.chains.bitcoin.watching import BitcoinWatching
from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.watching import TRANSFER, EvmWatching
from custody.chains.watching import AgreeingWatching, Block, Incoming, Wanted, Watching
from custody.ports import Receipt
from policy.addresses import segwit_address
from policy.errors import OperationalError
from tests.chains.bitcoin_house import CHAIN, fresh_core
from tests.conformance.test_evm_chain import deploy
from tests.fixtures_anvil import FUNDED, Anvil
from tests.unit.custody_cluster import ANVIL_CHAIN
from tests.unit.observing_house import FakeBlocks, paying
from tests.waiting import WAIT_S

pytest_plugins = ("tests.fixtures_anvil",)


class Scene(Protocol):
    """A chain in a test's hands, and what watches it."""

    ours: str
    theirs: str

    @property
    def watching(self) -> Watching:
        """Over an endpoint of its own."""

    def pay(self, address: str, amount: int) -> str:
        """Mine a payment from outside; the transaction's name."""

    def mine(self, count: int) -> None:
        """Empty blocks."""

    def reorganise(self, depth: int) -> None:
        """Replace the last blocks by one more, empty ones."""


class EvmScene:
    """anvil."""

    def __init__(self, anvil: Anvil) -> None:
        self.web3 = Web3(HTTPProvider(anvil.url))
        self.watching = EvmWatching(EvmRpc(ANVIL_CHAIN, anvil.url))
        self.ours, self.theirs = "0x" + "a1" * 20, "0x" + "b2" * 20

    def pay(self, address: str, amount: int) -> str:
        return self.send({"to": Web3.to_checksum_address(address), "value": Web3.to_wei(amount, "wei")})

    def send(self, fields: dict[str, Any]) -> str:
        sent = self.web3.eth.send_transaction({"from": Web3.to_checksum_address(FUNDED), **fields})  # type: ignore[typeddict-item]
        self.web3.eth.wait_for_transaction_receipt(sent)
        return sent.hex()

    def mine(self, count: int) -> None:
        self.web3.provider.make_request(RPCEndpoint("anvil_mine"), [hex(count)])

    def reorganise(self, depth: int) -> None:
        self.web3.provider.make_request(RPCEndpoint("anvil_reorg"), [depth, []])
        self.mine(1)


class BitcoinScene:
    """Bitcoin Core's own validation behind its RPC names."""

    def __init__(self, core: CoreRpc) -> None:
        self.core = core.core
        self.core.mine(COINBASE_MATURITY + 3)
        self.watching = BitcoinWatching(BitcoinRpc(CHAIN, core.url))
        self.ours, self.theirs = (segwit_address(CHAIN, 1, program=bytes([n]) * 32) for n in (5, 6))
        self._spent: set[Outpoint] = set()

    def pay(self, address: str, amount: int) -> str:
        place, coin = self.ripe()
        outputs = [
            TransactionOutput(coin.amount - amount - 10_000, Script(ANYONE)),
            TransactionOutput(amount, Script(script_of(CHAIN, address))),
        ]
        tx = Transaction(2, [TransactionInput(bytes.fromhex(place[0]), place[1])], outputs, 0)
        txid = self.core.accept(tx.serialize())
        self.core.mine()
        return txid

    def ripe(self) -> tuple[Outpoint, Unspent]:
        """A coin of somebody that can be spent."""
        ripe = self.core.height - COINBASE_MATURITY
        place, coin = next(
            (place, one)
            for place, one in self.core.unspent.items()
            if one.script == ANYONE and one.amount > 10**8 and one.height <= ripe
            if place not in self._spent
        )
        self._spent.add(place)
        return place, coin

    def mine(self, count: int) -> None:
        self.core.mine(count)

    def reorganise(self, depth: int) -> None:
        self.core.reorganise(depth, forget=True)


@pytest.fixture(params=["evm", "bitcoin"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    if request.param == "evm":
        found = EvmScene(request.getfixturevalue("anvil"))
        yield found
        await found.watching.close()
        return
    with CoreRpc(fresh_core()) as core:
        yield BitcoinScene(core)


def wanted(scene: Scene, *contracts: str) -> Wanted:
    return Wanted(frozenset({scene.ours}), frozenset(contracts))


async def test_a_block_has_what_it_pays_to_the_addresses_that_are_asked_for(scene: Scene) -> None:
    tx = scene.pay(scene.ours, 70_000)
    height = await scene.watching.head()
    scene.pay(scene.theirs, 70_000)

    found = await scene.watching.block(height, wanted(scene))
    (payment,) = found.payments
    assert (payment.tx.hex(), payment.address, payment.amount) == (tx, scene.ours, 70_000)
    assert payment.contract is None and payment.places[0].chain == scene.watching.name
    assert (await scene.watching.block(height + 1, wanted(scene))).payments == ()


async def test_blocks_hang_together_and_have_their_hashes(scene: Scene) -> None:
    scene.mine(3)
    head = await scene.watching.head()

    last, before = [await scene.watching.block(head - back, wanted(scene)) for back in (0, 1)]
    assert last.previous == before.hash == await scene.watching.block_hash(head - 1)
    assert last.hash == await scene.watching.block_hash(head)
    assert await scene.watching.block_hash(head + 1) == ""
    with pytest.raises(OperationalError):
        await scene.watching.block(head + 1, wanted(scene))


async def test_a_receipt_says_block_and_depth_and_none_is_none(scene: Scene) -> None:
    tx = bytes.fromhex(scene.pay(scene.ours, 70_000))
    height = await scene.watching.head()
    scene.mine(2)

    assert await scene.watching.receipt(tx) == Receipt(tx, height, True, 3)
    assert await scene.watching.receipt(bytes(32)) is None


async def test_a_reorganisation_shows_in_the_hash_and_takes_the_transaction(scene: Scene) -> None:
    tx = bytes.fromhex(scene.pay(scene.ours, 70_000))
    height = await scene.watching.head()
    scene.mine(2)
    before = await scene.watching.block_hash(height)

    scene.reorganise(3)

    assert await scene.watching.block_hash(height) not in ("", before)
    assert (await scene.watching.block(height, wanted(scene))).payments == ()
    assert await scene.watching.receipt(tx) is None


async def test_two_payments_of_one_transaction_have_places_of_their_own() -> None:
    with CoreRpc(fresh_core()) as core:
        scene = BitcoinScene(core)
        place, coin = scene.ripe()
        script = Script(script_of(CHAIN, scene.ours))
        outputs = [TransactionOutput(20_000, script), TransactionOutput(30_000, script)]
        outputs.append(TransactionOutput(coin.amount - 60_000, Script(ANYONE)))
        tx = Transaction(2, [TransactionInput(bytes.fromhex(place[0]), place[1])], outputs, 0)
        core.core.accept(tx.serialize())
        core.core.mine()

        found = await scene.watching.block(await scene.watching.head(), wanted(scene))
        assert [(one.index, one.amount) for one in found.payments] == [(0, 20_000), (1, 30_000)]
        assert {one.places[0].account for one in found.payments} == {f"{place[0]}:{place[1]}"}


async def test_what_a_miner_pays_is_left_out() -> None:
    with CoreRpc(fresh_core()) as core:
        scene = BitcoinScene(core)
        core.core.mine(1, script_of(CHAIN, scene.ours), amount=10**8)

        assert (await scene.watching.block(core.core.height, wanted(scene))).payments == ()


async def test_tokens_are_found_by_their_logs_and_other_tokens_are_not(anvil: Anvil) -> None:
    scene = EvmScene(anvil)
    token, scam = deploy(scene.web3, 1_000), deploy(scene.web3, 1_000)
    data = "0xa9059cbb" + scene.ours[2:].rjust(64, "0") + hex(55)[2:].rjust(64, "0")
    good = scene.send({"to": Web3.to_checksum_address(token), "data": data})
    height = await scene.watching.head()
    scene.send({"to": Web3.to_checksum_address(scam), "data": data})

    (payment,) = (await scene.watching.block(height, wanted(scene, token))).payments
    assert (payment.tx.hex(), payment.contract, payment.amount, payment.index) == (good, token, 55, 1)
    assert payment.places[0].account == FUNDED
    assert (await scene.watching.block(height + 1, wanted(scene, token))).payments == ()
    await scene.watching.close()


async def test_a_transaction_that_failed_pays_nothing(anvil: Anvil) -> None:
    scene = EvmScene(anvil)
    scene.web3.provider.make_request(
        RPCEndpoint("anvil_setCode"), [Web3.to_checksum_address(scene.ours), "0x60006000fd"]
    )
    scene.send({"to": Web3.to_checksum_address(scene.ours), "value": 5, "gas": 100_000})

    found = await scene.watching.block(await scene.watching.head(), wanted(scene))
    assert found.payments == ()
    await scene.watching.close()


# What an endpoint may answer instead.

HASH, OTHER = "0x" + "11" * 32, "0x" + "22" * 32
OURS = "0x" + "a1" * 20
TX = {"hash": HASH, "to": OURS, "value": "0x5", "from": "0x" + "b2" * 20, "nonce": "0x0", "blockHash": OTHER}
GOOD: dict[str, Any] = {
    "eth_getBlockByNumber": {"number": "0x7", "hash": OTHER, "parentHash": HASH, "transactions": [TX]},
    "eth_getTransactionReceipt": {"blockHash": OTHER, "status": "0x1", "logs": []},
    "eth_getTransactionByHash": TX,
    "eth_getLogs": [],
}


class Answering(EvmRpc):
    """An endpoint that answers what a test says."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__("evm:1", "http://127.0.0.1:1")
        self.answers = answers

    async def ask(self, what: str, method: str, *parameters: Any) -> Any:
        return self.answers[method]


async def block_of(**changed: Any) -> Block:
    watching = EvmWatching(Answering({**GOOD, **changed}))
    return await watching.block(7, Wanted(frozenset({OURS}), frozenset({"0x" + "cd" * 20})))


async def test_good_answers_are_a_block_with_its_payment() -> None:
    (payment,) = (await block_of()).payments
    assert (payment.amount, payment.index, payment.address) == (5, 0, OURS)


@pytest.mark.parametrize(
    "changed",
    [
        {"eth_getBlockByNumber": None},
        {"eth_getBlockByNumber": []},
        {"eth_getBlockByNumber": {**GOOD["eth_getBlockByNumber"], "number": "0x8"}},
        {"eth_getBlockByNumber": {**GOOD["eth_getBlockByNumber"], "hash": "0x11"}},
        {"eth_getBlockByNumber": {**GOOD["eth_getBlockByNumber"], "transactions": [HASH]}},
        {"eth_getBlockByNumber": {**GOOD["eth_getBlockByNumber"], "transactions": None}},
        {"eth_getTransactionReceipt": None},
        {"eth_getTransactionReceipt": {**GOOD["eth_getTransactionReceipt"], "blockHash": HASH}},
        {"eth_getTransactionReceipt": {**GOOD["eth_getTransactionReceipt"], "status": None}},
        {"eth_getTransactionReceipt": {**GOOD["eth_getTransactionReceipt"], "logs": {}}},
        {"eth_getTransactionByHash": {**TX, "blockHash": HASH}},
        {"eth_getTransactionByHash": {**TX, "nonce": -1}},
        {"eth_getTransactionByHash": {**TX, "nonce": hex(2**64)}},
        {"eth_getLogs": {}},
        {"eth_getLogs": [{"topics": [TRANSFER, HASH, 7], "address": OURS, "data": "0x"}]},
    ],
)
async def test_nonsense_is_an_error_and_no_payment(changed: dict[str, Any]) -> None:
    with pytest.raises(OperationalError):
        await block_of(**changed)


# Several endpoints.


def agreeing(chains: list[FakeBlocks], *, agree: int = 2, confirmations: int = 1) -> AgreeingWatching:
    named = {f"node-{number}": one for number, one in enumerate(chains)}
    return AgreeingWatching("evm:1", named, agree=agree, confirmations=confirmations, grace_s=0.02)


def three() -> tuple[list[FakeBlocks], AgreeingWatching]:
    chains = [FakeBlocks() for _ in range(3)]
    for one in chains:
        one.mine(paying(), more=2)
    return chains, agreeing(chains)


async def both(watching: Watching) -> tuple[Incoming, ...]:
    everything = Wanted(frozenset({paying().address}), frozenset())
    return (await watching.block(1, everything)).payments


async def test_one_endpoint_of_three_that_lies_or_is_down_changes_nothing() -> None:
    chains, watching = three()
    chains[0].blocks[1] = "lie", (paying(amount=10**30),)
    assert await both(watching) == (paying(),)

    chains[0].down = True
    assert await both(watching) == (paying(),)
    assert await watching.head() == 3


async def test_one_endpoint_that_hangs_holds_nothing_up() -> None:
    class Hanging(FakeBlocks):
        async def head(self) -> int:
            await asyncio.sleep(10 * WAIT_S)
            return 0

    chains, _ = three()

    async with asyncio.timeout(WAIT_S):
        assert await agreeing([Hanging(), *chains[:2]]).head() == 3


async def test_two_that_differ_are_an_error_and_not_the_first_ones_word() -> None:
    chains, _ = three()
    chains[0].blocks[1] = "lie", (paying(amount=10**30),)
    pair = agreeing(chains[:2])

    with pytest.raises(OperationalError, match="do not agree"):
        await both(pair)


async def test_a_block_of_very_many_payments_is_told_in_one_line() -> None:
    chains, _ = three()
    chains[0].blocks[1] = "lie", (paying(),) * 1000

    with pytest.raises(OperationalError, match=r"node-0: lie after genesis, with 1000 payments; node-1"):
        await both(agreeing(chains[:2]))


async def test_the_depth_is_what_enough_endpoints_confirm() -> None:
    chains, watching = three()
    chains[0].mine(more=50)

    receipt = await watching.receipt(paying().tx)
    assert receipt is not None and receipt.confirmations == 3
    assert await watching.head() == 3


async def test_a_node_that_stopped_on_another_branch_vouches_for_no_depth_with_one_that_lies() -> None:
    chains, _ = three()
    stopped, lying, honest = chains
    stopped.reorganise(3, (paying(amount=7),))
    lying.reorganise(3, (paying(amount=7),))
    lying.mine(more=50)
    honest.mine(more=2)
    watching = agreeing(chains, confirmations=5)

    assert await watching.head() == 6
    with pytest.raises(OperationalError, match="do not agree on the block 1"):
        await both(watching)

    stopped.blocks[:] = honest.blocks
    await watching.head()
    assert await both(watching) == (paying(),)


async def test_fewer_than_more_than_half_cannot_be_asked_to_agree() -> None:
    chains, _ = three()
    with pytest.raises(ValueError, match="more than half"):
        agreeing(chains, agree=1)
