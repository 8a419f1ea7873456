"""Finding processes by what they were started with: to see that none is left, and to kill one on purpose."""

import time
from pathlib import Path


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


def none_left(text: str, *, timeout_s: float = 5.0) -> dict[int, str]:
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
