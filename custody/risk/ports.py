"""What a scoring observer needs from outside: a log, a list, the other observers, and a door to hand in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from policy.encoding import Json
from policy.errors import OperationalError


class NoScreening(OperationalError):
    """The provider says nothing now: its list is too old, missing or damaged. Nothing is stated meanwhile."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What a provider found: a ``result`` in its words, what it rests on, and whom it found, if anybody."""

    result: str
    list_hash: bytes
    hits: tuple[str, ...] = ()


class Screener(Protocol):
    """A screening provider, which must say the same of the same addresses as long as its list is the same."""

    def screen(self, addresses: Sequence[str], *, now_ms: int) -> Screened:
        """What there is against any of the addresses. Raises ``NoScreening``."""


class LogSource(Protocol):
    """Where a log is read. Nothing that comes is believed before it is checked."""

    def note(self) -> bytes:
        """The newest checkpoint with its cosignatures."""

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start`` on, at least one, as many as fit. Raises ``OperationalError``."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A statement as one observer signed it."""

    observer: str
    body: Json
    signature: bytes


class Exchange(Protocol):
    """Where observers leave their statements for one another. Nothing found there is believed."""

    @property
    def shared(self) -> bool:
        """Whether there are others at all."""

    def offer(self, request: bytes, offered: Offered) -> None:
        """Leave a statement, in place of one's own older one. Raises ``OperationalError``."""

    def others(self, request: bytes, observers: Collection[str]) -> tuple[Offered, ...]:
        """What others of these left about a request; what cannot be read is left out."""

    def mine(self) -> tuple[bytes, ...]:
        """The requests about which one's own statements lie there."""

    def withdraw(self, request: bytes) -> None:
        """Take away one's own: it is in the log, or the request is over."""


class Door(Protocol):
    """Where a statement is handed in."""

    def hand_in(self, body: Json, signatures: Mapping[str, bytes]) -> None:
        """Have a screening logged. Raises ``OperationalError`` when it is not."""


class Desk(LogSource, Door, Protocol):
    """The coordinator: both of these."""
