"""The folder of a witness: its key, and for each log the checkpoint that it cosigned last.

Rules: (1) what is cosigned is on the disk before anybody sees the cosignature; (2) comparing with what was
cosigned last and replacing it is one step, under a lock that also keeps a second process out; (3) what is
read back must bear this witness's own cosignature, or the witness does not start.
"""

import fcntl
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.files import load_key, new_folder, new_key, read_bytes, write_bytes
from policy.errors import MalformedError, OperationalError, ProtocolError
from policy.log.checkpoint import (
    TYPE_COSIGNATURE,
    Note,
    cosignature,
    cosignature_message,
    encode_vkey,
    parse_note,
    verify_cosignatures,
)
from policy.log.note import NoteSignature, check_name
from policy.log.witnessing import NOTHING, REQUEST_BYTES_MAX, Head, Submission, consider, read_head

KEY, NAME, LOCK = "witness.pem", "witness.json", "lock"


class Keeper:
    """One witness and what it has cosigned. ``log_keys`` are the keys of the logs it serves, by origin."""

    def __init__(self, folder: Path, log_keys: Mapping[str, bytes]) -> None:
        self._folder, self._log_keys = folder, log_keys
        self._key = load_key(folder / KEY)
        self.name = _read_name(folder)
        self._mutex = threading.Lock()
        self._file = _locked(folder)
        self._last = {origin: self._read(origin) for origin in log_keys}

    @property
    def public_key(self) -> bytes:
        """What its cosignatures verify under."""
        return self._key.public_key().public_bytes_raw()

    @property
    def vkey(self) -> str:
        """Name and key as logs and verifiers are told them."""
        return encode_vkey(self.name, TYPE_COSIGNATURE, public_key=self.public_key)

    def close(self) -> None:
        """Let another process be this witness."""
        self._file.close()

    def cosign(self, found: Submission, *, time_s: int) -> bytes:
        """The line of its cosignature. Raises ``Refused``, and ``OperationalError`` if it cannot be kept."""
        with self._mutex:
            last = self._last.get(found.origin, b"")
            line = consider(found, log_keys=self._log_keys, last=_head(last))
            note = Note(found.note.body, (line,)).with_signatures(self._line(found.note.body, time_s))
            data = note.to_bytes()
            write_bytes(self._path(found.origin), data)
            self._last[found.origin] = data
            own = Note(found.note.body, note.signatures[1:]).to_bytes()
            return own[len(found.note.body) + 1 :]

    def last(self, origin_hash: str) -> bytes | None:
        """The checkpoint cosigned last of the log whose origin has this SHA-256 in hex."""
        with self._mutex:
            found = (data for origin, data in self._last.items() if _named(origin) == origin_hash)
            return next(found, b"") or None

    def _line(self, body: bytes, time_s: int) -> NoteSignature:
        signature = self._key.sign(cosignature_message(body, time_s=time_s))
        return cosignature(self.name, self.public_key, time_s=time_s, signature=signature)

    def _path(self, origin: str) -> Path:
        return self._folder / f"{_named(origin)}.checkpoint"

    def _read(self, origin: str) -> bytes:
        path = self._path(origin)
        if not path.exists():
            return b""
        data = read_bytes(path, "the checkpoint cosigned last")
        try:
            note = parse_note(data, REQUEST_BYTES_MAX)
            own = self.name in verify_cosignatures(note, {self.name: self.public_key})
            named = read_head(note.body)[0]
        except ProtocolError as error:
            raise _altered(path) from error
        if not own or named != origin:
            raise _altered(path)
        return data


def make(folder: Path, name: str) -> str:
    """A new witness in a folder of its own; its verifier key. Raises ``OperationalError``."""
    check_name(name)
    new_folder(folder, holds=KEY)
    key: Ed25519PrivateKey = new_key(folder / KEY)
    write_bytes(folder / NAME, json.dumps({"name": name}).encode())
    return encode_vkey(name, TYPE_COSIGNATURE, public_key=key.public_key().public_bytes_raw())


def _read_name(folder: Path) -> str:
    try:
        found = json.loads(read_bytes(folder / NAME, "the witness's name"))["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedError(
            f"{folder / NAME} does not name the witness: make it with witness init"
        ) from error
    check_name(str(found))
    return str(found)


def _locked(folder: Path) -> TextIO:
    file = (folder / LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OperationalError(f"another process is the witness of {folder}: stop it first") from error
    return file


def _head(data: bytes) -> Head:
    return read_head(parse_note(data, REQUEST_BYTES_MAX).body)[1] if data else NOTHING


def _named(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _altered(path: Path) -> OperationalError:
    return OperationalError(
        f"{path} is not what this witness cosigned: find out who changed it; a witness that has forgotten "
        "what it cosigned needs a new key and a new name"
    )
