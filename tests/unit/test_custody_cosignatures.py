"""What counts as a cosigner's answer to a checkpoint."""

from dataclasses import replace
from pathlib import Path

from custody.ports import Appended
from policy.log.checkpoint import parse_note, verify_cosignatures
from tests.unit.custody_cluster import COSIGNERS, FakeNode, make_request, public
from tests.unit.custody_house import House
from tests.waiting import until


class WithALineOfAnothers(FakeNode):
    """Puts a line that is to pass for another cosigner's before its own."""

    line = b""

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        answer = await super().append(start, entries, note=note)
        return replace(answer, cosignature=self.line + answer.cosignature)


async def test_a_line_of_anothers_is_not_taken_in_with_a_cosigners_own(tmp_path: Path) -> None:
    house = House(tmp_path)
    forger = house.nodes["node-c"] = WithALineOfAnothers("node-c", house.dealer)
    async with house.with_key() as running:
        old = house.nodes["node-a"].note
        assert old is not None
        forger.line = old.to_bytes()[len(old.body) + 1 :].splitlines(keepends=True)[-1]

        _, body, signature = make_request("one", amount=1, now_ms=house.now_ms())
        request = (await running.service.submit(body, signature)).request
        await running.until(request, "settled")

        follower = running.parts.replication.followers["node-c"]
        await until(lambda: "of its own alone" in follower.problem)
        note = parse_note(running.parts.replication.quorum.note, 10_000)
        assert len(verify_cosignatures(note, {name: public(name) for name in COSIGNERS})) >= 3
