"""A coordinator's ceremonies with real cosigners and real cold machines: only the chain is a fake."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from custody.adapters.node_link import NodeLink
from custody.api.errors import CallRefused
from custody.ceremonies import Stage
from custody.cold import ColdStep
from custody.enacting import Signed
from custody.log_key import LogKey
from custody.parts import Patience
from custody.requests import State
from policy.encoding import Json, canonical, statement
from policy.entries import signature_list
from policy.ids import REFRESH, RESHARE
from policy.state import CANCEL, PAYMENT, JobStatus
from signer_nodes.api.client import NodeClient, Service
from tests.e2e.cluster import Cluster, now_ms, scratch_folder
from tests.e2e.cold_room import COLD, SPARE, ColdRoom, cold_policy
from tests.e2e.deployment import CHAIN, CUSTOMER, ETH, ORIGIN
from tests.unit.custody_cluster import FakeNode
from tests.unit.custody_house import FakeChain, House, Running
from tests.waiting import until

TWO = COLD[:2]
PASSES_ECDSA = 4
PASSES_NEXT_EPOCH = 5


class ColdHouse(House):
    """The coordinator's house over a cluster of real cosigners."""

    def __init__(self, folder: Path, policy: dict[str, Any] | None = None) -> None:
        super().__init__(folder)
        self.room = ColdRoom(folder, (*COLD, SPARE))
        self.cluster = cluster = Cluster(folder, policy=policy or cold_policy(), cold=self.room.roster())
        self.room.join(cluster)
        self.genesis = cluster.genesis
        self.log_key = LogKey(cluster.log_key)
        self.sign = cluster.identity.sign
        self.chain.name = CHAIN  # type: ignore[misc]
        cluster.start()

    def connect(self) -> None:
        """New connections, for a new coordinator."""
        self.links = {
            name: NodeLink(NodeClient(target, self.cluster.credentials, service=Service.COORDINATE))
            for name, target in self.cluster.targets().items()
        }
        self.nodes = cast("dict[str, FakeNode]", self.links)

    async def close(self) -> None:
        await asyncio.gather(*(node.close() for node in self.links.values()))


@pytest.fixture(scope="module")
async def house() -> AsyncIterator[ColdHouse]:
    """Everything running, and the cold EVM key made in a ceremony."""
    folder = scratch_folder()
    made = ColdHouse(folder)
    try:
        made.connect()
        async with made.running() as running:
            made.room.start(*COLD)
            report = await held(made, running, COLD, key="cold-eth")
            assert (report["stage"], report["outcome"]) == (Stage.DONE, "key cold-eth is made"), str(report)
        await made.close()
        made.room.kill_all()
        yield made
    finally:
        made.room.kill_all()
        made.cluster.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def running(house: ColdHouse) -> AsyncIterator[Running]:
    """A coordinator at work; the cold machines are off before and after, and no ceremony is under way."""
    house.connect()
    async with house.running() as made:
        current = made.parts.ceremonies.current
        if current is not None and not current.is_over:
            await step(made, ended_by="alice")
        yield made
    await house.close()
    house.room.kill_all()


async def step(running: Running, **wanted: Any) -> tuple[dict[str, Any], list[tuple[str, int, bytes]]]:
    document, letters = await running.service.cold("alice", ColdStep(**wanted))
    return json.loads(document), letters


async def held(
    house: ColdHouse,
    running: Running,
    names: tuple[str, ...],
    *,
    request: bytes = b"",
    key: str = "",
    change: str = "",
    passes: int = 20,
) -> dict[str, Any]:
    """A ceremony to its end, or as many passes of it as are given."""
    machines = house.room.machines
    await step(running, files=tuple(machines[name].hello for name in names))
    report, letters = await step(running, request=request, key=key, change=change)
    while letters and passes:
        passes -= 1
        answers = [machines[node].read(data, confirm=request.hex()) for node, _, data in letters]
        report, letters = await step(running, files=tuple(answers))
    return report


