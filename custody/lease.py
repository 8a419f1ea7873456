"""Exactly one coordinator writes: an exclusive lock on a file, held as long as the process lives."""

import fcntl
import os
from pathlib import Path
from typing import IO

from policy.errors import OperationalError


def take_lease(folder: Path) -> IO[str]:
    """Lock the folder for this process; keep the result open. Raises ``OperationalError``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (folder / "coordinator.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(20) or "unknown"
        file.close()
        raise OperationalError(
            f"another coordinator (process {holder.strip()}) runs on {folder}: stop it first"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
