"""A cosigner that is brought up to a long log hears of quorums on its way."""

from pathlib import Path

from custody.adapters.store import Store
from custody.candidates import Candidate, Tip, write_batch
from custody.replication import ENTRIES_EACH_MAX
from policy.log.checkpoint import parse_checkpoint, parse_note, quorum
from tests.unit.custody_cluster import COSIGNERS, make_request, public
from tests.unit.custody_house import House, until

ENTRIES = 3 * ENTRIES_EACH_MAX
KEYS = {name: public(name) for name in COSIGNERS}


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
    async with house.with_key() as running:
        await running.cosigned()
        tip = running.parts.sequencer.tip
    lengthen(house, tip)
    late = house.nodes["node-c"]
    late.down = True
    told: list[int] = []
    for node in house.nodes.values():
        node.heard = told

    async with house.running() as running:
        await running.cosigned()
        assert any(0 < size < ENTRIES for size in told)

        late.down, late.appends = False, []
        await until(lambda: late.tip.state.size >= ENTRIES)

        on_the_way = [parse_note(note, 10_000) for _, _, note in late.appends[:-1]]
        assert on_the_way
        for note in on_the_way:
            assert quorum(note, KEYS, w=3), parse_checkpoint(note.body).size
