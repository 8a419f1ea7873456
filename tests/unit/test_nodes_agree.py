"""Several nodes of Bitcoin and of Solana: one that lies, hangs or lags changes nothing but a count."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from custody.chains.agreement import ALONE, SILENT
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.transaction import Coin
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.rpc import Account, Outcome, Status
from policy.decode.psbt import Output
from policy.decode.solana import SYSTEM_PROGRAM
from policy.errors import OperationalError
from policy.token_accounts import TOKEN_PROGRAM
from tests.waiting import WAIT_S

SCRIPT = b"\x51\x20" + b"\x01" * 32
MINE = frozenset({SCRIPT})
HASH, TXID, SIGNATURE = "11" * 32, "22" * 32, b"\x07" * 64
NONCE = Account(1_000, SYSTEM_PROGRAM, executable=False, data=b"nonce" * 16)
FINAL = Status(9, 2, success=True)
DOUBTS = Counter[tuple[str, str]]


def coin(place: int, amount: int = 100) -> Coin:
    return Coin(bytes([place]) * 36, Output(amount, SCRIPT), 5, coinbase=False)


@dataclass
class Node:
    """A node of either kind: what it says, whether it says anything, and what it was handed."""

    coins: tuple[Coin, ...] = (coin(1), coin(2))
    mined_at: tuple[int, int] | None = (7, 3)
    offer: int = 2_000
    unspent: bool = True
    account: Account | None = NONCE
    told: Status | None = FINAL
    reason: str = ""
    dead: bool = False
    slow_s: float = 0.0
    scans: int = 0
    taken: list[bytes] = field(default_factory=list)

    async def check(self) -> None:
        await asyncio.sleep(self.slow_s)
        if self.dead:
            raise OperationalError("nobody answers: it is asked again")

    async def best(self) -> str:
        return HASH

    async def scan(self, scripts: Sequence[bytes]) -> tuple[str, list[Coin]]:
        self.scans += 1
        await self.check()
        return HASH, list(self.coins)

    async def header(self, block_hash: str) -> tuple[str, int]:
        return "", 50

    async def mined(self, txid: str) -> tuple[int, int] | None:
        await self.check()
        return self.mined_at

    async def is_unspent(self, text: str) -> bool:
        await self.check()
        return self.unspent

    async def rate(self, blocks: int) -> int:
        await self.check()
        return self.offer

    async def send(self, raw: bytes) -> None:
        await self.check()
        self.taken.append(raw)

    async def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        await self.check()
        return [self.account] * len(addresses)

    async def price(self, written: Sequence[str]) -> int:
        await self.check()
        return self.offer

    async def status(self, signature: bytes) -> Status | None:
        await self.check()
        return self.told

    async def uses(self, address: str) -> list[tuple[bytes, Status]]:
        await self.check()
        return [] if self.told is None else [(SIGNATURE, self.told)]

    async def simulate(self, raw: bytes, addresses: Sequence[str]) -> Outcome:
        await self.check()
        return Outcome(9, self.reason, (self.account,) * len(addresses))


def named(nodes: Sequence[Node]) -> dict[str, Any]:
    return {f"node-{number}": node for number, node in enumerate(nodes)}


def bitcoin(*nodes: Node, doubts: DOUBTS | None = None) -> BitcoinNodes:
    def doubted(chain: str, endpoint: str, *, kind: str) -> None:
        if doubts is not None:
            doubts[endpoint, kind] += 1

    most = len(nodes) // 2 + 1
    return BitcoinNodes("bitcoin:regtest", named(nodes), agree=most, grace_s=0.02, doubted=doubted)


def solana(*nodes: Node) -> SolanaNodes:
    return SolanaNodes("solana:localnet", named(nodes), agree=len(nodes) // 2 + 1, grace_s=0.02)


BAD = {
    "invents": Node(
        coins=(coin(1), coin(2), coin(9, 10**9)),
        mined_at=(8, 900),
        offer=10**9,
        account=replace(NONCE, data=b"x"),
    ),
    "hides": Node(
        coins=(), mined_at=None, offer=1, unspent=False, account=None, told=None, reason="no funds"
    ),
    "lies of depth": Node(mined_at=(7, 900), told=replace(FINAL, sure=0)),
    "another outcome": Node(coins=(coin(1, 5), coin(2)), told=replace(FINAL, success=False)),
    "dead": Node(dead=True),
    "hangs": Node(slow_s=10 * WAIT_S),
}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_one_bad_node_of_three_changes_nothing_of_bitcoin(bad: Node, place: int) -> None:
    nodes = [Node(), Node()]
    nodes.insert(place, bad)
    several = bitcoin(*nodes)

    async with asyncio.timeout(WAIT_S):
        await several.check()
        assert set((await several.coins(MINE, watched=MINE)).coins.values()) == {coin(1), coin(2)}
        assert await several.mined(TXID) == (7, 3)
        assert await several.rate(3) == 2_000
        assert await several.is_unspent(f"{TXID}:0")


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_one_bad_node_of_three_changes_nothing_of_solana(bad: Node, place: int) -> None:
    nodes = [Node(), Node()]
    nodes.insert(place, bad)
    several = solana(*nodes)

    async with asyncio.timeout(WAIT_S):
        await several.check()
        assert await several.accounts(["a", "b"]) == [NONCE, NONCE]
        assert await several.status(SIGNATURE) == FINAL
        assert await several.uses("a") == [(SIGNATURE, FINAL)]
        assert await several.price(["a"]) == 2_000
        assert await several.simulate(b"", ["a"]) == Outcome(9, "", (NONCE,))


@pytest.mark.parametrize("bad", [BAD[name] for name in ("invents", "hides", "another outcome")])
async def test_one_that_lies_is_outvoted_by_an_honest_one_that_is_slow(bad: Node) -> None:
    slow = Node(slow_s=0.1)
    of_bitcoin, of_solana = bitcoin(bad, Node(), slow), solana(bad, Node(), slow)

    assert await of_bitcoin.mined(TXID) == (7, 3)
    assert await of_bitcoin.is_unspent(f"{TXID}:0")
    assert set((await of_bitcoin.coins(MINE, watched=MINE)).coins.values()) == {coin(1), coin(2)}
    assert await of_solana.accounts(["a"]) == [NONCE]
    assert await of_solana.status(SIGNATURE) == FINAL
    assert await of_solana.uses("a") == [(SIGNATURE, FINAL)]


async def test_a_simulation_is_waited_for_until_its_accounts_are_alike_too() -> None:
    several = solana(BAD["invents"], Node(), Node(slow_s=0.1))

    assert await several.simulate(b"", ["a"]) == Outcome(9, "", (NONCE,))


async def test_a_price_that_is_shouted_is_not_followed_though_an_honest_node_hangs() -> None:
    hangs = Node(slow_s=10 * WAIT_S)

    assert await bitcoin(BAD["invents"], Node(), hangs).rate(3) == 2_000
    assert await solana(BAD["invents"], Node(), hangs).price(["a"]) == 2_000


async def test_an_account_on_which_nodes_differ_makes_no_other_one_unusable() -> None:
    class Behind(Node):
        async def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
            return [self.account if one == "moved" else NONCE for one in addresses]

    several = solana(*(Behind(account=replace(NONCE, data=data)) for data in (b"1", b"2", b"3")))

    assert await several.agreed_accounts(["moved", "still"]) == {"still": NONCE}
    with pytest.raises(OperationalError, match="do not agree on the account moved"):
        await several.accounts(["moved", "still"])


async def test_one_node_alone_makes_nothing_mined_and_no_coin() -> None:
    several = bitcoin(Node(), Node(mined_at=None, coins=()), Node(mined_at=None, coins=()))

    assert await several.mined(TXID) is None
    assert not (await several.coins(MINE, watched=MINE)).coins
    assert await solana(Node(), Node(told=None), Node(told=None)).status(SIGNATURE) is None


async def test_a_contradiction_is_an_error_with_every_answer_in_it() -> None:
    with pytest.raises(OperationalError, match=r"do not agree on the block .*node-0: 7; node-1: 8"):
        await bitcoin(Node(), Node(mined_at=(8, 3))).mined(TXID)
    with pytest.raises(OperationalError, match=r"do not agree on the transaction .*True.*False"):
        await solana(Node(), Node(told=replace(FINAL, success=False))).status(SIGNATURE)


async def test_too_few_answers_name_those_that_gave_none() -> None:
    doubts = DOUBTS()
    with pytest.raises(OperationalError, match=r"1 of 3 endpoints .*node-0: nobody answers.*node-2"):
        await bitcoin(Node(dead=True), Node(), Node(dead=True), doubts=doubts).rate(3)
    assert doubts == {("node-0", SILENT): 1, ("node-2", SILENT): 1}


async def test_who_is_silent_or_stands_alone_is_counted_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    doubts = DOUBTS()
    several = bitcoin(Node(), Node(), Node(), BAD["hides"], Node(dead=True), doubts=doubts)

    for _ in range(2):
        await several.mined(TXID)

    assert doubts == {("node-3", ALONE): 2, ("node-4", SILENT): 2}
    assert sorted(one.getMessage()[:15] for one in caplog.records) == ["endpoint node-3", "endpoint node-4"]


async def test_coins_come_oldest_first() -> None:
    found = tuple(replace(coin(number), height=height) for number, height in enumerate([7, 3, 9, 1, 8, 2], 1))

    seen = await bitcoin(Node(coins=found), Node(coins=found[::-1])).coins(MINE, watched=MINE)

    assert [one.height for one in seen.coins.values()] == [1, 2, 3, 7, 8, 9]


async def test_nodes_that_cannot_tell_a_coinbase_have_the_same_coins() -> None:
    cannot = Node(coins=(replace(coin(1), height=-60, coinbase=True),))
    can = Node(coins=(replace(coin(1), height=-60),))

    assert set((await bitcoin(cannot, can).coins(MINE, watched=MINE)).coins) == {coin(1).outpoint}


@pytest.mark.parametrize(("length", "at"), [(165, 64), (82, 36)])
async def test_what_others_move_all_the_time_is_no_contradiction(length: int, at: int) -> None:
    def holding(amount: int) -> Node:
        data = bytes(at) + amount.to_bytes(8, "little") + bytes(length - at - 8)
        return Node(account=Account(amount, TOKEN_PROGRAM, executable=False, data=data))

    (found,) = await solana(holding(10**9), holding(7), holding(5)).accounts(["a"])

    assert found == holding(7).account


async def test_a_scan_that_is_left_behind_goes_on_and_is_there_for_the_next_question() -> None:
    slow, doubts = Node(slow_s=0.2), DOUBTS()
    several = bitcoin(Node(), Node(), slow, doubts=doubts)

    await several.coins(MINE, watched=MINE)
    await asyncio.sleep(0.4)
    await several.coins(MINE, watched=MINE)

    assert (slow.scans, doubts) == (1, {("node-2", SILENT): 1})


async def test_a_signed_transaction_goes_to_every_node_and_one_is_enough() -> None:
    nodes = [Node(dead=True), Node(), Node()]

    await bitcoin(*nodes).send(b"signed")
    await solana(*nodes).send(b"again")

    assert [one.taken for one in nodes] == [[], [b"signed", b"again"], [b"signed", b"again"]]
    with pytest.raises(OperationalError, match="nobody answers"):
        await solana(Node(dead=True), Node(dead=True)).send(b"signed")


async def test_a_node_that_names_a_transaction_twice_has_one_voice_on_how_sure_it_is() -> None:
    class Repeating(Node):
        async def uses(self, address: str) -> list[tuple[bytes, Status]]:
            return [
                (SIGNATURE, confirmed),
                (SIGNATURE, replace(confirmed, slot=8)),
                (SIGNATURE, FINAL),
                (SIGNATURE, FINAL),
            ]

    confirmed = replace(FINAL, sure=1)
    several = solana(Node(told=confirmed), Node(told=confirmed), Repeating())

    assert await several.uses("a") == [(SIGNATURE, confirmed)]
