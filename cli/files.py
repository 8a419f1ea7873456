"""Files of the command line: read strictly, written whole or not at all, secrets for their owner only."""

import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cli.results import Document, Misuse
from policy.encoding import Json, canonical
from policy.errors import OperationalError

DOCUMENT_BYTES_MAX = 4 * 1024 * 1024


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of ``what``. Raises ``OperationalError``."""
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise OperationalError(f"cannot read {what} {path}: {error.strerror}; give its path") from error
    if len(data) > DOCUMENT_BYTES_MAX:
        raise OperationalError(f"{what} {path} has more than {DOCUMENT_BYTES_MAX} bytes: give the right file")
    return data


def read_document(path: Path, what: str) -> Document:
    """A JSON object written by a person or by us. Raises ``OperationalError``."""
    try:
        value = json.loads(read_bytes(path, what))
    except (ValueError, RecursionError) as error:
        raise OperationalError(f"{what} {path} is not JSON: {error}; correct it") from error
    if not isinstance(value, dict):
        raise OperationalError(f"{what} {path} is not a JSON object: give the right file")
    return value


def write_document(path: Path, document: dict[str, Json]) -> None:
    """Write a document in its canonical form."""
    write_bytes(path, canonical(document))


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file whole, durably. Raises ``OperationalError``."""
    partial = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OperationalError(f"cannot write {path}: {error.strerror}; make room or name another") from error


def _sync_folder(folder: Path) -> None:
    """Have the new name survive a loss of power as well."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_folder(path: Path, *, holds: str) -> None:
    """A folder for its owner alone, without the file ``holds``. Raises ``OperationalError``."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperationalError(f"cannot make the folder {path}: {error.strerror}") from error
    if (path / holds).exists():
        raise OperationalError(
            f"{path / holds} exists already: choose another folder, nothing is overwritten"
        )


def new_key(path: Path) -> Ed25519PrivateKey:
    """A fresh Ed25519 key in a file that only its owner can read."""
    key = Ed25519PrivateKey.generate()
    write_bytes(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM that nobody else can read. Raises ``OperationalError``."""
    data = read_bytes(path, "the key")
    if path.stat().st_mode & 0o077:
        raise OperationalError(f"others can read the key {path}: run chmod 600 on it, or make a new one")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise OperationalError(f"{path} is no private key without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperationalError(f"{path} holds another kind of key: give an Ed25519 key")
    return key


def same_fingerprint(
    said: str, found: str, *, of: str, then: str = "do not enrol it", word: str = "fingerprint"
) -> None:
    """Compare what somebody said out of band with what a file has; spaces and capitals do not count."""
    given = "".join(said.split()).replace(":", "").lower()
    if len(given) != len(found) or set(given) - set("0123456789abcdef"):
        raise Misuse(f"a {word} has {len(found)} hex digits, {said[:80]!r} has not: copy it whole")
    if given != found:
        raise OperationalError(f"{of} has the {word} {found}, not the one you were told: {then}")
