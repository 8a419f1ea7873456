"""A cosigner that is brought up to a long log hears of quorums on its way."""

from pathlib import Path

from custody.adapters.store import Store
from custody.candidates import EMPTY, Candidate, extend, write_batch
from custody.replication import BYTES_EACH_MAX, ENTRIES_EACH_MAX
from policy.intent import Intent, Request, request_message
from tests.unit.custody_cluster import (
    ANVIL_CHAIN,
    FEE_CEILING,
    ORIGIN,
    PAYEE,
    WALLET,
    identity,
    make_request,
)
from tests.unit.custody_house import House
from tests.waiting import until

PATIENCE_S = 30.0
ENTRIES = 2 * ENTRIES_EACH_MAX + 100


def lengthen(house: House, until_size: int = ENTRIES, *, calldata: bytes | None = None) -> int:
    """Write requests into the log of a coordinator that is down; its size before."""
    store = Store(house.database)
    store.take_lease(house.now_ms(), 0)
    tip = EMPTY
    for entry in store.entries(0, store.head()[0]):
        tip, _ = extend(tip, entry)
    size = tip.frontier.size
    while tip.frontier.size < until_size:
        now_ms, start = house.now_ms(), tip.frontier.size
        requests = [request(f"{start + i}", now_ms, calldata) for i in range(64)]
        batch = write_batch(tip, requests, now_ms=now_ms)
        note = house.log_key.note(batch.tip.checkpoint()).to_bytes()
        entries = [folded.entry for folded in batch.written]
        store.append(start, entries, note=note, changes=(), now_ms=now_ms)
        tip = batch.tip
    store.close()
    return size


def request(name: str, now_ms: int, calldata: bytes | None) -> Candidate:
    """A request, which with calldata is denied, and stands in the log all the same."""
    intent = Intent(ANVIL_CHAIN, WALLET, "eth", 1, PAYEE, calldata=calldata)
    body = Request(ORIGIN, "shop", intent, FEE_CEILING, name, now_ms, now_ms + 1000).body()
    return Candidate("request", body, {"signature": identity("shop").sign(request_message(body)).hex()})


async def test_who_catches_up_hears_of_quorums_on_the_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.tell_each = ENTRIES_EACH_MAX
    async with house.with_key() as running:
        await running.cosigned()
    size_before = lengthen(house)
    late = house.nodes["node-c"]
    late.down = True

    async with house.running() as running:
        await until(lambda: running.parts.replication.quorum.size >= ENTRIES, PATIENCE_S)
        others = [node for node in house.nodes.values() if node is not late]
        assert any(size_before < size < ENTRIES for node in others for size in node.heard)

        late.down, late.heard = False, []
        await until(lambda: late.tip.state.size >= ENTRIES, PATIENCE_S)

        assert any(size_before < size < ENTRIES for size in late.heard)


async def test_cosigners_that_stand_apart_meet_on_the_same_heads_on_the_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    behind = house.nodes["node-c"]
    async with house.with_key() as running:
        await running.cosigned()
        behind.down = True
        _, body, signature = make_request("apart", amount=1, now_ms=house.now_ms())
        await running.service.submit(body, signature)
        await until(lambda: running.parts.replication.quorum.size > len(behind.log))
    lengthen(house)
    behind.down = False
    for node in house.nodes.values():
        node.appends = []

    async with house.running():
        await until(lambda: all(len(node.log) >= ENTRIES for node in house.nodes.values()), PATIENCE_S)

    met = [{start + len(entries) for start, entries, _ in node.appends} for node in house.nodes.values()]
    on_the_way = {size for size in set.intersection(*met) if size < ENTRIES}
    assert {(size - 1) // ENTRIES_EACH_MAX for size in on_the_way} >= {0, 1}


async def test_what_is_sent_at_once_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        await running.cosigned()
    size_before = lengthen(house, 300, calldata=bytes(4000))
    for node in house.nodes.values():
        node.appends = []

    async with house.running():
        await until(lambda: all(len(node.log) >= 300 for node in house.nodes.values()), PATIENCE_S)

    sent = [sum(map(len, entries)) for node in house.nodes.values() for _, entries, _ in node.appends]
    assert size_before < 300 and max(sent) <= BYTES_EACH_MAX < sum(sent) // len(house.nodes)
