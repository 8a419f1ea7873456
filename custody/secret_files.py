"""Passwords from files that nobody else can read.

The owner alone reads such a file; or root owns it and lets the process read by its group, as a Secret of
Kubernetes and a credential of systemd come.
"""

import os
import stat
from pathlib import Path
from typing import Final

from policy.errors import OperationalError

PASSWORD_BYTES_MAX: Final = 1024
_ROOT: Final = 0


def read_password(path: Path, *, of: str) -> str:
    """The one line of a file that is this process's alone; ``of`` says whose password it is.

    Raises ``OperationalError``, whose text has nothing of what the file holds.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is not waited for
        try:
            _check_private(path, os.fstat(file))
            data = os.read(file, PASSWORD_BYTES_MAX + 2)
        finally:
            os.close(file)
    except OSError as error:
        raise OperationalError(f"cannot read {path}, the password of {of}: {error}; correct it") from error
    line = data.removesuffix(b"\n")
    if (
        not line
        or len(line) > PASSWORD_BYTES_MAX
        or not line.isascii()
        or any(one < ord(" ") for one in line)
    ):
        raise OperationalError(f"{path} is not one line of ASCII: write the password of {of} there")
    return line.decode()


def _check_private(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise OperationalError(f"{path} is no file: write the password there")
    if mode & 0o037 or (mode & 0o040 and found.st_uid != _ROOT):
        raise OperationalError(
            f"others can read or write {path} (mode {mode:o}): run chmod 600 on it; "
            "one that a group reads has to be root's, mode 440"
        )
