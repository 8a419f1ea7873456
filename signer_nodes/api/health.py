"""Whether a process serves, told over a socket file in its data folder to whoever may enter that folder.

A supervisor asks by ``quorumkeep-health DATA_DIR``, which imports nothing else of ours, as it runs every few
seconds. The answer comes from the event loop that serves: one that hangs answers nothing. It opens no port.
"""

import argparse
import asyncio
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

SOCKET: Final = "health.sock"
STARTING, STANDBY, READY, STALLED, UNWRITABLE = "starting", "standby", "ready", "stalled", "unwritable"
SERVING: Final = (STANDBY, READY)
TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 1024


class NotServing(Exception):
    """Why a process counts as not healthy, as one sentence."""


@asynccontextmanager
async def answering(folder: Path, name: str, *, state: Callable[[], str]) -> AsyncIterator[None]:
    """Answer with ``name`` and what ``state`` says, as long as the context lasts."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"name": name, "state": state()}).encode() + b"\n")
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=_bound(folder))
    try:
        yield
    finally:
        server.close()
        _remove(folder / SOCKET)


def _bound(folder: Path) -> socket.socket:
    """The socket in its place. Raises ``OperationalError`` where the folder takes none."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder) as path:
            _remove(path)
            listening.bind(str(path))
    except OSError as error:
        from policy.errors import OperationalError  # whoever only asks loads nothing of ours

        listening.close()
        raise OperationalError(
            f"no socket can be made at {folder / SOCKET} ({error}): free the disk, or remove what is there"
        ) from error
    return listening


def ask(folder: Path, *, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """The name and state that the process of this data folder answers. Raises ``NotServing``."""
    try:
        with _short(folder) as path, socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(timeout_s)
            asking.connect(str(path))
            answer = json.loads(asking.makefile("rb").readline(ANSWER_BYTES_MAX))
            return {"name": str(answer["name"]), "state": str(answer["state"])}
    except TimeoutError as error:
        raise NotServing(f"the process of {folder} does not answer within {timeout_s:g} s") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotServing(f"no process answers in {folder} ({error}): start it, or see its log") from error


@contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """A path of the socket that fits into the 107 bytes a socket's address may have, however deep it lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """What a killed process left. Anything but a socket is not ours and stays, so that binding fails."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the process serves; with ``--alive``, when it answers at all."""
    parser = argparse.ArgumentParser(
        prog="quorumkeep-health",
        description="Whether a process serves.",
        epilog="example: quorumkeep-health treasury/coordinator/data",
    )
    parser.add_argument("folder", type=Path, help="its data folder (data_dir)")
    parser.add_argument("--alive", action="store_true", help="that it answers is enough: it may be starting")
    options = parser.parse_args(arguments)
    try:
        answer = ask(options.folder)
    except NotServing as error:
        sys.stderr.write(f"quorumkeep-health: {error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if options.alive or answer["state"] in SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
