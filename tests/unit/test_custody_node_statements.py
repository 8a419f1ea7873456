"""Bans of nodes reach the log once, and sets with a banned pair sign nothing any more."""

import asyncio
from pathlib import Path

import pytest

from custody.node_statements import unlogged
from policy import ledger
from policy.encoding import Json, canonical
from policy.errors import ProtocolError
from tests.unit.custody_cluster import KEY, NODES, ORIGIN, identity, make_request
from tests.unit.custody_house import House, Running
from tests.waiting import until

BANNED = (KEY, 0, "node-a", "node-b")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def logged(running: Running) -> None:
    await until(lambda: BANNED in running.parts.sequencer.state.bans)


async def test_a_ban_is_logged_once_and_the_others_go_on_signing(house: House) -> None:
    async with house.with_key() as running:
        house.nodes["node-a"].ban("node-b")
        await logged(running)
        await asyncio.sleep(2.5)

        for i in range(12):  # more than any stock of before
            now = house.now_ms()
            _, body, signature = make_request(f"r{i}", amount=1, now_ms=now)
            request = (await running.service.submit(body, signature)).request
            await running.until(request, "settled")

        state = running.parts.sequencer.state
        assert house.nodes["node-c"].kinds().count("ban") == 1
        assert all(not {"node-a", "node-b"} <= set(job.signers) for job in state.jobs.values())


async def test_a_ban_that_its_node_did_not_sign_stays_out_of_the_log(house: House) -> None:
    async with house.with_key() as running:
        node = house.nodes["node-a"]
        node.ban("node-b")
        forged = identity("mallory").sign(b"ban").hex()
        node.bans = [{"body": node.bans[0]["body"], "signature": forged}]  # type: ignore[index, call-overload]
        await asyncio.sleep(2.5)

        assert "ban" not in house.nodes["node-c"].kinds()
        assert running.parts.sequencer.state.bans == frozenset()


def test_a_node_speaks_only_for_itself() -> None:
    body: Json = {
        "origin": ORIGIN,
        "key": KEY,
        "epoch": 0,
        "by": NODES[1],
        "against": NODES[2],
        "reason": "x",
    }
    status = canonical({"bans": [{"body": body, "signature": "00" * 64}]})

    assert unlogged(ledger.initial(), NODES[0], status=status) == []
    assert len(unlogged(ledger.initial(), NODES[1], status=status)) == 1


@pytest.mark.parametrize("status", [b"[", b'{"bans":7}', b'{"bans":[{}]}', b'{"bans":[7]}'])
def test_a_malformed_status_is_an_error_and_no_ban(status: bytes) -> None:
    with pytest.raises(ProtocolError):
        unlogged(ledger.initial(), NODES[0], status=status)
