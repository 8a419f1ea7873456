"""What an endpoint answers takes no more memory than it was given room for, whatever it is made of."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from custody.chains.answers import DECIMALS_MAX, LARGE_BYTES, MIB, SMALL, Answers, Room, parsed, weight
from custody.chains.bitcoin.rpc import ROOM
from custody.chains.evm import rpc as evm_rpc
from custody.chains.showing import words
from custody.chains.solana import rpc as solana_rpc
from tests.waiting import WAIT_S

ANYTHING = Room(2**40, 2**40)
PARTS = (
    "{}",
    "[]",
    "[0]",
    '{"":0}',
    '{"a":{"b":[]}}',
    '"ab"',
    r'"x\""',
    r'{"x\"":"y\""}',
    "257",
    "99999999999",
    "true",
    '""',
    '"\u0100b"',
    r'"\u0100b"',
    '"\U0001f600' + "b" * 60 + '"',
    r'"\ud83d\ude00' + "b" * 60 + '"',
    '{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}',
)
COUNT = 2_800
"""Just so many that a dictionary was made larger."""


def traced(data: bytes) -> int:
    """The bytes that an answer takes while it is read, with its own."""
    tracemalloc.start()
    try:
        found = parsed(data, ANYTHING)
        assert found is not None
        return tracemalloc.get_traced_memory()[1] + len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("part", PARTS)
def test_no_answer_takes_more_memory_than_it_is_weighed(part: str) -> None:
    keys = [f"{number:x}" for number in range(COUNT)]
    for text in (
        f"[{','.join([part] * COUNT)}]",
        f"{{{','.join(f'{chr(34)}{key}{chr(34)}:{part}' for key in keys)}}}",
        f"[{','.join(f'{{{chr(34)}{key}{chr(34)}:{part}}}' for key in keys)}]",
    ):
        data = text.encode()
        assert traced(data) <= weight(data), text[:40]


def test_one_wide_character_makes_all_of_a_text_wide_and_is_weighed() -> None:
    for first in ("\U0001f600", r"\ud83d\ude00"):
        data = f'["{first}{"b" * 10**6}"]'.encode()
        assert traced(data) <= weight(data)


def test_what_would_take_too_much_is_never_made_into_objects() -> None:
    data = b"[" + b"{}," * (16 * MIB // 3) + b"{}]"

    tracemalloc.start()
    with pytest.raises(ValueError, match="as objects"):
        parsed(data, evm_rpc.LARGE)
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()


def test_decimals_are_counted_while_they_are_made() -> None:
    with pytest.raises(ValueError, match="decimals"):
        parsed(b"[" + b"1.5," * DECIMALS_MAX + b"1.5]", ANYTHING)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 2000, b"\xff", b"1e" + b"9" * 30, b"9" * 5000, b"[\xed\xa0\x80]"]
)
def test_no_json_is_an_error_of_one_kind(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text, SMALL)


OUTPUT = (
    b'{"value":0.00000000,"n":100000,'
    b'"scriptPubKey":{"asm":"","desc":"raw()#58lrscpx","hex":"","type":"nonstandard"}},'
)
UNSPENT = (
    b'{"txid":"%s","vout":100000,"scriptPubKey":"5120%s","desc":"rawtr(%s)#58lrscpx","amount":0.00000546,'
    b'"coinbase":false,"height":900000,"blockhash":"%s","confirmations":100000},' % ((b"a" * 64,) * 4)
)
LOG = (
    b'{"address":"0x%s","topics":[],"data":"0x","blockNumber":"0x1234567","transactionHash":"0x%s",'
    b'"transactionIndex":"0x1","blockHash":"0x%s","logIndex":"0x12345","removed":false},'
    % (b"a" * 40, b"a" * 64, b"a" * 64)
)
KEY = b'{"pubkey":"%s","signer":false,"source":"lookupTable","writable":false},' % (b"a" * 44)


@pytest.mark.parametrize(
    ("part", "count", "room"),
    [
        (OUTPUT, 111_000, ROOM["getblock"]),
        (b'"",', 4_000_000, ROOM["getblock"]),
        (b'"ab",', 2_000_000, ROOM["getblock"]),
        (b"ab", 64 * MIB // 2, ROOM["getblock"]),
        (UNSPENT, 110_000, ROOM["scantxoutset"]),
        (LOG, 13_000, evm_rpc.LARGE),
        (LOG, 44_000, evm_rpc.BLOCKS),
        (KEY, 300_000, solana_rpc.ROOM["getBlock"]),
    ],
    ids=["outputs", "empty witnesses", "witnesses", "a script", "coins", "a call's logs", "logs", "accounts"],
)
def test_the_worst_that_a_chain_can_hold_has_room(part: bytes, count: int, room: Room) -> None:
    assert len(part) * count <= room.bytes_max
    assert weight(part) * count <= room.memory_max + weight(b"") * count


class Coming:
    """An answer whose rest comes when it may."""

    def __init__(self, size: int) -> None:
        self.size, self.rest = size, asyncio.Event()

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield b"[" + b" " * self.size
        await self.rest.wait()
        yield b"]"


async def test_of_large_answers_of_an_endpoint_one_is_read_at_a_time_and_small_ones_beside_it() -> None:
    def read(coming: Coming) -> "asyncio.Task[Any]":
        return asyncio.create_task(answers.read(cast("aiohttp.StreamReader", coming), SMALL))

    answers = Answers()
    first, second, small = (Coming(size) for size in (LARGE_BYTES, LARGE_BYTES, 10))
    for one in (second, small):
        one.rest.set()
    reading, waiting = read(first), read(second)

    async with asyncio.timeout(WAIT_S):
        await asyncio.sleep(0.01)
        assert await read(small) == []
        assert not waiting.done()
        first.rest.set()
        assert (await reading, await waiting) == ([], [])


def test_what_an_endpoint_says_in_words_can_be_stored_and_stays_on_its_line() -> None:
    assert words("no\ud800\nWARNING", 300).encode() == b"no??WARNING"
