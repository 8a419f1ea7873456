"""What a rebalancer may ask of the coordinator, through the real door."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from custody.adapters.api_server import CustodyServicer
from custody.api import custody_pb2 as pb
from custody.client import CustodyClient, RequestView
from custody.holdings import holdings
from custody.rebalancing.desk import ClientDesk
from custody.rebalancing.ports import TurnedAway
from policy.encoding import Json, canonical
from policy.errors import MalformedError, OperationalError
from policy.intent import Intent, Request
from tests.unit.custody_cluster import (
    ANVIL_CHAIN,
    ETHER,
    FEE_CEILING,
    ORIGIN,
    WALLET,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import Clock, FakeChain, House
from tests.unit.test_custody_api import Door, opened

COLD = "cold-wallet"


def two_tiers() -> dict[str, Json]:
    document = policy_document()
    hot: Any = document["wallets"]
    cold = {**hot[WALLET], "tier": "cold", "paths": ["m/1/0"]}
    return {**document, "wallets": {**hot, COLD: cold}}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    initiators: Json = [
        {"name": "shop", "key": public("shop").hex(), "people": []},
        {"name": "mover", "key": public("mover").hex(), "people": [], "groups": ["rebalancer"]},
    ]
    async with opened(
        House(tmp_path, policy=two_tiers(), roster=roster_document(initiators=initiators))
    ) as found:
        yield found


def _submit(client: CustodyClient, request: Request) -> RequestView:
    return client.submit(request)


def accounts(document: dict[str, Any], wallet: str) -> list[dict[str, Any]]:
    return [one for one in document["accounts"] if one["wallet"] == wallet]


async def test_a_backend_outside_the_group_is_told_nothing_of_holdings(door: Door) -> None:
    refused = [
        await door.refusal("shop", lambda client: client.holdings()),
        await door.refusal("shop", lambda client: client.movements(0)),
    ]

    assert refused == ["forbidden", "forbidden"]
    assert await door.ask("mover", lambda client: client.holdings())
    assert await door.ask("otto", lambda client: client.movements(0))


async def test_every_account_is_listed_with_its_balance_or_why_it_is_not_known(door: Door) -> None:
    known = await door.ask("mover", lambda client: client.holdings())
    door.running.parts.chains.clear()  # type: ignore[attr-defined]
    unknown = await door.ask("mover", lambda client: client.holdings())

    assert [one["path"] for one in accounts(known, WALLET)] == ["m/0/0", "m/0/1", "m/0/2"]
    assert {(one["tier"], one["balance"], one.get("error")) for one in accounts(known, COLD)} == {
        ("cold", "0", None)
    }
    assert not any("balance" in one for one in accounts(unknown, WALLET))
    assert all("no endpoint" in one["error"] for one in accounts(unknown, COLD))


async def test_payments_and_moves_between_own_wallets_are_told_apart(door: Door) -> None:
    paid, _, _ = make_request("paid", amount=5, now_ms=door.house.now_ms())
    cold = await door.ask("mover", lambda client: client.address(COLD))
    move = Request(
        origin=ORIGIN,
        initiator="mover",
        intent=Intent(ANVIL_CHAIN, WALLET, "eth", 7, cold.address),
        fee_ceiling=FEE_CEILING,
        idempotency_key="move",
        created_ms=door.house.now_ms(),
        expires_ms=door.house.now_ms() + 60_000,
    )

    for name, request in (("shop", paid), ("mover", move)):
        sent = await door.ask(name, partial(_submit, request=request))
        await door.running.until(sent.request, "settled")
    found: Any = await door.ask("mover", lambda client: client.movements(0))
    rest: Any = await door.ask("mover", lambda client: client.movements(1))

    assert [(one["amount"], one.get("to")) for one in found["movements"]] == [("5", None), ("7", COLD)]
    assert [one["number"] for one in rest["movements"]] == [1]
    assert found["next"] == rest["next"] == 2
    assert (await door.ask("mover", lambda client: client.movements(2)))["movements"] == []


async def test_what_waits_is_open_and_what_is_signed_says_so(door: Door) -> None:
    large, _, _ = make_request("large", amount=5 * ETHER, now_ms=door.house.now_ms())
    small, _, _ = make_request("small", amount=3, now_ms=door.house.now_ms())
    door.house.chain.held = True  # type: ignore[attr-defined]
    waits = await door.ask("shop", lambda client: client.submit(large))
    signed = await door.ask("shop", lambda client: client.submit(small))
    await door.running.until(waits.request, "waiting")
    await door.running.until(signed.request, "broadcast")

    found: Any = await door.ask("mover", lambda client: client.holdings())

    seen = {(one["amount"], one["signed"], one["initiator"], one.get("to")) for one in found["open"]}
    assert seen == {(str(5 * ETHER), False, "shop", None), ("3", True, "shop", None)}


async def test_holdings_come_some_accounts_at_once_and_are_one_document(door: Door) -> None:
    whole: Any = await door.ask("mover", lambda client: client.holdings())
    by_one = await door.ask("mover", lambda client: client.holdings(at_once=1))
    assert by_one | {"time_ms": 0} == whole | {"time_ms": 0} and len(whole["accounts"]) > 2

    first: Any = await holdings(door.running.parts, limit=2)
    assert (len(first["accounts"]), first["next"], first["open"]) == (2, 2, [])
    rest: Any = await holdings(door.running.parts, 2)
    assert (first["accounts"] + rest["accounts"], rest["next"]) == (whole["accounts"], 0)
    beyond: Any = await holdings(door.running.parts, 10**6)
    assert (beyond["accounts"], beyond["next"]) == ([], 0)


class Slow(FakeChain):
    """It takes seconds for a balance."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    async def balance(self, account: str, contract: str | None = None) -> int:
        self.clock.ahead_ms += 5_000
        return await super().balance(account, contract)


