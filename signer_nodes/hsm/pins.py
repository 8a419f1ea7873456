"""Where a PIN may come from: a callback, an inherited descriptor, a systemd credential.

Never the command line and never an environment variable: both can be read by others.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from signer_nodes.hsm.errors import HsmError

PIN_BYTES_MAX = 255


def pin_from_descriptor(descriptor: int) -> Callable[[], str]:
    """Read the PIN now from an inherited file descriptor and close it; the callback returns it.

    The PIN stays in memory because a removed token needs it again.
    """
    try:
        with os.fdopen(descriptor, "rb") as source:
            pin = _pin(source.read(PIN_BYTES_MAX + 2), f"file descriptor {descriptor}")
    except OSError as error:
        raise HsmError(
            f"no PIN can be read from file descriptor {descriptor} (errno {error.errno}):"
            " the supervisor must pass the read end of a pipe"
        ) from error
    return lambda: pin


def pin_from_credential(name: str, environment: Mapping[str, str]) -> Callable[[], str]:
    """Read the PIN from systemd's credential ``name`` each time it is asked for."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        raise HsmError("CREDENTIALS_DIRECTORY is not set: start the node by systemd with LoadCredential=")

    def read() -> str:
        try:
            return _pin((Path(directory) / name).read_bytes(), f"credential {name!r}")
        except OSError as error:
            raise HsmError(f"credential {name!r} cannot be read (errno {error.errno})") from error

    return read


def _pin(raw: bytes, source: str) -> str:
    try:
        pin = raw.removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        raise HsmError(f"the PIN from {source} is not UTF-8 text") from None
    if not 1 <= len(pin.encode()) <= PIN_BYTES_MAX:
        raise HsmError(f"the PIN from {source} must have 1 to {PIN_BYTES_MAX} bytes")
    return pin
