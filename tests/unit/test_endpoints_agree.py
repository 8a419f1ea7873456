"""Several endpoints of one chain: what one of them says alone does not count."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from custody.chains.evm.agreement import AgreeingEndpoints
from custody.chains.evm.endpoint import Fees
from custody.ports import BalanceChange, Receipt, Simulated
from policy.errors import OperationalError
from policy.intent import Intent

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
    several = chain(Endpoint(dead=True), *good, Endpoint(slow_s=60), agree=3)

    async with asyncio.timeout(5):
        assert await several.account_nonce(ACCOUNT) == 5
        await several.check()


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


async def test_one_endpoint_alone_makes_nothing_mined() -> None:
    several = chain(Endpoint(), Endpoint(mined=None), Endpoint(mined=None))

    assert await several.receipt(bytes(32)) is None


async def test_a_contradiction_is_an_error_with_every_answer_in_it() -> None:
    several = chain(Endpoint(), Endpoint(mined=replace(MINED, success=False)))

    with pytest.raises(OperationalError, match=r"do not agree on the receipt .*True.*False"):
        await several.receipt(bytes(32))


@pytest.mark.parametrize("lie", [1, 10**15])
async def test_a_price_that_one_endpoint_shouts_is_not_offered(lie: int) -> None:
    shouting = Endpoint(offer=replace(FEES, fee_per_gas=lie))
    several = chain(Endpoint(), shouting, Endpoint())

    assert await several.fees(INTENT, account=ACCOUNT, contract=None, ceiling=10**9) == FEES
    assert await several.cancel_fees(10**9) == FEES


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