@pytest.mark.parametrize("at_once", [0, 1])
async def test_holdings_are_of_the_time_of_their_oldest_balance(tmp_path: Path, at_once: int) -> None:
    """Else what arrived while others were read would not count as too late for the first."""
    house = House(tmp_path, policy=two_tiers())
    house.now_ms = clock = Clock()
    house.chain = Slow(clock)
    async with opened(house) as door:
        before_ms = clock()
        found = await door.ask("admin", lambda client: client.holdings(at_once=at_once))

        time_ms = found["time_ms"]
        assert isinstance(time_ms, int) and before_ms <= time_ms < before_ms + 5_000 <= clock() - 5_000


class Endless(CustodyServicer):
    """A coordinator that goes on with empty pages far beyond what a client should take."""

    page: ClassVar[list[Json]] = []

    async def Holdings(self, call: pb.HoldingsCall, context: Any) -> pb.HoldingsReply:
        rest: dict[str, Json] = {"time_ms": 1, "policy": "", "open": [], "prices": []}
        more = call.after + 1 if call.after < 30 else 0
        return pb.HoldingsReply(document=canonical({**rest, "accounts": self.page, "next": more}))


class Skipping(Endless):
    """Its pages overlap."""

    page: ClassVar[list[Json]] = ["a", "b"]


class Vast(Endless):
    """Each account is as long as a page may be."""

    page: ClassVar[list[Json]] = ["x" * 3_000_000]


@pytest.mark.parametrize("liar", [Endless, Skipping, Vast])
async def test_a_coordinator_whose_accounts_do_not_end_is_left(tmp_path: Path, liar: type[Endless]) -> None:
    def reading(client: CustodyClient) -> object:
        return ClientDesk(client, origin=ORIGIN, name="shop", sign=identity("shop").sign).holdings()

    async with opened(House(tmp_path), liar) as door:
        with pytest.raises(MalformedError, match="do not trust it"):
            await door.ask("shop", lambda client: client.holdings())
        with pytest.raises(OperationalError, match="look at its version"):  # and asked again later
            await door.ask("shop", reading)


async def test_a_rebalancers_desk_reads_asks_and_calls_back_through_the_same_door(door: Door) -> None:
    cold = await door.ask("mover", lambda client: client.address(COLD))
    now_ms = door.house.now_ms()
    intent = Intent(ANVIL_CHAIN, WALLET, "eth", 5 * ETHER, cold.address)
    request = Request(ORIGIN, "mover", intent, FEE_CEILING, "top-up", now_ms, now_ms + 60_000)

    def act(client: CustodyClient) -> None:
        desk = ClientDesk(client, origin=ORIGIN, name="mover", sign=identity("mover").sign)
        assert {one.wallet for one in desk.holdings().accounts} == {WALLET, COLD}
        assert desk.movements(0) == ((), 0)
        assert desk.get(b"\x07" * 32) is None
        asked = desk.submit(canonical(request.body()))
        assert desk.submit(canonical(request.body())).request == asked.request
        while desk.own_requests()[0].state != "waiting":
            pass
        (opened,) = desk.holdings().open
        assert (opened.to, opened.signed, opened.amount_base) == (COLD, False, 5 * ETHER)
        desk.call_back(asked.request, "its reason is gone")
        desk.call_back(asked.request, "its reason is gone")
        while (found := desk.get(asked.request)) is not None and found.state == "waiting":
            pass
        assert found is not None and found.state == "denied"

    await door.ask("mover", act)


async def test_a_desk_tells_what_may_be_asked_again_from_what_never_will_be(door: Door) -> None:
    intent = Intent(ANVIL_CHAIN, WALLET, "eth", 5, "0x" + "11" * 20)
    old = Request(ORIGIN, "mover", intent, FEE_CEILING, "old", 1, 2)

    def refused(client: CustodyClient) -> None:
        desk = ClientDesk(client, origin=ORIGIN, name="mover", sign=identity("mover").sign)
        with pytest.raises(TurnedAway) as never:
            desk.submit(canonical(old.body()))
        assert never.value.code == "request-expired"

    def unheard(client: CustodyClient) -> None:
        desk = ClientDesk(client, origin=ORIGIN, name="shop", sign=identity("shop").sign)
        with pytest.raises(OperationalError):
            desk.holdings()

    await door.ask("mover", refused)
    await door.ask("shop", unheard)
