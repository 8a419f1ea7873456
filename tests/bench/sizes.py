"""What a log takes: bytes on the disks of a coordinator and a node, and memory of its state, by its length.

    python -m tests.bench.sizes [--entries 20000] [--json]

The log is the sample of ``quorumkeep bench policy``; eight entries are logged together, as under load.
Indexes, and what the databases keep free, are in it. See docs/sizing.md.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cli.policies.sample_log import sample_entries
from custody.adapters.store import Store
from policy.ledger import fold, initial_unverified
from signer_nodes.adapters.store import NodeStore
from signer_nodes.start_bench import measure_start

TOGETHER, NOTE = 8, bytes(600)  # a checkpoint's note with four cosignatures has about so many bytes
LEASE_MS = 3_600_000


def measure(count: int) -> dict[str, float]:
    """Bytes an entry, each of another place."""
    entries = list(islice(sample_entries(), count))
    return {
        "entries": count,
        "entry_bytes": round(sum(map(len, entries)) / count, 1),
        "coordinator_disk_bytes": round(coordinator_bytes(entries) / count, 1),
        "node_disk_bytes": round(node_bytes(entries) / count, 1),
        "state_memory_bytes": round(state_bytes(entries) / count, 1),
    }


def coordinator_bytes(entries: Sequence[bytes]) -> int:
    """The database of a coordinator that has logged them; its table of requests is not in it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/custody.db", holder="bench")
        store.take_lease(0, LEASE_MS)
        for start in range(0, len(entries), TOGETHER):
            some = entries[start : start + TOGETHER]
            store.append(start, some, note=NOTE, changes=(), now_ms=0)
            store.set_quorum(start + len(some), NOTE)
        store.close()
        return _held(Path(folder))


def node_bytes(entries: Sequence[bytes]) -> int:
    """The database of a node that follows the log: entries, and the pages of its stored states."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as log:
        lines = Path(log) / "log"
        lines.write_text("".join(f"{entry.hex()}\n" for entry in entries))
        measure_start(lines, Path(folder), open_store=NodeStore)
        return _held(Path(folder))


def state_bytes(entries: Sequence[bytes]) -> int:
    """What a process that keeps the state in memory grows by: a coordinator, or an audit."""
    state, before = initial_unverified(), _resident()
    for entry in entries:
        state, _ = fold(state, entry)
    return _resident() - before


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizes", description="What a log takes.")
    parser.add_argument("--entries", type=int, default=20_000, help="of the log (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    found = measure(options.entries)
    lines = (f"{name}: {value}" for name, value in found.items())
    sys.stdout.write((json.dumps(found) if options.json else "\n".join(lines)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
