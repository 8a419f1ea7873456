"""Backup and restore where there is no command line, as in the coordinator's image.

``python -m custody.backup.command backup FOLDER --config FILE``
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from custody.backup.main import back_up, restore
from policy.errors import QuorumkeepError
from signer_nodes.api.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Back up or restore; exit 0 when it is done, 1 with the reason when nothing was."""
    parser = Parser(prog="python -m custody.backup.command", description=__doc__)
    parser.add_argument("what", choices=("backup", "restore"))
    parser.add_argument("folder", type=Path, help="the backup's: a new one, or the one to restore")
    parser.add_argument("--config", type=Path, required=True, help="the coordinator's TOML file")
    asked = parser.parse_args(arguments)
    try:
        manifest = (back_up if asked.what == "backup" else restore)(asked.config, asked.folder)
    except QuorumkeepError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{asked.what} of {manifest.origin}: {manifest.size} entries, {asked.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
