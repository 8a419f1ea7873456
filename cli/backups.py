"""``coordinator backup`` and ``restore``: its database as files, and a database from them."""

from argparse import Namespace
from pathlib import Path

from cli.results import Result, time_text
from custody.backup.main import back_up, restore
from custody.backup.manifest import Manifest

BEHIND = (
    "What came into the log since then, the coordinator fetches from the cosigners when it starts.",
    "What only the old database knew since then is gone: requests that were not in the log yet (backends ask "
    "again, by the same idempotency keys) and deposit addresses that were given out.",
    "So nobody is given a new address until each backend has claimed those that it has noted, by their "
    "paths, and the configuration says so (docs/backup.md). Events go on under a new name of the feed.",
)


def backup(arguments: Namespace) -> Result:
    """``coordinator backup``."""
    manifest = back_up(Path(arguments.config), Path(arguments.to))
    return Result(
        _document(manifest), (f"{_sentence(manifest)} is in {arguments.to}, for the owner alone to read.",)
    )


def restore_database(arguments: Namespace) -> Result:
    """``coordinator restore``."""
    manifest = restore(Path(arguments.config), Path(arguments.backup))
    return Result(_document(manifest), (f"{_sentence(manifest)} is restored.", *BEHIND))


def _sentence(manifest: Manifest) -> str:
    return f"The database of {manifest.origin} as of {time_text(manifest.made_ms)}, {manifest.size} entries,"


def _document(manifest: Manifest) -> dict[str, object]:
    return {
        "origin": manifest.origin,
        "genesis": manifest.genesis.hex(),
        "size": manifest.size,
        "root": manifest.root.hex(),
        "schema": manifest.schema,
        "made_ms": manifest.made_ms,
        "rows": {name: one.rows for name, one in manifest.tables.items()},
    }
