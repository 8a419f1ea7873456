"""Close a process to its neighbours at its start: no core dump, no ptrace, no new privileges.

Call it first thing, in the node and in each worker. None of it is a sandbox: run the node under a user
id of its own, and add Landlock and seccomp by the supervisor where it has them.
"""

import ctypes
import os
import resource
from dataclasses import dataclass
from typing import Final

from policy.errors import OperationalError

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39


@dataclass(frozen=True, slots=True)
class Hardening:
    """What the kernel says holds now, read back after it was asked for."""

    core_bytes_max: int
    is_dumpable: bool
    has_no_new_privileges: bool
    user_id: int

    def complaints(self) -> tuple[str, ...]:
        """What is not as it should be; an operator sees each in ``doctor``."""
        found = []
        if self.core_bytes_max != 0:
            found.append(f"core dumps of {self.core_bytes_max} bytes are possible: they would hold shares")
        if self.is_dumpable:
            found.append("the process is dumpable: others of its user id can read its memory")
        if not self.has_no_new_privileges:
            found.append("the process can gain privileges through setuid programs")
        if self.user_id == 0:
            found.append("the process runs as root: give the node a user id of its own")
        return tuple(found)


def harden_process() -> Hardening:
    """Apply all three to this process and its children, for good, and read them back.

    Raises ``OperationalError`` when the kernel refuses one: a node must not run without them.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        raise OperationalError("RLIMIT_CORE cannot be set to 0: allow it in the service's limits") from error
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    return read_hardening()


def read_hardening() -> Hardening:
    """What holds for this process, without changing it."""
    return Hardening(
        core_bytes_max=resource.getrlimit(resource.RLIMIT_CORE)[1],
        is_dumpable=_prctl(PR_GET_DUMPABLE, 0) != 0,
        has_no_new_privileges=_prctl(PR_GET_NO_NEW_PRIVS, 0) == 1,
        user_id=os.geteuid(),
    )


def _prctl(option: int, value: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    answer = int(library.prctl(option, *(ctypes.c_ulong(argument) for argument in (value, 0, 0, 0))))
    if answer < 0:
        raise OperationalError(
            f"prctl({option}, {value}) failed with errno {ctypes.get_errno()}: this needs Linux; check the"
            " service's seccomp profile"
        )
    return answer
