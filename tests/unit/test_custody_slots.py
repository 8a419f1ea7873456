"""Slots of requests that came to nothing: filled by whatever comes next, or cancelled where nobody comes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.rpc import EvmRpc
from custody.records import Change, new_request
from custody.requests import Event
from policy.encoding import Json, parse_canonical
from policy.intent import Intent
from policy.state import CANCEL
from tests.chains.served import served
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, complete_approval, make_request
from tests.unit.custody_house import LIFE_MS, Clock, FakeChain, House, Running, later
from tests.waiting import found, until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class HeldUp(FakeChain):
    """A chain that says what fees are when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        self.asked.set()
        await self.answers.wait()
        return await super().fees(intent, account=account, contract=contract, ceiling=ceiling)


class AskedForNonces(FakeChain):
    """A chain whose nonces a JSON-RPC endpoint tells."""

    def __init__(self, rpc: EvmRpc) -> None:
        super().__init__()
        self.rpc = rpc

    async def account_nonce(self, account: str) -> int:
        return await self.rpc.account_nonce(account)


async def submit(running: Running, house: House, name: str, *, amount: int, life_ms: int = 600_000) -> bytes:
    now = house.now_ms()
    _, body, signature = make_request(name, amount=amount, now_ms=now, expires_ms=now + life_ms)
    return (await running.service.submit(body, signature)).request


async def approve(running: Running, request: bytes) -> None:
    for draft in await running.service.pending("otto"):
        body: Json = parse_canonical(draft, bytes_max=10_000)
        if isinstance(body, dict) and body["request"] == request.hex():
            await running.service.approve(*complete_approval(body, "otto"))


async def ahead_of(running: Running, house: House, *amounts: int) -> list[bytes]:
    """Requests that wait, each with its place before the next is asked for; they expire ``later``."""
    requests = []
    for i, amount in enumerate(amounts):
        requests.append(await submit(running, house, f"w{i}", amount=amount, life_ms=LIFE_MS))
        await running.until(requests[-1], "waiting")
    return requests


async def let_go(running: Running, requests: Sequence[bytes]) -> None:
    """Once they have expired, and given back what they held."""
    for request in requests:
        await running.until(request, "expired")
    owed = running.parts.database.duties
    await found(owed, lambda duties: not {duty.request for duty in duties}.intersection(requests))


async def blocked(running: Running, house: House) -> bytes:
    """A request that is approved, and reserved behind the slots of two that expire."""
    ahead = await ahead_of(running, house, 2 * ETHER, 3 * ETHER)
    behind = await submit(running, house, "behind", amount=4 * ETHER)
    held = await running.until(behind, "waiting")
    assert held.nonce == 1
    await approve(running, behind)
    later(house)
    await let_go(running, ahead)
    return behind


async def test_a_small_request_fills_the_gap_others_wait_behind(house: House) -> None:
    async with house.with_key() as running:
        behind = await blocked(running, house)

        small = [await submit(running, house, f"small {i}", amount=1) for i in range(3)]
        filled = [await running.until(request, "settled") for request in small]
        freed = await running.until(behind, "settled")

        assert [record.nonce for record in filled if record.account == freed.account] == [0]
        assert {record.path for record in filled if record.account != freed.account} == {"m/0/0"}


async def test_a_slot_that_no_reservation_took_goes_to_the_next_request(house: House) -> None:
    async with house.with_key() as running:
        ahead = await ahead_of(running, house, 2 * ETHER, 2 * ETHER)
        behind = await submit(running, house, "behind", amount=3 * ETHER)
        held = await running.until(behind, "waiting")
        await approve(running, behind)
        later(house)
        await let_go(running, ahead)

        after = await submit(running, house, "after", amount=4 * ETHER)
        filler = await running.until(after, "waiting")
        await approve(running, after)
        await running.until(behind, "settled")

        assert (held.nonce, filler.nonce) == (1, 0)
        assert filler.account == held.account


async def test_a_gap_survives_a_restart_and_is_filled_then(house: House) -> None:
    async with house.with_key() as running:
        behind = await blocked(running, house)

    async with house.running() as running:
        await submit(running, house, "small", amount=1)
        await running.until(behind, "settled")


