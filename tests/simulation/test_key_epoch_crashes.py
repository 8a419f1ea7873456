"""Refresh and reshare survive a kill -9 of anybody at any point, and leave exactly one epoch that works.

The world outside a process changes only by its calls: what it writes to disk and token, and what it sends. So
the walk goes through each such call of each participant, from the first order to the last destroyed blob, and
kills it just before and just after. Afterwards everybody comes back, people ask again, and what must hold is
looked up on every disk and token.
"""

import random
import shutil
from collections.abc import Iterable
from dataclasses import replace

import pytest

from policy.errors import OperationalError
from policy.state import KeyRecord
from signer_nodes.adapters.store import NodeStore
from signer_nodes.adapters.worker_keys import open_share
from signer_nodes.key_sessions import KeySessions
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.sealed_keys import SealedKeys
from tests.protocols.keys import give_their_key
from tests.simulation.key_changes import CHANGES, REFRESH, REPLACE, Change, Shelf, check_one_epoch_is_left
from tests.simulation.key_house import COORDINATOR, House
from tests.simulation.node_faults import Fault, Way
from tests.simulation.world import KEY

EFFECTS = (
    *("Hsm.create_", "Hsm.destroy_", "Hsm.sign_", "Hsm.write_", "Peers.send_", "Run.result", "Workers.start"),
    *("Store.add_", "Store.append", "Store.drop_", "Store.put_", "Store.set_"),
)
PAIRS = 30
KILLS = (Way.KILLED_BEFORE, Way.KILLED_AFTER)


async def changed(
    shelf: Shelf, change: Change, faults: dict[str, Fault], *, forgetful: bool = False
) -> House:
    """Play a change with these faults in a house of its own; the house, in which nobody runs."""
    house = await shelf.take(change)
    house.forgetful, house.pays = forgetful, len(faults) < 2
    await play(house, change, faults)
    return house


async def play(house: House, change: Change, faults: dict[str, Fault]) -> None:
    """Play a change with these faults, and check all that must hold."""
    try:
        await house.up()
        house.faulty(faults)
        await house.change(change.kind, *change.parties, dealers=change.dealers)
        check_one_epoch_is_left(house)
        await house.pay_by_all()
        held = {(KEY, 0, name) for name in change.before if name not in change.lost}
        assert await house.log_receipts() == held
        await house.change("refresh", *house.record.participants)
        check_one_epoch_is_left(house)
        await house.pay(*house.record.participants[-house.record.min_signers :])
    finally:
        await house.down()
        shutil.rmtree(house.folder)


async def points(shelf: Shelf, change: Change) -> dict[str, list[Fault]]:
    """Every point at which somebody can be killed, as a run without faults shows them."""
    house = await shelf.take(change)
    await house.up()
    house.faulty({})
    await house.change(change.kind, *change.parties, dealers=change.dealers)
    counted = {name: node.faults for name, node in house.nodes.items() if name not in change.lost}
    found = {
        name: [
            Fault(kind, number, way)
            for kind, calls in sorted(faults.calls.items())
            if kind.startswith(EFFECTS) or name == COORDINATOR
            for number in range(1, calls + 1)
            for way in KILLS
        ]
        for name, faults in {**counted, COORDINATOR: house.faults}.items()
    }
    await house.down()
    shutil.rmtree(house.folder)
    return found


async def walk(shelf: Shelf, change: Change, faults: Iterable[tuple[str, Fault]]) -> list[House]:
    """Play a change once for each fault."""
    played = []
    for name, fault in faults:
        try:
            played.append(await changed(shelf, change, {name: fault}))
        except Exception as error:
            error.add_note(f"{change.name}: {name} at {fault}")
            raise
    return played


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
async def test_a_change_leaves_one_epoch_in_which_any_two_sign(change: Change, shelf: Shelf) -> None:
    house = await shelf.take(change)
    await house.up()
    await house.pay_meanwhile()

    await house.change(change.kind, *change.parties, dealers=change.dealers)
    await house.pay_by_all(together=2)

    assert (house.record.epoch, house.record.participants) == (1, change.after)
    check_one_epoch_is_left(house)
    await house.down()


