"""Backing the coordinator's database up and making one from a backup; adapters are wired here.

Rules: a backup is one snapshot, whole or not there; what is restored was signed by this coordinator's
identity, is of this deployment's log, and its entries lead to the root that it names; nothing that exists is
written over. An older backup is no danger: a coordinator that starts asks the cosigners and fetches from them
what came since (``custody/starting.py``).
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from custody.adapters import backup_tables as tables
from custody.adapters.feeds import doubt_addresses
from custody.adapters.identity import load_identity
from custody.backup.manifest import MANIFEST_BYTES_MAX, Manifest, read_manifest
from custody.config import Config
from custody.config_reading import load_config
from custody.lease import take_lease
from policy.audit import NOTE_BYTES_MAX
from policy.errors import OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import Frontier, leaf_hash

MANIFEST: Final = "manifest.json"


@dataclass(slots=True)
class Leaves:
    """The log as its entries go by."""

    frontier: Frontier
    genesis: bytes = b""

    def seen(self, name: str, row: tables.Row) -> None:
        """Take note of a row, if it is an entry's."""
        entry = tables.entry_of(name, row)
        if entry is not None:
            leaf = leaf_hash(entry)
            self.genesis = self.genesis or leaf
            self.frontier = self.frontier.append(leaf)


def back_up(path: Path, folder: Path) -> Manifest:
    """Back up the database of a configuration into a new folder; the coordinator may be running."""
    config = load_config(path)
    identity = load_identity(config.identity_key)
    if folder.exists():
        raise OperationalError(f"{folder} is there already: name a new folder for each backup")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700, parents=True)
        manifest = _write(config, partial)
        (partial / MANIFEST).write_bytes(manifest.signed(identity.sign))
        _sync(partial)
        partial.rename(folder)
        _fsync(folder.absolute().parent)
    except OSError as error:
        raise OperationalError(
            f"cannot write {folder}: {error}; free space, or name another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def restore(path: Path, folder: Path) -> Manifest:
    """Make the configuration's database, which must not exist, from a backup."""
    config = load_config(path)
    manifest = checked(config, folder)
    with take_lease(config.data_dir), tables.filling(config.database, manifest.schema) as db:
        leaves = Leaves(Frontier())
        wanted = tables.tables_of(db)
        if set(wanted) != set(manifest.tables):
            raise OperationalError(
                f"the backup has not the tables of version {manifest.schema}: bring another"
            )
        for name in wanted:
            said = manifest.tables[name]
            tables.read_table(db, name, path=_file(folder, name), said=said, seen=leaves.seen)
        if (leaves.frontier.size, leaves.frontier.root()) != (manifest.size, manifest.root):
            raise OperationalError("the backup's entries do not lead to its checkpoint: bring another backup")
        tables.rename_feed(db)
        doubt_addresses(db, time.time_ns() // 1_000_000)
    return manifest


def checked(config: Config, folder: Path) -> Manifest:
    """The manifest of a backup of this deployment by this coordinator. Raises ``OperationalError``."""
    identity = load_identity(config.identity_key).public_key().public_bytes_raw()
    try:
        with (folder / MANIFEST).open("rb") as file:
            manifest = read_manifest(file.read(MANIFEST_BYTES_MAX + 1), identity)
        genesis = leaf_hash(config.genesis.read_bytes())
    except OSError as error:
        raise OperationalError(f"{error}: give the folder of a whole backup") from error
    if (manifest.origin, manifest.genesis) != (config.origin, genesis):
        raise OperationalError(
            f"this is a backup of {manifest.origin}, genesis {manifest.genesis.hex()[:16]}, which is another "
            f"deployment than {config.origin}, genesis {genesis.hex()[:16]}: bring the right one"
        )
    return manifest


def _write(config: Config, folder: Path) -> Manifest:
    leaves, made_ms = Leaves(Frontier()), time.time_ns() // 1_000_000
    with tables.reading(config.database) as db:
        schema, note = tables.schema_of(db), tables.newest_note(db)
        if not note:
            raise OperationalError("the log has not begun: there is nothing to back up")
        files = {
            name: tables.write_table(db, name, path=_file(folder, name), seen=leaves.seen)
            for name in tables.tables_of(db)
        }
    checkpoint = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
    frontier = leaves.frontier
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (
        config.origin,
        frontier.size,
        frontier.root(),
    ):
        raise OperationalError(
            f"the database's {frontier.size} entries do not lead to its checkpoint {checkpoint.origin} "
            f"{checkpoint.size}: it is damaged or another's; keep the backups there are"
        )
    return Manifest(config.origin, leaves.genesis, frontier.size, frontier.root(), schema, made_ms, files)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.gz"


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        path.chmod(0o700 if path.is_dir() else 0o600)
        _fsync(path)


def _fsync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
