"""Several endpoints of one chain: what one of them says alone does not count."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from custody.chains.agreement import Impossible, check_far
from custody.chains.evm.agreement import AgreeingEndpoints
from custody.chains.evm.endpoint import Fees
from custody.ports import BalanceChange, Landed, Receipt, Simulated
from policy.errors import OperationalError
from policy.intent import Intent
from tests.waiting import WAIT_S

MINED = Receipt(bytes(32), 7, True, 3)
FORESEEN = Simulated(9, True, "", ())
FEES = Fees(fee_per_gas=30, priority_per_gas=1, gas=21_000)
INTENT = Intent("evm:1", "hot", "eth", 1, "0x" + "11" * 20)
ACCOUNT = "0x" + "22" * 20


@dataclass
class Endpoint:
    """One endpoint: what it says, whether it says anything, and what it was handed."""

    nonce: int = 5
    held: int = 100
    head: int = 10
    offer: Fees = FEES
    mined: Receipt | None = MINED
    foresees: Simulated = FORESEEN
    dead: bool = False
    slow_s: float = 0.0
    taken: list[bytes] = field(default_factory=list)
    name: str = "evm:1"

    async def _up(self) -> None:
        await asyncio.sleep(self.slow_s)
        if self.dead:
            raise OperationalError("nobody answers: it is asked again")

    async def check(self) -> None:
        await self._up()

    async def account_nonce(self, account: str) -> int:
        await self._up()
        return self.nonce

    async def balance(self, account: str, contract: str | None = None) -> int:
        await self._up()
        return self.held

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        await self._up()
        return self.offer

    async def cancel_fees(self, ceiling: int) -> Fees:
        await self._up()
        return self.offer

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        await self._up()
        return self.foresees

    async def broadcast(self, raw: bytes) -> None:
        await self._up()
        self.taken.append(raw)

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        await self._up()
        return self.mined

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        await self._up()
        check_far(self.head, block)
        return self.mined is None

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        await self._up()
        return None if self.mined is None else Landed(self.mined, b"tx", (b"signature",))


def chain(*endpoints: Endpoint, agree: int = 2, grace_s: float = 0.05) -> AgreeingEndpoints:
    named = {f"https://rpc-{number}.example.com": one for number, one in enumerate(endpoints)}
    return AgreeingEndpoints("evm:1", named, agree=agree, grace_s=grace_s)


@pytest.mark.parametrize("lie", [0, 10**30])
async def test_one_endpoint_moves_neither_nonce_nor_balance(lie: int) -> None:
    lying = Endpoint(nonce=lie, held=lie)

    for place in range(3):
        ends = [Endpoint(), Endpoint()]
        ends.insert(place, lying)
        several = chain(*ends)
        assert await several.account_nonce(ACCOUNT) == 5
        assert await several.balance(ACCOUNT) == 100


async def test_a_dead_endpoint_is_not_missed_and_a_slow_one_left_behind() -> None:
    good = [Endpoint(), Endpoint(), Endpoint()]
    several = chain(Endpoint(dead=True), *good, Endpoint(slow_s=10 * WAIT_S), agree=3)

    async with asyncio.timeout(WAIT_S):
        assert await several.account_nonce(ACCOUNT) == 5
        await several.check()


async def test_one_that_lies_is_outvoted_by_an_honest_one_that_is_slow() -> None:
    lying, slow = Endpoint(nonce=0, held=0, offer=replace(FEES, fee_per_gas=10**12), mined=None), 0.2
    several = chain(lying, Endpoint(), Endpoint(slow_s=slow))

    assert await several.account_nonce(ACCOUNT) == 5
    assert await several.receipt(bytes(32)) == MINED
    assert await several.cancel_fees(10**18) == FEES


async def test_too_few_answers_name_those_that_gave_none() -> None:
    several = chain(Endpoint(dead=True), Endpoint(), Endpoint(dead=True))

    with pytest.raises(OperationalError, match=r"1 of 3 endpoints .*rpc-0.* nobody answers.*rpc-2"):
        await several.balance(ACCOUNT)


@pytest.mark.parametrize(
    "lie",
    [
        None,
        replace(MINED, success=False),
        replace(MINED, block=8),
        replace(MINED, confirmations=1000),
        replace(MINED, confirmations=1),
    ],
    ids=["not mined", "failed", "another block", "deep", "shallow"],
)
async def test_one_endpoint_cannot_settle_or_unsettle_a_payment(lie: Receipt | None) -> None:
    assert await chain(Endpoint(mined=lie), Endpoint(), Endpoint()).receipt(bytes(32)) == MINED


async def test_one_that_is_behind_makes_nothing_gone_with_one_that_lies() -> None:
    behind, lying, honest = Endpoint(mined=None, head=6), Endpoint(mined=None, head=10**9), Endpoint()

    with pytest.raises(OperationalError, match="do not agree on the transaction"):
        await chain(behind, lying, honest).is_gone(bytes(32), block=7)
    assert not await chain(lying, honest, Endpoint()).is_gone(bytes(32), block=7)
    assert await chain(Endpoint(mined=None), behind, Endpoint(mined=None)).is_gone(bytes(32), block=7)


async def test_one_endpoint_alone_makes_nothing_mined() -> None:
    several = chain(Endpoint(), Endpoint(mined=None), Endpoint(mined=None))

    assert await several.receipt(bytes(32)) is None


async def test_a_contradiction_is_an_error_with_every_answer_in_it() -> None:
    several = chain(Endpoint(), Endpoint(mined=replace(MINED, success=False)))

    with pytest.raises(OperationalError, match=r"do not agree on the receipt .*True.*False"):
        await several.receipt(bytes(32))


async def test_bytes_that_an_endpoint_does_not_show_are_those_of_another_that_names_the_same() -> None:
    class Hiding(Endpoint):
        async def sent_at(self, account: str, nonce: int) -> Landed | None:
            return Landed(MINED, b"", ())

    for ends in ((Hiding(), Endpoint(dead=True), Endpoint()), (Endpoint(), Hiding(), Endpoint(dead=True))):
        assert await chain(*ends).sent_at(ACCOUNT, 5) == Landed(MINED, b"tx", (b"signature",))


@pytest.mark.parametrize("lie", [1, 10**15])
async def test_a_price_that_one_endpoint_shouts_is_not_offered(lie: int) -> None:
    shouting = Endpoint(offer=replace(FEES, fee_per_gas=lie))
    several = chain(Endpoint(), shouting, Endpoint())

    assert await several.fees(INTENT, account=ACCOUNT, contract=None, ceiling=10**9) == FEES
    assert await several.cancel_fees(10**9) == FEES


LIES = {
    "all of it as tip": replace(FEES, fee_per_gas=31, priority_per_gas=31),
    "too little gas": replace(FEES, fee_per_gas=31, gas=1),
    "much gas": replace(FEES, fee_per_gas=31, gas=5_000_000),
}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_of_an_offer_neither_tip_nor_gas_is_one_endpoints_word(lie: Fees, place: int) -> None:
    offers = [replace(FEES, fee_per_gas=32), FEES]
    offers.insert(place, lie)

    found = await chain(*(Endpoint(offer=one) for one in offers)).cancel_fees(10**9)

    assert found == replace(FEES, fee_per_gas=31)


async def test_gas_that_one_endpoint_says_too_low_is_not_taken_though_an_honest_one_is_down() -> None:
    several = chain(Endpoint(offer=replace(FEES, gas=1)), Endpoint(), Endpoint(dead=True))

    assert await several.cancel_fees(10**9) == FEES


async def test_an_offer_of_several_stays_within_the_ceiling() -> None:
    ends = (Endpoint(offer=Fees(fee_per_gas=100, priority_per_gas=90, gas=10)), Endpoint(dead=True))
    several = chain(Endpoint(offer=Fees(fee_per_gas=50, priority_per_gas=40, gas=20)), *ends)

    assert await several.cancel_fees(600) == Fees(fee_per_gas=30, priority_per_gas=30, gas=20)


async def test_who_says_why_nothing_can_be_offered_is_not_silent() -> None:
    class Dear(Endpoint):
        async def cancel_fees(self, ceiling: int) -> Fees:
            raise Impossible(f"the ceiling {ceiling} is too low")

    doubts: list[str] = []
    named = {"one": Dear(), "two": Dear(), "three": Endpoint(dead=True)}
    several = AgreeingEndpoints(
        "evm:1", named, agree=2, doubted=lambda chain, endpoint, *, kind: doubts.append(endpoint)
    )

    with pytest.raises(OperationalError, match="the ceiling 7 is too low"):
        await several.cancel_fees(7)
    assert doubts == ["three"]


@pytest.mark.parametrize("lie", [0, 4, 6, 10**30])
async def test_a_nonce_on_which_two_differ_is_no_nonce_while_the_third_is_down(lie: int) -> None:
    several = chain(Endpoint(nonce=lie), Endpoint(), Endpoint(dead=True))

    with pytest.raises(OperationalError, match=r"do not agree on the nonce .*rpc-0"):
        await several.account_nonce(ACCOUNT)


async def test_a_nonce_is_between_those_of_honest_endpoints() -> None:
    assert await chain(Endpoint(nonce=0), Endpoint(nonce=4), Endpoint()).account_nonce(ACCOUNT) == 4
    assert await chain(Endpoint(nonce=9), Endpoint(nonce=4), Endpoint()).account_nonce(ACCOUNT) == 5
    assert await chain(Endpoint(nonce=4), Endpoint()).account_nonce(ACCOUNT) == 4


async def test_an_endpoint_that_breaks_what_reads_it_is_missed_by_nobody() -> None:
    class Breaking(Endpoint):
        async def _up(self) -> None:
            raise ZeroDivisionError

    several = chain(Breaking(), Endpoint(), Endpoint())

    assert await several.cancel_fees(10**9) == FEES
    await several.broadcast(b"signed")
    with pytest.raises(OperationalError, match="ZeroDivisionError"):
        await chain(Breaking(), Breaking(), Endpoint()).cancel_fees(10**9)
    for asked in (chain(Breaking(), agree=1).cancel_fees(10**9), chain(Breaking(), agree=1).broadcast(b"")):
        with pytest.raises(OperationalError, match="ZeroDivisionError"):
            await asked


async def test_a_simulation_that_endpoints_foresee_differently_is_not_shown() -> None:
    bad = Endpoint(foresees=Simulated(10, False, "reverted", ()))

    assert (await chain(bad, Endpoint(), Endpoint()).simulate(b"", account=ACCOUNT, watched=())).success
    with pytest.raises(OperationalError, match="do not agree on the simulation"):
        await chain(bad, Endpoint()).simulate(b"", account=ACCOUNT, watched=())


async def test_balances_that_one_endpoint_invents_are_not_shown() -> None:
    def paid(amount: int) -> Endpoint:
        return Endpoint(foresees=Simulated(9, True, "", (BalanceChange(ACCOUNT, None, 100, 100 - amount),)))

    shown = await chain(paid(1), paid(7), paid(7)).simulate(b"", account=ACCOUNT, watched=())

    assert shown.balances[0].after == 93


async def test_neither_balances_nor_block_nor_reason_are_the_word_of_the_first_endpoint() -> None:
    def foreseeing(block: int, before: int, reason: str = "") -> Endpoint:
        change = BalanceChange(ACCOUNT, None, before, before - 7)
        return Endpoint(foresees=Simulated(block, not reason, reason, (change,)))

    async def shown(*ends: Endpoint) -> Simulated:
        return await chain(*ends).simulate(b"", account=ACCOUNT, watched=())

    told = await shown(foreseeing(10**15, 10**30), foreseeing(9, 100), foreseeing(9, 100))
    assert told == Simulated(9, True, "", (BalanceChange(ACCOUNT, None, 100, 93),))

    told = await shown(
        foreseeing(9, 100, "send all to me"), foreseeing(9, 100, "no"), foreseeing(9, 100, "no")
    )
    assert told.reason == "no"
    told = await shown(foreseeing(9, 100, "send all to me"), foreseeing(9, 100, "no"), Endpoint(dead=True))
    assert "send" not in told.reason and not told.success


async def test_a_signed_transaction_goes_to_every_endpoint_and_one_is_enough() -> None:
    ends = [Endpoint(dead=True), Endpoint(), Endpoint()]

    await chain(*ends).broadcast(b"signed")

    assert [one.taken for one in ends] == [[], [b"signed"], [b"signed"]]
    with pytest.raises(OperationalError, match="nobody answers"):
        await chain(Endpoint(dead=True), Endpoint(dead=True)).broadcast(b"signed")


@pytest.mark.parametrize("agree", [0, 1, 2, 5])
def test_most_endpoints_must_agree_so_that_two_answers_cannot_both_count(agree: int) -> None:
    with pytest.raises(ValueError, match="more than half"):
        chain(*[Endpoint() for _ in range(4)], agree=agree)
