"""How long endpoints of a chain are waited for: nobody makes a series of questions slow, or one endless."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from custody.chains.agreement import SILENT, Agreement
from policy.errors import OperationalError
from tests.waiting import WAIT_S

GRACE_S, SERIES = 0.2, 10
DOUBTS = Counter[tuple[str, str]]


@dataclass
class Endpoint:
    """Says its word after a while, or never."""

    word: int = 7
    slow_s: float = 0.0
    taken: int = 0

    async def say(self) -> int:
        await asyncio.sleep(self.slow_s)
        return self.word

    async def take(self) -> None:
        await self.say()
        self.taken += 1


def agreement(
    *ends: Endpoint, doubts: DOUBTS | None = None, answer_s: float = WAIT_S, grace_s: float = GRACE_S
) -> Agreement[Endpoint]:
    def doubted(chain: str, endpoint: str, *, kind: str) -> None:
        if doubts is not None:
            doubts[endpoint, kind] += 1

    named = {f"end-{number}": one for number, one in enumerate(ends)}
    agree = len(ends) // 2 + 1
    return Agreement("evm:1", named, agree=agree, grace_s=grace_s, answer_s=answer_s, doubted=doubted)


async def series(ends: Agreement[Endpoint]) -> float:
    """The seconds that a series of questions takes."""
    begun = time.monotonic()
    for _ in range(SERIES):
        assert await ends.agreed("word", lambda one: one.say()) == 7
    return time.monotonic() - begun


@pytest.mark.parametrize("slow_s", [10 * WAIT_S, 0.9 * GRACE_S], ids=["hangs", "just in time"])
async def test_one_that_is_slow_costs_a_series_of_questions_the_grace_once(slow_s: float) -> None:
    assert await series(agreement(Endpoint(), Endpoint(), Endpoint(slow_s=slow_s))) < 6 * GRACE_S


async def test_one_that_hangs_is_counted_and_comes_back_by_itself() -> None:
    doubts, bad = DOUBTS(), Endpoint(slow_s=10 * WAIT_S)
    ends = agreement(Endpoint(), Endpoint(), bad, doubts=doubts)

    await series(ends)
    assert doubts == {("end-2", SILENT): 1}

    bad.slow_s = GRACE_S / 100
    assert set(await ends.ask("word", lambda one: one.say())) == {"end-0", "end-1", "end-2"}
    assert doubts == {("end-2", SILENT): 1}


async def test_one_that_hangs_on_is_waited_for_and_counted_again() -> None:
    doubts = DOUBTS()
    ends = agreement(Endpoint(), Endpoint(), Endpoint(slow_s=10 * WAIT_S), doubts=doubts)

    begun = time.monotonic()
    async with asyncio.timeout(WAIT_S):
        while doubts["end-2", SILENT] < 2:
            await ends.agreed("word", lambda one: one.say())
            await asyncio.sleep(GRACE_S / 4)

    assert time.monotonic() - begun > 9 * GRACE_S


async def test_one_that_is_slow_is_waited_for_all_the_same_while_the_others_do_not_agree() -> None:
    slow = Endpoint(slow_s=2 * GRACE_S)
    ends = agreement(Endpoint(word=8), Endpoint(), slow)

    for _ in range(2):
        assert await ends.agreed("word", lambda one: one.say()) == 7


async def test_a_transaction_gets_to_who_is_slow_though_another_takes_it_at_once_and_costs_no_time() -> None:
    ends = [Endpoint(), Endpoint(slow_s=2 * GRACE_S), Endpoint(slow_s=10 * WAIT_S)]
    begun = time.monotonic()

    await agreement(*ends).hand(lambda one: one.take())

    assert time.monotonic() - begun < 2 * GRACE_S
    await asyncio.sleep(3 * GRACE_S)
    assert [one.taken for one in ends] == [1, 1, 0]


async def test_two_that_differ_for_a_moment_are_asked_again_soon_though_the_third_hangs() -> None:
    ends = agreement(Endpoint(word=8), Endpoint(), Endpoint(slow_s=10 * WAIT_S), grace_s=0.01)

    async with asyncio.timeout(WAIT_S / 2):
        with pytest.raises(OperationalError, match="do not agree on the word"):
            await ends.agreed("word", lambda one: one.say())


async def test_a_question_ends_whoever_goes_on_answering_it() -> None:
    ends = agreement(Endpoint(slow_s=10 * WAIT_S), Endpoint(), Endpoint(slow_s=10 * WAIT_S), answer_s=0.1)

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(OperationalError, match=r"1 of 3 .*no answer in 0\.1 s"):
            await ends.agreed("word", lambda one: one.say())
