"""How far an audit has come, in a file: one that was killed goes on from there.

The file says which entries this auditor has found in order. Nobody else's word counts for it, so it has a
MAC under a key of this user's own on this machine. Whoever can read that key can also change the program that
audits. And what the file says is compared with the log again: its entries must fold to the same state.
"""

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from cli.files import write_bytes
from policy.audit import Trust
from policy.audit_fold import NOTHING_SEEN, Seen
from policy.encoding import Json, canonical, tagged_hash
from policy.errors import MalformedError
from policy.governance import RULES_SUPPORTED
from policy.stored.states import FORMAT as STATES
from policy.stored.states import shape

FORMAT, KEY_BYTES = 1, 32


class AuditState:
    """One audit's file. ``trust`` is what the log is held against; a file of other trust is refused."""

    def __init__(self, path: Path, *, trust: Trust | None, key: Path | None = None) -> None:
        self._path = path
        self._trust = _trust_id(trust)
        self._key = _read_key(key or _key_path())

    def load(self) -> Seen:
        """What was seen in earlier runs. Raises ``MalformedError`` that says what the file is instead."""
        try:
            text, _, mac = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return NOTHING_SEEN
        if not hmac.compare_digest(mac.strip(), self._mac(text)):
            raise MalformedError(
                f"{self._path} was altered, or is not this user's on this machine: remove it to begin anew"
            )
        found: Any = json.loads(text)
        if (found["format"], found["rules"], found["fold"]) != (FORMAT, RULES_SUPPORTED, _fold()):
            raise MalformedError(
                f"{self._path} is of another version of this program: remove it to begin anew"
            )
        if found["trust"] != self._trust:
            raise MalformedError(
                f"{self._path} is of an audit with another trust file: give that one, or another --state"
            )
        root, digest = bytes.fromhex(found["root"]), bytes.fromhex(found["digest"])
        return Seen(found["size"], root, digest, frozenset(found["inert"]))

    def keep(self, seen: Seen) -> None:
        """Write what has been seen; whole or not at all."""
        body = {
            "format": FORMAT,
            "rules": RULES_SUPPORTED,
            "fold": _fold(),
            "trust": self._trust,
            "size": seen.size,
            "root": seen.root.hex(),
            "digest": seen.digest.hex(),
            "inert": sorted(seen.inert),
        }
        text = json.dumps(body).encode()
        write_bytes(self._path, text + b"\n" + self._mac(text) + b"\n", mode=0o600)

    def _mac(self, text: bytes) -> bytes:
        return hmac.new(self._key, tagged_hash("audit-state", text), hashlib.sha256).hexdigest().encode()


def _fold() -> str:
    """How entries are folded: what another way made of them is not gone on with."""
    return f"{STATES}.{shape()}"


def _trust_id(trust: Trust | None) -> str:
    if trust is None:
        return "from_directory"
    cosigners: list[Json] = [[name, key.hex()] for name, key in sorted(trust.cosigners.items())]
    parts: list[Json] = [trust.origin, trust.log_key.hex(), trust.genesis.hex(), cosigners, trust.w]
    return tagged_hash("audit-trust", canonical(parts)).hex()


def _key_path() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "quorumkeep" / "audit.key"


def _read_key(path: Path) -> bytes:
    """The machine's own key, made at the first use; refused where others can read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
    if path.stat().st_mode & 0o077:
        raise MalformedError(f"{path} can be read by others: remove it and all states made under it")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise MalformedError(
            f"{path} is not a key of {KEY_BYTES} bytes: remove it and all states made under it"
        )
    return key