async def test_a_slot_that_an_approval_names_is_cancelled_when_others_wait_behind_it(house: House) -> None:
    assert isinstance(house.chain, FakeChain)
    async with house.with_key() as running:
        ahead = await ahead_of(running, house, 2 * ETHER, 2 * ETHER)
        first = await running.until(ahead[0], "waiting")
        behind = await submit(running, house, "behind", amount=3 * ETHER)
        await running.until(behind, "waiting")
        for node in house.nodes.values():
            node.mute = True
            node.restart()
        house.chain.down = True  # the approval is logged, and no transaction is reserved before the end
        for name in ("node-a", "node-b", "node-c"):
            house.nodes[name].idle = True
        await approve(running, ahead[0])
        later(house)
        await running.until(ahead[0], "expired")
        house.chain.down = False
        for node in house.nodes.values():
            node.mute = node.idle = False
        await approve(running, behind)

        await running.until(behind, "settled")
        cancelled = await running.until(ahead[0], "cancelled")

        jobs = running.parts.sequencer.state.requests[ahead[0]].jobs
        assert cancelled.nonce == first.nonce
        assert {running.parts.sequencer.state.jobs[job].purpose for job in jobs} == {CANCEL}


async def test_a_request_whose_signature_is_bad_is_not_logged_even_from_the_database(house: House) -> None:
    async with house.with_key() as running:
        _, body, _ = make_request("huge", amount=50 * ETHER, now_ms=house.now_ms())
        forged = new_request(parse_canonical(body, bytes_max=10_000), bytes(64))
        size = running.parts.sequencer.state.size
        record, _ = await running.parts.database.submit(forged, house.now_ms())

        running.parts.duties.submitted(record)
        await running.until(record.request, "denied")

        assert running.parts.sequencer.state.size == size


async def test_a_denied_request_without_a_slot_owes_nothing(house: House) -> None:
    async with house.with_key() as running:
        denied = await submit(running, house, "huge", amount=50 * ETHER)
        await running.until(denied, "denied")

        assert await running.parts.database.duties() == ()


async def test_a_nonce_that_the_log_cannot_have_come_to_is_not_paid_at(house: House) -> None:
    """Payments at it would wait for ever; once the endpoint says what is so, they go on."""
    async with house.with_key() as running:
        first = await running.until(await submit(running, house, "first", amount=1), "settled")
    assert isinstance(house.chain, FakeChain)
    house.chain.nonces[first.account] += 500

    async with house.running() as running:
        waiting = await submit(running, house, "waiting", amount=1)
        await found(lambda: running.service.get(waiting), lambda record: "somebody else" in record.error)
        house.chain.nonces[first.account] -= 500
        paid = await running.until(waiting, "settled")

    assert paid.nonce == 1


async def test_a_nonce_that_no_transaction_can_hold_denies_nothing(house: House) -> None:
    """On an account that the log does not know yet; once the endpoint says what is so, it is paid from."""
    told = hex(2**64)

    async def answer(request: web.Request) -> web.Response:
        asked = (await request.json())["method"]
        return web.json_response({"result": "0x7a69" if asked == "eth_chainId" else told})

    async with served(answer) as url:
        chain = house.chain = AskedForNonces(EvmRpc(ANVIL_CHAIN, url))
        async with house.with_key() as running:
            waiting = await submit(running, house, "waiting", amount=1)
            await found(lambda: running.service.get(waiting), lambda record: "no nonce" in record.error)
            told = "0x0"
            paid = await running.until(waiting, "settled")
        await chain.rpc.close()

    assert paid.nonce == 0


async def test_what_is_reserved_after_it_is_over_blocks_no_account(house: House) -> None:
    """As when this clock is set back a little between the two."""
    house.chain, house.now_ms = HeldUp(), Clock()
    async with house.with_key() as running:
        await until(lambda: any(count for _, count in running.parts.pools.report()))
        over = await submit(running, house, "over", amount=ETHER, life_ms=60_000)
        await house.chain.asked.wait()
        await running.parts.duties.apply(Change(over, Event.TIME_OVER))
        house.chain.answers.set()
        await until(lambda: running.parts.sequencer.state.requests[over].anchor is not None)

        behind = await submit(running, house, "behind", amount=ETHER)
        await running.until(behind, "broadcast")
        house.now_ms.ahead_ms = 60_000

        assert (await running.until(behind, "settled")).nonce == 1
        assert (await running.until(over, "cancelled")).nonce == 0
