"""A cosigner that had a change late: it is shown what others cosigned, or asked until it goes along."""

from pathlib import Path

import pytest

from custody.enacting import enact
from custody.ports import Appended
from policy.log.checkpoint import parse_note, quorum
from signer_nodes.api.errors import Refused
from tests.unit.custody_cluster import COSIGNERS, NODES, FakeNode, public
from tests.unit.test_custody_enacting import BOTH, change, delay_over, house_with, stricter
from tests.waiting import until

KEYS = {name: public(name) for name in COSIGNERS}


class LateNode(FakeNode):
    """It refuses any head beyond ``change`` as early, unless w have cosigned it or ``proof`` was shown."""

    change = proof = 10**9

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        told = [parse_note(self.quorum_note, 10_000)] if self.quorum_note else []
        shown = any(int(one.body.split(b"\n")[1]) <= self.proof for one in told)
        size = start + len(entries)
        if size > self.change and not shown and not quorum(parse_note(note, 10_000), KEYS, w=3):
            raise Refused("early", f"entry {self.change} changes the policy too early")
        return await super().append(start, entries, note=note)


@pytest.mark.parametrize("down", ["", "node-b"])
async def test_a_late_cosigner_goes_along_with_a_quorum_or_its_proof(tmp_path: Path, down: str) -> None:
    house = house_with(tmp_path)
    late = house.nodes["witness"] = LateNode("witness", house.dealer)
    async with house.running() as running:
        late.down = True
        await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        late.change = running.parts.sequencer.state.size
        late.proof = running.parts.replication.quorum.size
        late.down = False
        await until(lambda: len(late.log) == late.change)
        if down:
            house.nodes[down].down = True
        late.quorum_note = b""
        await delay_over(running)
        size = running.parts.sequencer.state.size

        await until(lambda: running.parts.replication.quorum.size == size == len(late.log))
        assert late.quorum_note or not down


async def test_what_a_late_cosigner_waits_for_is_said_while_no_quorum_goes_on(tmp_path: Path) -> None:
    house = house_with(tmp_path)
    house.nodes |= {name: LateNode(name, house.dealer) for name in NODES}
    async with house.running() as running:
        outcome = await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        for node in house.nodes.values():
            if isinstance(node, LateNode):
                node.change, node.proof = running.parts.sequencer.state.size, 0
        await delay_over(running)
        followers = running.parts.replication.followers
        await until(lambda: all("too early" in followers[name].problem for name in NODES))

        assert outcome["cosigned"] is True
        assert running.parts.replication.quorum.size < running.parts.sequencer.state.size
