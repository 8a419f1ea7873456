"""Storing is spread over calls, and leads to the same state whatever came meanwhile."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pytest

from cli.policies.sample_log import ORIGIN, sample_entries
from policy.ledger import initial_unverified
from policy.log.merkle import leaf_hash
from policy.stored.heads import TILES
from policy.stored.keeping import PAGES_EACH, StoredState
from policy.stored.pages import page_names
from policy.stored.states import TABLES
from signer_nodes.adapters.store import NodeStore
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.witness import Cosigner, Identity, fold_entries, new_cosigner

EVERY, BATCH, BATCHES = 16, 16, 40
ENTRIES = list(islice(sample_entries(), BATCH * BATCHES))
Stored: TypeAlias = StoredState[Cosigner]
IDENTITY = Identity("bench", ORIGIN, leaf_hash(ENTRIES[0]), bytes(32))


class Disk(NodeStore):
    """Counts the pages of each write, and may break off at one of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.written: list[int] = []
        self.left = 1 << 30

    def add_pages(self, pages: Mapping[bytes, bytes]) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.written.append(len(pages))
        super().add_pages(pages)


def folded(size: int) -> Cosigner:
    """A cosigner that has folded so many entries in memory."""
    start = replace(new_cosigner(IDENTITY), state=initial_unverified())
    return fold_entries(start, ENTRIES[:size])[0]


def take(
    stored: Stored,
    store: NodeStore,
    cosigner: Cosigner,
    *,
    size: int,
    quorum: int | None = None,
) -> Cosigner:
    """Fold up to ``size`` as a node does, which then knows of a quorum there, or of ``quorum``."""
    for start in range(cosigner.size, size, BATCH):
        batch = ENTRIES[start : start + BATCH]
        store.append(start, batch, checkpoint=b"")
        cosigner, _ = fold_entries(cosigner, batch)
        stored.extend([leaf_hash(entry) for entry in batch])
        cosigner = stored.keep(cosigner, cosigner.size if quorum is None else quorum, bound=None)
    return cosigner


def drained(stored: Stored, cosigner: Cosigner) -> Cosigner:
    """Nothing comes any more but calls that bring no entries."""
    for _ in range(2000):
        cosigner = stored.keep(cosigner, cosigner.size, bound=None)
    assert not stored.storing
    return cosigner


def new(path: Path) -> tuple[Disk, Stored, Cosigner]:
    store = Disk(path)
    start = replace(new_cosigner(IDENTITY), state=initial_unverified())
    return store, StoredState(CosignerForm(IDENTITY), store, every=EVERY), start


def check_start(store: NodeStore, root: bytes) -> int:
    """A start on this disk leads to what folding leads to; how many entries of it are stored."""
    found = StoredState(CosignerForm(IDENTITY), store, every=EVERY).start(root, size_max=store.size())
    expected = folded(found.size)
    assert (found.frontier, found.state.digest) == (expected.frontier, expected.state.digest)
    assert dict(found.state.jobs) == dict(expected.state.jobs)
    assert dict(found.state.requests) == dict(expected.state.requests)
    assert dict(found.state.nonces) == dict(expected.state.nonces)
    return found.size


def test_what_waited_for_a_quorum_is_stored_over_many_calls_and_a_start_finds_it(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = take(stored, store, cosigner, size=len(ENTRIES), quorum=0)
    assert not store.written and not stored.storing
    calls = Counter[int]()
    while not stored.root:
        before = len(store.written)
        cosigner = stored.keep(cosigner, cosigner.size, bound=None)
        calls[len(store.written) - before] += 1

    assert calls.total() > 20 and max(calls) <= 2 and max(store.written) <= PAGES_EACH
    assert check_start(store, stored.root) > len(ENTRIES) // 2


def test_entries_that_come_while_a_head_is_stored_stand_over_it_afterwards(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = drained(stored, take(stored, store, cosigner, size=len(ENTRIES)))
    expected = folded(len(ENTRIES))

    assert len(ENTRIES) - cosigner.state.stored_size < EVERY == len(ENTRIES) // BATCHES
    assert dict(cosigner.state.jobs) == dict(expected.state.jobs)
    assert stored.frontier_at(cosigner.size) == expected.frontier
    assert check_start(store, stored.root) == cosigner.state.stored_size


def test_only_what_a_quorum_has_is_stored(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = take(stored, store, cosigner, size=len(ENTRIES), quorum=100)
    for _ in range(2000):
        cosigner = stored.keep(cosigner, 100, bound=None)

    assert 0 < stored.head.size <= 100


def test_no_page_is_left_that_nothing_leads_to(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = drained(stored, take(stored, store, cosigner, size=len(ENTRIES)))
    while store.forget_before(PAGES_EACH):
        pass
    roots = stored._stored.tables.roots
    used = {name for table in (*TABLES, TILES) for name in page_names(stored.read, roots[table])}

    with store._lock:
        kept = {bytes(row[0]) for row in store._connection.execute("SELECT name FROM pages")}
    assert kept == used | {stored.root}


@pytest.mark.parametrize("parts", [0, 1, 5])
def test_a_crash_amid_storing_leads_back_to_the_state_before(tmp_path: Path, parts: int) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = drained(stored, take(stored, store, cosigner, size=320))
    store.left = parts
    with pytest.raises(KeyboardInterrupt):
        drained(stored, take(stored, store, cosigner, size=len(ENTRIES)))
    root, size = stored.root, stored.head.size
    store.close()
    store = Disk(tmp_path / "node.db")

    assert check_start(store, root) == size


def test_storing_that_failed_begins_anew(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = drained(stored, take(stored, store, cosigner, size=320))
    store.left, size = 0, cosigner.size
    cosigner = take(stored, store, cosigner, size=size + EVERY, quorum=0)
    with pytest.raises(KeyboardInterrupt):
        drained(stored, cosigner)
    assert not stored.storing and stored.head.size == size
    store.left = 1 << 30
    cosigner = drained(stored, cosigner)

    assert check_start(store, stored.root) == cosigner.size > size


def test_heads_that_wait_on_a_branch_that_is_left_are_forgotten(tmp_path: Path) -> None:
    store, stored, cosigner = new(tmp_path / "node.db")
    cosigner = take(stored, store, cosigner, size=len(ENTRIES), quorum=0)
    stored.cut(100)
    back = folded(100)

    for _ in range(2000):
        stored.keep(back, 100, bound=None)
    assert 0 < stored.head.size <= 100
