"""The files of a scoring observer: the sanctions list, and the folder that observers share."""

import logging
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import orjson

from custody.risk.ports import NoScreening, Offered, Screened
from custody.risk.sanctions import LIST_BYTES_MAX, SanctionsList, Words, parse_list, screen
from policy.encoding import canonical
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields

STATEMENT_BYTES_MAX = 16 * 1024
_REQUEST = re.compile("[0-9a-f]{64}")
_LOG = logging.getLogger(__name__)


class ListFile:
    """Implements ``custody.risk.ports.Screener`` by a file, which is read again whenever it changes."""

    def __init__(self, path: Path, *, words: Words, max_age_days: int) -> None:
        self._path, self._words, self._max_age_days = path, words, max_age_days
        self._read: tuple[tuple[int, int, int], SanctionsList] | None = None

    def screen(self, addresses: Sequence[str], *, now_ms: int) -> Screened:
        """What the list has against any of the addresses. Raises ``NoScreening``."""
        found = self._list()
        return screen(found, addresses, words=self._words, max_age_days=self._max_age_days, now_ms=now_ms)

    def _list(self) -> SanctionsList:
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                which = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if self._read is None or self._read[0] != which:
                    self._read = which, parse_list(file.read(LIST_BYTES_MAX + 1))
        except OSError as error:
            raise NoScreening(f"cannot read the list {self._path}: {error.strerror}; put it there") from error
        except MalformedError as error:
            raise NoScreening(f"{self._path}: {error}; get the list again") from error
        return self._read[1]


class NoExchange:
    """Implements ``custody.risk.ports.Exchange`` where one observer is enough."""

    shared = False

    def offer(self, request: bytes, offered: Offered) -> None:
        """Nobody is told."""

    def others(self, request: bytes, observers: Collection[str]) -> tuple[Offered, ...]:
        """Nobody says anything."""
        return ()

    def mine(self) -> tuple[bytes, ...]:
        """There is nothing."""
        return ()

    def withdraw(self, request: bytes) -> None:
        """There is nothing."""


class ExchangeFolder:
    """Implements ``custody.risk.ports.Exchange`` by a folder that the observers share.

    It is not made here: one that is made in place of a disk that is not mounted is shared with nobody.
    """

    shared = True

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def offer(self, request: bytes, offered: Offered) -> None:
        """Leave a statement."""
        data = canonical({"body": offered.body, "signature": offered.signature.hex()})
        path = self._path(request, self._name)
        partial = path.with_name(f".{path.name}.new")
        try:
            if path.exists() and path.read_bytes() == data:
                return
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise OperationalError(f"cannot write {path}: {error.strerror}; mend the folder") from error

    def others(self, request: bytes, observers: Collection[str]) -> tuple[Offered, ...]:
        """What others of these left. Whatever else lies there, no file of another name is looked at."""
        found = []
        for name in sorted(set(observers) - {self._name}):
            path = self._path(request, name)
            try:
                with path.open("rb") as file:
                    found.append(parse_offered(name, file.read(STATEMENT_BYTES_MAX + 1)))
            except FileNotFoundError:
                continue
            except (OSError, MalformedError) as error:
                _LOG.warning("%s is left out: %s", path, error)
        return tuple(found)

    def mine(self) -> tuple[bytes, ...]:
        """Whatever is named as this observer's."""
        names = (path.name.split(".", 1)[0] for path in self._folder.glob(f"*.{self._name}.json"))
        return tuple(bytes.fromhex(name) for name in names if _REQUEST.fullmatch(name))

    def withdraw(self, request: bytes) -> None:
        """Take one's own away."""
        self._path(request, self._name).unlink(missing_ok=True)

    def _path(self, request: bytes, name: str) -> Path:
        return self._folder / f"{request.hex()}.{name}.json"


def parse_offered(name: str, data: bytes) -> Offered:
    """What an observer of this name left. Raises ``MalformedError``; who signed it is not looked at."""
    if len(data) > STATEMENT_BYTES_MAX:
        raise MalformedError(f"it has more than {STATEMENT_BYTES_MAX} bytes")
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise MalformedError(f"it is not JSON: {error}") from error
    fields = Fields(document, "statement")
    found = Offered(name, fields.raw("body"), fields.hex("signature", length=64))
    fields.done()
    try:
        canonical(found.body)
    except CallerError as error:
        raise MalformedError(str(error)) from error
    return found
