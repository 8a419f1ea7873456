"""Which pages of a stored state stay in memory: those just written, and those that are asked for again."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

from cli.policies.sample_log import ORIGIN, sample_entries
from policy.ledger import initial_unverified
from policy.log.merkle import leaf_hash
from policy.stored.keeping import PAGES_BYTES_MAX, StoredState
from policy.stored.pages import page_hash
from signer_nodes.adapters.store import NodeStore
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.witness import Identity, fold_entries, new_cosigner

EVERY = 64


class Disk(NodeStore):
    """Counts how often each page is read from it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = Counter[bytes]()

    def page(self, name: bytes) -> bytes | None:
        self.reads[name] += 1
        return super().page(name)


def test_pages_just_written_are_not_read_from_the_disk(tmp_path: Path) -> None:
    disk, entries = Disk(tmp_path / "node.db"), list(islice(sample_entries(), 4 * EVERY))
    identity = Identity("bench", ORIGIN, leaf_hash(entries[0]), bytes(32))
    stored = StoredState(CosignerForm(identity), disk, every=EVERY)
    cosigner = replace(new_cosigner(identity), state=initial_unverified())
    for start in range(0, len(entries), EVERY):
        batch = entries[start : start + EVERY]
        disk.append(cosigner.size, batch, checkpoint=b"")
        cosigner, _ = fold_entries(cosigner, batch)
        stored.extend([leaf_hash(entry) for entry in batch])
        cosigner = stored.keep(cosigner, cosigner.size, bound=None)
    for _ in range(100):
        cosigner = stored.keep(cosigner, cosigner.size, bound=None)

    assert stored.head.size == len(entries)
    assert not disk.reads


def test_a_page_that_is_asked_for_again_and_again_is_read_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "node.db")
    kept = PAGES_BYTES_MAX // 4096
    pages = {page_hash(page): page for page in (bytes(4092) + n.to_bytes(4) for n in range(3 * kept))}
    wanted, *others = pages
    disk.put_state(wanted, before=b"", added=pages, retired=())
    stored = StoredState(CosignerForm(Identity("bench", ORIGIN, bytes(32), bytes(32))), disk, every=EVERY)
    for number, name in enumerate(others):
        stored.read(name)
        if number % (kept // 2) == 0:
            assert stored.read(wanted) == pages[wanted]

    assert disk.reads[wanted] == 1
    assert stored.read(others[0]) and disk.reads[others[0]] == 2  # and one that is not was forgotten
