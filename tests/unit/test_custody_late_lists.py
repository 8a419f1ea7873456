"""A list that changes between a reservation and its partials: what may still be paid is reserved again."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from custody.enacting import enact
from custody.ports import Declined as Said
from custody.ports import Finished, FinishJob
from policy.state import JobStatus
from signer_nodes.gate import Declined, Node, may_sign
from tests.unit.custody_cluster import ORIGIN, PAYEE, FakeNode, policy_document, roster_document
from tests.unit.custody_house import House, Running
from tests.unit.test_custody_enacting import ADMINISTRATORS, BOTH, by, pay
from tests.waiting import until

OTHER = "0x" + "0d" * 20


class GatedNode(FakeNode):
    """It asks the gate before each partial signature; ``meanwhile`` happens before the first."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        if self.meanwhile is not None:
            await self.meanwhile()
        state = self.tip.state
        found = [
            may_sign(
                state,
                job.job,
                node=Node(self.name, state.jobs[job.job].time_ms, frozen=False),
                quorum_size=state.size,
            )
            for job in jobs
        ]
        declined = tuple(Said(one.job_id, one.reason) for one in found if isinstance(one, Declined))
        kept = tuple(job for job in jobs if job.job not in {one.job for one in declined})
        given = await super().finish(note, kept)
        return Finished(given.partials, declined)


def house(folder: Path) -> House:
    """Under a policy that pays customers only, whose list two administrators change."""
    policy: Any = policy_document()
    policy["lists"] = {"customers": {"addresses": [PAYEE, OTHER], "quorum": 2, "cool_down_ms": 1000}}
    policy["forbids"] = [{"name": "strangers", "when": {"not_destinations": ["customers"]}}]
    made = House(folder, policy=policy, roster=roster_document(administrators=ADMINISTRATORS))
    made.nodes = {name: GatedNode(name, made.dealer) for name in made.nodes}
    return made


def taking_off(running: Running, nodes: "dict[str, FakeNode]", address: str) -> Callable[[], Awaitable[None]]:
    """What takes an address off the list, once, and waits until every node knows."""
    done: list[str] = []

    async def meanwhile() -> None:
        if not done:
            done.append(address)
            state = running.parts.sequencer.state
            body: Any = {"origin": ORIGIN, "policy": state.policy_hash.hex(), "list": "customers"}
            body |= {"action": "remove", "address": address, "nonce": "ab" * 32}
            await enact(running.parts, by("address", body, *BOTH))
        await until(lambda: all(node.tip.state.book_hash for node in nodes.values()))

    return meanwhile


@pytest.mark.parametrize(("removed", "state"), [(PAYEE, "denied"), (OTHER, "settled")])
async def test_a_list_changed_after_the_reservation_counts_before_the_signature(
    tmp_path: Path, removed: str, state: str
) -> None:
    made = house(tmp_path)
    async with made.with_key() as running:
        meanwhile = taking_off(running, made.nodes, removed)
        for node in made.nodes.values():
            assert isinstance(node, GatedNode)
            node.meanwhile = meanwhile
        request = await pay(running, "one")
        record = await running.until(request, "denied", "settled")
        log = running.parts.sequencer.state
        first, *later = (log.jobs[job] for job in log.requests[request].jobs)

        assert record.state == state
        assert not any(first.signatures) and first.book != log.book_hash
        assert [job.status for job in later] == ([JobStatus.SIGNED] if state == "settled" else [])
        assert all(job.book == log.book_hash for job in later)
