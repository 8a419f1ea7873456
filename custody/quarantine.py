"""Nodes that people have taken out of the signing sets, by name and with a reason: a file of the coordinator.

It is no entry of the log and no authority: who signs what is reserved is the coordinator's choice anyway. A
node in quarantine goes on folding and cosigning, so w is not touched. The file is looked at again and again,
so that it takes effect without a restart; one that cannot be read changes nothing.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.fact_entries import REASON_CHARACTERS_MAX
from policy.fields import Fields

FILE: Final = "quarantine.json"
NODES_MAX: Final = 64
LOOK_S: Final = 0.5
_LOG = logging.getLogger(__name__)


class Quarantine:
    """The nodes of one coordinator; without a file there are none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self.reasons: Mapping[str, str] = {}

    def look(self) -> None:
        """Read the file, if it is another than before. Raises ``OperationalError``."""
        stamp = _stamp(self._path) if self._path is not None else None
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        self.reasons = read_quarantine(self._path)
        _LOG.warning("in no signing set: %s", ", ".join(sorted(self.reasons)) or "nobody any more")

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                self.look()
            except OperationalError as error:
                _LOG.error("the quarantine stays as it was: %s", error)
            await asyncio.sleep(LOOK_S)


def read_quarantine(path: Path) -> dict[str, str]:
    """The nodes in a file, with the reasons; none without it. Raises ``OperationalError``."""
    if not path.exists():
        return {}
    try:
        document: Json = json.loads(path.read_bytes())
        fields = Fields({"nodes": document}, "quarantine")
        named = fields.mapping("nodes", count_max=NODES_MAX)
        inner = Fields(document, "quarantine")
        return {name: inner.text(name, length_max=REASON_CHARACTERS_MAX) for name in named}
    except (OSError, ValueError, RecursionError, MalformedError) as error:
        raise OperationalError(f"{path}: {error}; correct it, or remove it to release everybody") from error


def write_quarantine(path: Path, reasons: Mapping[str, str]) -> None:
    """Replace the file whole. Raises ``OperationalError``."""
    partial = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_text(json.dumps(dict(sorted(reasons.items()))))
        os.replace(partial, path)
    except OSError as error:
        raise OperationalError(
            f"cannot write {path}: {error.strerror}; run it where the coordinator runs"
        ) from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
