"""Typed data through the coordinator: planned without a chain, signed, handed over, and sent nowhere."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from custody.adapters.api_server import view
from custody.client import FINAL as CLIENTS_FINAL
from custody.planning import key_of
from custody.requests import FINAL
from policy.accounts import account_at
from policy.decode.eip712 import parse_typed_data
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.ids import evm_chain_id
from policy.intent import Intent, Request
from policy.reserves import CONTRACT, NAME, Asked, declared_on
from policy.state import JobStatus
from tests.simulation.world import TOKEN
from tests.unit.custody_cluster import (
    ANVIL_CHAIN,
    ETHER,
    NODES,
    ORIGIN,
    WALLET,
    complete_approval,
    identity,
    make_request,
    policy_document,
)
from tests.unit.custody_house import Clock, FakeChain, House, Running
from tests.unit.test_custody_api import opened
from tests.unit.typed_data_house import TYPED_DATA, Document, permit
from tests.waiting import until

CHAIN_ID = evm_chain_id(ANVIL_CHAIN)


def policy_with_permits(then: Document) -> Json:
    declared = {"permit": {**TYPED_DATA["permit"], "chain": ANVIL_CHAIN}}
    policy: dict[str, Any] = {**policy_document(), "typed_data": declared}
    rule = {"name": "permits", "when": {"typed_data": ["permit"]}, "then": then}
    return {**policy, "rules": [*policy["rules"], rule]}


APPROVED = {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]}


class Reticent(FakeChain):
    """A chain that answers nothing: typed data needs none."""

    def __init__(self) -> None:
        super().__init__()
        self.down = True


def house_of(folder: Path, then: Document) -> House:
    house = House(folder, policy=policy_with_permits(then))
    house.chain = Reticent()
    return house


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path, {"outcome": "allow"})


def account(running: Running, path: str = "m/0/0") -> str:
    return account_at(key_of(running.parts.sequencer.state, WALLET), path, chain=ANVIL_CHAIN).address


def document(owner: str, nonce: int = 0) -> Document:
    found = permit(owner, nonce=nonce)
    return {**found, "domain": {**found["domain"], "chainId": str(CHAIN_ID)}}


def asked(house: House, name: str, *, typed: Document, life_ms: int = 600_000) -> Request:
    now = house.now_ms()
    intent = Intent(ANVIL_CHAIN, WALLET, "eth", 0, TOKEN, typed_data=canonical(typed))
    return Request(ORIGIN, "shop", intent, 0, name, now, now + life_ms)


async def submit(
    running: Running, house: House, name: str, *, typed: Document, life_ms: int = 600_000
) -> bytes:
    body = asked(house, name, typed=typed, life_ms=life_ms).body()
    signature = identity("shop").sign(statement("request", body))
    return (await running.service.submit(canonical(body), signature)).request


async def signature_of(running: Running, request: bytes) -> bytes:
    record = await running.service.get(request)
    return view(record, running.parts.sequencer.state).signature


def signer(typed: Document, signature: bytes) -> str:
    """Who signed, by a library of others."""
    numbers = {name: int(typed["message"][name]) for name in ("value", "nonce", "deadline")}
    theirs: Document = {
        **typed,
        "domain": {**typed["domain"], "chainId": CHAIN_ID},
        "message": {**typed["message"], **numbers},
    }
    return str(Account.recover_message(encode_typed_data(full_message=theirs), signature=signature)).lower()


async def test_a_signature_is_handed_over_and_nothing_is_sent(house: House) -> None:
    async with house.with_key() as running:
        typed = document(account(running))
        request = await submit(running, house, "one", typed=typed)
        delivered = await running.until(request, "delivered")

        assert signer(typed, await signature_of(running, request)) == account(running)
        assert (delivered.account, delivered.rule) == (account(running), "permits")
        assert delivered.tx_hash == b""
        assert running.parts.sequencer.state.requests[request].closed
        await until(lambda: house.nodes["node-a"].kinds()[-1] == "signature")
        assert house.nodes["node-a"].kinds()[-3:] == ["request", "reserve", "signature"]


async def test_a_backend_gets_the_signature_through_the_door(house: House) -> None:
    async with opened(house) as door:
        typed = document(account(door.running))
        request = asked(house, "one", typed=typed)
        submitted = await door.ask("shop", lambda client: client.submit(request))
        delivered = await door.ask("shop", lambda client: client.wait(submitted.request, timeout_s=10))

        assert (delivered.state, delivered.over, delivered.tx_hash) == ("delivered", True, "")
        assert signer(typed, delivered.signature) == account(door.running)


async def test_the_account_that_the_message_names_signs(house: House) -> None:
    async with house.with_key() as running:
        second = account(running, "m/0/1")
        typed = document(second)
        request = await submit(running, house, "one", typed=typed)
        await running.until(request, "delivered")

        assert signer(typed, await signature_of(running, request)) == second


async def test_every_account_of_a_wallet_signs_for_a_proof_of_reserves(tmp_path: Path) -> None:
    declared: Json = {NAME: declared_on(ANVIL_CHAIN)}
    rule: Json = {"name": "reserves", "when": {"typed_data": [NAME]}, "then": {"outcome": "allow"}}
    policy: dict[str, Any] = policy_document()
    house = House(tmp_path, policy={**policy, "typed_data": declared, "rules": [*policy["rules"], rule]})
    house.chain = Reticent()
    async with house.with_key() as running:
        state = running.parts.sequencer.state
        asked_for = Asked("auditors", ORIGIN, state.size, bytes(32))
        for owner in (account(running), account(running, "m/0/1")):
            data = asked_for.document(ANVIL_CHAIN, owner)
            now = house.now_ms()
            intent = Intent(ANVIL_CHAIN, WALLET, "eth", 0, CONTRACT, typed_data=data)
            body = Request(ORIGIN, "shop", intent, 0, owner, now, now + 600_000).body()
            mine = identity("shop").sign(statement("request", body))
            request = (await running.service.submit(canonical(body), mine)).request
            await running.until(request, "delivered")

            typed: Any = parse_canonical(data, bytes_max=10_000)
            typed["domain"]["chainId"], typed["message"]["size"] = CHAIN_ID, state.size
            made = encode_typed_data(full_message=typed)
            found = Account.recover_message(made, signature=await signature_of(running, request))
            assert str(found).lower() == owner


async def test_it_stays_after_a_restart_and_in_an_empty_database(house: House) -> None:
    async with house.with_key() as running:
        request = await submit(running, house, "one", typed=document(account(running)))
        await running.until(request, "delivered")
        signature = await signature_of(running, request)
        size = running.parts.sequencer.state.size
        await until(lambda: all(len(node.log) >= size for node in house.nodes.values()))
    async with house.running() as running:
        again = await signature_of(running, request)
    for path in house.folder.glob("custody.db*"):
        path.unlink()
    async with house.running() as running:
        rebuilt = await running.until(request, "delivered")
        after = await signature_of(running, request)

    assert len(signature) == 65
    assert (again, after) == (signature, signature)
    assert rebuilt.state in FINAL and rebuilt.state.value in CLIENTS_FINAL


async def test_no_nonce_of_the_account_is_taken(house: House) -> None:
    async with house.with_key() as running:
        for number in range(3):
            typed = document(account(running), nonce=number)
            await running.until(await submit(running, house, f"r{number}", typed=typed), "delivered")
        house.chain = chain = FakeChain()
        assert await running.parts.database.slots() == ()
    async with house.running() as running:
        _, body, signature = make_request("pay", amount=ETHER, now_ms=house.now_ms())
        paid = await running.until((await running.service.submit(body, signature)).request, "settled")

        assert paid.nonce == 0
        assert len(chain.mined) == 1


async def test_the_same_typed_data_is_signed_for_one_request(house: House) -> None:
    async with house.with_key() as running:
        typed = document(account(running))
        first = await submit(running, house, "one", typed=typed)
        await running.until(first, "delivered")
        second = await submit(running, house, "two", typed=typed)
        denied = await running.until(second, "denied")

        assert denied.rule == "anchor-taken"
        assert await signature_of(running, second) == b""


async def test_an_approver_signs_its_digest(tmp_path: Path) -> None:
    house = house_of(tmp_path, APPROVED)
    async with house.with_key() as running:
        typed = document(account(running))
        request = await submit(running, house, "one", typed=typed)
        await running.until(request, "waiting")
        draft: Any = parse_canonical((await running.service.pending("otto"))[0], bytes_max=20_000)
        await running.service.approve(*complete_approval(draft, "otto"))
        await running.until(request, "delivered")

        assert draft["intent"]["calldata_hash"] == parse_typed_data(canonical(typed)).digest.hex()
        assert int(draft["slot"]["nonce"]) >= 2**255
        assert signer(typed, await signature_of(running, request)) == account(running)


async def test_what_expires_unsigned_holds_nothing_up_and_is_not_cancelled(house: House) -> None:
    clock = house.now_ms = Clock()
    async with house.with_key() as running:
        for name in NODES:
            house.nodes[name].mute = True
        request = await submit(running, house, "one", typed=document(account(running)))
        await running.until(request, "reserved")
        clock.ahead_ms += 700_000
        await running.until(request, "expired")
        for name in NODES:
            house.nodes[name].mute = False
        later = await submit(running, house, "two", typed=document(account(running), nonce=1))
        await running.until(later, "delivered")

        state = running.parts.sequencer.state
        assert not any(duty.request == request for duty in await running.parts.database.duties())
        assert {state.jobs[job].purpose for job in state.requests[request].jobs} == {"payment"}


async def test_a_signer_that_gives_no_partial_is_replaced_under_the_same_digest(house: House) -> None:
    async with house.with_key() as running:
        for name in NODES:
            house.nodes[name].mute = True
        typed = document(account(running))
        request = await submit(running, house, "one", typed=typed)
        await running.until(request, "reserved")
        house.nodes["node-b"].mute = house.nodes["node-c"].mute = False
        await running.until(request, "delivered")

        state = running.parts.sequencer.state
        jobs = [state.jobs[job] for job in state.requests[request].jobs]
        assert len({job.anchor for job in jobs}) == 1
        assert jobs[-1].status is JobStatus.SIGNED
        assert signer(typed, await signature_of(running, request)) == account(running)


@pytest.mark.parametrize("seed", range(4))
async def test_ends_at_any_moment_lose_no_signature_and_give_no_second(house: House, seed: int) -> None:
    source = random.Random(seed)
    requests: list[bytes] = []
    async with house.with_key() as running:
        owner = account(running)
    for life in range(5):
        async with house.running() as running:
            typed = document(owner, nonce=life)
            requests.append(await submit(running, house, f"life {life}", typed=typed))
            await asyncio.sleep(source.random() * 0.06)
        for name in NODES:
            if source.random() < 0.3:
                house.nodes[name].restart()
    async with house.running() as running:
        for number, request in enumerate(requests):
            await running.until(request, "delivered")
            signature = await signature_of(running, request)
            assert signer(document(owner, nonce=number), signature) == owner

        state = running.parts.sequencer.state
        jobs = [[state.jobs[job] for job in state.requests[request].jobs] for request in requests]
        assert all(len({job.anchor for job in of_request}) == 1 for of_request in jobs)
        assert all(sum(job.status is JobStatus.SIGNED for job in of_request) == 1 for of_request in jobs)
