"""What a node's runtime keeps away from its event loop and from its counters."""

import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest

from policy.encoding import Json
from policy.errors import OperationalError
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Role
from signer_nodes.api.health import READY, UNWRITABLE
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.runtime import NUMBERS_AHEAD_MS, NodeRuntime, Parts
from tests.waiting import until

CALLER = Caller("coordinator", Role.COORDINATOR)
NOW_MS = 1_800_000_000_000


class Keys:
    """Key sessions that say on which thread they sign, and which numbers they were given."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.numbers: list[int] = []

    def ban_documents(self) -> list[Json]:
        self.threads.append(threading.current_thread())
        return []

    shred_documents = ban_documents

    async def presign(self, *_of: Any, batch_id: int, **_more: Any) -> tuple[()]:
        self.numbers.append(batch_id)
        return ()

    async def change_key(self, order: Any) -> tuple[bytes, bytes]:
        self.numbers.append(order.attempt)
        return b"", b""

    async def import_offer(self, key_id: str, attempt: int) -> bytes:
        self.numbers.append(attempt)
        return b""


def nothing() -> None:
    """A log that is open."""


def runtime(keys: Keys, store: Any = None, *, check_open: Callable[[], None] = nothing) -> NodeRuntime:
    log = Simple(name="node-1", ready=True, frozen=False, check_open=check_open, cosigner=Simple(size=0))
    boot = Simple(boot_counter=1, boot_id=bytes(32))
    signer, nobody = Simple(pool=PresignaturePool(), hsm=Simple(trouble="")), cast("Any", None)
    store = store or Simple(disk_free_bytes=lambda: 7, trouble="")
    made = (log, signer, store, nobody, keys, boot, nobody, lambda: NOW_MS)
    return NodeRuntime(Parts(*(cast("Any", part) for part in made)))


async def test_a_status_signs_beside_the_event_loop() -> None:
    keys = Keys()
    await runtime(keys).status(CALLER, pb.Status())

    assert len(keys.threads) == 2
    assert threading.current_thread() not in keys.threads


async def test_a_node_stands_as_unwritable_while_its_disk_takes_nothing() -> None:
    tries = iter(["full", "full", ""])

    def try_disk() -> None:
        store.trouble = next(tries, "")

    store = Simple(trouble="", try_disk=try_disk)
    node = runtime(Keys(), store)
    said = [node.standing()]
    async with node.disk_watched(every_s=0.01):
        await until(lambda: node.standing() == UNWRITABLE)
        said.append(node.standing())
        await until(lambda: node.standing() == READY)

    assert said == [READY, UNWRITABLE]


async def test_a_node_stands_as_unwritable_from_a_write_that_its_token_refused_to_the_next_that_it_takes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[str] = []
    store = Simple(trouble="")
    node = runtime(Keys(), store)
    store.try_disk = lambda: looks.append(node.standing())
    token = cast("Any", node._parts.signer.hsm)
    async with node.disk_watched(every_s=0.01):
        await until(lambda: READY in looks)
        token.trouble = "the token is full"
        await until(lambda: UNWRITABLE in looks and "the token is full" in caplog.text)
        token.trouble = ""
        await until(lambda: looks[-1] == READY)

    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(("start", "stop"), [(2**64 - 1, 0), (2**63, 2**64 - 1), (0, 2**64 - 1), (5, 2)])
async def test_entries_of_places_that_no_log_has_are_none(tmp_path: Path, start: int, stop: int) -> None:
    with closing(NodeStore(tmp_path / "node.db")) as store:
        store.append(0, [b"one"], checkpoint=b"note")
        found = await runtime(Keys(), store).entries(CALLER, pb.EntriesQuery(start=start, stop=stop))

    assert list(found.entries) == [b"one"] * (start == 0)


CALLS: dict[str, Callable[[NodeRuntime, int], Awaitable[object]]] = {
    "presign": lambda node, number: node.presign(CALLER, pb.Presign(batch_id=number)),
    "change_key": lambda node, number: node.change_key(CALLER, pb.ChangeKey(attempt=number)),
    "import_offer": lambda node, number: node.import_offer(CALLER, pb.ImportOffer(attempt=number)),
}


@pytest.mark.parametrize("call", list(CALLS))
async def test_whether_a_node_is_open_is_looked_up_in_its_turn_beside_the_event_loop(call: str) -> None:
    """What folds a damaged state anew may not run beside an append, nor hold up all else for minutes."""
    looks: list[tuple[bool, bool]] = []

    def look() -> None:
        looks.append((node._turn.locked(), threading.current_thread() is threading.main_thread()))

    node = runtime(Keys(), check_open=look)
    await CALLS[call](node, NOW_MS)

    assert looks == [(True, False)]


@pytest.mark.parametrize("call", list(CALLS))
async def test_no_call_uses_up_the_numbers_of_years_to_come(call: str) -> None:
    keys = Keys()
    asked = partial(CALLS[call], runtime(keys))
    await asked(NOW_MS + NUMBERS_AHEAD_MS)

    for number in (NOW_MS + NUMBERS_AHEAD_MS + 1, 2**64 - 1):
        with pytest.raises(Refused, match="number by milliseconds"):
            await asked(number)
    assert keys.numbers == [NOW_MS + NUMBERS_AHEAD_MS]


async def test_while_nobody_asks_the_state_is_stored_on_in_turn_beside_the_event_loop() -> None:
    stored: list[tuple[bool, bool]] = []

    def store_more() -> bool:
        stored.append((node._turn.locked(), threading.current_thread() is threading.main_thread()))
        return len(stored) < 3

    node = runtime(Keys())
    log, signer = cast("Any", node._parts.log), cast("Any", node._parts.signer)
    log.cosigner.quorum_head, log.learn_quorum = None, lambda _: None
    log.store_more, signer.hsm = store_more, Simple(tidy=nothing)
    await node.quorum(CALLER, pb.Quorum())
    await until(lambda: len(stored) == 3)
    await node.stop()

    assert stored == [(True, False)] * 3


async def test_a_disk_that_fails_in_a_quiet_moment_is_the_next_callers_affair(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def store_more() -> bool:
        raise OperationalError("the disk is full")

    node = runtime(Keys())
    log, signer = cast("Any", node._parts.log), cast("Any", node._parts.signer)
    log.store_more, signer.hsm = store_more, Simple(tidy=nothing)

    assert not await node.tidy()
    assert "the disk is full" in caplog.text
