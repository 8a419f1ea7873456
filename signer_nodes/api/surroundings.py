"""What a configuration names must be there when a process starts: files, keys, folders, free ports.

Each function notes what is wrong in the table that it is given, beside what is wrong with the text.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from policy.errors import QuorumkeepError
from policy.settings import ConfigError, Problem, Settings
from signer_nodes.api.certificates import PinnedIdentity

CONFIG_BYTES_MAX: Final = 256 * 1024
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
PASSING: Final = frozenset(
    {
        *(
            errno.EIO,
            errno.ENXIO,
            errno.ENODEV,
            errno.ESTALE,
            errno.ENOTCONN,
            errno.EHOSTDOWN,
            errno.ETIMEDOUT,
        ),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRINUSE, errno.EADDRNOTAVAIL),
        *(socket.EAI_AGAIN,),
    }
)


def read_text(path: Path) -> str:
    """A configuration file. Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
        if len(data) <= CONFIG_BYTES_MAX:
            return data.decode("utf-8-sig")  # some editors put a mark before the text
        problem = f"has more than {CONFIG_BYTES_MAX} bytes: give the right file"
    except OSError as error:
        text = f"cannot be read: {error.strerror}; give the right file"
        raise ConfigError(str(path), [Problem(1, "the file", text, _passes(error, path))]) from error
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 from byte {error.start} on: save it as UTF-8, or give the right file"
    raise ConfigError(str(path), [Problem(1, "the file", problem)])


def _passes(error: OSError, path: Path) -> bool:
    """Whether what failed may be there by itself later: also what is on a disk that is not mounted."""
    if error.errno == errno.ENOENT:
        with contextlib.suppress(OSError):
            return not any(path.parent.iterdir())  # a place for a disk, and nothing in it
        return not os.path.lexists(path.parent)
    return error.errno in PASSING


def look_for_folder(table: Settings, key: str, *, path: Path) -> None:
    """A folder to write in."""
    if not os.path.isdir(path):  # False as well where this user may not look
        text = f"is {str(path)!r}, which is no folder: mount its disk, or make it (mkdir -m 700)"
        table.problem(key, text, passing=not os.path.lexists(path))
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        table.problem(
            key,
            f"is {str(path)!r}, which this user cannot write in: mount it writable, or give it to this user",
        )


def look_for_place(table: Settings, key: str, *, path: Path, folder: bool) -> None:
    """Where a file, or a folder, is to be made unless it is there."""
    if os.path.lexists(path) and os.path.isdir(path) != folder:
        table.problem(key, f"is {str(path)!r}, which is {'no' if folder else 'a'} folder: give another path")
        return
    above = path if folder else path.parent
    while folder and not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not os.path.isdir(above):
        text = f"is {str(path)!r}, and {str(above)!r} is no folder: make it, or give another path"
        table.problem(key, text, passing=not os.path.lexists(above))
    elif not os.access(above, os.W_OK | os.X_OK):
        text = f"is to be made in {str(above)!r}, where this user cannot write: "
        table.problem(key, f"{text}mount it writable, or give it to this user")


def look_for_file(table: Settings, key: str, *, path: Path) -> bytes | None:
    """A file to read; its bytes, or None."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            table.problem(key, f"is {str(path)!r}, which is no file: give the right path")
            return None
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        text = f"is {str(path)!r}: {error.strerror}; put the file there, or give the right path"
        table.problem(key, text, passing=_passes(error, path))
        return None


def look_for_identity(table: Settings, key: str, *, path: Path, name: str) -> bytes | None:
    """The identity certificate of ``name``; its key, or None."""
    data = look_for_file(table, key, path=path)
    if data is None:
        return None
    try:
        return PinnedIdentity.of(name, data).key
    except QuorumkeepError as error:
        table.problem(key, f"is {str(path)!r}: {error}; give the certificate that stands in its card")
        return None


def look_for_secret(table: Settings, key: str, *, path: Path) -> bytes | None:
    """A file that others on the machine cannot read; its bytes, or None."""
    data = look_for_file(table, key, path=path)
    if data is not None and path.stat().st_mode & 0o007:
        table.problem(key, f"is {str(path)!r}, which everybody on this machine can read: chmod 600")
    return data


def look_for_key(table: Settings, key: str, *, path: Path) -> None:
    """An Ed25519 private key (PEM, PKCS #8), which others cannot read."""
    data = look_for_secret(table, key, path=path)
    if data is None:
        return
    try:
        found = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what they say may have bytes of it
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        table.problem(key, f"is {str(path)!r}, which is no Ed25519 key in PEM: give the file that init made")


def look_for_port(table: Settings, key: str, *, listen: str) -> None:
    """An address that nobody listens on yet; one that could not be read is none."""
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or port == "0":
        return
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(found[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"is {listen!r}, which is in use: stop what has it, or give another port"
        else:
            text = f"is {listen!r}: {error}; give an address of this machine"
        table.problem(key, text, passing=error.errno in PASSING)
