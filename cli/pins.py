"""The PIN of a security key or token: from a file of its owner's alone, or from the terminal unseen.

Never from the command line or the environment: others can read both.
"""

import getpass
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from cli.files import read_bytes
from cli.results import Misuse
from policy.errors import OperationalError

PIN_BYTES_MAX = 255


def pin_source(path: str) -> Callable[[], str]:
    """What gives the PIN when it is needed: the file, or with none the person at the terminal."""
    return (lambda: _from_file(Path(path))) if path else _asked


def _from_file(path: Path) -> str:
    data = read_bytes(path, "the PIN's file")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise OperationalError(f"others can read {path}: run chmod 600 on it, and change the PIN")
    return _checked(data.removesuffix(b"\n"), f"{path}")


def _asked() -> str:
    if not sys.stdin.isatty():
        raise Misuse("there is nobody to ask for the PIN: give --pin-file, a file that only you can read")
    return _checked(getpass.getpass("PIN: ", stream=sys.stderr).encode(), "the terminal")


def _checked(data: bytes, source: str) -> str:
    try:
        pin = data.decode()
    except UnicodeDecodeError:
        pin = ""
    if not 1 <= len(data) <= PIN_BYTES_MAX or not pin.isprintable() or not pin:
        raise OperationalError(f"there is no PIN of one line in {source}: write it there, and nothing else")
    return pin
