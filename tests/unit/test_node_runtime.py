"""What a node's runtime keeps away from its event loop and from its counters."""

import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest

from policy.encoding import Json
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Role
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.runtime import NUMBERS_AHEAD_MS, NodeRuntime, Parts

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


def runtime(keys: Keys) -> NodeRuntime:
    log = Simple(name="node-1", ready=True, frozen=False, check_open=lambda: None, cosigner=Simple(size=0))
    boot = Simple(boot_counter=1, boot_id=bytes(32))
    signer, nobody = Simple(pool=PresignaturePool()), cast("Any", None)
    store = Simple(disk_free_bytes=lambda: 7)
    made = (log, signer, store, nobody, keys, boot, nobody, lambda: NOW_MS)
    return NodeRuntime(Parts(*(cast("Any", part) for part in made)))


async def test_a_status_signs_beside_the_event_loop() -> None:
    keys = Keys()
    await runtime(keys).status(CALLER, pb.Status())

    assert len(keys.threads) == 2
    assert threading.current_thread() not in keys.threads


@pytest.mark.parametrize("call", ["presign", "change_key", "import_offer"])
async def test_no_call_uses_up_the_numbers_of_years_to_come(call: str) -> None:
    keys = Keys()
    node = runtime(keys)
    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "presign": lambda number: node.presign(CALLER, pb.Presign(batch_id=number)),
        "change_key": lambda number: node.change_key(CALLER, pb.ChangeKey(attempt=number)),
        "import_offer": lambda number: node.import_offer(CALLER, pb.ImportOffer(attempt=number)),
    }
    asked = calls[call]
    await asked(NOW_MS + NUMBERS_AHEAD_MS)

    for number in (NOW_MS + NUMBERS_AHEAD_MS + 1, 2**64 - 1):
        with pytest.raises(Refused, match="number by milliseconds"):
            await asked(number)
    assert keys.numbers == [NOW_MS + NUMBERS_AHEAD_MS]
