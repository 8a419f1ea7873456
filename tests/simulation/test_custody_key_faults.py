"""A coordinator that fails or is killed in the middle of a key's change: one epoch follows the other, and
every payment is made once; whoever asked asks again.
"""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from custody.api.errors import CallRefused
from custody.requests import State
from policy.entries import KeyEntry, parse_entry
from tests.simulation.custody_faults import Fault, FaultyHouse, Player, Way
from tests.simulation.test_custody_faults import Case, all_of, nothing, played
from tests.unit.custody_cluster import KEY, NODES

KINDS = ("Node.change_key", "Node.quorum", "Node.append", "Database.append", "Database.set_quorum")


async def pay_and_refresh(player: Player) -> None:
    """A payment in each of two epochs."""
    await player.key()
    await player.reach(await player.submit("before", 1), State.SETTLED)
    while not player.service_state().keys[KEY].epoch:
        with contextlib.suppress(CallRefused):
            await player.service.change_key("admin", KEY, change="refresh")
        await asyncio.sleep(0)
    await player.reach(await player.submit("after", 2), State.SETTLED)


REFRESHING = Case("refresh", nothing, pay_and_refresh, (1, 2))


def epochs(house: FaultyHouse) -> list[int]:
    """The epochs of the key in the log, in order."""
    entries = [parse_entry(entry).entry for entry in house.nodes[NODES[0]].log]
    return [entry.epoch for entry in entries if isinstance(entry, KeyEntry)]


async def refreshed(folder: Path, fault: Fault | None) -> Counter[str]:
    """Play the story with a fault; how often each call was made."""
    house = await played(REFRESHING, folder, fault)
    found = epochs(house)
    assert found == [*range(len(found))] and len(found) > 1, found
    return house.faults.calls


async def test_a_refresh_survives_a_coordinator_that_goes_wrong_at_some_calls(tmp_path: Path) -> None:
    calls = await refreshed(tmp_path / "none", None)
    source = random.Random(1)
    numbers = {kind: range(calls[kind] // 2, calls[kind] + 1) for kind in KINDS}
    faults = [Fault(kind, source.choice(numbers[kind]), source.choice([*Way])) for kind in KINDS * 2]

    await all_of(*(refreshed(tmp_path / str(number), fault) for number, fault in enumerate(faults)))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", Way, ids=lambda way: way.value)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_refresh_survives_a_coordinator_that_goes_wrong_at_any_call(
    kind: str, way: Way, tmp_path: Path
) -> None:
    calls = await refreshed(tmp_path / "none", None)
    numbers = range(1, calls[kind] + 1)

    await all_of(*(refreshed(tmp_path / str(number), Fault(kind, number, way)) for number in numbers))