async def asked(house: ColdHouse, running: Running, *, amount: int = ETH // 100) -> bytes:
    """A request of a cold wallet that awaits its ceremony."""
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "initiator": "payments",
        "chain": CHAIN,
        "wallet": "cold-eth",
        "asset": "eth",
        "amount": str(amount),
        "destination": CUSTOMER,
        "fee_ceiling": str(ETH // 100),
        "idempotency_key": secrets.token_hex(8),
        "created_ms": now_ms(),
        "expires_ms": now_ms() + 3_600_000,
    }
    signature = house.cluster.backend.sign(statement("request", body))
    record = await running.service.submit(canonical(body), signature)
    await running.until(record.request, State.AWAITING_CEREMONY)
    return record.request


async def test_operators_see_that_a_request_awaits_its_ceremony(house: ColdHouse, running: Running) -> None:
    request = await asked(house, running)

    record = await running.service.get(request)
    listed = await running.service.requests(state="awaiting-ceremony", initiator="", limit=10, before=b"")

    assert f"quorumkeep cold export --request {request.hex()}" in record.error
    assert request in [one.request for one in listed]


@pytest.mark.parametrize("passes", range(PASSES_ECDSA))
async def test_a_ceremony_that_ends_after_any_pass_loses_nothing(
    house: ColdHouse, running: Running, passes: int
) -> None:
    request = await asked(house, running)
    house.room.start(*TWO)
    report = await held(house, running, TWO, request=request, passes=passes)
    first = bytes.fromhex(report["job"])
    house.room.kill_all()
    held_by = running.parts.sequencer.state.jobs[first].status

    house.room.start(*TWO)
    report = await held(house, running, TWO, request=request)

    assert held_by is JobStatus.RESERVED, "an interrupted job holds its limits"
    assert report["stage"] == Stage.DONE, report
    assert bytes.fromhex(report["job"]) != first
    await running.until(request, State.SETTLED)
    state = running.parts.sequencer
    await until(lambda: state.state.jobs[first].status is JobStatus.BURNED)


async def test_a_partial_signature_that_is_lost_on_the_way_costs_a_job_and_no_payment(
    house: ColdHouse, running: Running
) -> None:
    request = await asked(house, running)
    house.room.start(*TWO)
    machines = house.room.machines
    await step(running, files=tuple(machines[name].hello for name in TWO))
    report, letters = await step(running, request=request)
    while report["stage"] != Stage.SIGNING:
        answers = tuple(machines[node].read(data) for node, _, data in letters)
        report, letters = await step(running, files=answers)
    for node, _, data in letters:
        machines[node].read(data, confirm=request.hex())
    first = bytes.fromhex(report["job"])
    house.room.kill_all()

    house.room.start(*TWO)
    report = await held(house, running, TWO, request=request)

    assert report["stage"] == Stage.DONE, report
    await running.until(request, State.SETTLED)
    assert running.parts.sequencer.state.jobs[first].status is JobStatus.RESERVED, "it is out, and counts"


async def test_a_coordinator_that_is_killed_before_any_letter_of_a_ceremony_goes_on_with_it(
    house: ColdHouse,
) -> None:
    machines, request, letters, done = house.room.machines, b"", list[tuple[str, int, bytes]](), False
    house.room.start(*TWO)
    while not done:
        house.connect()
        async with house.running() as running:
            if not request:
                request = await asked(house, running)
                await step(running, files=tuple(machines[name].hello for name in TWO))
            report, again = await step(running, request=request)
            done = report["stage"] == Stage.DONE
            assert again == letters or not letters, "the same letters, to the byte"
            if again:
                (node, _, data), *_ = again
                answer = machines[node].read(data, confirm=request.hex())
                report, letters = await step(running, files=(answer,))
            if done:
                await running.until(request, State.SETTLED)
        await house.close()
    house.room.kill_all()

    assert report["passes"] == PASSES_ECDSA
    assert len(running.parts.sequencer.state.requests[request].jobs) == 1


async def test_a_payment_that_is_stuck_is_replaced_by_a_dearer_one_in_a_ceremony(house: ColdHouse) -> None:
    chain = cast("FakeChain", house.chain)
    house.connect()
    house.patience, chain.held = Patience(1_000, 3), True
    async with house.running() as running:
        request = await asked(house, running)
        house.room.start(*TWO)
        assert (await held(house, running, TWO, request=request))["stage"] == Stage.DONE
        stuck = await running.until(request, State.REPLACING)
        await until(lambda: len(chain.waiting) == 1)
        house.room.kill_all()

        house.room.start(*TWO)
        report = await held(house, running, TWO, request=request)
        again = await running.until(request, State.BROADCAST, State.REPLACING)
        chain.held = False
        chain.mine(again.account)
        await running.until(request, State.SETTLED)
    house.patience = Patience(0, 0)
    await house.close()
    house.room.kill_all()

    first, second = (
        running.parts.sequencer.state.jobs[job]
        for job in running.parts.sequencer.state.requests[request].jobs
    )
    assert (report["stage"], report["purpose"], report["passes"]) == (Stage.DONE, PAYMENT, PASSES_ECDSA)
    assert (first.anchor, first.purpose) == (second.anchor, second.purpose)
    assert second.fee_max > first.fee_max
    assert stuck.nonce == again.nonce and again.tx_hash != stuck.tx_hash


async def test_the_slot_of_a_payment_that_is_over_unsigned_is_closed_in_a_ceremony(
    house: ColdHouse, running: Running
) -> None:
    request = await asked(house, running)
    house.room.start(*TWO)
    report = await held(house, running, TWO, request=request, passes=1)
    assert report["job"]
    house.room.kill_all()
    await rejected(house, running, request)
    house.room.start(*TWO)

    report = await held(house, running, TWO, request=request)

    assert (report["stage"], report["purpose"]) == (Stage.DONE, CANCEL), report
    record = await running.until(request, State.CANCELLED)
    assert record.tx_hash in house.chain.mined  # type: ignore[attr-defined]


async def rejected(house: ColdHouse, running: Running, request: bytes) -> None:
    """Have an operator say no to it."""
    body: Json = {"origin": ORIGIN, "request": request.hex(), "by": "alice", "reason": "it was a mistake"}
    signature = house.cluster.operators["alice"].sign(statement("reject", body))
    proof = canonical({"signatures": signature_list({"alice": signature})})
    await running.service.enact("alice", Signed("reject", canonical(body), proof))
    await running.until(request, State.DENIED)


async def test_a_cold_key_is_refreshed_and_its_old_shares_are_destroyed(
    house: ColdHouse, running: Running
) -> None:
    before = running.parts.sequencer.state.keys["cold-eth"]
    house.room.start(*COLD)

    report = await held(house, running, COLD, key="cold-eth", change=REFRESH)

    state = running.parts.sequencer.state
    after, shredded = state.keys["cold-eth"], {(before.key, before.epoch, name) for name in COLD}
    assert (report["stage"], report["outcome"]) == (Stage.DONE, f"key cold-eth is in epoch {after.epoch}")
    assert report["passes"] == PASSES_NEXT_EPOCH
    assert (after.epoch, after.group_key) == (before.epoch + 1, before.group_key)
    assert after.public_shares != before.public_shares
    assert shredded <= set(state.shreds)


async def test_letters_are_written_again_until_their_answers_come(house: ColdHouse, running: Running) -> None:
    request = await asked(house, running)
    house.room.start(*TWO)
    machines = house.room.machines
    await step(running, files=tuple(machines[name].hello for name in TWO))
    _, first = await step(running, request=request)

    _, again = await step(running, request=request)
    answer = machines["cold-a"].read({node: data for node, _, data in first}["cold-a"])
    report, left = await step(running, files=(answer,))

    assert again == first
    assert ([node for node, _, _ in left], report["waits_for"]) == (["cold-b"], ["cold-b"])
    with pytest.raises(CallRefused, match=r"letter-refused.*replayed"):
        await step(running, files=(answer,))
    assert max(len(data) for _, _, data in first) < 100_000


async def test_only_people_of_the_roster_hold_ceremonies(house: ColdHouse, running: Running) -> None:
    with pytest.raises(CallRefused, match="forbidden"):
        await running.service.cold("payments", ColdStep(key="cold-eth"))
    with pytest.raises(CallRefused, match="there is no request"):
        await step(running, request=bytes(32))
    with pytest.raises(CallRefused, match="no key 'hot' of cold nodes"):
        await step(running, key="hot")


async def test_a_ceremony_has_its_record_in_the_log(house: ColdHouse, running: Running) -> None:
    request = await asked(house, running)
    house.room.start(*TWO)
    report = await held(house, running, TWO, request=request)
    cluster, there = house.cluster, {"alice": "custodian", "admin": "conductor", "bob": "witness"}
    body: dict[str, Json] = {
        "origin": ORIGIN,
        **{name: report[name] for name in ("ceremony", "key", "job", "nodes", "began_ms", "ended_ms")},
        "outcome": "signed",
        "checklist": ["both screens showed the same request"],
        "witnesses": [{"name": name, "role": role} for name, role in there.items()],
    }
    keys = {**cluster.operators, "admin": cluster.admin}
    message = statement("ceremony", body)
    listed = signature_list({name: keys[name].sign(message) for name in there})

    record = Signed("ceremony", canonical(body), canonical({"signatures": listed}))
    outcomes = [json.loads(await running.service.enact("bob", record)) for _ in "12"]

    assert [one["subject"] for one in outcomes] == [report["ceremony"]] * 2
    assert [one["was_done"] for one in outcomes] == [False, True]


async def moved_to(house: ColdHouse, running: Running, *names: str) -> None:
    """Have the policy name other machines for the key."""
    state = running.parts.sequencer.state
    policy = cast("dict[str, Any]", json.loads(canonical(state.policy_document)))
    policy["keys"]["cold-eth"]["participants"] = list(names)
    body: dict[str, Json] = {"origin": ORIGIN, "policy": policy, "previous": state.policy_hash.hex()}
    signed = signature_list({"admin": house.cluster.admin.sign(statement("policy", body))})
    await running.service.enact("admin", Signed("policy", canonical(body), canonical({"signatures": signed})))
    await until(lambda: not running.parts.sequencer.state.pending)


@pytest.mark.slow
async def test_the_place_of_a_lost_machine_is_given_to_another(house: ColdHouse, running: Running) -> None:
    staying = ("cold-a", "cold-c", SPARE)
    before = running.parts.sequencer.state.keys["cold-eth"]
    with pytest.raises(CallRefused, match="--change refresh renews its shares"):
        await step(running, key="cold-eth", change=RESHARE)
    await moved_to(house, running, *staying)
    house.room.start(*staying)

    report = await held(house, running, staying, key="cold-eth", change=RESHARE)

    state = running.parts.sequencer.state
    after = state.keys["cold-eth"]
    assert (report["stage"], report["outcome"]) == (Stage.DONE, f"key cold-eth is in epoch {after.epoch}")
    assert report["passes"] == PASSES_NEXT_EPOCH
    assert (after.participants, after.group_key) == (staying, before.group_key)
    assert {(before.key, before.epoch, name) for name in ("cold-a", "cold-c")} <= set(state.shreds)
    house.room.kill_all()
    request = await asked(house, running)
    house.room.start("cold-c", SPARE)
    assert (await held(house, running, ("cold-c", SPARE), request=request))["stage"] == Stage.DONE
