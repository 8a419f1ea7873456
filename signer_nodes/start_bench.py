"""What a start costs: processor time from opening a node's disk to a cosigner that has folded all of it.

The log is given, one entry a line in hexadecimal. It is put on a disk as a node has it after years, with the
state that is stored of it, and a token in memory; then a node starts on that, as after a restart.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from policy.encoding import Json
from policy.entries import GenesisEntry, parse_entry
from policy.errors import OperationalError
from policy.log.merkle import leaf_hash
from policy.stored.keeping import STORE_EVERY, StoredState
from signer_nodes.node_log import NodeLog
from signer_nodes.ports import Hsm, LogStore
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.token_head import HEAD_RECORD, TokenHead
from signer_nodes.witness import Identity, fold_entries, new_cosigner

BATCH: Final = 256


class ClosableStore(LogStore, Protocol):
    """A disk that can be let go of."""

    def close(self) -> None:
        """Let go of it."""


OpenStore = Callable[[Path], ClosableStore]


@dataclass
class InsecureToken:
    """A token that remembers and does nothing else: nothing is signed here."""

    records: dict[str, bytes] = field(default_factory=dict)
    trouble: str = ""

    def identity_public_key(self) -> bytes:
        """No key of anybody."""
        return bytes(32)

    def sign_statement(self, message: bytes) -> bytes:
        """Refused."""
        raise OperationalError("this token signs nothing")

    def read_record(self, name: str) -> tuple[int, bytes] | None:
        """The record as it was last written."""
        return (1, self.records[name]) if name in self.records else None

    def write_record(self, name: str, data: bytes) -> int:
        """Replace a record."""
        self.records[name] = data
        return 1

    def tidy(self) -> None:
        """What is replaced is gone."""


def measure_start(log: Path, folder: Path, *, open_store: OpenStore) -> dict[str, Json | float]:
    """Put the log at ``log`` on a disk in ``folder``, and start a node on it."""
    token, path = InsecureToken(), folder / "node.db"
    store = open_store(path)
    identity, size = _put(store, token, log)
    store.close()
    gc.collect()
    start = time.process_time()
    node = NodeLog(identity, token, store=open_store(path), skew_ms=0)
    node.load()
    seconds = time.process_time() - start
    folded = node.cosigner.size - node.cosigner.state.stored_size
    if node.cosigner.size != size or folded > 3 * STORE_EVERY:
        raise OperationalError(f"it folded {folded} entries and has {node.cosigner.size} of {size}")
    return {"start_s": round(seconds, 3), "entries": size, "folded": folded}


def _put(store: LogStore, token: Hsm, log: Path) -> tuple[Identity, int]:
    """Fill the disk; the last ``STORE_EVERY`` entries come too late to be in the stored state."""
    with log.open() as lines:
        total = sum(1 for _ in lines)
    first = next(_batches(log), [b""])[0]
    identity = Identity("bench", _origin(first), leaf_hash(first), bytes(32))
    stored, cosigner = StoredState(CosignerForm(identity), store, every=STORE_EVERY), new_cosigner(identity)
    for batch in _batches(log):
        store.append(cosigner.size, batch, checkpoint=b"bench")
        cosigner, _ = fold_entries(cosigner, batch)
        stored.extend([leaf_hash(entry) for entry in batch])
        if cosigner.size <= total - STORE_EVERY or stored.storing:
            cosigner = stored.keep(cosigner, cosigner.size, bound=None)
    while stored.storing:
        cosigner = stored.keep(cosigner, cosigner.size, bound=None)
    head = TokenHead(cosigner.size, cosigner.frontier.root(), 0, bytes(32), 0, 0, stored.root)
    token.write_record(HEAD_RECORD, head.to_bytes())
    return identity, cosigner.size


def _batches(log: Path) -> Iterator[list[bytes]]:
    with log.open() as lines:
        entries = (bytes.fromhex(line.strip()) for line in lines)
        while batch := list(islice(entries, BATCH)):
            yield batch


def _origin(entry: bytes) -> str:
    genesis = parse_entry(entry).entry
    if not isinstance(genesis, GenesisEntry):
        raise OperationalError("the first entry is no genesis entry")
    return genesis.origin
