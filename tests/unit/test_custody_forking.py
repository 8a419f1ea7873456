"""A split that no count resolves ends by the administrators' fork entry, with burns of what it abandons."""

from pathlib import Path
from typing import Any

import pytest

from custody.api.errors import CallRefused
from custody.enacting import Signed, enact
from custody.forking import draft_fork
from policy.encoding import canonical, statement
from policy.entries import ForkEntry, parse_entry, signature_list
from policy.state import JobStatus
from tests.unit.custody_cluster import NODES, identity, make_request
from tests.unit.custody_house import House, Running
from tests.unit.test_custody_branches import Branch
from tests.waiting import until

STUCK, LIVING = NODES[:2], ("node-c", "witness")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def split(house: House, *, length: int) -> bytes:
    """Two cosigners on a branch with a job of their own, the other two on a longer one; the job."""
    async with house.with_key() as running:
        await until(lambda: running.parts.replication.quorum.size == 2)
        await until(lambda: all(len(node.log) == 2 for node in house.nodes.values()))
        await until(lambda: any(stock for _, stock in running.parts.pools.report()))
        common = Branch()
        common.tip, common.entries = house.nodes["node-a"].tip, list(house.nodes["node-a"].log)
        for name in LIVING:
            house.nodes[name].down = True
        for name in STUCK:
            house.nodes[name].mute = True
        await until(lambda: house.nodes["node-a"].quorum_note != b"")
        _, body, signature = make_request("lost", amount=1, now_ms=house.now_ms())
        await running.service.submit(body, signature)
        await until(lambda: all(house.nodes[name].kinds()[-1] == "reserve" for name in STUCK))
    for number in range(length):
        common.add(f"living {number}", now_ms=house.now_ms())
    for name in LIVING:
        house.nodes[name].down = False
        common.give(house.nodes[name])
    for name in STUCK:
        house.nodes[name].mute = False
    (job,) = house.nodes["node-a"].tip.state.jobs
    return job


async def diverged(running: Running) -> None:
    await until(lambda: all(running.parts.replication.followers[name].diverged for name in STUCK))


def signed(draft: dict[str, Any]) -> Signed:
    proof = signature_list({"admin": identity("admin").sign(statement("fork", draft["body"]))})
    return Signed("fork", canonical(draft["body"]), canonical({"signatures": proof, "burns": draft["burns"]}))


async def test_stuck_cosigners_leave_by_the_fork_entry_and_the_log_goes_on_with_all(house: House) -> None:
    job = await split(house, length=9)

    async with house.running() as running:
        await diverged(running)
        problem = running.parts.replication.followers["node-a"].problem
        draft: dict[str, Any] = await draft_fork(running.parts, "node-a")
        outcome = await enact(running.parts, signed(draft))
        await until(lambda: running.parts.replication.quorum.size == running.parts.sequencer.state.size)
        logs = [node.log for node in house.nodes.values()]
        entries = [parse_entry(entry).entry for entry in logs[0]]
        _, body, signature = make_request("after", amount=1, now_ms=house.now_ms())
        after = await running.service.submit(body, signature)
        await running.until(after.request, "settled")

    assert "of 3 cosigners follow this log: needs the administrators' fork entry" in problem
    assert draft["body"]["abandoned"] == [job.hex()]
    assert (draft["from"], draft["quorum"]) == (2, 2)
    assert outcome["left"] == dict.fromkeys(STUCK, "")
    assert all(log[:12] == logs[0][:12] for log in logs)
    assert [entry.abandoned for entry in entries if isinstance(entry, ForkEntry)] == [(job,)]


async def test_a_signer_whose_partial_is_out_or_who_is_down_is_named(house: House) -> None:
    job = await split(house, length=9)
    house.nodes["node-b"]._sent[job] = [b"out already"]

    async with house.running() as running:
        await diverged(running)
        with pytest.raises(CallRefused) as out:
            await draft_fork(running.parts, "node-a")
        house.nodes["node-b"].down = True
        with pytest.raises(CallRefused) as down:
            await draft_fork(running.parts, "node-a")

    assert "node-b: a partial signature is out" in out.value.reason and job.hex() in out.value.reason
    assert "node-b: node-b is down" in down.value.reason


async def test_without_every_burn_the_stuck_stay_and_say_why(house: House) -> None:
    await split(house, length=9)

    async with house.running() as running:
        await diverged(running)
        draft: dict[str, Any] = await draft_fork(running.parts, "node-a")
        without = {**draft, "body": {**draft["body"], "abandoned": []}, "burns": []}
        outcome = await enact(running.parts, signed(without))

    assert all("needs burn statements of node-a, node-b" in str(outcome["left"][name]) for name in STUCK)  # type: ignore[call-overload, index]


async def test_who_follows_the_log_needs_no_fork_entry(house: House) -> None:
    async with house.with_key() as running:
        body = {"origin": "log.example.com/test", "size": 1, "root": "00" * 32, "abandoned": []}
        with pytest.raises(CallRefused, match="on no other branch"):
            await draft_fork(running.parts, "node-a")
        with pytest.raises(CallRefused, match="no cosigner 'nobody'"):
            await draft_fork(running.parts, "nobody")
        with pytest.raises(CallRefused, match="no cosigner is on another branch"):
            await enact(running.parts, signed({"body": body, "burns": []}))

        assert not any(job.status is JobStatus.BURNED for job in running.parts.sequencer.state.jobs.values())
