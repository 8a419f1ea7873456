"""What the coordinator shows of its cosigners' machines: clock and disk, as they say themselves."""

from pathlib import Path

import pytest

from custody.vitals import Vitals, clock_off_ms
from policy.encoding import canonical
from policy.errors import MalformedError
from tests.unit.custody_cluster import NODES
from tests.unit.custody_house import Clock, House, until


@pytest.mark.parametrize(
    ("theirs", "off"),
    [(1000, 0), (1400, 0), (1401, 1), (999, -1), (0, -1000)],
    ids=["at the question", "at the answer", "ahead", "behind", "far behind"],
)
def test_a_clock_that_was_read_between_two_of_ours_may_be_right(theirs: int, off: int) -> None:
    assert clock_off_ms(theirs, asked_ms=1000, answered_ms=1400) == off


def test_a_status_without_a_clock_says_nothing_of_the_machine() -> None:
    vitals = Vitals()
    vitals.take_in("node-a", canonical({"bans": []}), asked_ms=1, answered_ms=2)

    assert vitals.known == {}


@pytest.mark.parametrize("clock", [-1, "1", True])
def test_a_clock_that_is_no_time_is_refused(clock: "int | str") -> None:
    document = canonical({"clock_ms": clock, "disk_free_bytes": 1})

    with pytest.raises(MalformedError):
        Vitals().take_in("node-a", document, asked_ms=1, answered_ms=2)


async def test_a_clock_ahead_is_in_the_status(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.nodes[NODES[0]].clock = Clock(ahead_ms=90_000)
    async with house.running() as running:
        await until(lambda: NODES[0] in running.parts.vitals.known)
        status = await running.service.status()
        assert isinstance(status, dict) and isinstance(status["nodes"], list)
        nodes = {str(node["name"]): node for node in status["nodes"] if isinstance(node, dict)}

        assert int(str(nodes[NODES[0]]["clock_off_ms"])) > 80_000
        assert "clock_off_ms" not in nodes[NODES[1]]