async def test_the_share_of_a_lost_node_is_worth_nothing_after_the_resharing(shelf: Shelf) -> None:
    house = await shelf.take(REPLACE)
    before = house.record
    lost = share_of(house, "node-3", before)
    complete = share_of(house, "node-1", before)
    await house.up()

    await house.change("reshare", *REPLACE.parties, dealers=REPLACE.dealers)
    await house.down()
    kept = [share_of(house, name, house.record) for name in REPLACE.after]

    assert give_their_key([lost, complete])
    assert not any(give_their_key([lost, share]) for share in kept if share.index != lost.index)
    for name in REPLACE.dealers:
        with pytest.raises(OperationalError, match=r"no .*share"):
            share_of(house, name, before)


def share_of(house: House, name: str, record: KeyRecord) -> KeyShare:
    """What whoever has a node's disk and token gets of a key's epoch. Nobody runs there."""
    store = NodeStore(house.folder / name / "node.db")
    try:
        return open_share(SealedKeys(name, house.nodes[name].token, store).holding(record))
    finally:
        store.close()


@pytest.mark.parametrize(("change", "name"), [(REFRESH, "node-2"), (REPLACE, "node-4")], ids=str)
async def test_a_change_survives_a_kill_of_a_node_after_every_call(
    change: Change, name: str, shelf: Shelf
) -> None:
    """What is done and not told: the same as being killed before the next call, but for the other nodes."""
    found = (await points(shelf, change))[name]

    houses = await walk(shelf, change, [(name, fault) for fault in found if fault.way is Way.KILLED_AFTER])

    assert len(houses) > 15
    assert all(house.nodes[name].faults.happened for house in houses)
    assert all(house.paid_meanwhile for house in houses)


class DestroyThenNote(SealedKeys):
    """What we do not build: it notes what it destroys only afterwards."""

    def end_epochs_before(self, key: KeyRecord) -> None:
        over = [epoch for epoch in self.hsm.sealing_epochs(key.key) if epoch < key.epoch]
        for epoch in over:
            self.hsm.destroy_sealing_key(key.key, epoch)
        super().end_epochs_before(key)
        self._note_ended(key.key, over)


class Careless(KeySessions):
    """A node that keeps its keys so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sealed = DestroyThenNote(self.name, self.hsm, self.store)


async def test_the_walk_finds_a_node_that_can_die_between_destroying_and_noting_it(shelf: Shelf) -> None:
    house = await shelf.take(REFRESH)
    house.nodes["node-2"].sessions = Careless
    fault = Fault("Hsm.destroy_sealing_key", 1, Way.KILLED_AFTER)

    with pytest.raises(AssertionError, match="node-2"):
        await play(house, REFRESH, {"node-2": fault})


async def test_a_refresh_survives_a_kill_of_the_coordinator_at_every_point(shelf: Shelf) -> None:
    faults = (await points(shelf, REFRESH))[COORDINATOR]

    houses = await walk(shelf, REFRESH, [(COORDINATOR, fault) for fault in faults])

    assert all(house.faults.happened for house in houses)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
async def test_every_change_survives_a_kill_of_anybody_at_every_point(change: Change, shelf: Shelf) -> None:
    found = [(name, fault) for name, faults in (await points(shelf, change)).items() for fault in faults]

    houses = await walk(shelf, change, found)

    assert sum(house.paid_meanwhile for house in houses) > len(houses) // 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_refresh_survives_a_kill_of_two_at_any_points(shelf: Shelf) -> None:
    found = await points(shelf, REFRESH)
    source = random.Random(1)

    for _ in range(PAIRS):
        names = source.sample(sorted(found), 2)
        faults = {name: source.choice(found[name]) for name in names}
        await changed(shelf, REFRESH, faults, forgetful=source.random() < 0.5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_refresh_survives_a_coordinator_that_is_killed_and_has_lost_its_database(
    shelf: Shelf,
) -> None:
    for fault in (await points(shelf, REFRESH))[COORDINATOR]:
        await changed(shelf, REFRESH, {COORDINATOR: fault}, forgetful=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", [Way.NOT_DONE, Way.DONE_NOT_TOLD], ids=lambda way: way.value)
async def test_a_refresh_survives_a_call_that_fails(way: Way, shelf: Shelf) -> None:
    """But for a message to a peer: without it, a run ends when its time is over, which takes a minute."""
    found = (await points(shelf, REFRESH))["node-2"]
    here = {replace(fault, way=way) for fault in found if not fault.kind.startswith("Peers.")}

    houses = await walk(shelf, REFRESH, [("node-2", fault) for fault in here])

    assert all(house.nodes["node-2"].faults.happened for house in houses)
