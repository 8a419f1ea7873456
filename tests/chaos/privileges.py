"""What a run needs of the machine, and the namespaces that it runs in."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from tests.fixtures_anvil import anvil_binary

ENTERED: Final = "QUORUMKEEP_CHAOS_ENTERED"
NAMESPACES: Final = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
IDLE_SHARE, LOOK_S = 0.5, 1.0
PROGRAMS: Final = ("unshare", "nsenter", "ip", "mount", "gcc", "softhsm2-util")


def missing() -> str:
    """Why a run is not possible here; nothing when it is."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"chaos needs {', '.join(lacking)}: apt-get install util-linux iproute2 gcc softhsm2"
    if anvil_binary() is None:
        return "chaos needs anvil: run make setup"
    if not os.access("/dev/net/tun", os.W_OK):
        return "chaos needs /dev/net/tun, to join networks: run it as root"
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        return f"chaos needs namespaces of its own ({tried.stderr.decode().strip()}): run it as root"
    return ""


def idle() -> bool:
    """Whether nothing else works on this machine: half of its processors' time is free for a second."""
    begun, begun_free = _processor_time()
    time.sleep(LOOK_S)
    ended, ended_free = _processor_time()
    return ended_free - begun_free >= IDLE_SHARE * (ended - begun)


def _processor_time() -> tuple[int, int]:
    """All of it since the machine's start, and what nobody used."""
    user, nice, system, unused, waited, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + unused + waited + sum(rest), unused + waited


def enter() -> NoReturn:
    """Start this command again in namespaces that end with it."""
    os.environ[ENTERED] = "1"
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # its handlers break programs started as another user
    command = [*NAMESPACES, sys.executable, *sys.orig_argv[1:]]
    os.execvp(command[0], command)  # noqa: S606 - a list of arguments, as S603 has it
