"""A node's own cosigned note, which waits for company: who asks for it while it is written gets it."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from signer_nodes.adapters.store import NodeStore
from signer_nodes.ports import Ban

READS: list[Callable[[NodeStore], object]] = [
    lambda store: store.latest_cosigned() == (1, b"one cosigned"),
    lambda store: store.checkpoint_at(1) == b"one cosigned",
]


@pytest.mark.parametrize("read", READS, ids=["the latest", "by size"])
def test_a_write_between_any_two_lines_of_a_read_takes_nothing_from_it(
    tmp_path: Path, read: Callable[[NodeStore], object]
) -> None:
    store = NodeStore(tmp_path / "node.sqlite")
    store.append(0, [b"a"], checkpoint=b"one")
    store.set_cosigned(1, b"one cosigned")
    lines = 0

    def at_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        if event == "line" and lines == 1:
            sys.settrace(None)
            store.add_ban(Ban("node-b", "treasury", 0, "as another thread would"))
            sys.settrace(at_call)
        return at_line

    def at_call(frame: FrameType, event: str, _: Any) -> Any:
        return at_line if frame.f_code.co_name in ("latest_cosigned", "checkpoint_at") else None

    before = sys.gettrace()
    for skipped in range(6):  # the note is written at another line each time
        store.set_cosigned(1, b"one cosigned")
        lines = -skipped
        sys.settrace(at_call)
        try:
            assert read(store)
        finally:
            sys.settrace(before)
    store.close()
