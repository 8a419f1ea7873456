"""Every format that outlives a program: its version, and a digest of what this program writes in it.

A format that changes without a new version is read wrongly by whoever has the older program, or refused by
nobody: ``test_formats`` compares this with what stands in ``formats.json``.
"""

import functools
import gzip
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from custody.adapters.schema import HEAD
from custody.adapters.store import Store
from custody.backup.manifest import FORMAT as BACKUP_FORMAT
from custody.backup.manifest import Manifest, TableFile
from policy.encoding import canonical
from policy.governance import RULES_SUPPORTED
from policy.ledger import fold, initial
from policy.log.merkle import Frontier, leaf_hash
from policy.state import State
from policy.stored.states import FORMAT as STATE_FORMAT
from policy.suites import SUITES
from signer_nodes.adapters.schema import VERSION as STORE_VERSION
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api.letters import MAGIC, Header
from signer_nodes.backup import VERSION as SHARE_VERSION
from signer_nodes.backup import parse_backup
from signer_nodes.mpc.keyshare import COLUMN_SEED_BYTES, COLUMNS, DELTA_BYTES, ZERO_SEED_BYTES, PairState
from signer_nodes.token_head import TokenHead
from tests.protocols.keys import deal_key
from tests.unit.stored_logs import Pages

HERE: Final = Path(__file__).parent
V1: Final = HERE / "v1"
LOGS: Final = ("everyday", "governed", "keyed", "schnorr", "tiered")
Format = tuple[str, str]


def stored_log(name: str) -> list[bytes]:
    """The entries of a log that was kept: one a line."""
    return gzip.decompress((V1 / f"{name}.jsonl.gz").read_bytes()).splitlines()


def folded(entries: Iterable[bytes]) -> tuple[State, list[bool], bytes]:
    """State, which entries were accepted, and the root."""
    state, accepted, frontier = initial(), [], Frontier()
    for entry in entries:
        state, outcome = fold(state, entry)
        accepted.append(outcome.accepted)
        frontier = frontier.append(leaf_hash(entry))
    return state, accepted, frontier.root()


@functools.cache
def formats() -> dict[str, Format]:
    """Version and digest of each."""
    made: dict[str, Callable[[], Format]] = {
        "rules": lambda: (str(RULES_SUPPORTED), _digest(*(folded(stored_log(n))[0].digest for n in LOGS))),
        "stored state": lambda: (str(STATE_FORMAT), _digest(*_pages())),
        "node store": lambda: (str(STORE_VERSION), _tables(lambda path: NodeStore(path).close())),
        "coordinator tables": lambda: (HEAD, _tables(lambda path: Store(f"sqlite:///{path}").close())),
        "coordinator backup": lambda: (str(BACKUP_FORMAT), _digest(canonical(_manifest().body()))),
        "share backup": lambda: (str(SHARE_VERSION), _digest(*_share_backups())),
        "key share": lambda: ("1", _digest(*(_share(suite) for suite in sorted(SUITES)))),
        "pair state": lambda: ("1", _digest(_pair())),
        "token head": lambda: ("1", _digest(_token_head())),
        "letter": lambda: (MAGIC.decode().strip(), _digest(canonical(_header().body()))),
    }
    return {name: make() for name, make in made.items()}


def _pages() -> list[bytes]:
    pages = Pages()
    pages.stored(folded(stored_log("everyday"))[0])
    return sorted(pages.pages)


def _tables(make: Callable[[Path], None]) -> str:
    """What the database's own tables say of themselves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "database"
        make(path)
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
        db.close()
    return _digest(*(" ".join(row[0].split()).encode() for row in rows))


def _manifest() -> Manifest:
    tables = {"entries": TableFile(3, bytes(32))}
    return Manifest("log.example.com/test", bytes(32), 3, bytes(32), "0001", 1_000, tables)


def _share_backups() -> list[bytes]:
    """Kept backups, read and written again."""
    kept = json.loads((HERE / "backups_v1.json").read_text())
    found = [canonical(document) for key in kept["keys"] for document in key["backups"]]
    return [parse_backup(data).to_bytes() for data in found]


def _share(suite: str) -> bytes:
    return deal_key(2, 3, suite=suite)[1].to_bytes()


def _pair() -> bytes:
    seeds = tuple(bytes([column]) * COLUMN_SEED_BYTES for column in range(COLUMNS))
    both = tuple(zip(seeds, reversed(seeds), strict=True))
    return PairState("main", 0, 1, 2, bytes(DELTA_BYTES), seeds, both, bytes(ZERO_SEED_BYTES)).to_bytes()


def _token_head() -> bytes:
    head = TokenHead(size=3, root=b"\1" * 32, marks=2, marks_chain=b"\2" * 32, floor=1, renounced=0)
    return head.to_bytes()


def _header() -> Header:
    return Header(
        origin="log.example.com/test",
        ceremony=b"\1" * 32,
        sender="coordinator",
        recipient="cold-a",
        boot=b"\2" * 32,
        number=1,
        made_ms=1,
        expires_ms=2,
        reply_key=b"\3" * 32,
    )


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
