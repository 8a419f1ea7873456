"""Asking the nodes what they read: each by itself, and no more often than once a second."""

import asyncio
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest

from custody.console import readings
from custody.console.readings import KEPT_MAX, KEPT_MS, NodeReading, Readings
from policy.errors import MalformedError, OperationalError


class Node:
    """Answers as it is told to, and counts."""

    def __init__(self, answer: "bytes | Exception" = b"{}") -> None:
        self.answer = answer
        self.asked = 0

    async def read(self, _reservation: bytes) -> tuple[bytes, bytes]:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, bytes(64)


def parts_with(nodes: dict[str, Node], *, cold: tuple[str, ...] = ()) -> Any:
    keys = {name: name.encode() for name in (*nodes, *cold)}
    roster = Simple(share_keys=lambda: keys, cold=dict.fromkeys(cold))
    state = Simple(roster=roster)
    return Simple(sequencer=Simple(state=state), nodes=nodes, now_ms=lambda: 0)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (OperationalError("it is down"), "it is down"),
        (MalformedError("another kind of answer"), "another kind of answer"),
        (b"\xff", "utf-8"),
    ],
)
async def test_a_node_that_gives_no_reading_is_named_with_why(answer: Any, problem: str) -> None:
    found = await readings._ask(parts_with({"a": Node(answer)}), "a", b"{}")

    assert (found.node, found.key, found.body) == ("a", b"a".hex(), "")
    assert problem in found.problem


async def test_a_cold_node_is_not_asked_and_one_without_an_address_is_named() -> None:
    parts = parts_with({"a": Node()}, cold=("vault",))

    assert await readings._ask(parts, "vault", b"{}") == NodeReading("vault", b"vault".hex(), cold=True)
    assert "does not say where it is" in (await readings._ask(parts, "b", b"{}")).problem


async def test_what_many_people_look_at_is_asked_once_a_second() -> None:
    clock = Simple(now=0)
    asked: list[bytes] = []
    made = Readings(cast("Any", Simple(now_ms=lambda: clock.now, sequencer=Simple(state=None))))

    async def ask(request: bytes) -> None:
        with pytest.raises(AttributeError):  # these parts have no nodes: that it asks is all that is seen
            await made.of(cast("Any", Record(request, asked)))

    for _ in range(3):
        await ask(b"one")
    clock.now = KEPT_MS
    await ask(b"one")

    assert asked == [b"one", b"one"]


class Record:
    """A request that notes when the nodes are asked about it."""

    def __init__(self, request: bytes, asked: list[bytes]) -> None:
        self.request = request
        self._asked = asked

    @property
    def body(self) -> bytes:
        self._asked.append(self.request)
        raise AttributeError("body")


async def test_not_everything_is_asked_about_at_once() -> None:
    made = Readings(cast("Any", Simple(now_ms=lambda: 0, sequencer=Simple(state=None))))
    for number in range(KEPT_MAX):
        with pytest.raises(AttributeError):
            await made.of(cast("Any", Record(bytes([number]), [])))

    with pytest.raises(OperationalError, match="ask again"):
        await made.of(cast("Any", Record(b"one more", [])))
