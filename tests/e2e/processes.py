"""Finding processes by what they were started with: to see that none is left, and to kill one on purpose."""

import os
import socket
import time
from pathlib import Path

from tests.waiting import WAIT_S

LISTENING = "0A"


def running_with(text: str) -> dict[int, str]:
    """The processes whose command line has ``text`` in it, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended meanwhile
            if text in command:
                found[int(folder.name)] = command
    return found


def none_left(text: str, *, timeout_s: float = WAIT_S) -> dict[int, str]:
    """What still runs with ``text`` in its command line after a while; empty when nothing does."""
    deadline = time.monotonic() + timeout_s
    while (found := running_with(text)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def secrets_shown(secrets: list[str]) -> list[str]:
    """The files in /proc in which one of ``secrets`` stands: command lines and environments."""
    shown = []
    for folder in Path("/proc").iterdir():
        for name in ("cmdline", "environ"):
            try:
                data = (folder / name).read_bytes() if folder.name.isdecimal() else b""
            except OSError:
                continue
            if any(secret.encode() in data for secret in secrets):
                shown.append(str(folder / name))
    return shown


def listening_of(process: int) -> set[tuple[str, int]]:
    """Where a process listens by IPv4 and IPv6, as addresses and ports."""
    names = set()
    for one in Path(f"/proc/{process}/fd").iterdir():
        try:
            names.add(os.readlink(one))
        except OSError:
            continue  # it was closed meanwhile
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in names:
                address, _, port = fields[1].partition(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def started_by(process: int) -> set[int]:
    """The processes that one has started and that still run, whatever they are called."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if int(after_name[1]) == process:
                found.add(int(folder.name))
    return found
