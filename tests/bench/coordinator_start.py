"""What a coordinator's start costs before anybody is asked, by the length of its log.

    python -m tests.bench.coordinator_start [--entries 20000] [--json]

The log is the sample of ``quorumkeep bench policy``. ``first`` is a start with nothing stored, which folds it
all and stores its state; people's signatures are not verified by it, which takes as long again. ``next`` is
one that goes on from there. Each is a process of its own: seconds of processor time, and megabytes that it
grew by.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.policies.sample_log import sample_entries
from custody.adapters.database import StoreThread
from custody.adapters.state_pages import StatePages
from custody.adapters.store import Store
from custody.candidates import EMPTY, Tip, extend
from custody.following import Followed
from custody.log_key import LogKey
from custody.stored_tip import STATE_FILE, StoredTip
from policy.ledger import initial_unverified
from policy.log.merkle import leaf_hash

TOGETHER, LEASE_MS = 64, 3_600_000


class Unverified(StoredTip):
    """Takes people's signatures as verified when it folds from the first entry."""

    def discard(self) -> Tip:
        super().discard()
        return Tip(initial_unverified(), EMPTY.frontier)

    def start(self, size: int) -> Tip:
        found = super().start(size)
        return found if found.frontier.size else self.discard()


def measure(count: int) -> dict[str, float]:
    """Both starts on one log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        genesis = log(folder, count)
        found = {"entries": float(count)}
        for which in ("first", "next"):
            command = (sys.executable, "-m", "tests.bench.coordinator_start", "--start", name, genesis.hex())
            said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            found |= {f"{which}_{key}": value for key, value in said.items()}
        return found


def log(folder: Path, count: int) -> bytes:
    """Fill a coordinator's database, without its table of requests; the leaf hash of the first entry."""
    store = Store(_url(folder), holder="bench")
    store.take_lease(0, LEASE_MS)
    tip, entries, key = (
        Tip(initial_unverified(), EMPTY.frontier),
        sample_entries(),
        LogKey(Ed25519PrivateKey.generate()),
    )
    first = b""
    while some := list(islice(entries, min(TOGETHER, count - tip.frontier.size))):
        first, start = first or some[0], tip.frontier.size
        for entry in some:
            tip, _ = extend(tip, entry)
        note = key.note(tip.checkpoint()).to_bytes()
        store.append(start, some, note=note, changes=(), now_ms=0)
    store.set_quorum(tip.frontier.size, note)
    store.close()
    return leaf_hash(first)


def start(folder: Path, genesis: bytes) -> dict[str, float]:
    """One start, in this process."""
    before, began = _resident(), time.process_time()
    database = StoreThread(Store(_url(folder), holder="bench"))
    stored = Unverified(genesis, StatePages(folder / STATE_FILE))
    followed = Followed(database, stored)
    asyncio.run(followed.all())
    seconds, grown = time.process_time() - began, _resident() - before
    stored.close()
    database.close()
    return {"cpu_s": round(seconds, 2), "mb": round(grown / 1e6, 1)}


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/custody.db"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.coordinator_start", description="What a coordinator's start costs."
    )
    parser.add_argument("--entries", type=int, default=20_000, help="of the log (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.start:
        folder, genesis = options.start
        sys.stdout.write(json.dumps(start(Path(folder), bytes.fromhex(genesis))))
        return 0
    found = measure(options.entries)
    lines = (f"{name}: {value}" for name, value in found.items())
    sys.stdout.write((json.dumps(found) if options.json else "\n".join(lines)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
