"""The pool of presignatures is looked through while threads beside the event loop take from it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

from signer_nodes.mpc.presignature import Presignature
from signer_nodes.presignatures import Held, PresignaturePool

COUNT, LOOKS = 400, 500


def held(number: int) -> Held:
    made = SimpleNamespace(presign_id=number.to_bytes(32, "big"))
    return Held(cast("Presignature", made), "main", 0, ("node-1", "node-2"))


@contextmanager
def changing(pool: PresignaturePool) -> Iterator[None]:
    """Another thread puts presignatures in and takes others out, all the time."""
    ended = threading.Event()

    def change() -> None:
        number = COUNT
        while not ended.is_set():
            pool.add([held(number)])
            pool.drop([held(number - COUNT).presignature.presign_id])
            number += 1

    before, thread = sys.getswitchinterval(), threading.Thread(target=change)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(before)


def test_what_is_looked_through_may_change_meanwhile() -> None:
    pool = PresignaturePool()
    pool.add(map(held, range(COUNT)))
    with changing(pool):
        for _ in range(LOOKS):
            stock = pool.stock()
            dropped = pool.drop_peer("node-9")
            pool.drop_epochs_before("main", 0)
            pool.keep_epochs({"main": 0})

    assert COUNT <= stock["main", ("node-1", "node-2")] <= COUNT + 1
    assert dropped == 0
