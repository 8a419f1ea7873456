"""A key's changes through the coordinator: what they need, what an error leaves, and payments meanwhile."""

import asyncio
from pathlib import Path

import pytest

from custody.api.errors import CallRefused
from custody.enacting import Signed, enact
from custody.keys import change_key
from custody.node_statements import unlogged
from policy.encoding import Json, canonical, statement
from policy.entries import KeyEntry, parse_entry, signature_list
from policy.errors import OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.state import KeyRecord
from tests.unit.custody_cluster import (
    COSIGNERS,
    KEY,
    NODES,
    ORIGIN,
    FakeNode,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import House, Running
from tests.waiting import until

NEWCOMER = "node-d"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def larger(tmp_path: Path) -> House:
    """With a fourth node that has no share yet: 4 of 5 cosigners are needed."""
    names = (*COSIGNERS, NEWCOMER)
    cosigners: list[Json] = [
        {"name": n, "key": public(n).hex(), "role": "witness" if n == "witness" else "node"} for n in names
    ]
    house = House(tmp_path, roster=roster_document(cosigners=cosigners, w=4))
    house.nodes[NEWCOMER] = FakeNode(NEWCOMER, house.dealer)
    return house


def record(running: Running) -> KeyRecord:
    return running.parts.sequencer.state.keys[KEY]


async def refresh(running: Running) -> None:
    await running.service.change_key("admin", KEY, change="refresh")


async def refused(running: Running, change: str) -> str:
    with pytest.raises(CallRefused) as caught:
        await running.service.change_key("admin", KEY, change=change)
    return caught.value.reason


async def pay(running: Running, name: str) -> bytes:
    _, body, signature = make_request(name, amount=1, now_ms=running.parts.now_ms())
    return (await running.service.submit(body, signature)).request


async def want(running: Running, *participants: str) -> None:
    """A policy that names another committee, in effect."""
    wanted: Json = {
        KEY: {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": [*participants]},
    }
    body: Json = {
        "origin": ORIGIN,
        "policy": {**policy_document(), "keys": wanted},
        "previous": running.parts.sequencer.state.policy_hash.hex(),
    }
    signatures = signature_list({"admin": identity("admin").sign(statement("policy", body))})
    await enact(running.parts, Signed("policy", canonical(body), canonical({"signatures": signatures})))
    await until(lambda: running.parts.sequencer.state.policy.keys[KEY].participants == participants)


def orders(house: House) -> int:
    """How many orders for changes the nodes were given."""
    return sum(len(node.orders) for node in house.nodes.values())


async def test_payments_go_on_in_the_epoch_that_a_refresh_begins(house: House) -> None:
    async with house.with_key() as running:
        await running.until(await pay(running, "before"), "settled")

        await refresh(running)
        after = await pay(running, "after")
        await running.until(after, "settled")

        state = running.parts.sequencer.state
        assert record(running).epoch == 1
        assert {state.jobs[job].epoch for job in state.requests[after].jobs} == {1}


async def test_what_was_reserved_in_the_old_epoch_is_reserved_again_and_paid_once(house: House) -> None:
    async with house.with_key() as running:
        for name in NODES:
            house.nodes[name].mute = True
        request = await pay(running, "stuck")
        await until(lambda: bool(running.parts.sequencer.state.jobs))

        await refresh(running)
        for name in NODES:
            house.nodes[name].mute = False
        await running.until(request, "settled")

        state = running.parts.sequencer.state
        jobs = [state.jobs[job] for job in state.requests[request].jobs]
        assert [job.epoch for job in jobs][:1] == [0]
        assert jobs[-1].epoch == 1
        assert len({job.anchor for job in jobs}) == 1


async def test_a_resharing_brings_the_share_to_the_nodes_of_the_policy(larger: House) -> None:
    async with larger.with_key() as running:
        await want(running, "node-a", "node-b", NEWCOMER)
        document = await running.service.status()
        larger.nodes["node-c"].down = True

        await running.service.change_key("admin", KEY, change="reshare")
        await running.until(await pay(running, "with the newcomer"), "settled")

        entries = [parse_entry(entry).entry for entry in larger.nodes["node-a"].log]
        made = [entry for entry in entries if isinstance(entry, KeyEntry)][-1]
        assert "reshare it" in str(document)
        assert (made.change, made.dealers) == ("reshare", ("node-a", "node-b"))
        assert record(running).participants == ("node-a", "node-b", NEWCOMER)


@pytest.mark.parametrize(
    ("change", "down", "said"),
    [
        ("refresh", ("node-c",), "takes node-a, node-b, node-c, and node-c is not connected"),
        ("reshare", (NEWCOMER,), "takes node-a, node-b, node-d, and node-d is not connected"),
        (
            "reshare",
            ("node-b", "node-c"),
            "takes 2 of node-a, node-b, node-c to deal, and node-a is connected",
        ),
    ],
)
async def test_a_change_begins_only_when_everybody_is_connected(
    larger: House, change: str, down: tuple[str, ...], said: str
) -> None:
    async with larger.with_key() as running:
        await want(running, "node-a", "node-b", NEWCOMER)
        before = orders(larger)
        for name in down:
            larger.nodes[name].down = True

        with pytest.raises(OperationalError) as caught:
            await change_key(running.parts, KEY, change=change, wait_s=0.1)

        assert said in str(caught.value)
        assert str(caught.value).endswith("Nothing has begun")
        assert orders(larger) == before
        assert record(running).epoch == 0


async def test_a_node_that_nobody_has_told_the_coordinator_of_is_named(larger: House) -> None:
    async with larger.with_key() as running:
        await want(running, "node-a", "node-b", NEWCOMER)
    del larger.nodes[NEWCOMER]
    async with larger.running() as running:
        reason = await refused(running, "reshare")

    assert "node-d has no address here: add it under [nodes]" in reason


async def test_a_node_that_lacks_entries_is_waited_for_and_then_named(house: House) -> None:
    async with house.with_key() as running:

        def fail() -> None:
            raise OperationalError("the disk is slow")

        house.nodes["node-c"].before_append = fail
        await pay(running, "entries that node-c lacks")
        await until(lambda: running.parts.sequencer.state.size > 2)
        with pytest.raises(OperationalError, match=r"node-c lacks some of the.*Nothing has begun"):
            await change_key(running.parts, KEY, change="refresh", wait_s=0.1)
        begun = house.nodes["node-a"].orders[1:]
        later = asyncio.create_task(change_key(running.parts, KEY, change="refresh"))
        await asyncio.sleep(0.1)
        house.nodes["node-c"].before_append = lambda: None
        await later

        assert begun == []
        assert record(running).epoch == 1


async def test_a_node_that_fails_leaves_the_key_in_its_epoch_and_the_next_try_goes_on(house: House) -> None:
    async with house.with_key() as running:

        def fail() -> None:
            raise OperationalError("the token was taken out: put it back")

        house.nodes["node-b"].before_change = fail
        reason = await refused(running, "refresh")
        epoch = record(running).epoch
        house.nodes["node-b"].before_change = lambda: None
        await refresh(running)

        attempts = [order.attempt for order in house.nodes["node-a"].orders]
        assert reason.startswith("key hot stays in epoch 0: no refresh: node-b: the token was taken out")
        assert (epoch, record(running).epoch) == (0, 1)
        assert attempts == sorted(set(attempts))


async def test_an_entry_that_is_not_cosigned_yet_is_not_asked_for_again(house: House) -> None:
    async with house.with_key() as running:
        await until(lambda: all(len(node.log) == 2 for node in house.nodes.values()))

        def fail() -> None:
            if running.parts.sequencer.state.size > 2:
                raise OperationalError("no answer")

        for name in ("node-c", "witness"):
            house.nodes[name].before_append = fail
        with pytest.raises(OperationalError, match=r"epoch 1 is in the log.*do not ask for it again"):
            await change_key(running.parts, KEY, change="refresh", wait_s=0.3)
        for node in house.nodes.values():
            node.before_append = lambda: None
        await running.until(await pay(running, "after"), "settled")

        assert record(running).epoch == 1


async def test_the_nodes_hear_at_once_that_the_epoch_before_is_over(house: House) -> None:
    """They destroy it then; in a busy log nobody would tell them otherwise."""
    async with house.with_key() as running:
        paying = asyncio.create_task(_pay_all_the_time(running))
        await refresh(running)
        heard = [parse_note(house.nodes[name].quorum_note, 10_000).body for name in NODES]
        paying.cancel()

        assert all(parse_checkpoint(body).size > record(running).index for body in heard)


async def _pay_all_the_time(running: Running) -> None:
    for number in range(1000):
        await pay(running, f"busy {number}")
        await asyncio.sleep(0.02)


async def test_receipts_for_what_was_destroyed_are_logged_and_shown(house: House) -> None:
    async with house.with_key() as running:
        await refresh(running)
        await until(lambda: len(running.parts.sequencer.state.shreds) == 3)

        document = await running.service.status()

        assert isinstance(document, dict) and isinstance(document["keys"], list)
        shown = document["keys"][0]
        assert isinstance(shown, dict)
        assert (shown["epoch"], shown["gap"], shown["destroyed_by"]) == (1, "", [*NODES])


async def test_a_ban_of_an_epoch_that_is_over_is_not_offered_to_the_log(house: House) -> None:
    async with house.with_key() as running:
        await refresh(running)
        house.nodes["node-a"].ban("node-b")  # which it says of epoch 0

        status = await house.nodes["node-a"].status()
        found = unlogged(running.parts.sequencer.state, "node-a", status=status)

        assert "ban" not in {candidate.kind for candidate in found}
