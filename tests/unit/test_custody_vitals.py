"""What the coordinator shows of its cosigners' machines: clock and disk, as they say themselves."""

from pathlib import Path

import pytest

from custody.vitals import OLD_MS, Vitals, clock_off_ms
from policy.encoding import canonical
from policy.errors import MalformedError
from signer_nodes.api.errors import in_words
from tests.unit.custody_cluster import NODES
from tests.unit.custody_house import Clock, House
from tests.waiting import until


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


def test_a_clock_that_was_not_shown_for_a_while_is_not_known() -> None:
    vitals = Vitals()
    document = canonical({"clock_ms": 5002, "disk_free_bytes": 7})
    vitals.take_in("node-a", document, asked_ms=1, answered_ms=2)
    seen = vitals.known["node-a"]

    assert (seen.clock_off_at(2 + OLD_MS - 1), seen.clock_off_at(2 + OLD_MS)) == (5000, None)
    assert seen.disk_free_bytes == 7


@pytest.mark.parametrize(
    ("said", "in_plain"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:77: Connection refused",
            "refused",
        ),
        ("Deadline Exceeded", "in time"),
        ("the token is gone", "the token is gone"),
    ],
)
def test_why_there_is_no_answer_is_said_in_words(said: str, in_plain: str) -> None:
    assert in_plain in in_words(said) and "UNKNOWN" not in in_words(said)


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
