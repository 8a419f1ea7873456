"""A cosigner that is brought up to a long log hears of quorums on its way."""

from pathlib import Path

from custody.adapters.store import Store
from custody.candidates import Candidate, Tip, write_batch
from custody.replication import ENTRIES_EACH_MAX
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House, until

PATIENCE_S = 30.0
ENTRIES = 2 * ENTRIES_EACH_MAX + 100


def lengthen(house: House, tip: Tip) -> None:
    """Write requests into the log of a coordinator that is down."""
    store = Store(house.database)
    store.take_lease(house.now_ms(), 0)
    while tip.frontier.size < ENTRIES:
        now_ms, start = house.now_ms(), tip.frontier.size
        made = [make_request(f"{start + i}", amount=1, now_ms=now_ms) for i in range(64)]
        requests = [
            Candidate("request", request.body(), {"signature": signature.hex()})
            for request, _, signature in made
        ]
        batch = write_batch(tip, requests, now_ms=now_ms)
        note = house.log_key.note(batch.tip.checkpoint()).to_bytes()
        entries = [folded.entry for folded in batch.written]
        store.append(start, entries, note=note, changes=(), now_ms=now_ms)
        tip = batch.tip
    store.close()


async def test_who_catches_up_hears_of_quorums_on_the_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.tell_each = ENTRIES_EACH_MAX
    async with house.with_key() as running:
        await running.cosigned()
        tip = running.parts.sequencer.tip
    lengthen(house, tip)
    late = house.nodes["node-c"]
    late.down = True

    async with house.running() as running:
        await until(lambda: running.parts.replication.quorum.size >= ENTRIES, PATIENCE_S)
        others = [node for node in house.nodes.values() if node is not late]
        assert any(tip.state.size < size < ENTRIES for node in others for size in node.heard)

        late.down, late.heard = False, []
        await until(lambda: late.tip.state.size >= ENTRIES, PATIENCE_S)

        assert any(tip.state.size < size < ENTRIES for size in late.heard)
