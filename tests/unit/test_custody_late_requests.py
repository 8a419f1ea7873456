"""Nodes that had a request late say from when on they sign it: before that it is not reserved again."""

from collections.abc import Callable
from pathlib import Path

from custody.ports import Declined, Finished, FinishJob
from policy.state import JobStatus
from tests.unit.custody_cluster import FakeNode
from tests.unit.custody_house import House
from tests.unit.test_custody_enacting import pay

WAIT_MS = 2_000


class LateNode(FakeNode):
    """By its clock a delay is not over before ``due_ms``."""

    due_ms = 0
    clock: Callable[[], int]

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        if self.clock() >= self.due_ms:
            return await super().finish(note, jobs)
        return Finished((), tuple(Declined(job.job, "came late", self.due_ms) for job in jobs))


async def test_a_payment_is_reserved_again_when_the_nodes_say_that_they_sign_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.nodes = {name: LateNode(name, house.dealer) for name in house.nodes}
    async with house.with_key() as running:
        due_ms = house.now_ms() + WAIT_MS
        for node in house.nodes.values():
            assert isinstance(node, LateNode)
            node.clock, node.due_ms = house.now_ms, due_ms
        request = await pay(running, "one")
        record = await running.until(request, "settled")
        log = running.parts.sequencer.state
        first, second = (log.jobs[job] for job in log.requests[request].jobs)

        assert record.state == "settled"
        assert first.time_ms < due_ms <= second.time_ms
        assert second.status is JobStatus.SIGNED
