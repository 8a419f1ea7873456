"""Before a node is started, its doctor says whether its disk is the one that its token remembers."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from policy.errors import OperationalError
from policy.log.merkle import Frontier, leaf_hash
from signer_nodes.adapters.store import ROOM_BYTES, NodeStore
from signer_nodes.disk import examine_disk
from signer_nodes.hsm.doctor import Finding
from signer_nodes.ports import Mark
from signer_nodes.token_head import TokenHead

ENTRIES = [b"genesis", b"one", b"two", b"three"]
GENESIS = leaf_hash(ENTRIES[0])
MARK = Mark("bound", b"j" * 32, 0, b"opening")


def fill(path: Path, count: int, *marks: Mark) -> TokenHead:
    """A store of some entries, and what the token remembers of it."""
    store = NodeStore(path)
    store.append(0, ENTRIES[:count], checkpoint=b"note")
    store.add_marks(marks)
    number, chain = store.marks_head()
    store.close()
    frontier = Frontier()
    for entry in ENTRIES[:count]:
        frontier = frontier.append(leaf_hash(entry))
    return TokenHead(count, frontier.root(), number, chain, 0, 0)


def look(path: Path, head: TokenHead | None, genesis: bytes = GENESIS) -> Finding:
    return examine_disk(path, head, genesis=genesis, open_disk=partial(NodeStore, upgrade=False))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


def test_the_disk_that_the_token_remembers_is_the_right_one(path: Path) -> None:
    assert look(path, None).ok
    head = fill(path, 3, MARK)
    assert look(path, head).ok
    fill(path, 4)  # ahead by what the token was not told of any more: a crash in between
    assert look(path, head).ok


Spoil = Callable[[Path, TokenHead], TokenHead | None]


def older(path: Path, _: TokenHead) -> TokenHead:
    shutil.copy(path, path.with_name("kept"))
    head = fill(path, 4)
    path.with_name("kept").rename(path)
    return head


def without_marks(path: Path, _: TokenHead) -> TokenHead:
    kept = path.with_name("kept")
    shutil.copy(path, kept)
    head = fill(path, 3, MARK)
    kept.rename(path)
    return head


def missing(path: Path, head: TokenHead) -> TokenHead:
    path.unlink()
    return head


def other_branch(_: Path, head: TokenHead) -> TokenHead:
    return TokenHead(head.size, bytes(32), head.marks, head.marks_chain, 0, 0)


SPOILS: dict[str, tuple[Spoil, str]] = {
    "an older disk": (
        older,
        "the disk has 3 entries, the token remembers 4 .*enrol this machine as a new node",
    ),
    "without marks": (without_marks, "lacks marks of signatures"),
    "no disk": (missing, "is not there, the token remembers 3 entries"),
    "another branch": (other_branch, "enrol this machine as a new node"),
    "a new token": (lambda path, head: None, "the token remembers no log, the disk has 3 entries"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILS.values(), ids=SPOILS)
def test_any_other_is_named_and_left_as_it_is(path: Path, spoil: Spoil, said: str) -> None:
    head = spoil(path, fill(path, 3))
    before = path.read_bytes() if path.exists() else b""

    found = look(path, head)

    assert not found.ok
    assert re.search(said, found.detail)
    assert (path.read_bytes() if path.exists() else b"") == before


def test_another_deployments_disk_is_named(path: Path) -> None:
    found = look(path, fill(path, 3), genesis=bytes(32))

    assert not found.ok
    assert "another deployment" in found.detail


def test_a_damaged_disk_is_named(path: Path) -> None:
    head = fill(path, 3)
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    path.write_bytes(data)

    found = look(path, head)

    assert not found.ok
    assert "damaged" in found.detail


def test_a_running_nodes_disk_is_left_to_it(path: Path) -> None:
    head = fill(path, 3)
    store = NodeStore(path)
    found = look(path, head)
    store.close()

    assert found.ok
    assert "running node" in found.detail


def test_looking_upgrades_no_store(path: Path) -> None:
    head = fill(path, 3)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()

    found = look(path, head)

    assert not found.ok
    assert "has version 1, this program makes it 2" in found.detail


def test_a_disk_that_takes_nothing_is_in_trouble_until_it_takes_something(path: Path) -> None:
    store = NodeStore(path)
    store.try_disk()
    said = [store.trouble]
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OperationalError):
        store.put_meta("x", b"y")
    store.try_disk()
    said.append(store.trouble)
    store._connection.execute("PRAGMA query_only = OFF")
    store.try_disk()
    said.append(store.trouble)
    store.close()

    assert [bool(one) for one in said] == [False, True, False]
    assert "writable" in said[1]


def test_a_disk_is_in_trouble_before_the_last_of_it_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [ROOM_BYTES - 1, ROOM_BYTES]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free.pop(0)))
    with closing(NodeStore(path)) as store:
        store.try_disk()
        full = store.trouble
        store.try_disk()

        assert "goes on by itself" in full and not store.trouble
